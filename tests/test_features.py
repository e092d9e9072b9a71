"""Named features against signals whose answer is known, and the classifiers that learn from them."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import features
import utils

RATE = utils.SAMPLE_RATE
SECONDS = np.arange(4 * RATE) / RATE


def sine(frequency: float, amplitude: float = 0.5) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * frequency * SECONDS)).astype(np.float32)


def noise(seed: int = 0, amplitude: float = 0.1) -> np.ndarray:
    return (amplitude * np.random.default_rng(seed).normal(size=len(SECONDS))).astype(np.float32)


def inner(frames: dict, name: str) -> np.ndarray:
    """Frames of a feature without the two at each end, which hear the clip's edge."""
    return frames[name][:, 3:-3]


def matrix_frames(samples: np.ndarray) -> dict:
    matrix = utils.audio_to_matrix(samples)
    frames = features.frames_of_matrices(matrix[None], utils.DB_PER_LEVEL, RATE)
    return {name: values[0] for name, values in frames.items()}


@pytest.mark.parametrize("frequency", [500, 1000, 4000])
def test_a_sine_has_its_frequency_for_a_centroid_and_a_roll_off(frequency):
    frames = features.frames_of_sound(sine(frequency), RATE)
    assert inner(frames, "centroid").mean() == pytest.approx(frequency, rel=0.02)
    assert inner(frames, "rolloff").mean() == pytest.approx(frequency, abs=25)
    assert inner(frames, "bandwidth").mean() < 150


@pytest.mark.parametrize("frequency", [500, 1000, 4000])
def test_a_sine_in_a_picture_has_them_too(frequency):
    frames = matrix_frames(sine(frequency))
    assert inner(frames, "centroid").mean() == pytest.approx(frequency, rel=0.1)
    assert inner(frames, "rolloff").mean() == pytest.approx(frequency, rel=0.1)


def test_a_sine_crosses_zero_twice_a_period_and_noise_every_other_sample():
    crossings = inner(features.frames_of_sound(sine(1000), RATE), "zero_crossing_rate").mean()
    assert crossings * RATE == pytest.approx(2 * 1000, rel=0.02)
    assert inner(features.frames_of_sound(noise(), RATE), "zero_crossing_rate").mean() == pytest.approx(0.5, abs=0.01)


def test_white_noise_is_flat():
    frames = features.frames_of_sound(noise(), RATE)
    assert inner(frames, "centroid").mean() == pytest.approx(RATE / 4, rel=0.02)
    assert inner(frames, "rolloff").mean() == pytest.approx(0.85 * RATE / 2, rel=0.02)
    tone = features.frames_of_sound(sine(1000), RATE)
    assert inner(frames, "contrast")[3].mean() < inner(tone, "contrast")[3].mean() - 10


def test_rms_of_a_sine_is_its_amplitude_over_root_two():
    assert inner(features.frames_of_sound(sine(1000, 0.3), RATE), "rms").mean() == pytest.approx(0.3 / 2**0.5, rel=0.01)


def test_loudness_moves_only_the_first_cepstral_coefficient():
    quiet, loud = (inner(features.frames_of_sound(noise(amplitude=a), RATE), "mfcc").mean(axis=1) for a in (0.05, 0.2))
    assert loud[0] - quiet[0] == pytest.approx(20 * np.log10(4) * np.sqrt(utils.MEL_BINS), rel=0.01)
    assert loud[1:] == pytest.approx(quiet[1:], abs=0.05)


def test_loudness_does_not_reach_a_picture():
    quiet, loud = (utils.picture_features(utils.audio_to_matrix(noise(amplitude=a))[None]) for a in (0.05, 0.2))
    assert np.allclose(quiet, loud, rtol=0.02, atol=0.05)


@pytest.mark.parametrize(("frequency", "note"), [(523.25, 0), (880.0, 9), (1318.51, 4), (2793.83, 5)])
def test_a_note_is_heard_as_its_pitch_class_in_sound_and_picture(frequency, note):
    for frames in (features.frames_of_sound(sine(frequency), RATE), matrix_frames(sine(frequency))):
        assert inner(frames, "chroma").mean(axis=1).argmax() == note


def test_a_picture_tells_nearly_what_its_sound_tells():
    # Two notes over soft noise, swelling: everything lies within the 40 dB that a picture keeps.
    swell = (0.6 + 0.4 * np.sin(2 * np.pi * 0.5 * SECONDS)).astype(np.float32)
    samples = swell * (sine(880, 0.1) + sine(1760, 0.05) + noise(amplitude=0.2))
    sound, picture = features.frames_of_sound(samples, RATE), matrix_frames(samples)
    for name in ("centroid", "rolloff", "bandwidth"):
        assert inner(picture, name).mean() == pytest.approx(inner(sound, name).mean(), rel=0.15), name
    assert inner(picture, "mfcc")[1:].mean(axis=1) == pytest.approx(inner(sound, "mfcc")[1:].mean(axis=1), abs=6)
    loudness = inner(sound, "rms") / sound["rms"].max()
    assert inner(picture, "rms").std() == pytest.approx(loudness.std(), rel=0.2)
    assert inner(picture, "chroma").mean(axis=1).argmax() == inner(sound, "chroma").mean(axis=1).argmax()


def test_rows_have_names_and_a_picture_lacks_only_the_zero_crossing_rate():
    row = features.describe_sound(noise(), RATE)
    table = utils.picture_features(utils.audio_to_matrix(noise())[None])
    assert list(row.index) == [
        f"{name}_{number:02d}_{statistic}" if feature.size > 1 else f"{name}_{statistic}"
        for name, feature in features.NAMED_FEATURES.items()
        for statistic in features.STATISTICS
        for number in range(1, feature.size + 1)
    ]
    missing = set(row.index) - set(table.columns)
    assert missing == {f"zero_crossing_rate_{statistic}" for statistic in features.STATISTICS}
    assert {features.feature_group(name) for name in row.index} == set(features.NAMED_FEATURES)
    assert set(features.named_feature_table()["feature"]) == set(features.NAMED_FEATURES)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_flat_pictures_give_finite_rows(level):
    table = utils.picture_features(np.full((1, utils.MEL_BINS, utils.COLUMNS), level, np.uint8))
    assert np.isfinite(table.to_numpy()).all()


def toy(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three clouds of forty points in five dimensions of very different scale."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), 40)
    rows = generator.normal(size=(120, 5))
    rows[:, 0] += 6 * (labels == 1)
    rows[:, 1] += 6 * (labels == 2)
    return rows * [1e-3, 1e4, 1, 1, 1], labels


@pytest.mark.parametrize("kind", list(features.SETTINGS))
def test_a_classifier_learns_what_can_be_told_apart(kind):
    classifier = features.make_classifier(kind, 0).fit(*toy())
    rows, labels = toy(1)
    assert (features.scores(classifier, rows).argmax(axis=1) == labels).mean() > 0.9


def test_the_scaler_has_seen_only_the_training_rows(dataset):
    rows, labels = toy()
    classifier = features.make_classifier("MLP", 0).fit(rows, labels)
    assert classifier[0].mean_ == pytest.approx(rows.mean(axis=0))
    pictures = utils.read_pictures(dataset)
    split = utils.random_split(pictures, 0)
    table = utils.picture_features(pictures.matrices)
    spoiled = table.copy()
    spoiled.iloc[split.validation] = 1e6
    runs = [utils.run_features(dataset, pictures, "pictures", t, split, 0, "MLP") for t in (table, spoiled)]
    assert np.array_equal(runs[0].scores["train"], runs[1].scores["train"])


def test_the_same_seed_gives_the_same_perceptron_and_leaves_other_random_numbers_alone():
    rows, labels = toy()
    state = utils.torch.get_rng_state()
    first, again, other = (features.make_classifier("MLP", seed).fit(rows, labels) for seed in (0, 0, 1))
    assert np.array_equal(features.scores(first, rows), features.scores(again, rows))
    assert not np.array_equal(features.scores(first, rows), features.scores(other, rows))
    assert utils.torch.equal(state, utils.torch.get_rng_state())


def test_shuffling_a_feature_that_counts_costs_and_another_does_not():
    rows, labels = toy()
    columns = ["mfcc_01_mean", "mfcc_02_mean", "rms_mean", "rms_std", "centroid_mean"]
    losses = features.group_importance(features.make_classifier("SVM", 0).fit(rows, labels), rows, labels, columns)
    assert list(losses) == ["mfcc", "rms", "centroid"]
    assert losses["mfcc"].mean() > 0.4
    assert losses[["rms", "centroid"]].abs().to_numpy().max() < 0.1


def test_the_search_keeps_groups_apart_and_tries_every_candidate(monkeypatch):
    monkeypatch.setattr(features, "CANDIDATES", {"SVM": [{"C": 1}, {"C": 10}]})
    _, labels = toy()
    # A column that names the group and nothing else helps only where a group is on both sides.
    generator = np.random.default_rng(0)
    groups = np.arange(120) % 60
    labels = generator.permutation(labels)[groups]
    table = features.search_settings(generator.normal(size=60)[groups][:, None] * 50, labels, groups)
    assert len(table) == 2
    assert table["accuracy"].max() < 0.55


def test_a_finished_run_is_read_and_not_trained_again(dataset, monkeypatch):
    pictures = utils.read_pictures(dataset)
    table = utils.feature_tables(dataset, pictures)["pictures"]
    split = utils.random_split(pictures, 0)
    first = utils.run_features(dataset, pictures, "pictures", table, split, 0, "SVM")
    monkeypatch.setattr(features, "make_classifier", None)
    again = utils.run_features(dataset, pictures, "pictures", table, split, 0, "SVM")
    assert all(np.array_equal(first.scores[part], again.scores[part]) for part in first.scores)
    pd.testing.assert_frame_equal(first.importance, again.importance, check_column_type=False)
    assert len(pd.read_csv(dataset.results / "experiments.csv")) == 1


def test_rows_of_sound_are_kept_until_a_file_changes(small_set, dataset, monkeypatch):
    table = utils.read_sound_features(dataset)
    assert len(table) == len(utils.clips_with_audio(dataset)) > 0
    calls = []
    monkeypatch.setattr(utils, "_sound_row", lambda path: calls.append(path))
    kept = utils.read_sound_features(dataset)
    assert not calls
    pd.testing.assert_frame_equal(table, kept, check_column_type=False, check_index_type=False)
    changed = dataset.results / "sound_features.npz"
    with np.load(changed, allow_pickle=False) as stored:
        np.savez(changed, **{**stored, "fingerprint": "of other files"})
    utils.read_sound_features(dataset)
    assert len(calls) == len(table)


def test_a_set_without_sound_has_the_features_of_its_pictures(dataset):
    dataset = replace(dataset, audio=None)
    assert len(utils.read_sound_features(dataset)) == len(utils.read_sound_features(dataset)) == 0
    assert list(utils.feature_tables(dataset, utils.read_pictures(dataset))) == ["pictures"]
    title, frames = utils.genre_frames(dataset, "metal")
    assert title.endswith("picture")
    assert "zero_crossing_rate" not in frames
    figure = utils.plot_feature_frames({title: frames}, ["zero_crossing_rate", "rms", "chroma"], "a title")
    assert "not in a picture" in {text.get_text() for axes in figure.axes for text in axes.texts}


def test_kaggle_s_table_is_read_and_a_foreign_one_refused(small_set, tmp_path):
    images = tmp_path / "images_original"
    for genre in utils.GENRES:
        (images / genre).mkdir(parents=True)
        (images / genre / f"{genre}00000.png").touch()
    dataset = utils.find_dataset(tmp_path, output=tmp_path)
    assert utils.read_kaggle_features(dataset) is None
    path = tmp_path / utils.KAGGLE_TABLE
    path.write_text("filename,length,spectral_centroid_mean,mfcc2_var,label\nblues.00000.wav,1,1784.2,9,blues\n")
    table = utils.read_kaggle_features(dataset)
    assert table.loc["blues00000.png"].to_dict() == {"centroid_mean": 1784.2, "mfcc_02_std": 3.0}
    for content in ("a,b\n1,2\n", "", "filename,length,mfcc1_mean,label\nblues.00000.wav,1,loud,blues\n"):
        path.write_text(content)
        with pytest.raises(utils.InputError, match="features_30_sec"):
            utils.read_kaggle_features(dataset)


def test_our_rows_from_sound_are_kaggle_s(gtzan):
    dataset = utils.find_dataset(gtzan)
    kaggle = utils.read_kaggle_features(dataset)
    pairs = utils.clips_with_audio(dataset, 1)[:3]
    if kaggle is None or not pairs:
        pytest.skip("no sound or no table here")
    for audio, picture in pairs:
        row = features.describe_sound(utils.load_audio(audio), RATE)
        for name in ("centroid_mean", "rolloff_mean", "bandwidth_mean", "zero_crossing_rate_mean", "mfcc_02_mean"):
            assert row[name] == pytest.approx(kaggle.loc[picture.name, name], rel=0.01), name


def test_songs_and_pictures_are_answered_by_features(small_set, dataset):
    pictures = utils.read_pictures(dataset)
    model = utils.train_feature_model(utils.picture_features(pictures.matrices), pictures.labels, seed=0)
    songs = utils.find_songs(dataset.songs)[:2]
    picture = next((dataset.images / "metal").glob("*.png"))
    songs += [utils.Song(picture, "a picture", "metal"), utils.Song(picture.with_name("gone.mp3"), "gone")]
    results = utils.classify_songs_by_routes(songs, {"MLP": model.probabilities})["MLP"]
    assert [len(result.windows) > 0 for result in results] == [True, True, True, False]
    assert results[2].probabilities.sum() == pytest.approx(1)
    assert "does not exist" in results[3].song.note


def test_readme_s_table_of_routes_is_that_of_metrics_json():
    metrics = json.loads((utils.ROOT / "data/gtzan/metrics.json").read_text())
    readme = (utils.ROOT / "README.md").read_text()
    assert utils.route_report(metrics["features"]) in readme, "run make report, or put metrics.json's table into README"
