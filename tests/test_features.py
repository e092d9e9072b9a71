"""Named features, the pretrained ear, and what learns from them: against signals and values that are known."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from conftest import SHARED

import utils
from genres import ear, plots
from genres import named_features as features
from genres.audio import load_audio
from genres.common import GENRES, SAMPLE_RATE
from genres.datasets import clips_with_audio, find_dataset
from genres.runs import Split
from genres.spectrogram import COLUMNS, MEL_BINS, audio_to_matrix


@pytest.mark.parametrize(("frequency", "note"), [(523.25, 0), (880.0, 9), (1318.51, 4), (2793.83, 5)])
def test_a_tone_is_heard_at_its_frequency_and_as_its_note_in_sound_and_picture(frequency, note):
    tone = (0.5 * np.sin(2 * np.pi * frequency * np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE)).astype(np.float32)
    drawn = features.frames_of_matrices(audio_to_matrix(tone)[None])
    for frames in (features.frames_of_sound(tone), {name: values[0] for name, values in drawn.items()}):
        inner = {name: values[:, 3:-3].mean(axis=1) for name, values in frames.items()}  # the ends hear the clip's edge
        assert inner["centroid"] == pytest.approx(frequency, rel=0.1)
        assert inner["rolloff"] == pytest.approx(frequency, rel=0.1)
        assert inner["chroma"].argmax() == note


@pytest.mark.parametrize("level", [0, 128, 255])
def test_flat_pictures_give_finite_rows_and_are_drawn_without_what_they_lack(level):
    flat = np.full((1, MEL_BINS, COLUMNS), level, np.uint8)
    assert np.isfinite(features.describe_matrices(flat).to_numpy()).all()
    frames = {name: values[0] for name, values in features.frames_of_matrices(flat).items()}
    figure = plots.plot_feature_frames({"a picture": frames}, ["zero_crossing_rate", "rms", "chroma"], "a title")
    assert "not in a picture" in {text.get_text() for axes in figure.axes for text in axes.texts}


def toy() -> tuple[np.ndarray, np.ndarray]:
    """Three clouds of forty points in five dimensions of very different scale."""
    labels = np.repeat(np.arange(3), 40)
    rows = np.random.default_rng(0).normal(size=(120, 5))
    rows[:, 0] += 6 * (labels == 1)
    rows[:, 1] += 6 * (labels == 2)
    return rows * [1e-3, 1e4, 1, 1, 1], labels


@pytest.mark.parametrize("kind", list(features.SETTINGS))
def test_a_run_learns_from_its_training_rows_only_and_is_read_the_second_time(kind, tmp_path, monkeypatch):
    rows, labels = toy()
    table, order = pd.DataFrame(rows), np.random.default_rng(0).permutation(len(rows))
    spoiled = table.copy()
    spoiled.iloc[order[90:]] = 1e6
    split = Split("random", order[:90], order[90:])
    run = partial(features.run_features, tmp_path, tmp_path / "log.csv", kind, labels=labels, split=split, seed=0)
    first = run(table)
    assert (first.logits["validation"].argmax(axis=1) == labels[split.validation]).mean() > 0.9
    assert np.array_equal(first.logits["train"], run(spoiled).logits["train"])
    monkeypatch.setattr(features, "make_classifier", None)
    assert np.array_equal(run(table).logits["validation"], first.logits["validation"])


def test_kaggle_s_table_is_read_by_our_names(tmp_path):
    path = tmp_path / "features_30_sec.csv"
    assert features.read_kaggle_features(path) is None
    path.write_text("filename,length,spectral_centroid_mean,mfcc2_var,label\nblues.00000.wav,1,1784.2,9,blues\n")
    table = features.read_kaggle_features(path)
    assert table.loc["blues00000.png"].to_dict() == {"centroid_mean": 1784.2, "mfcc_02_std": 3.0}


def test_our_rows_from_sound_are_kaggle_s(gtzan):
    dataset = find_dataset(gtzan)
    kaggle = features.read_kaggle_features(dataset.images.parent / "features_30_sec.csv")
    pairs = clips_with_audio(dataset, 1)[:3]
    if kaggle is None or not pairs:
        pytest.skip("no sound or no table here")
    for audio, picture in pairs:
        row = features.describe_sound(load_audio(audio))
        for name in ("centroid_mean", "rolloff_mean", "bandwidth_mean", "zero_crossing_rate_mean", "mfcc_02_mean"):
            assert row[name] == pytest.approx(kaggle.loc[picture.name, name], rel=0.01), name


RATE = ear.SAMPLE_RATE
CHORD = {"electronic": 0.4231, "ambient": 0.2560, "electronica": 0.1318}  # what the checked port heard in `_chord`


def _chord(seconds: float) -> np.ndarray:
    """A major chord that is struck twice a second."""
    time = np.arange(int(seconds * RATE)) / RATE
    notes = sum(np.sin(2 * np.pi * pitch * time) for pitch in (220, 277.2, 329.6))
    return (0.2 * notes * np.exp(-6 * (time % 0.5))).astype(np.float32)


@pytest.mark.parametrize("clip", ["blues.00000", "classical.00001", "metal.00003"])
def test_clips_sound_to_the_ear_as_published(clip):
    if not (SHARED / "musicnn" / "gtzan.npz").is_file():
        pytest.skip("no published features here")
    published = np.load(SHARED / "musicnn" / "gtzan.npz")
    row = list(published["exact_tracks"]).index(clip)
    heard = ear.hear(utils.load_audio(SHARED / "gtzan/Data/genres_original" / clip.split(".")[0] / f"{clip}.wav"))
    pools = np.concatenate([published["exact_mean_pool"], published["exact_max_pool"]], axis=1)
    assert len(heard.starts) == 10
    assert heard.tags.mean(axis=0) == pytest.approx(published["exact_tags"][row], abs=1e-3)
    off = np.abs(heard.pools.mean(axis=0) - pools[row]) / np.maximum(pools.std(axis=0), 0.01)
    assert off.max() < 0.02  # of a standard deviation


def test_a_chord_is_heard_as_it_was_when_this_was_written():
    tags = ear.hear(_chord(7)).tags.mean(axis=0)
    strongest = {ear.TAGS[k]: tags[k] for k in np.argsort(-tags)[:3]}
    assert strongest == pytest.approx(CHORD, abs=0.005)


@pytest.mark.parametrize(("seconds", "patches"), [(0.2, 1), (3, 1), (30.01, 10), (3600, ear.MOST_PATCHES)])
def test_sounds_of_odd_lengths_are_heard(monkeypatch, seconds, patches):
    monkeypatch.setattr(ear.EarNetwork, "pools", lambda _, log_mel: torch.zeros(len(log_mel), 1506))
    heard = ear.hear(np.resize(_chord(3), int(seconds * RATE)))
    assert heard.tags.shape == (patches, 50)
    assert heard.starts[-1] + 2.9 <= max(seconds, 3)
    assert seconds - heard.starts[-1] < 6


def test_silence_gives_numbers_and_a_pause_is_not_listened_to():
    assert np.isfinite(ear.hear(np.zeros(4 * RATE, np.float32)).tags).all()
    paused = ear.hear(np.concatenate([_chord(6), np.zeros(9 * RATE, np.float32), _chord(6)]))
    assert not ((paused.starts > 6) & (paused.starts < 12)).any()


def test_a_bad_clip_among_others_is_left_out(tmp_path):
    soundfile.write(tmp_path / "good.wav", _chord(6), RATE)
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    good, bad = ear.hear_clips([tmp_path / "good.wav", tmp_path / "bad.wav"])
    assert np.isfinite(good).all()
    assert np.isnan(bad).all()


def _songs(per_genre: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows as `head_features` gives them, each genre around a place of its own, with features that never change."""
    rng, labels = np.random.default_rng(0), np.repeat(np.arange(len(GENRES)), per_genre)
    places = np.random.default_rng(1).normal(0, 1, (len(GENRES), 803))
    rows = places[labels] + rng.normal(0, 1, (len(labels), 803))
    rows[:, 100:500] = 1e-12 * rows[:, 100:500]
    return rows.astype(np.float32), labels


@pytest.mark.parametrize("per_genre", [1, 20])
def test_the_head_learns_genres_and_what_never_changed_does_not_disturb_it(per_genre):
    head, (rows, labels) = ear.fit_head(*_songs(per_genre)), _songs(25)
    rows[:, 100:500] += 1
    assert (head.logits(rows).argmax(axis=1) == labels).mean() > 0.8
