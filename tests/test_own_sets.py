"""A set of the user's own, and folders that are not as Kaggle packs them: found, or refused in one sentence."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fuzz import tune
from PIL import Image

import utils
from genres.common import GENRES, ROOT, InputError
from genres.datasets import clips_with_audio, find_dataset
from genres.spectrogram import matrix_to_picture


def _pictures(folder: Path, names=GENRES, count: int = 2, file: str = "{}.{:03d}.png") -> Path:
    """Folders of different pictures in the Kaggle style, which are not GTZAN's."""
    generator = np.random.default_rng(0)
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            rows = generator.integers(0, 256, (utils.MEL_BINS, 1), np.uint8)
            matrix_to_picture(np.repeat(rows, utils.COLUMNS, axis=1)).save(folder / name / file.format(name, number))
    return folder


@pytest.mark.parametrize("inside", ["", "Data", "Data/images_original"])
def test_the_set_is_found_from_any_of_its_folders(small_set, inside):
    found = find_dataset(small_set / inside)
    assert found.images == small_set / "Data" / "images_original"
    assert (found.name, found.label) == ("demo", "demo songs")


@pytest.mark.parametrize(
    ("names", "file"),
    [
        (GENRES, "{}{:05d}.png"),  # Kaggle's names do not make it GTZAN
        (GENRES, "{1:03d}.png"),  # 001.png in each folder
        (GENRES, "{}{:05d} (1).png"),
        (GENRES, "{} copy {}.PNG"),
        ([genre.title() for genre in GENRES], "{}{}.png"),
    ],
)
def test_ten_folders_of_one_s_own_pictures_train_under_their_own_name(tmp_path, names, file):
    dataset = find_dataset(_pictures(tmp_path / "My music", names, 4, file))
    assert (dataset.name, dataset.label) == ("my_music", "own set 'my_music'")
    assert dataset.results == ROOT / "data" / "my_music" / "run"
    dataset = find_dataset(tmp_path / "My music", tmp_path / "results")
    assert dataset.figures == tmp_path / "results" / "figures"
    pictures = utils.read_pictures(dataset)
    assert not pictures.rejected
    assert pictures.table["image"].is_unique
    assert pictures.table["genre"].tolist() == [genre for genre in GENRES for _ in range(4)]
    assert pictures.artists is None
    assert len(utils.random_split(pictures, 0).validation) == 12
    with pytest.raises(InputError, match="needs the artists"):
        utils.protocol_split(pictures, "fault_filtered", 0)


def test_a_set_called_gtzan_does_not_write_over_the_shipped_files(tmp_path):
    assert find_dataset(_pictures(tmp_path / "gtzan")).results == ROOT / "data" / "own_gtzan" / "run"


def test_the_kaggle_pictures_are_known_wherever_they_lie(gtzan, tmp_path):
    (tmp_path / "other name").symlink_to(gtzan, target_is_directory=True)
    assert find_dataset(tmp_path / "other name").name == "gtzan"


def test_ten_folders_of_sound_are_drawn(tmp_path, capsys):
    for number, genre in enumerate(GENRES):
        (tmp_path / "set" / genre.upper()).mkdir(parents=True)
        soundfile.write(tmp_path / "set" / genre.upper() / f"{number}.wav", tune(4 + number), 22_050)
    (tmp_path / "set" / "BLUES" / "bad.mp3").write_bytes(b"no sound")
    (tmp_path / "set" / "ROCK" / ".DS_Store").touch()
    dataset = find_dataset(tmp_path / "set", tmp_path / "results")
    assert "bad.mp3" in capsys.readouterr().out
    assert len(utils.read_pictures(dataset).table) == 10
    assert sum(picture.is_file() for _, picture in clips_with_audio(dataset)) == 10
    (tmp_path / "set" / "BLUES" / "0.wav").unlink()
    with pytest.raises(InputError, match=r"genre blues .*bad\.mp3"):
        find_dataset(tmp_path / "set", tmp_path / "results")


def test_links_are_followed_and_a_loop_of_links_ends(small_set, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "Data").symlink_to(small_set / "Data", target_is_directory=True)
    (tmp_path / "home" / "a loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "home" / "itself").symlink_to(tmp_path / "home" / "itself")
    (tmp_path / "home" / "__MACOSX" / "images_original").mkdir(parents=True)
    assert find_dataset(tmp_path / "home").images.resolve() == small_set / "Data" / "images_original"


@pytest.mark.parametrize("folder", ["1999", "it's a set", "~/música", "./5 sets"])
def test_a_folder_means_what_was_typed(small_set, tmp_path, folder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    (tmp_path / Path(folder).name).symlink_to(small_set, target_is_directory=True)
    assert find_dataset(folder).images == tmp_path / Path(folder).name / "Data" / "images_original"


def test_a_folder_in_the_environment_is_meant_from_where_it_was_typed(small_set, tmp_path, monkeypatch):
    monkeypatch.setenv("GTZAN", os.path.relpath(small_set, tmp_path))
    monkeypatch.setenv("PWD", str(tmp_path))
    monkeypatch.chdir(ROOT / "notebooks")  # as a kernel does
    assert find_dataset().images.samefile(small_set / "Data" / "images_original")


def _changed(small_set: Path, folder: Path, kind: str) -> Path:
    images = folder / "set" / "Data" / "images_original"
    shutil.copytree(small_set / "Data" / "images_original", images)
    if kind == "an empty genre":
        shutil.rmtree(images / "jazz")
        (images / "jazz").mkdir()
    elif kind == "hidden files only":
        shutil.rmtree(images / "jazz")
        (images / "jazz").mkdir()
        (images / "jazz" / ".DS_Store").touch()
    elif kind == "four genres":
        for genre in GENRES[4:]:
            shutil.rmtree(images / genre)
    elif kind == "eleven genres":
        shutil.copytree(images / "rock", images / "polka")
    elif kind == "jpeg":
        for path in images.glob("*/*.png"):
            Image.open(path).convert("RGB").save(path.with_suffix(".jpg"))
            path.unlink()
    elif kind == "unfinished":
        (folder / "set" / "Data").rename(folder / "set" / ".Data")
    return folder / "set"


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("an empty genre", "jazz are missing or empty"),
        ("hidden files only", "genre jazz"),
        ("four genres", "hiphop, jazz, metal, pop, reggae, rock are missing"),
        ("eleven genres", "there are also polka"),
        ("jpeg", "is JPEG, which loses the levels of a spectrogram: take the PNG pictures"),
        ("unfinished", "No folders of genres"),
    ],
)
def test_a_set_that_cannot_be_used_gets_one_sentence(small_set, tmp_path, kind, sentence):
    with pytest.raises(InputError, match=sentence) as refused:
        utils.read_pictures(find_dataset(_changed(small_set, tmp_path, kind), tmp_path / "results"))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("name", "sentence"), [("nowhere", "nowhere' does not exist"), ("archive.zip", "unpack it")])
def test_a_missing_folder_or_an_archive_is_named(tmp_path, name, sentence):
    with pytest.raises(InputError, match=sentence):
        find_dataset(tmp_path / name)
