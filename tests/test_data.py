"""A data set, Kaggle's, the demo songs or one's own: found or refused, decoded, cached, split, and heard in songs."""

import hashlib
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import soundfile
from conftest import SIZES, refused
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sound_files import tune

import utils
from genres import datasets, demo_songs, fingerprints
from genres.audio import load_audio
from genres.common import GENRES, ROOT, SAMPLE_RATE
from genres.datasets import clips_with_audio, find_dataset
from genres.spectrogram import CLIP_SAMPLES, audio_to_matrix, matrix_to_picture, mel_power, picture_to_matrix


@pytest.fixture
def copied(small_set, tmp_path) -> datasets.DataSet:
    """The small demo set in a folder where a test may change its files."""
    shutil.copytree(small_set / "Data", tmp_path / "Data")
    return find_dataset(tmp_path, tmp_path / "results")


def test_the_cache_is_used_until_a_file_changes_and_a_bad_one_is_left_out_and_named(copied):
    first, cache = utils.read_pictures(copied), copied.cache / "pictures.npz"
    written = cache.stat().st_mtime_ns
    again = utils.read_pictures(copied)
    assert cache.stat().st_mtime_ns == written
    assert np.array_equal(first.matrices, again.matrices)
    utils.matrix_to_picture(255 - first.matrices[0]).save(copied.images / "rock" / "rock00000.png")
    (copied.images / "pop" / "pop00001.png").write_bytes(b"broken")
    changed = utils.read_pictures(copied)
    assert len(changed.table) == 39
    assert not np.array_equal(changed.matrices[-4], first.matrices[-4])
    (rejected,) = changed.rejected
    assert "pop00001.png" in rejected


def _fake_pictures(sizes: list[int], twins: int = 0, seed: int = 0) -> utils.Pictures:
    generator = np.random.default_rng(seed)
    table = pd.DataFrame({"genre": np.repeat(GENRES, sizes)})
    table.insert(0, "image", [f"{genre}{row:05d}.png" for row, genre in enumerate(table["genre"])])
    matrices = generator.integers(0, 256, (len(table), 4, 5), np.uint8)
    for first, second in generator.integers(0, len(table), (twins, 2)):
        matrices[first] = matrices[second]
    return utils.Pictures(None, table, matrices)


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(12, 30), min_size=10, max_size=10), twins=st.integers(0, 8), seed=st.integers(0, 99))
def test_the_random_split_keeps_its_promises(sizes, twins, seed):
    pictures = _fake_pictures(sizes, twins, seed)
    split = utils.random_split(pictures, seed)
    everything = np.sort(np.concatenate([split.train, split.validation]))
    assert np.array_equal(everything, np.arange(len(pictures.table)))
    groups = datasets.twin_groups(pictures.matrices)
    assert not set(groups[split.train]) & set(groups[split.validation])
    assert set(pictures.labels[split.validation]) == set(range(10))
    assert len(split.validation) / len(everything) == pytest.approx(0.3, abs=0.06)
    again = utils.random_split(pictures, np.int64(seed), np.float64(0.3))  # numbers of numpy are numbers, too
    assert np.array_equal(again.train, split.train)


BAD_SPLITS = [(0, share, "validation share") for share in (30, 0, 1, "0.3", None, float("nan"))]
BAD_SPLITS += [(seed, 0.3, "seed") for seed in ("abc", -1, 0.5, None, 2**32)]
BAD_SPLITS += [(0, share, f"{share} leaves a genre out") for share in (0.05, 0.95)]


@pytest.mark.parametrize(("seed", "share", "words"), BAD_SPLITS)
def test_a_seed_or_a_share_that_is_none_or_leaves_a_genre_out_is_named(seed, share, words):
    with refused(words):
        utils.random_split(_fake_pictures([4] * 10), seed, share)


PUBLISHED = {
    "random-0": "e68b4be96c77e2dc",
    "fault_filtered": "389b24e9f5ea1813",
    "fold-1": "6fda0484f7f5dee4",
    "fold-2": "0734421d58c1b2a3",
    "fold-3": "82b9ce49e640c4bd",
}


def test_the_splits_of_the_real_set_are_the_published_ones(gtzan, tmp_path):
    pictures = utils.read_pictures(find_dataset(gtzan, tmp_path))
    assert len(datasets.twin_table(pictures.table, pictures.matrices)) == 14
    protocols = ("random", "fault_filtered", "folds")
    splits = [split for name in protocols for split, seed in utils.protocol_splits(pictures, name) if not seed]
    rows = {split.name: b"".join(part.tobytes() for part in split.parts.values()) for split in splits}
    assert {name: hashlib.sha256(row).hexdigest()[:16] for name, row in rows.items()} == PUBLISHED


def test_clips_hidden_in_other_sound_are_found_and_no_others(pictures, tmp_path):
    prints = fingerprints.make_fingerprints(pictures.matrices, pictures.table)
    pairs, rng = clips_with_audio(pictures.dataset)[:8], np.random.default_rng(0)
    sounds = [load_audio(audio) for audio, _ in pairs]
    hidden = [(k, sounds[k + 1][: rng.integers(22_050, 300_000)], sounds[k]) for k in range(6)]
    hidden.append((3, sounds[0][:0], sounds[3][CLIP_SAMPLES * 3 // 10 :]))  # most of a clip at the begin of a song
    for k, before, clip in hidden:
        song = np.concatenate([before, clip * 10 ** rng.uniform(-0.6, 0.3), sounds[k + 2]])
        file, kind = tmp_path / "song.mp3", {"compression_level": 0.6, "bitrate_mode": "CONSTANT"}  # 64 kbit/s
        soundfile.write(file, np.clip(song, -1, 1), SAMPLE_RATE, **kind)
        found = {match.image: match.start for match in fingerprints.find_clips(mel_power(load_audio(file)), prints)}
        start = len(before) / SAMPLE_RATE if len(before) else -9
        assert found[pairs[k][1].name] == pytest.approx(start, abs=0.2)
        assert set(found) <= {picture.name for _, picture in pairs[k : k + 3]}


def test_the_shipped_fingerprints_know_the_genre_of_each_clip():
    prints = fingerprints.read_fingerprints()
    assert prints.genres.tolist() == [image[:-9] for image in prints.images]


def test_the_shipped_fingerprints_are_those_of_the_pictures(gtzan, tmp_path):
    pictures, shipped = utils.read_pictures(find_dataset(gtzan, tmp_path)), fingerprints.read_fingerprints()
    assert shipped.images.tolist() == pictures.table["image"].tolist()
    assert np.array_equal(shipped.codes[::50], fingerprints.fingerprint_codes(pictures.matrices[::50]))


def _pictures(folder: Path, file: str = "{}.{:03d}.png", name=str) -> Path:
    """Ten folders of four different pictures in the Kaggle style, which are not GTZAN's."""
    generator = np.random.default_rng(0)
    for genre in GENRES:
        (folder / name(genre)).mkdir(parents=True)
        for number in range(4):
            matrix = np.resize(generator.integers(0, 256, 100, np.uint8), (utils.MEL_BINS, utils.COLUMNS))
            matrix_to_picture(matrix).save(folder / name(genre) / file.format(genre, number))
    return folder


# Kaggle's names do not make it GTZAN; 001.png in each folder; what copying leaves behind; and capitals.
@pytest.mark.parametrize("file", ["{}{:05d}.png", "{1:03d}.png", "{}{:05d} (1).png", "{} copy {}.PNG"])
def test_ten_folders_of_one_s_own_pictures_train_under_their_own_name(tmp_path, file):
    folder = _pictures(tmp_path / "My music", file, str.title if file.endswith("PNG") else str)
    assert find_dataset(folder).results == ROOT / "data" / "my_music" / "run"
    dataset = find_dataset(folder, tmp_path / "results")
    assert (dataset.label, dataset.figures) == ("own set 'my_music'", tmp_path / "results" / "figures")
    pictures = utils.read_pictures(dataset)
    assert not pictures.rejected
    assert pictures.table["image"].is_unique
    assert pictures.table["genre"].tolist() == [genre for genre in GENRES for _ in range(4)]
    assert len(utils.random_split(pictures, 0).validation) == 12
    assert pictures.artists is None
    assert [len(utils.protocol_splits(pictures, name)) for name in ("random", "fault_filtered", "folds")] == [5, 0, 0]


def test_gtzan_is_known_by_its_pictures_and_not_by_its_name(gtzan, tmp_path):
    assert find_dataset(_pictures(tmp_path / "gtzan")).results == ROOT / "data" / "own_gtzan" / "run"
    (tmp_path / "other name").symlink_to(gtzan, target_is_directory=True)
    assert find_dataset(tmp_path / "other name").name == "gtzan"


def _sounds(folder: Path, *names: str) -> Path:
    """Ten folders of sound, all different, the files in each called by these names."""
    for number, genre in enumerate(GENRES):
        for file in (folder / genre.upper() / name for name in names):
            file.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(file, tune(4 + number + len(file.name) / 50), 22_050)
    return folder


def test_each_sound_of_a_set_gets_a_picture_and_each_picture_its_own_sound(tmp_path, capsys):
    folder = _sounds(tmp_path / "set", "02.wav", "02.flac", "An Artist/album/02.wav", "Song.Two.wav")
    for name in ("$RECYCLE.BIN/x", "System Volume Information/x", "BLUES/Folder.jpg", "POP/scan.png", "ROCK/bad.mp3"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"no sound")
    dataset = find_dataset(folder, tmp_path / "results")
    (refusal,) = capsys.readouterr().out.splitlines()
    assert "bad.mp3" in refusal
    pictures = utils.read_pictures(dataset)
    assert len(pictures.table) == 40
    clips = datasets.clip_of_rows(dataset, pictures.table["image"])
    for clip, genre, matrix in zip(clips, pictures.table["genre"], pictures.matrices, strict=True):
        assert clip.parts[len(folder.parts)] == genre.upper()
        assert np.array_equal(matrix, audio_to_matrix(load_audio(clip)))
    dataset.images.rename(tmp_path / "images_original")
    folder.rename(tmp_path / "genres_original")
    both = find_dataset(tmp_path, tmp_path / "results")
    again = datasets.clip_of_rows(both, pictures.table["image"])
    assert [path.relative_to(both.audio) for path in again] == [path.relative_to(folder) for path in clips]


def test_a_sound_that_an_older_file_replaces_is_drawn_again_and_of_a_long_one_the_middle(tmp_path):
    sound = _sounds(tmp_path / "set", "0.wav") / "POP" / "0.wav"
    with refused("too few pictures: genre blues has 1"):
        utils.random_split(utils.read_pictures(find_dataset(sound.parents[1], tmp_path / "results")), 0)
    samples = tune(70) * np.linspace(0.2, 1, 70 * SAMPLE_RATE, dtype=np.float32)
    soundfile.write(sound, samples, SAMPLE_RATE, "FLOAT")
    os.utime(sound, (0, 0))
    picture = find_dataset(sound.parents[1], tmp_path / "results").images / "pop" / "0.png"
    middle = samples[(len(samples) - CLIP_SAMPLES) // 2 :][:CLIP_SAMPLES]
    assert np.array_equal(picture_to_matrix(picture), audio_to_matrix(middle))
    sound.write_bytes(b"no sound")
    with refused(r"genre pop .*0\.wav"):
        find_dataset(sound.parents[1], tmp_path / "results")


BAD_TABLES = {
    "first line must be image,artist": b"picture,artist\n0.png,a",
    "names 'blues/1.png', which is not in the set": b"image,artist\nblues/1.png,a",
    "names 'blues/0.png' twice": b"image,artist\nblues/0.png,a\nblues/0.png,b",
    "cannot be read as a table": b"image,artist\n\xff\xfe,a",
}


def test_the_artists_of_one_s_own_set_are_read_from_its_table(tmp_path):
    table = _sounds(tmp_path / "set", "0.wav") / "tracks.csv"
    table.write_text("image;artist\nblues/0.png;B. B. King\nrock\\0.wav;\n jazz/0.wav ;b\npop/0.png;b\n", "utf-8-sig")
    pictures = utils.read_pictures(find_dataset(table.parent, tmp_path / "results"))
    tracks = pictures.tracks.set_index(pictures.table["genre"])
    assert tracks.loc[["blues", "rock", "jazz", "pop"], "artist"].tolist() == ["B. B. King", "", "b", "b"]
    assert len(set(pictures.artists)) == 9
    for words, content in BAD_TABLES.items():
        table.write_bytes(content)
        with refused(words):
            datasets.read_tracks(pictures.dataset, pictures.table["image"])


@pytest.mark.parametrize("inside", ["", "Data", "Data/images_original"])
def test_the_set_is_found_from_any_of_its_folders_also_through_links_that_lead_back(small_set, tmp_path, inside):
    (tmp_path / "home" / "__MACOSX" / "images_original").mkdir(parents=True)
    (tmp_path / "home" / "Data").symlink_to(small_set / "Data", target_is_directory=True)
    (tmp_path / "home" / "demo.json").symlink_to(small_set / "demo.json")
    (tmp_path / "home" / "a loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "home" / "itself").symlink_to(tmp_path / "home" / "itself")
    found = find_dataset(tmp_path / "home" / inside)
    assert found.images.resolve() == small_set / "Data" / "images_original"
    assert (found.name, found.label) == ("demo", "demo songs")


@pytest.mark.parametrize("folder", ["1999", "it's a set", "~/música", "./5 sets"])
def test_a_folder_means_what_was_typed(small_set, home, folder, monkeypatch):
    monkeypatch.chdir(home)
    (home / Path(folder).name).symlink_to(small_set, target_is_directory=True)
    assert find_dataset(folder).images == home / Path(folder).name / "Data" / "images_original"


def _jpeg(images):
    for path in images.glob("*/*.png"):
        Image.open(path).convert("RGB").save(path.with_suffix(".jpg"))
        path.unlink()


UNUSABLE = {
    "jazz are missing or empty": lambda images: [path.unlink() for path in (images / "jazz").iterdir()],
    "genre jazz": lambda images: [path.rename(path.with_name(f".{path.name}")) for path in (images / "jazz").iterdir()],
    "metal, pop, reggae, rock are missing": lambda images: [shutil.rmtree(images / genre) for genre in GENRES[6:]],
    "there are also polka": lambda images: shutil.copytree(images / "rock", images / "polka"),
    "is JPEG, which loses the levels of a spectrogram: take PNG pictures": _jpeg,
    "No folders of genres": lambda images: images.parent.rename(images.parent.with_name(".unfinished")),
    "does not exist": lambda images: shutil.rmtree(images.parents[1]),
}


@pytest.mark.parametrize("sentence", UNUSABLE)
def test_a_set_that_cannot_be_used_gets_one_sentence(copied, tmp_path, sentence):
    UNUSABLE[sentence](copied.images)
    with refused(sentence):
        utils.read_pictures(find_dataset(tmp_path, tmp_path / "results"))


def test_what_is_no_folder_of_pictures_is_named(tmp_path, monkeypatch):
    with refused("is a web address: download it first"):
        find_dataset("https://example.org/genres.tgz")
    monkeypatch.setattr(datasets, "ROOT", tmp_path)
    archive = tmp_path / "data" / "gtzan" / "genres.tgz"
    with refused("genres.tgz' does not exist"):
        find_dataset(archive)
    archive.parent.mkdir(parents=True)
    archive.touch()
    for folder in (archive, archive.parent, ""):
        with refused("genres.tgz' .*unpack"):
            find_dataset(folder)


def test_a_seed_gives_the_same_song_and_another_seed_or_tune_another():
    first, again, other, tune_1 = (demo_songs.song("jazz", *names) for names in ((1, 3), (1, 3), (2, 3), (1, 3, 1)))
    assert np.array_equal(first, again) and not np.array_equal(first, other) and not np.array_equal(first, tune_1)


def test_a_band_plays_three_tunes_with_its_own_instruments_and_no_song(pictures):
    first, second = (demo_songs.cast_band("blues", 0, tune) for tune in (0, 1))
    assert (first.volumes, first.swing) == (second.volumes, second.swing)
    assert (first.tempo, first.tonic) != (second.tempo, second.tonic)
    assert {name for name in first.traits if first.traits[name] != second.traits[name]} <= set(demo_songs.TUNE_TRAITS)
    assert pictures.tracks["artist"].groupby(pictures.table["genre"]).nunique().eq(3).all()
    clips, songs = demo_songs.plan_set(30, 0, (60, 75), 3)
    assert clips.groupby("artist").size().tolist() == [3] * 100
    assert len(songs) == 30 and not set(songs["seed"]) & set(clips["seed"])
    assert pd.concat([songs["title"], clips["title"]]).is_unique


def test_the_set_has_gtzan_layout(small_set):
    for genre in GENRES:
        picture = small_set / "Data" / "images_original" / genre / f"{genre}00000.png"
        samples = load_audio(small_set / "Data" / "genres_original" / genre / f"{genre}.00000.wav")
        assert len(samples) == CLIP_SAMPLES
        assert 0.5 < np.abs(samples).max() <= 1
        difference = picture_to_matrix(picture) != audio_to_matrix(samples)
        assert difference.mean() < 0.05  # the WAV is rounded to 16 bit


def test_the_songs_can_be_read_and_do_not_tell_their_genre(small_set):
    table = pd.read_csv(small_set / "songs" / "songs.csv")
    assert list(table.columns) == ["file", "title", "genre"]
    assert sorted(table["genre"]) == sorted(GENRES)
    assert {name.rsplit(".")[-1] for name in table["file"]} == set(demo_songs.FORMATS)
    for file, genre in zip(table["file"], table["genre"], strict=True):
        samples, rate = soundfile.read(small_set / "songs" / file)
        assert 31.9 < len(samples) / rate < 40.2
        assert np.abs(samples).max() > 0.3
        assert genre not in file


def test_a_finished_set_is_left_alone(small_set):
    picture = next(small_set.glob("Data/images_original/*/*.png"))
    before = picture.stat().st_mtime_ns
    demo_songs.make_demo_set(small_set, **SIZES, progress=False)
    assert picture.stat().st_mtime_ns == before


def test_a_download_that_fails_tells_the_cause(monkeypatch, tmp_path):
    def damaged(*_, **__):
        raise ValueError("kaggle.json holds no key")

    monkeypatch.setitem(sys.modules, "kagglehub", SimpleNamespace(dataset_download=damaged))
    monkeypatch.setattr(datasets, "ROOT", tmp_path)
    with refused("kaggle.json holds no key"):
        datasets.download_gtzan()
