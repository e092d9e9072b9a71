"""Changes the bytes of good pictures and songs at random, and sees what the readers say to that.

`python tests/fuzz.py 0 1000 folder` tries the changes 0 to 999. Each must end in a result or in `InputError`. Change
number n is always the same one. It lies in the folder while it is read, so a crash or a hang leaves its file behind.
"""

import faulthandler
import json
import sys
import warnings
from collections import Counter
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import soundfile
from sound_files import encode, tune

from genres.audio import load_audio
from genres.common import InputError
from genres.spectrogram import audio_to_matrix, matrix_to_picture, picture_to_matrix
from genres.web_pictures import read_song_picture

SECONDS_PER_FILE = 60.0  # none of these few seconds of sound may keep a decoder busy for longer
MEMORY = 3 << 30  # bytes beyond what the imports take, so that a length in a forged header is not believed


def good_files(folder: Path) -> dict[str, bytes]:
    """One good file of each kind, as bytes by its ending."""
    matrix_to_picture(audio_to_matrix(tune(30))).save(folder / "good.png")
    encode(folder / "good.m4a", tune())
    for ending in ("wav", "float.wav", "mp3", "flac", "ogg"):
        soundfile.write(folder / f"good.{ending}", tune(), 22_050, subtype="FLOAT" if "float" in ending else None)
    return {path.name.removeprefix("good."): path.read_bytes() for path in sorted(folder.glob("good.*"))}


def mutate(good: dict[str, bytes], number: int) -> tuple[str, bytes]:
    """Give the ending and the bytes of change number n."""
    random, endings = np.random.default_rng(number), sorted(good)
    ending = endings[number % len(endings)]
    data, kind = bytearray(good[ending]), random.integers(5)
    if kind == 0:  # flip bits
        for place in random.integers(0, len(data), random.integers(1, 60)):
            data[place] ^= 1 << random.integers(8)
    elif kind == 1:  # lengths, rates and counts stand at the beginning: set whole numbers there to something extreme
        for place in random.integers(0, min(len(data), 120), random.integers(1, 5)):
            width = int(random.choice([1, 2, 4]))
            data[place : place + width] = random.choice([0, 1, 0x7F, 0x80, 0xFF], width).astype(np.uint8).tobytes()
    elif kind == 2:  # break off
        data = data[: random.integers(0, len(data))]
    elif kind == 3:  # splice
        first, second, length = (int(n) for n in random.integers(0, len(data) // 2, 3))
        data[first : first + length] = data[second : second + int(random.integers(1, 5000))]
    else:
        ending = endings[random.integers(len(endings))]
    return ending, bytes(data)


def try_file(path: Path) -> str:
    """What the project says to a file: "result" or "InputError"; any other error is let through."""
    try:
        if path.suffix == ".png":
            read_song_picture(path)
            picture_to_matrix(path)
        else:
            audio_to_matrix(load_audio(path))
    except InputError as error:
        assert path.name in str(error) and "\n" not in str(error), f"a poor sentence: {error}"
        return "InputError"
    return "result"


def main(first: int, count: int, folder: Path) -> None:
    """Try the changes and print what they ended in; the first that ends in something else ends it all."""
    good, ends = good_files(folder), Counter({"result": 0, "InputError": 0})
    with suppress(ImportError, OSError):  # only Linux can say it
        import resource

        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    warnings.simplefilter("ignore")
    for number in range(first, first + count):
        ending, data = mutate(good, number)
        path = folder / f"change-{number}.{ending}"
        path.write_bytes(data)
        faulthandler.dump_traceback_later(SECONDS_PER_FILE, exit=True)
        ends[try_file(path)] += 1
        faulthandler.cancel_dump_traceback_later()
        path.unlink()
    print(json.dumps(ends))


if __name__ == "__main__":
    faulthandler.enable()
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
