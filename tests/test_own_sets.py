"""A set of the user's own, and folders that are not as Kaggle packs them: found, or refused in one sentence."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image
from sound_files import tune

import utils
from genres.common import GENRES, ROOT, InputError
from genres.datasets import clips_with_audio, find_dataset
from genres.spectrogram import matrix_to_picture


def _pictures(folder: Path, file: str = "{}.{:03d}.png", name=str) -> Path:
    """Ten folders of four different pictures in the Kaggle style, which are not GTZAN's."""
    generator = np.random.default_rng(0)
    for genre in GENRES:
        (folder / name(genre)).mkdir(parents=True)
        for number in range(4):
            matrix = np.repeat(generator.integers(0, 256, (utils.MEL_BINS, 1), np.uint8), utils.COLUMNS, axis=1)
            matrix_to_picture(matrix).save(folder / name(genre) / file.format(genre, number))
    return folder


@pytest.mark.parametrize("inside", ["", "Data", "Data/images_original"])
def test_the_set_is_found_from_any_of_its_folders(small_set, inside):
    found = find_dataset(small_set / inside)
    assert found.images == small_set / "Data" / "images_original"
    assert (found.name, found.label) == ("demo", "demo songs")


# Kaggle's names do not make it GTZAN; 001.png in each folder; what copying leaves behind; and capitals.
@pytest.mark.parametrize("file", ["{}{:05d}.png", "{1:03d}.png", "{}{:05d} (1).png", "{} copy {}.PNG"])
def test_ten_folders_of_one_s_own_pictures_train_under_their_own_name(tmp_path, file):
    folder = _pictures(tmp_path / "My music", file, str.title if file.endswith("PNG") else str)
    dataset = find_dataset(folder)
    assert (dataset.name, dataset.label) == ("my_music", "own set 'my_music'")
    assert dataset.results == ROOT / "data" / "my_music" / "run"
    dataset = find_dataset(folder, tmp_path / "results")
    assert dataset.figures == tmp_path / "results" / "figures"
    pictures = utils.read_pictures(dataset)
    assert not pictures.rejected
    assert pictures.table["image"].is_unique
    assert pictures.table["genre"].tolist() == [genre for genre in GENRES for _ in range(4)]
    assert len(utils.random_split(pictures, 0).validation) == 12
    assert pictures.artists is None
    with pytest.raises(InputError, match="needs the artists"):
        utils.protocol_split(pictures, "fault_filtered", 0)


def test_gtzan_is_known_by_its_pictures_and_not_by_its_name(gtzan, tmp_path):
    assert find_dataset(_pictures(tmp_path / "gtzan")).results == ROOT / "data" / "own_gtzan" / "run"
    (tmp_path / "other name").symlink_to(gtzan, target_is_directory=True)
    assert find_dataset(tmp_path / "other name").name == "gtzan"


def test_ten_folders_of_sound_are_drawn_and_what_is_left_out_is_said(tmp_path, capsys):
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
    (tmp_path / "home" / "__MACOSX" / "images_original").mkdir(parents=True)
    (tmp_path / "home" / "Data").symlink_to(small_set / "Data", target_is_directory=True)
    (tmp_path / "home" / "a loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "home" / "itself").symlink_to(tmp_path / "home" / "itself")
    assert find_dataset(tmp_path / "home").images.resolve() == small_set / "Data" / "images_original"


@pytest.mark.parametrize("folder", ["1999", "it's a set", "~/música", "./5 sets"])
def test_a_folder_means_what_was_typed_also_in_the_environment(small_set, tmp_path, folder, monkeypatch):
    for name in ("HOME", "USERPROFILE", "PWD"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / Path(folder).name).symlink_to(small_set, target_is_directory=True)
    expected = tmp_path / Path(folder).name / "Data" / "images_original"
    assert find_dataset(folder).images == expected
    monkeypatch.setenv("GTZAN", folder)
    monkeypatch.chdir(ROOT / "notebooks")  # as a kernel does
    assert os.path.normpath(find_dataset().images) == str(expected)


def _only_hidden_files(images):
    shutil.rmtree(images / "jazz")
    (images / "jazz").mkdir()
    (images / "jazz" / ".DS_Store").touch()


def _jpeg(images):
    for path in images.glob("*/*.png"):
        Image.open(path).convert("RGB").save(path.with_suffix(".jpg"))
        path.unlink()


UNUSABLE = {
    "jazz are missing or empty": lambda images: [path.unlink() for path in (images / "jazz").iterdir()],
    "genre jazz": _only_hidden_files,
    "metal, pop, reggae, rock are missing": lambda images: [shutil.rmtree(images / genre) for genre in GENRES[6:]],
    "there are also polka": lambda images: shutil.copytree(images / "rock", images / "polka"),
    "is JPEG, which loses the levels of a spectrogram: take the PNG pictures": _jpeg,
    "No folders of genres": lambda images: images.parent.rename(images.parent.with_name(".unfinished")),
    "does not exist": lambda images: shutil.rmtree(images.parents[1]),
}


@pytest.mark.parametrize("sentence", UNUSABLE)
def test_a_set_that_cannot_be_used_gets_one_sentence(small_set, tmp_path, sentence):
    images = tmp_path / "set" / "Data" / "images_original"
    shutil.copytree(small_set / "Data" / "images_original", images)
    UNUSABLE[sentence](images)
    with pytest.raises(InputError, match=sentence) as refused:
        utils.read_pictures(find_dataset(tmp_path / "set", tmp_path / "results"))
    assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match="unpack it first"):
        find_dataset(tmp_path / "archive.zip")
