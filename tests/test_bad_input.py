"""Bad files of every kind: each is refused in one sentence that names it, and nothing in a file is ever run."""

import json
import os
import pickle
import struct
import subprocess
import sys

import fuzz
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import utils
from genres import datasets, library, named_features, runs
from genres.common import GENRES, InputError
from genres.fingerprints import read_fingerprints
from genres.spectrogram import COLUMNS, MEL_BINS, matrix_to_picture, picture_to_matrix

TABLE = pd.DataFrame({"image": [f"{genre}00000.png" for genre in GENRES], "genre": GENRES})
PICTURES = utils.Pictures(None, TABLE, np.zeros((10, 2, 3), np.uint8))
DRAWING = matrix_to_picture(np.tile(np.arange(COLUMNS) % 256, (MEL_BINS, 1)).astype(np.uint8))


def _bytes(data):
    return lambda path: path.write_bytes(data)


def _changed_picture(change):
    """Give a maker of the good picture's file with its bytes changed."""

    def make(path):
        DRAWING.save(path)
        path.write_bytes(change(path.read_bytes()))

    return make


def _one_wrong_pixel(path):
    picture = DRAWING.copy()
    picture.putpixel((200, 100), (0, 255, 0, 255))
    picture.save(path)


def _changed_model(change):
    def make(path):
        stored = utils.load_weights(utils.MODEL_PATH)
        change(stored)
        torch.save(stored, path)

    return make


def _no_numbers(stored):
    for tensor in filter(torch.is_floating_point, stored["network"].values()):
        tensor.fill_(float("nan"))


class _Code:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path.with_name("ran")),)


ANYWHERE = {"empty": _bytes(b""), "words": _bytes(b"only words"), "a picture": lambda path: DRAWING.save(path, "PNG")}
PICTURE = {
    "missing": lambda path: None,
    "a folder": lambda path: path.mkdir(),
    "header only": _changed_picture(lambda data: data[:33]),
    "middle missing": _changed_picture(lambda data: data[:300] + data[700:]),
    # A forged size: 60 000 x 60 000 pixels would take 14 GB.
    "huge": _changed_picture(lambda data: data[:16] + struct.pack(">II", 60_000, 60_000) + data[24:]),
    "other size": lambda path: DRAWING.resize((400, 300)).save(path),
    "grey": lambda path: DRAWING.convert("L").save(path),
    "upside down": lambda path: DRAWING.rotate(180).save(path),
    "black": lambda path: Image.new("RGB", DRAWING.size).save(path),
    "jpeg": lambda path: DRAWING.convert("RGB").save(path, format="JPEG", quality=60),
    "one wrong pixel": _one_wrong_pixel,
}
SPLIT = {"missing": lambda path: None, "other pictures": _bytes(b"image,genre\nother.png,rock\n")}
FEATURES = {"no numbers": _bytes(b"filename,length,mfcc1_mean,label\nblues.00000.wav,1,loud,blues\n")}
LIBRARY = {"other columns": _bytes(b"file,genre\na.mp3,rock\n"), "an open quote": _bytes(b'file,size\n"a\nb,1\n')}
METRICS = {"half": _bytes(b'{"dataset": "d'), "a list": _bytes(b"[1]"), "no results": _bytes(b'{"results": [1]}')}
MODEL = {
    "missing": lambda path: None,
    "truncated": lambda path: path.write_bytes(utils.MODEL_PATH.read_bytes()[:5000]),
    "a list": lambda path: torch.save([1, 2], path),
    "a whole network": lambda path: torch.save(torch.nn.Linear(2, 2), path),
    "pickled code": lambda path: path.write_bytes(pickle.dumps({"genres": _Code(path)})),
    "code among the weights": lambda path: torch.save({"genres": _Code(path)}, path),
    "genres in another order": _changed_model(lambda stored: stored["genres"].reverse()),
    "a layer missing": _changed_model(lambda stored: stored["network"].popitem()),
    "no numbers": _changed_model(_no_numbers),
    "no network": _changed_model(lambda stored: stored.update(network="none")),
    "short texture": _changed_model(lambda stored: stored["texture"].update(mean=torch.zeros(9))),
    "temperature of no number": _changed_model(lambda stored: stored["picture"].update(temperature=float("nan"))),
    "unknown view": _changed_model(lambda stored: stored["picture"].update(weights={"other": 1.0})),
    "threshold in words": _changed_model(lambda stored: stored["picture"].update(unsure_below="warm")),
    "no facts": _changed_model(lambda stored: stored.pop("facts")),
}
READERS = {
    "{}.png": (picture_to_matrix, {"empty": ANYWHERE["empty"], "words": ANYWHERE["words"]} | PICTURE),
    "train_data.csv": (lambda path: datasets.read_split(PICTURES.table, path.parent), ANYWHERE | SPLIT),
    "features_30_sec.csv": (named_features.read_kaggle_features, ANYWHERE | FEATURES),
    "songs.csv": (library.read_rows, LIBRARY),
    "metrics.json": (lambda path: runs.update_metrics(path, more=1), ANYWHERE | METRICS),
    "prints.npz": (read_fingerprints, ANYWHERE),
    "model.pt": (utils.load_model, ANYWHERE | MODEL),
}
BAD_FILES = [(file, name) for file, (_, files) in READERS.items() for name in files]


@pytest.mark.parametrize(("file", "name"), BAD_FILES, ids=[f"{file}: {name}" for file, name in BAD_FILES])
def test_each_bad_file_is_refused_in_one_sentence_that_names_it(file, name, tmp_path):
    read, files = READERS[file]
    path = tmp_path / file.format(name)
    files[name](path)
    with pytest.raises(InputError) as refused:
        read(path)
    assert path.name in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "ran").exists(), "code in the file was run"


def test_good_files_of_the_same_making_are_taken(tmp_path):
    _changed_picture(lambda data: data)(tmp_path / "good.png")
    assert picture_to_matrix(tmp_path / "good.png").shape == (MEL_BINS, COLUMNS)
    _changed_model(lambda stored: stored["facts"].update(more="yes"))(tmp_path / "model.pt")
    assert utils.load_model(tmp_path / "model.pt").facts["more"] == "yes"


def test_changed_files_end_in_a_result_or_a_clear_error(tmp_path):
    count = 250
    command = [sys.executable, fuzz.__file__, "0", str(count), str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=600, check=False)
    left = [path.name for path in tmp_path.glob("change-*")]
    assert ended.returncode == 0, f"left unread: {left}\n{ended.stderr[-3000:]}"
    counts = json.loads(ended.stdout.splitlines()[-1])
    assert counts["result"] + counts["InputError"] == count
    assert min(counts.values()) > 25, "the changes are too weak or too strong to say something"
