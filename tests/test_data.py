"""Finding the set, decoding it, tables and splits."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import utils


@pytest.mark.parametrize("inside", ["", "Data", "Data/images_original"])
def test_the_set_is_found_from_any_of_its_folders(small_set, inside):
    found = utils.find_dataset(small_set / inside)
    assert found.images == small_set / "Data" / "images_original"
    assert found.label == "demo songs"


def test_a_relative_folder_means_the_same_in_notebooks_and_project(small_set, monkeypatch):
    monkeypatch.setattr(utils, "ROOT", small_set.parent)
    monkeypatch.chdir(Path(__file__).parent)
    assert utils.find_dataset(small_set.name).images == small_set / "Data" / "images_original"


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(utils.InputError, match="nowhere"):
        utils.find_dataset(tmp_path / "nowhere")


def test_a_folder_without_pictures_is_named(tmp_path):
    with pytest.raises(utils.InputError, match="images_original"):
        utils.find_dataset(tmp_path)


def test_an_empty_genre_folder_is_named(small_set, tmp_path):
    shutil.copytree(small_set / "Data", tmp_path / "Data")
    shutil.rmtree(tmp_path / "Data/images_original/jazz")
    with pytest.raises(utils.InputError, match="jazz"):
        utils.find_dataset(tmp_path)


def test_one_bad_picture_among_many_is_left_out_and_named(small_set, tmp_path):
    shutil.copytree(small_set / "Data", tmp_path / "Data")
    (tmp_path / "Data/images_original/pop/pop00001.png").write_bytes(b"broken")
    pictures = utils.read_pictures(utils.find_dataset(tmp_path, output=tmp_path))
    assert len(pictures.table) == 39
    assert len(pictures.rejected) == 1
    assert "pop00001.png" in pictures.rejected[0]


def test_the_cache_is_used_until_a_file_changes(small_set, tmp_path, monkeypatch):
    shutil.copytree(small_set / "Data", tmp_path / "Data")
    found = utils.find_dataset(tmp_path, output=tmp_path)
    first = utils.read_pictures(found)
    reads = []
    original = utils.picture_to_matrix
    monkeypatch.setattr(utils, "picture_to_matrix", lambda path: reads.append(path) or original(path))
    again = utils.read_pictures(found)
    assert not reads
    assert np.array_equal(first.matrices, again.matrices)
    assert first.table.equals(again.table)
    changed = tmp_path / "Data/images_original/rock/rock00000.png"
    utils.matrix_to_picture(255 - first.matrices[0]).save(changed)
    assert not np.array_equal(utils.read_pictures(found).matrices, first.matrices)
    assert len(reads) == 40


def _fake_pictures(sizes: list[int], twins: int, seed: int) -> utils.Pictures:
    generator = np.random.default_rng(seed)
    genres = [genre for genre, size in zip(utils.GENRES, sizes, strict=True) for _ in range(size)]
    matrices = generator.integers(0, 256, (len(genres), 4, 5), np.uint8)
    for _ in range(twins):
        first, second = generator.integers(0, len(genres), 2)
        matrices[first] = matrices[second]
    table = pd.DataFrame({"image": [f"{genre}{row:05d}.png" for row, genre in enumerate(genres)], "genre": genres})
    return utils.Pictures(table, matrices)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(12, 30), min_size=10, max_size=10),
    twins=st.integers(0, 8),
    seed=st.integers(0, 1000),
)
def test_the_random_split_keeps_its_promises(sizes, twins, seed):
    pictures = _fake_pictures(sizes, twins, seed)
    split = utils.random_split(pictures, seed)
    everything = np.sort(np.concatenate([split.train, split.validation]))
    assert np.array_equal(everything, np.arange(len(pictures.table)))
    groups = utils.twin_groups(pictures.matrices)
    assert not set(groups[split.train]) & set(groups[split.validation])
    assert set(pictures.labels[split.validation]) == set(range(10))
    assert len(split.validation) / len(everything) == pytest.approx(0.3, abs=0.06)
    assert np.array_equal(utils.random_split(pictures, seed).train, split.train)


def test_a_split_is_read_back_as_written(dataset):
    pictures = utils.read_pictures(dataset)
    split = utils.random_split(pictures, seed=3)
    utils.write_split(pictures, split, dataset.results)
    stored = utils.read_split(pictures, dataset.results)
    assert np.array_equal(stored.train, split.train)
    assert np.array_equal(stored.validation, split.validation)
    assert list(pd.read_csv(dataset.results / "names.csv").columns) == ["image", "genre"]


def test_a_missing_or_foreign_split_is_named(dataset):
    pictures = utils.read_pictures(dataset)
    with pytest.raises(utils.InputError, match=r"train_data\.csv"):
        utils.read_split(pictures, dataset.results)
    utils.write_split(pictures, utils.random_split(pictures, 0), dataset.results)
    (dataset.results / "train_data.csv").write_text("image,genre\nother.png,rock\n")
    with pytest.raises(utils.InputError, match="not in this set"):
        utils.read_split(pictures, dataset.results)


def test_the_published_split_has_its_published_sizes(gtzan, tmp_path):
    dataset = utils.find_dataset(gtzan, output=tmp_path)
    pictures, tracks = utils.read_pictures(dataset), utils.read_tracks(dataset)
    split = utils.fault_filtered_split(pictures, tracks)
    assert (len(split.train), len(split.validation), len(split.test)) == (442, 197, 290)
    folds = [utils.artist_fold_split(pictures, tracks, fold) for fold in (1, 2, 3)]
    assert sum(len(fold.test) for fold in folds) == 948 - 1  # jazz00054 has no picture
    assert all(not set(fold.train) & set(fold.test) for fold in folds)
    assert len(utils.twin_table(pictures)) == 14


def test_the_track_table_covers_every_picture_of_the_set():
    tracks = pd.read_csv(utils.ROOT / "data/gtzan/tracks.csv", dtype=str, keep_default_na=False)
    assert len(tracks) == 1000
    assert tracks["image"].is_unique
    assert set(tracks["genre"]) == set(utils.GENRES)
    assert set(tracks["fault_filtered_split"]) == {"train", "valid", "test", ""}
