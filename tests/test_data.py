"""Decoding a set, its cache, tables and splits."""

import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import utils
from genres import datasets
from genres.common import GENRES, digest
from genres.datasets import find_dataset


def test_one_bad_picture_among_many_is_left_out_and_named(small_set, tmp_path):
    shutil.copytree(small_set / "Data", tmp_path / "Data")
    (tmp_path / "Data/images_original/pop/pop00001.png").write_bytes(b"broken")
    pictures = utils.read_pictures(find_dataset(tmp_path, tmp_path / "results"))
    assert len(pictures.table) == 39
    assert len(pictures.rejected) == 1
    assert "pop00001.png" in pictures.rejected[0]


def test_the_cache_is_used_until_a_file_changes(small_set, tmp_path, monkeypatch):
    shutil.copytree(small_set / "Data", tmp_path / "Data")
    found = find_dataset(tmp_path, tmp_path / "results")
    first = utils.read_pictures(found)
    reads, original = [], utils.picture_to_matrix
    monkeypatch.setattr(utils, "picture_to_matrix", lambda path: reads.append(path) or original(path))
    again = utils.read_pictures(found)
    assert not reads
    assert np.array_equal(first.matrices, again.matrices)
    assert first.table.equals(again.table)
    utils.matrix_to_picture(255 - first.matrices[0]).save(tmp_path / "Data/images_original/rock/rock00000.png")
    assert not np.array_equal(utils.read_pictures(found).matrices, first.matrices)
    assert len(reads) == 40


def _fake_pictures(sizes: list[int], twins: int, seed: int) -> utils.Pictures:
    generator = np.random.default_rng(seed)
    genres = [genre for genre, size in zip(GENRES, sizes, strict=True) for _ in range(size)]
    matrices = generator.integers(0, 256, (len(genres), 4, 5), np.uint8)
    for _ in range(twins):
        first, second = generator.integers(0, len(genres), 2)
        matrices[first] = matrices[second]
    table = pd.DataFrame({"image": [f"{genre}{row:05d}.png" for row, genre in enumerate(genres)], "genre": genres})
    return utils.Pictures(None, table, matrices)


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(12, 30), min_size=10, max_size=10), twins=st.integers(0, 8), seed=st.integers(0, 1000)
)
def test_the_random_split_keeps_its_promises(sizes, twins, seed):
    pictures = _fake_pictures(sizes, twins, seed)
    split = utils.random_split(pictures, seed)
    everything = np.sort(np.concatenate([split.train, split.validation]))
    assert np.array_equal(everything, np.arange(len(pictures.table)))
    groups = datasets.twin_groups(pictures.matrices)
    assert not set(groups[split.train]) & set(groups[split.validation])
    assert set(pictures.labels[split.validation]) == set(range(10))
    assert len(split.validation) / len(everything) == pytest.approx(0.3, abs=0.06)
    assert np.array_equal(utils.random_split(pictures, seed).train, split.train)


def test_a_split_is_read_back_as_written(pictures, tmp_path):
    split = utils.random_split(pictures, seed=3)
    datasets.write_split(pictures.table, split, tmp_path)
    stored = datasets.read_split(pictures.table, tmp_path)
    assert np.array_equal(stored.train, split.train)
    assert np.array_equal(stored.validation, split.validation)
    assert list(pd.read_csv(tmp_path / "names.csv").columns) == ["image", "genre"]


def test_the_splits_of_the_real_set_are_the_published_ones(gtzan, tmp_path):
    pictures = utils.read_pictures(find_dataset(gtzan, tmp_path))
    names = ("random", "fault_filtered", "fold-1", "fold-2", "fold-3")
    splits = {name: utils.protocol_split(pictures, name, 0) for name in names}
    fault_filtered = splits["fault_filtered"]
    assert (len(fault_filtered.train), len(fault_filtered.validation), len(fault_filtered.test)) == (442, 197, 290)
    assert sum(len(splits[name].test) for name in names[2:]) == 948 - 1  # jazz00054 has no picture
    artists = pictures.tracks["artist_group"].where(pictures.tracks["artist_group"] != "", pictures.table["image"])
    assert all(not set(artists[splits[n].train]) & set(artists[splits[n].test]) for n in names[2:])
    assert len(datasets.twin_table(pictures.table, pictures.matrices)) == 14
    assert {name: digest(split.train, split.validation, split.test) for name, split in splits.items()} == {
        "random": "e68b4be96c77e2dc",
        "fault_filtered": "389b24e9f5ea1813",
        "fold-1": "6fda0484f7f5dee4",
        "fold-2": "0734421d58c1b2a3",
        "fold-3": "82b9ce49e640c4bd",
    }
    paths = sorted(pictures.dataset.images.glob("*/*0007*.png"))
    assert np.mean([np.array(Image.open(path).convert("L")).mean() for path in paths]) == pytest.approx(119.1, abs=1.5)
