"""Bad files of every kind: each is refused in one sentence that names it, and nothing in a file is ever run."""

import faulthandler
import os
import pickle
import re
import struct
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from conftest import refused
from PIL import Image
from sound_files import encode, tune

import utils
from genres import datasets, ear, library, runs
from genres.audio import load_audio
from genres.common import GENRES, ROOT, InputError
from genres.fingerprints import read_fingerprints
from genres.song_files import find_songs
from genres.spectrogram import COLUMNS, MEL_BINS, audio_to_matrix, matrix_to_picture, picture_to_matrix
from genres.web_pictures import read_song_picture

TABLE = pd.DataFrame({"image": [f"{genre}00000.png" for genre in GENRES], "genre": GENRES})
SAMPLE = min((ROOT / "data_samples").glob("*.png"))
DRAWING = matrix_to_picture(np.tile(np.arange(COLUMNS) % 256, (MEL_BINS, 1)).astype(np.uint8))
SPOT = DRAWING.copy()
SPOT.putpixel((200, 100), (0, 255, 0, 255))


def _bytes(data):
    return lambda path: path.write_bytes(data)


def _changed(good, change):
    return lambda path: path.write_bytes(change(good.read_bytes()))


def _changed_model(change):
    def make(path):
        stored = utils.load_weights(utils.MODEL_PATH)
        change(stored)
        torch.save(stored, path)

    return make


class _Code:
    """Makes a folder when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


MISSING = {"missing": lambda path: None}
ANYWHERE = {"empty": _bytes(b""), "words": _bytes(b"only words"), "a picture": lambda path: DRAWING.save(path, "PNG")}
PICTURE = MISSING | {
    "empty": _bytes(b""),
    "words": _bytes(b"only words"),
    "a folder": lambda path: path.mkdir(),
    "middle missing": _changed(SAMPLE, lambda data: data[:300] + data[700:]),
    # A forged size: 60 000 x 60 000 pixels would take 14 GB.
    "huge": _changed(SAMPLE, lambda data: data[:16] + struct.pack(">II", 60_000, 60_000) + data[24:]),
    "other size": lambda path: DRAWING.resize((400, 300)).save(path),
    "grey": lambda path: DRAWING.convert("L").save(path),
    "other colours": lambda path: Image.merge("RGB", DRAWING.split()[2::-1]).save(path),
    "upside down": lambda path: DRAWING.rotate(180).save(path),
    "black": lambda path: Image.new("RGB", DRAWING.size).save(path),
    "a pixel": lambda path: Image.new("RGB", (1, 1)).save(path),
    "a photo": lambda path: Image.radial_gradient("L").resize(DRAWING.size).convert("RGB").save(path),
    "jpeg": lambda path: DRAWING.convert("RGB").save(path, format="JPEG", quality=60),
    "one wrong pixel": lambda path: SPOT.save(path),
}
SPLIT = MISSING | {"other pictures": _bytes(b"image,genre\nother.png,rock\n")}
LIBRARY = {"other columns": _bytes(b"file,genre\na.mp3,rock\n"), "an open quote": _bytes(b'file,size\n"a\nb,1\n')}
LABELS = ANYWHERE | {
    "other columns": _bytes(b"name;genre\na.mp3;rock\n"),
    "an old encoding": _bytes("file,title,genre\na.mp3,Café,rock\n".encode("latin-1")),
    "utf-16": _bytes("file,title,genre\na.mp3,Café,rock\n".encode("utf-16")),
    "an open quote": _bytes(b'file,title,genre\n"a.mp3,A,rock\nb.mp3,B,pop\n'),
    "too many columns": _bytes(b"file,title,genre\na.mp3,A,rock\nb.mp3,B,pop,1,2,3\n"),
}
METRICS = {"half": _bytes(b'{"dataset": "d'), "a list": _bytes(b"[1]"), "no results": _bytes(b'{"results": [1]}')}
WEIGHTS = MISSING | {
    "cut off": _changed(ear.WEIGHTS_PATH, lambda data: data[: len(data) // 2]),
    "flipped": _changed(ear.WEIGHTS_PATH, lambda data: data[:999_999] + bytes(9) + data[1_000_008:]),
    "other weights": lambda path: np.savez(path, **{"conv2d.kernel": np.zeros((7, 38, 1, 3), np.float32)}),
}
MODEL = MISSING | {
    "truncated": _changed(utils.MODEL_PATH, lambda data: data[:5000]),
    "a list": lambda path: torch.save([1, 2], path),
    "a whole network": lambda path: torch.save(torch.nn.Linear(2, 2), path),
    "pickled code": lambda path: path.write_bytes(pickle.dumps({"genres": _Code()})),
    "code among the weights": lambda path: torch.save({"genres": _Code()}, path),
    "genres in another order": _changed_model(lambda stored: stored["genres"].reverse()),
    "a layer missing": _changed_model(lambda stored: stored["cnn"].popitem()),
    "no numbers": _changed_model(lambda stored: stored["cnn"]["norm.weight"].fill_(float("nan"))),
    "short texture": _changed_model(lambda stored: stored["texture"].update(mean=torch.zeros(9))),
    "threshold in words": _changed_model(lambda stored: stored["picture"].update(unsure_below="warm")),
    "no facts": _changed_model(lambda stored: stored.pop("facts")),
}
READERS = [
    ("{}.png", picture_to_matrix, PICTURE),
    ("{}.png", read_song_picture, PICTURE),
    ("train_data.csv", lambda path: datasets.read_split(TABLE, path.parent), ANYWHERE | SPLIT),
    ("songs.csv", library.read_rows, LIBRARY),
    ("songs.csv", lambda path: find_songs(path.parent), LABELS),
    ("metrics.json", lambda path: runs.update_metrics(path, more=1), ANYWHERE | METRICS),
    ("prints.npz", read_fingerprints, ANYWHERE),
    ("ear.npz", ear.read_ear_features, ANYWHERE),
    ("weights.npz", ear.read_network, ANYWHERE | WEIGHTS),
    ("model.pt", utils.load_model, ANYWHERE | MODEL),
]
BAD_FILES = [(file, name, read, files[name]) for file, read, files in READERS for name in files]


@pytest.mark.parametrize(("file", "name", "read", "make"), BAD_FILES)
def test_each_bad_file_is_refused_in_one_sentence_that_names_it(file, name, read, make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / file.format(name)
    make(path)
    with refused(re.escape(path.name)):
        read(path)
    assert not (tmp_path / "ran").exists(), "code in the file was run"


def test_good_files_of_the_same_making_are_taken(tmp_path):
    _changed(SAMPLE, lambda data: data)(tmp_path / "good.png")
    assert picture_to_matrix(tmp_path / "good.png").shape == (MEL_BINS, COLUMNS)
    _changed_model(lambda stored: stored["facts"].update(more="yes"))(tmp_path / "model.pt")
    assert utils.load_model(tmp_path / "model.pt").facts["more"] == "yes"


def _good_files(folder):
    """Make one good file of each kind, and give their bytes by ending."""
    matrix_to_picture(audio_to_matrix(tune(30))).save(folder / "good.png")
    encode(folder / "good.m4a", tune())
    for ending in ("wav", "float.wav", "mp3", "flac", "ogg"):
        soundfile.write(folder / f"good.{ending}", tune(), 22_050, subtype="FLOAT" if "float" in ending else None)
    return {path.name.removeprefix("good."): path.read_bytes() for path in sorted(folder.glob("good.*"))}


def _spoiled(good, random):
    """Change the bytes of a good file at random: bits, the numbers at its beginning, its end, its order."""
    data, kind = bytearray(good), random.integers(4)
    first, second, length = (int(n) for n in random.integers(0, len(data) // 2, 3))
    if kind == 0:
        for place in random.integers(0, len(data), random.integers(1, 60)):
            data[place] ^= 1 << random.integers(8)
    elif kind == 1:  # lengths, rates and counts: set bytes there to something extreme
        for place in random.integers(0, 120, random.integers(1, 5)):
            data[place : place + 4] = random.choice([0, 1, 0x7F, 0x80, 0xFF], 4).astype(np.uint8).tobytes()
    elif kind == 2:
        data = data[: random.integers(0, len(data))]
    else:
        data[first : first + length] = data[second : second + int(random.integers(1, 5000))]
    return bytes(data)


@pytest.fixture
def limits():
    """End a reader that takes 3 GB, as a length in a forged header may ask for, or a whole minute."""
    resource = pytest.importorskip("resource") if sys.platform == "linux" else None  # only there it can be said
    if resource:
        before = resource.getrlimit(resource.RLIMIT_AS)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (3 << 30), before[1]))
    yield
    faulthandler.cancel_dump_traceback_later()
    if resource:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.filterwarnings("ignore")
def test_changed_files_end_in_a_result_or_a_clear_error(tmp_path, limits):
    good, results, count = _good_files(tmp_path), 0, 250
    for number in range(count):
        random = np.random.default_rng(number)
        ending = sorted(good)[number % len(good)]
        path = tmp_path / f"change-{number}.{ending if number % 5 else random.choice(sorted(good))}"
        path.write_bytes(_spoiled(good[ending], random))
        faulthandler.dump_traceback_later(60, exit=True)
        try:
            if path.suffix == ".png":
                read_song_picture(path)
            _ = picture_to_matrix(path) if path.suffix == ".png" else audio_to_matrix(load_audio(path))
            results += 1
        except InputError as error:
            assert path.name in str(error)
            assert "\n" not in str(error)
    assert 25 < results < count - 25, "the changes are too weak or too strong to say something"
