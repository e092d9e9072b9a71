"""A whole library: rows come one by one, a stopped run goes on, and one bad file stops nothing."""

import csv
from dataclasses import dataclass, field

import joblib
import numpy as np
import pytest
import soundfile
from sound_files import tune

from genres import library
from genres.common import GENRES, InputError
from genres.song_files import find_songs

CALLS = []  # models that were loaded, and how many windows each song asked about


@dataclass
class Constant:
    """Stands in for a model: says rock for everything."""

    unsure_below: float = 0.3
    web: None = None
    ear: None = None
    picture: "Constant" = field(init=False)

    def __post_init__(self):
        self.picture = self

    def ensemble(self, views):
        return self

    def views(self, matrices, heard=None):
        CALLS.append(len(matrices))
        return {"texture": np.tile(np.eye(10)[GENRES.index("rock")], (len(matrices), 1))}

    def probabilities(self, views):
        return 0.05 + 0.5 * views["texture"]

    def is_unfamiliar(self, matrices):
        return False


def load_model() -> Constant:
    CALLS.append("loaded")
    return Constant()


@pytest.fixture(autouse=True)
def in_this_process():
    """Threads instead of processes, so that the tests see what was asked; and no model of the test before."""
    CALLS.clear()
    library._model.cache_clear()
    with joblib.parallel_config(backend="threading", n_jobs=2):
        yield


@pytest.fixture
def folder(tmp_path):
    """Twelve short songs, two of which are none."""
    for number in range(10):
        soundfile.write(tmp_path / f"{number} Ёлка 祭り (rock).wav", tune(3 + number / 10), 22_050)
    (tmp_path / "bad (pop).mp3").write_bytes(b"no sound at all")
    (tmp_path / "empty.mp3").touch()
    return tmp_path


def _rows(path) -> list[dict]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_song_has_a_row_and_a_bad_one_says_why(folder):
    path = folder / "results" / "songs.csv"
    library.classify_library(find_songs(folder), path, load_model)
    rows = {row["song"]: row for row in _rows(path)}
    assert len(rows) == 12
    assert "bad (pop).mp3" in rows["bad"]["note"]
    assert "empty" in rows["empty"]["note"]
    assert rows["3 Ёлка 祭り"].items() >= {"label": "rock", "answer": "rock", "right": "✓", "windows": "1"}.items()
    assert CALLS.count("loaded") <= 2, "once in each worker"
    assert "10 of 10 songs right" in library.summary(path)


def test_a_killed_run_goes_on_without_losing_or_repeating_a_song(folder):
    path, songs = folder / "results" / "songs.csv", find_songs(folder)
    library.classify_library(songs[:6], path, load_model)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])  # killed in the middle of a line
    library.classify_library(songs, path, load_model)
    assert sorted(row["file"] for row in _rows(path)) == sorted(str(song.path) for song in songs)


def test_what_did_not_change_is_not_read_again(folder):
    path, songs = folder / "results" / "songs.csv", find_songs(folder)
    library.classify_library(songs, path, load_model)
    before = path.read_bytes()
    CALLS.clear()
    library.classify_library(songs, path, load_model)
    assert not CALLS
    assert path.read_bytes() == before
    soundfile.write(songs[0].path, tune(5), 22_050)
    library.classify_library(songs, path, load_model)
    assert CALLS == [1]
    assert len(_rows(path)) == 12


def test_a_full_disk_ends_in_one_sentence(tmp_path):
    def rows():
        yield {}
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match=r"songs\.csv' cannot be written \(No space left on device\): free space"):
        library._append(tmp_path / "songs.csv", rows())
