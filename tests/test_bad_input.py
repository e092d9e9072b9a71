"""Bad files of every kind: each is refused in one sentence that names it, and nothing in a file is ever run."""

import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile

import fuzz
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import utils
from genres import library, named_features, runs
from genres.common import GENRES, InputError
from genres.fingerprints import FINGERPRINT_PATH, read_fingerprints
from genres.spectrogram import COLUMNS, MEL_BINS, matrix_to_picture, picture_to_matrix

TABLE = pd.DataFrame({"image": [f"{genre}00000.png" for genre in GENRES], "genre": GENRES})
PICTURES = utils.Pictures(None, TABLE, np.zeros((10, 2, 3), np.uint8))


def _as_bytes(data):
    return lambda path: path.write_bytes(data)


def _drawing() -> Image.Image:
    return matrix_to_picture(np.tile(np.arange(COLUMNS) % 256, (MEL_BINS, 1)).astype(np.uint8))


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
    "other size": lambda path: _drawing().resize((400, 300)).save(path),
    "grey": lambda path: _drawing().convert("L").save(path),
    "upside down": lambda path: _drawing().rotate(180).save(path),
    "jpeg": lambda path: _drawing().convert("RGB").save(path, format="JPEG", quality=60),
    "one wrong pixel": _one_pixel,
}
BAD_TABLES = {
    "empty": _as_bytes(b""),
    "other columns": _as_bytes(b"picture,genre\nrock00000.png,rock\n"),
    "a picture": lambda path: _drawing().save(path, format="PNG"),
}
BAD_SPLITS = BAD_TABLES | {
    "missing": lambda path: None,
    "other pictures": _as_bytes(b"image,genre\nother.png,rock\n"),
}
BAD_FEATURES = BAD_TABLES | {"words": _as_bytes(b"filename,length,mfcc1_mean,label\nblues.00000.wav,1,loud,blues\n")}
BAD_LIBRARIES = {"other columns": BAD_TABLES["other columns"], "an open quote": _as_bytes(b'file,size\n"a\nb,1\n')}
BAD_METRICS = {
    "empty": _as_bytes(b""),
    "half": _as_bytes(b'{"dataset": "demo", "random_sp'),
    "a list": _as_bytes(b"[1, 2]"),
    "without results": _as_bytes(b'{"dataset": "demo"}'),
    "results of numbers": _as_bytes(b'{"results": [1]}'),
}
BAD_PRINTS = {"half": lambda path: path.write_bytes(FINGERPRINT_PATH.read_bytes()[:3000]), "empty": _as_bytes(b"")}


def _changed_model(change):
    def make(path):
        stored = utils.load_weights(utils.MODEL_PATH)
        change(stored)
        torch.save(stored, path)

    return make


def _fill(tensors, value):
    for tensor in filter(torch.is_floating_point, tensors.values()):
        tensor.fill_(value)


def _shorten(stored):
    stored["texture"] = {name: tensor[:9] for name, tensor in stored["texture"].items()}


class _Code:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path.with_name("ran")),)


BAD_MODELS = {
    "missing": lambda path: None,
    "empty": _as_bytes(b""),
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
    "short texture": _changed_model(_shorten),
    "foreign texture": _changed_model(lambda stored: stored["texture"].update(other=torch.zeros(3))),
    "temperature of no number": _changed_model(lambda stored: stored["picture"].update(temperature=float("nan"))),
    "unknown view": _changed_model(lambda stored: stored["picture"].update(weights={"other": 1.0})),
    "threshold in words": _changed_model(lambda stored: stored["picture"].update(unsure_below="warm")),
    "no facts": _changed_model(lambda stored: stored.pop("facts")),
}

READERS = {
    "picture": ("{}.png", picture_to_matrix, BAD_PICTURES),
    "split": ("train_data.csv", lambda path: utils.read_split(PICTURES, path.parent), BAD_SPLITS),
    "features": ("features_30_sec.csv", named_features.read_kaggle_features, BAD_FEATURES),
    "library": ("songs.csv", library.read_rows, BAD_LIBRARIES),
    "metrics": ("metrics.json", lambda path: runs.update_metrics(path, more=1), BAD_METRICS),
    "fingerprints": ("prints.npz", read_fingerprints, BAD_PRINTS),
    "model": ("model.pt", utils.load_model, BAD_MODELS),
}
BAD_FILES = [(kind, name) for kind, (_, _, files) in READERS.items() for name in files]


@pytest.mark.parametrize(("kind", "name"), BAD_FILES, ids=[f"{kind}: {name}" for kind, name in BAD_FILES])
def test_each_bad_file_is_refused_in_one_sentence_that_names_it(kind, name, tmp_path):
    file, read, files = READERS[kind]
    path = tmp_path / file.format(name)
    files[name](path)
    with pytest.raises(InputError) as refused:
        read(path)
    assert path.name in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "ran").exists(), "code in the file was run"


def test_good_files_of_the_same_making_are_taken(tmp_path):
    _drawing().save(tmp_path / "good.png")
    assert picture_to_matrix(tmp_path / "good.png").shape == (MEL_BINS, COLUMNS)
    _changed_model(lambda stored: stored["facts"].update(more="yes"))(tmp_path / "model.pt")
    assert utils.load_model(tmp_path / "model.pt").facts["more"] == "yes"


def test_changed_files_end_in_a_result_or_a_clear_error(tmp_path):
    count = 250
    command = [sys.executable, fuzz.__file__, "0", str(count), str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=600, env=environment)
    left = [path.name for path in tmp_path.glob("change-*")]
    assert ended.returncode == 0, f"left unread: {left}\n{ended.stderr[-3000:]}"
    counts = json.loads(ended.stdout.splitlines()[-1])
    assert counts["result"] + counts["InputError"] == count
    assert min(counts.values()) > 25, "the changes are too weak or too strong to say something"
