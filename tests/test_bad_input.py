"""Bad files of every kind: each is refused in one sentence that names it, and nothing in a file is ever run."""

import ast
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile

import av
import fuzz
import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from PIL import Image

import utils

RATE = utils.SAMPLE_RATE
TABLE = pd.DataFrame({"image": [f"{genre}00000.png" for genre in utils.GENRES], "genre": utils.GENRES})
PICTURES = utils.Pictures(TABLE, np.zeros((10, 2, 3), np.uint8))


def _as_bytes(data):
    return lambda path: path.write_bytes(data)


def _drawing() -> Image.Image:
    return utils.matrix_to_picture(np.tile(np.arange(utils.COLUMNS) % 256, (utils.MEL_BINS, 1)).astype(np.uint8))


def _part_of_picture(start, stop, end=None):
    def make(path):
        _drawing().save(path)
        data = path.read_bytes()
        path.write_bytes(data[start:stop] + (data[end:] if end else b""))

    return make


def _one_pixel(path):
    picture = _drawing()
    picture.putpixel((200, 100), (0, 255, 0, 255))
    picture.save(path)


def _huge_picture(path):
    """A forged size: 60 000 x 60 000 pixels would take 14 GB."""
    _drawing().save(path)
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    path.write_bytes(data)


BAD_PICTURES = {
    "missing": lambda path: None,
    "empty": _as_bytes(b""),
    "text": _as_bytes(b"not a picture"),
    "a folder": lambda path: path.mkdir(),
    "header only": _part_of_picture(0, 33),
    "second half missing": _part_of_picture(0, 1000),
    "middle missing": _part_of_picture(0, 300, 700),
    "huge": _huge_picture,
    "black": lambda path: Image.new("RGB", (432, 288)).save(path),
    "white": lambda path: Image.new("RGB", (432, 288), "white").save(path),
    "other size": lambda path: _drawing().resize((400, 300)).save(path),
    "grey": lambda path: _drawing().convert("L").save(path),
    "upside down": lambda path: _drawing().rotate(180).save(path),
    "jpeg": lambda path: _drawing().convert("RGB").save(path, format="JPEG", quality=60),
    "one wrong pixel": _one_pixel,
}


def _sound(samples, **options):
    return lambda path: soundfile.write(path, samples, options.pop("rate", RATE), format="WAV", **options)


def _with_one(value):
    samples = fuzz.tune()
    samples[1000] = value
    return _sound(samples, subtype="FLOAT")


def _wav_header(rate=RATE, channels=1, form=1, size=0):
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36, b"WAVE", b"fmt ", 16, form, channels, rate, 2 * rate, 2, 16)
    return head + struct.pack("<4sI", b"data", size)


def _mp3_start(path):
    soundfile.write(path, fuzz.tune(), RATE)
    path.write_bytes(path.read_bytes()[:200])


def _film_without_sound(path):
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(40):
            container.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        container.mux(stream.encode(None))


def _m4a_without_index(path):
    good = path.with_suffix(".m4a")
    fuzz.write_m4a(good, fuzz.tune())
    path.write_bytes(good.read_bytes().replace(b"moov", b"gone"))


BAD_SONGS = {
    "missing": lambda path: None,
    "empty": _as_bytes(b""),
    "lyrics": _as_bytes(b"lyrics only"),
    "a folder": lambda path: path.mkdir(),
    "random bytes": _as_bytes(np.random.default_rng(0).bytes(5000)),
    "tag only": _as_bytes(b"ID3\x04\x00\x00\x00\x00\x0f\x00" + bytes(2000)),
    "picture": lambda path: _drawing().save(path, format="PNG"),
    "start of an mp3": _mp3_start,
    "film without sound": _film_without_sound,
    "m4a without index": _m4a_without_index,
    "header only": _as_bytes(_wav_header()),
    "unknown kind of wav": _as_bytes(_wav_header(form=0x1234, size=RATE * 8) + bytes(RATE * 8)),
    "no channels": _as_bytes(_wav_header(channels=0, size=RATE * 8) + bytes(RATE * 8)),
    "rate of nought": _as_bytes(_wav_header(rate=0, size=RATE * 8) + b"\x12\x34" * RATE * 4),
    "three hours": _sound(np.ones(3 * 3600 * 8, np.float32), rate=8),
    "an hour in a few bytes": _sound(fuzz.tune(), rate=20),
    "too short": _sound(fuzz.tune(0.2)),
    "silent": _sound(np.zeros(5 * RATE)),
    "not a number": _with_one(np.nan),
    "infinite": _with_one(np.inf),
}

BAD_SONG_LISTS = {
    "other columns": _as_bytes(b"name;genre\na.mp3;rock\n"),
    "empty": _as_bytes(b""),
    "a picture": lambda path: _drawing().save(path, format="PNG"),
    "an old encoding": _as_bytes("file,title,genre\na.mp3,Café,rock\n".encode("latin-1")),
    "utf-16": _as_bytes("file,title,genre\na.mp3,Café,rock\n".encode("utf-16")),
    "an open quote": _as_bytes(b'file,title,genre\n"a.mp3,A,rock\nb.mp3,B,pop\n'),
    "too many columns": _as_bytes(b"file,title,genre\na.mp3,A,rock\nb.mp3,B,pop,1,2,3\n"),
}

BAD_SPLITS = {
    "missing": lambda path: None,
    "empty": _as_bytes(b""),
    "other columns": _as_bytes(b"picture,genre\nrock00000.png,rock\n"),
    "other pictures": _as_bytes(b"image,genre\nother.png,rock\n"),
    "a picture": lambda path: _drawing().save(path, format="PNG"),
}

BAD_METRICS = {
    "empty": _as_bytes(b""),
    "half": _as_bytes(b'{"dataset": "demo", "random_sp'),
    "a list": _as_bytes(b"[1, 2]"),
}


def _changed_model(change):
    def make(path):
        stored = utils.load_weights(utils.MODEL_PATH)
        change(stored)
        torch.save(stored, path)

    return make


def _fill(tensors, value):
    for tensor in filter(torch.is_floating_point, tensors.values()):
        tensor.fill_(value)


class _Code:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path.with_name("ran")),)


BAD_MODELS = {
    "missing": lambda path: None,
    "empty": _as_bytes(b""),
    "text": _as_bytes(b"not weights"),
    "truncated": lambda path: path.write_bytes(utils.MODEL_PATH.read_bytes()[:5000]),
    "foreign": lambda path: torch.save({"other": 1}, path),
    "a list": lambda path: torch.save([1, 2], path),
    "a whole network": lambda path: torch.save(torch.nn.Linear(2, 2), path),
    "pickled code": lambda path: path.write_bytes(pickle.dumps({"genres": _Code(path)})),
    "code among the weights": lambda path: torch.save({"genres": _Code(path)}, path),
    "another zip": lambda path: zipfile.ZipFile(path, "w").writestr("data.txt", "hello"),
    "genres in another order": _changed_model(lambda stored: stored["genres"].reverse()),
    "a layer missing": _changed_model(lambda stored: stored["network"].popitem()),
    "no numbers": _changed_model(lambda stored: _fill(stored["network"], float("nan"))),
    "no network": _changed_model(lambda stored: stored.update(network="none")),
    "short texture": _changed_model(
        lambda stored: stored.update(texture={name: tensor[:9] for name, tensor in stored["texture"].items()})
    ),
    "foreign texture": _changed_model(lambda stored: stored["texture"].update(other=torch.zeros(3))),
    "scale of no number": _changed_model(lambda stored: stored["calibration"]["scale"].fill_(float("nan"))),
    "threshold in words": _changed_model(lambda stored: stored["calibration"].update(unsure_below="warm")),
    "short offset": _changed_model(lambda stored: stored["calibration"].update(offset=torch.zeros(9))),
    "no facts": _changed_model(lambda stored: stored.pop("facts")),
}


def _read_metrics(path):
    utils.update_metrics(utils.DataSet("demo", "demo songs", path, None, output=path.parents[2]), more=1)


DOORS = {
    "picture": ("{}.png", utils.picture_to_matrix, BAD_PICTURES),
    "song": ("{}.mp3", utils.load_audio, BAD_SONGS),
    "list of songs": ("songs.csv", lambda path: utils.find_songs(path.parent), BAD_SONG_LISTS),
    "split": ("train_data.csv", lambda path: utils.read_split(PICTURES, path.parent), BAD_SPLITS),
    "metrics": ("data/demo/metrics.json", _read_metrics, BAD_METRICS),
    "model": ("model.pt", utils.load_model, BAD_MODELS),
}
BAD_FILES = [(door, name) for door, (_, _, files) in DOORS.items() for name in files]


@pytest.mark.parametrize(("door", "name"), BAD_FILES, ids=[f"{door}: {name}" for door, name in BAD_FILES])
def test_each_bad_file_is_refused_in_one_sentence_that_names_it(door, name, tmp_path):
    file, read, files = DOORS[door]
    path = tmp_path / file.format(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    files[name](path)
    with pytest.raises(utils.InputError) as refused:
        read(path)
    assert path.name in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "ran").exists(), "code in the file was run"


def test_there_are_enough_bad_files():
    assert len(BAD_FILES) >= 60


def test_good_files_of_the_same_making_are_taken(tmp_path):
    _drawing().save(tmp_path / "good.png")
    assert utils.picture_to_matrix(tmp_path / "good.png").shape == (utils.MEL_BINS, utils.COLUMNS)
    (tmp_path / "good.wav").write_bytes(_wav_header(size=RATE * 8) + b"\x12\x34" * RATE * 4)
    assert len(utils.load_audio(tmp_path / "good.wav")) == RATE * 4
    _changed_model(lambda stored: stored["facts"].update(more="yes"))(tmp_path / "model.pt")
    assert utils.load_model(tmp_path / "model.pt").facts["more"] == "yes"
    (tmp_path / "songs.csv").write_text("file,title,genre\ngood.wav,Good\n")
    (song,) = [song for song in utils.find_songs(tmp_path) if song.path.name == "good.wav"]
    assert (song.title, song.genre) == ("Good", None)


def test_a_thousand_changed_files_end_in_a_result_or_a_clear_error(tmp_path):
    command = [sys.executable, fuzz.__file__, "0", "1000", str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=1200, env=environment)
    left = [path.name for path in tmp_path.glob("change-*")]
    assert ended.returncode == 0, f"left unread: {left}\n{ended.stderr[-3000:]}"
    counts = json.loads(ended.stdout.splitlines()[-1])
    assert counts["result"] + counts["InputError"] == 1000
    assert min(counts.values()) > 100, "the changes are too weak or too strong to say something"


LOADERS = {"load", "loads", "Unpickler", "read_pickle", "load_state_dict_from_url"}
PICKLERS = {"pickle", "dill", "cloudpickle", "marshal", "shelve"}


def _unpickling(source: str) -> list[str]:
    """Calls in a source that could run code out of a file, and imports of modules that do."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in PICKLERS]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{alias.name}" for alias in node.names if alias.name in LOADERS]
            found += [node.module] if (node.module or "").split(".")[0] in PICKLERS else []
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LOADERS:
            call = ast.unparse(node.func)
            set_to = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            safe = (
                call.startswith(("json.", "librosa.", "utils.librosa."))
                or (call == "torch.load" and set_to.get("weights_only") == "True")
                or (call == "np.load" and set_to.get("allow_pickle") == "False")
            )
            found += [] if safe else [call]
    return found


@pytest.mark.parametrize(
    "source",
    ["import pickle", "torch.load(p)", "np.load(p)", "joblib.load(p)", "pd.read_pickle(p)", "from joblib import load"],
)
def test_unpickling_would_be_found(source):
    assert _unpickling(source)


def test_nothing_in_the_project_unpickles():
    sources = {path.name: path.read_text(encoding="utf-8") for path in utils.ROOT.glob("*.py")}
    for path in (utils.ROOT / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        sources[path.name] = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    for path in (utils.ROOT / "tests").glob("*.py"):
        sources[path.name] = path.read_text(encoding="utf-8")
    # One test writes a pickle, to see it refused.
    found = {name: calls for name, source in sources.items() if (calls := _unpickling(source))}
    assert found == {"test_bad_input.py": ["pickle"]}
    assert len(sources) > 12
