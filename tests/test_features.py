"""Named features against signals whose answer is known, and the classifiers that learn from them."""

import numpy as np
import pytest
import torch

from genres import named_features as features
from genres import plots
from genres.audio import load_audio
from genres.datasets import clips_with_audio, find_dataset
from genres.spectrogram import COLUMNS, MEL_BINS, audio_to_matrix

RATE = 22_050
SECONDS = np.arange(4 * RATE) / RATE


def sine(frequency: float, amplitude: float = 0.5) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * frequency * SECONDS)).astype(np.float32)


def noise(seed: int = 0, amplitude: float = 0.1) -> np.ndarray:
    return (amplitude * np.random.default_rng(seed).normal(size=len(SECONDS))).astype(np.float32)


def inner(frames: dict, name: str) -> np.ndarray:
    """Frames of a feature without those at each end, which hear the clip's edge."""
    return frames[name][:, 3:-3]


def matrix_frames(samples: np.ndarray) -> dict:
    frames = features.frames_of_matrices(audio_to_matrix(samples)[None])
    return {name: values[0] for name, values in frames.items()}


@pytest.mark.parametrize("frequency", [500, 1000, 4000])
def test_a_sine_has_its_frequency_for_a_centroid_and_a_roll_off_in_sound_and_picture(frequency):
    frames = features.frames_of_sound(sine(frequency))
    assert inner(frames, "centroid").mean() == pytest.approx(frequency, rel=0.02)
    assert inner(frames, "rolloff").mean() == pytest.approx(frequency, abs=25)
    assert inner(frames, "bandwidth").mean() < 150
    frames = matrix_frames(sine(frequency))
    assert inner(frames, "centroid").mean() == pytest.approx(frequency, rel=0.1)
    assert inner(frames, "rolloff").mean() == pytest.approx(frequency, rel=0.1)


def test_a_sine_and_white_noise_have_the_values_of_theory():
    tone, flat = features.frames_of_sound(sine(1000, 0.3)), features.frames_of_sound(noise())
    assert inner(tone, "zero_crossing_rate").mean() * RATE == pytest.approx(2 * 1000, rel=0.02)
    assert inner(tone, "rms").mean() == pytest.approx(0.3 / 2**0.5, rel=0.01)
    assert inner(flat, "zero_crossing_rate").mean() == pytest.approx(0.5, abs=0.01)
    assert inner(flat, "centroid").mean() == pytest.approx(RATE / 4, rel=0.02)
    assert inner(flat, "rolloff").mean() == pytest.approx(0.85 * RATE / 2, rel=0.02)
    assert inner(flat, "contrast")[3].mean() < inner(tone, "contrast")[3].mean() - 10


@pytest.mark.parametrize(("frequency", "note"), [(523.25, 0), (880.0, 9), (1318.51, 4), (2793.83, 5)])
def test_a_note_is_heard_as_its_pitch_class_in_sound_and_picture(frequency, note):
    for frames in (features.frames_of_sound(sine(frequency)), matrix_frames(sine(frequency))):
        assert inner(frames, "chroma").mean(axis=1).argmax() == note


def test_rows_have_names_and_a_picture_lacks_only_the_zero_crossing_rate():
    row, table = features.describe_sound(noise()), features.describe_matrices(audio_to_matrix(noise())[None])
    missing = set(row.index) - set(table.columns)
    assert missing == {f"zero_crossing_rate_{statistic}" for statistic in features.STATISTICS}
    assert {features.feature_group(name) for name in row.index} == set(features.NAMED_FEATURES)
    assert set(features.named_feature_table()["feature"]) == set(features.NAMED_FEATURES)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_flat_pictures_give_finite_rows_and_are_drawn_without_what_they_lack(level):
    flat = np.full((1, MEL_BINS, COLUMNS), level, np.uint8)
    assert np.isfinite(features.describe_matrices(flat).to_numpy()).all()
    frames = {name: values[0] for name, values in features.frames_of_matrices(flat).items()}
    figure = plots.plot_feature_frames({"a picture": frames}, ["zero_crossing_rate", "rms", "chroma"], "a title")
    assert "not in a picture" in {text.get_text() for axes in figure.axes for text in axes.texts}
    plots.plt.close(figure)


def toy(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three clouds of forty points in five dimensions of very different scale."""
    labels = np.repeat(np.arange(3), 40)
    rows = np.random.default_rng(seed).normal(size=(120, 5))
    rows[:, 0] += 6 * (labels == 1)
    rows[:, 1] += 6 * (labels == 2)
    return rows * [1e-3, 1e4, 1, 1, 1], labels


@pytest.mark.parametrize("kind", list(features.SETTINGS))
def test_a_classifier_learns_what_can_be_told_apart_and_scales_by_its_training_rows(kind):
    rows, labels = toy(1)
    classifier = features.make_classifier(kind, 0).fit(*toy())
    assert (features.scores(classifier, rows).argmax(axis=1) == labels).mean() > 0.9
    assert classifier[0].mean_ == pytest.approx(toy()[0].mean(axis=0))


def test_the_same_seed_gives_the_same_perceptron_and_leaves_other_random_numbers_alone():
    rows, labels = toy()
    state = torch.get_rng_state()
    first, again, other = (features.make_classifier("MLP", seed).fit(rows, labels) for seed in (0, 0, 1))
    assert np.array_equal(features.scores(first, rows), features.scores(again, rows))
    assert not np.array_equal(features.scores(first, rows), features.scores(other, rows))
    assert torch.equal(state, torch.get_rng_state())


def test_shuffling_a_feature_that_counts_costs_and_another_does_not():
    rows, labels = toy()
    columns = ["mfcc_01_mean", "mfcc_02_mean", "rms_mean", "rms_std", "centroid_mean"]
    losses = features.group_importance(features.make_classifier("SVM", 0).fit(rows, labels), rows, labels, columns)
    assert list(losses) == ["mfcc", "rms", "centroid"]
    assert losses["mfcc"].mean() > 0.4
    assert losses[["rms", "centroid"]].abs().to_numpy().max() < 0.1


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
