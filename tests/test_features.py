"""Named features, the pretrained network, and what learns from them: against signals and values that are known."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from conftest import ROOT, SHARED, refused
from sklearn.datasets import make_blobs
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sound_files import tune

from genres import ear, plots
from genres import named_features as features
from genres.audio import load_audio
from genres.common import GENRES, SAMPLE_RATE
from genres.datasets import artist_numbers, clips_with_audio, find_dataset
from genres.runs import Split
from genres.spectrogram import CLIP_SECONDS, COLUMNS, MEL_BINS, audio_to_matrix


@pytest.mark.parametrize(("frequency", "note"), [(523.25, 0), (880.0, 9), (1318.51, 4), (2793.83, 5)])
def test_a_tone_lies_at_its_frequency_and_is_its_note_in_sound_and_picture(frequency, note):
    tone = (0.5 * np.sin(2 * np.pi * frequency * np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE)).astype(np.float32)
    drawn = features.frames_of_matrices(audio_to_matrix(tone)[None])
    for frames in (features.frames_of_sound(tone), {name: values[0] for name, values in drawn.items()}):
        inner = {name: values[:, 3:-3].mean(axis=1) for name, values in frames.items()}  # the ends hold the clip's edge
        assert inner["centroid"] == pytest.approx(frequency, rel=0.1)
        assert inner["rolloff"] == pytest.approx(frequency, rel=0.1)
        assert inner["chroma"].argmax() == note


@pytest.mark.parametrize("level", [0, 128, 255])
def test_flat_pictures_give_finite_rows_and_are_drawn_without_what_they_lack(level):
    flat = np.full((1, MEL_BINS, COLUMNS), level, np.uint8)
    assert np.isfinite(features.features_of_matrices(flat).to_numpy()).all()
    frames = {name: values[0] for name, values in features.frames_of_matrices(flat).items()}
    figure = plots.plot_feature_frames({"a picture": frames}, ["zero_crossing_rate", "rms", "chroma"], "a title")
    assert "not in a picture" in {text.get_text() for axes in figure.axes for text in axes.texts}


@pytest.mark.parametrize("kind", list(features.SETTINGS))
def test_a_run_learns_from_its_training_rows_only_and_is_read_the_second_time(kind, tmp_path, monkeypatch):
    rows, labels = make_blobs(120, 5, centers=3, random_state=0)
    rows *= [1e-3, 1e4, 1, 1, 1]  # features of very different scale
    table, split = pd.DataFrame(rows), Split("random", np.arange(90), np.arange(90, 120))
    spoiled = table.copy()
    spoiled.loc[90:] = 1e6
    run = partial(features.run_features, tmp_path, tmp_path / "log.csv", kind, labels=labels, split=split, seed=0)
    first = run(table, rows)
    assert (first.logits["validation"].argmax(axis=1) == labels[split.validation]).mean() > 0.9
    with monkeypatch.context() as patched:
        patched.setattr(features.Pipeline, "fit", None)
        assert np.array_equal(run(table + 1e-12, rows).logits["validation"], first.logits["validation"])
        with pytest.raises(TypeError):
            run(table, rows + 1)  # other pictures: it would be trained
    assert np.array_equal(first.logits["train"], run(spoiled, spoiled.to_numpy()).logits["train"])


def test_our_rows_from_sound_are_kaggle_s(gtzan):
    dataset = find_dataset(gtzan)
    path, pairs = dataset.images.parent / "features_30_sec.csv", clips_with_audio(dataset, 1)[:3]
    if not path.is_file() or not pairs:
        pytest.skip("no sound or no table here")
    kaggle = pd.read_csv(path, index_col="filename")
    theirs = {name: f"spectral_{name}_mean" for name in ("centroid", "bandwidth")}
    theirs |= {name: f"{name}_mean" for name in ("rolloff", "zero_crossing_rate")} | {"mfcc_02": "mfcc2_mean"}
    for audio, _ in pairs:
        row = features.features_of_sound(load_audio(audio))
        for name, column in theirs.items():
            assert row[f"{name}_mean"] == pytest.approx(kaggle.loc[audio.name, column], rel=0.01), name


@pytest.mark.parametrize("clip", ["blues.00000", "classical.00001", "metal.00003"])
def test_clips_have_the_published_tags_and_pools(clip):
    if not (SHARED / "musicnn" / "gtzan.npz").is_file():
        pytest.skip("no published features here")
    published = np.load(SHARED / "musicnn" / "gtzan.npz")
    row = list(published["exact_tracks"]).index(clip)
    patches = ear.listen(load_audio(SHARED / "gtzan/Data/genres_original" / clip.split(".")[0] / f"{clip}.wav"))
    pools = np.concatenate([published["exact_mean_pool"], published["exact_max_pool"]], axis=1)
    assert len(patches.starts) == 10
    assert patches.tags.mean(axis=0) == pytest.approx(published["exact_tags"][row], abs=1e-3)
    off = np.abs(patches.pools.mean(axis=0) - pools[row]) / np.maximum(pools.std(axis=0), 0.01)
    assert off.max() < 0.02  # of a standard deviation


def test_a_tune_has_the_tags_that_it_had_when_the_published_ones_were_reached():
    tags = ear.listen(tune(7)).tags.mean(axis=0)
    strongest = {ear.TAGS[k]: tags[k] for k in np.argsort(-tags)[:3]}
    assert strongest == pytest.approx({"electronic": 0.4948, "experimental": 0.3167, "ambient": 0.2765}, abs=0.005)


@pytest.mark.parametrize(("seconds", "count"), [(0.2, 1), (3, 1), (30.01, 10), (3600, ear.MOST_PATCHES)])
def test_sounds_of_odd_lengths_have_tags(monkeypatch, seconds, count):
    monkeypatch.setattr(ear.EarNetwork, "pools", lambda _, log_mel: torch.zeros(len(log_mel), 1506))
    patches = ear.listen(np.resize(tune(3), int(seconds * SAMPLE_RATE)))
    assert patches.tags.shape == (count, 50)
    assert patches.starts[-1] + 2.9 <= max(seconds, 3)
    assert seconds - patches.starts[-1] < 6


def test_silence_gives_numbers_and_a_pause_is_not_listened_to():
    assert np.isfinite(ear.listen(np.zeros(4 * SAMPLE_RATE, np.float32)).tags).all()
    paused = ear.listen(np.concatenate([tune(6), np.zeros(9 * SAMPLE_RATE, np.float32), tune(6)]))
    assert not ((paused.starts > 6) & (paused.starts < 12)).any()


def test_of_a_long_file_the_middle_is_tagged_which_its_picture_shows_and_a_bad_one_is_left_out(tmp_path):
    quiet, loud = np.random.default_rng(0).normal(0, 0.05, 20 * SAMPLE_RATE), tune(CLIP_SECONDS)
    soundfile.write(tmp_path / "clip.wav", loud, SAMPLE_RATE)
    soundfile.write(tmp_path / "song.wav", np.concatenate([quiet, loud, quiet]), SAMPLE_RATE)
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    clip, song, *bad = ear.read_clip_features([*(tmp_path / f"{name}.wav" for name in ("clip", "song", "bad")), None])
    assert song == pytest.approx(clip, abs=1e-3)
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


def test_the_head_is_scikit_learn_s_discriminant_analysis():
    rows, labels = _songs(5)
    head, genres = ear.fit_head(rows, labels), np.full(10, 0.1)
    analysis = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=ear.SHRINKAGE, priors=genres)
    varying = head.standardised(rows)[:, rows.std(axis=0) > ear.SMALLEST_DEVIATION]
    expected = ear.LOGIT_SCALE * analysis.fit(varying, labels).decision_function(varying)
    ours = head.logits(rows)
    assert ours - ours[:, :1] == pytest.approx(expected - expected[:, :1], abs=1e-3)


@pytest.mark.parametrize("layout", ["folders", "songs.csv"])
def test_genres_of_one_s_own_are_told_apart(layout, tmp_path):
    names, rows = ["brown noise", "tunes"] if layout == "folders" else ["jazz", "rock"], ["file,genre"]
    noise = 0.3 * np.sin(np.cumsum(np.random.default_rng(0).normal(0, 1e-3, (3, 4 * SAMPLE_RATE)), axis=1))
    for number in range(3):
        for name, samples in zip(names, (noise[number], tune(4 + number)), strict=True):
            place = tmp_path / name if layout == "folders" else tmp_path
            place.mkdir(exist_ok=True)
            soundfile.write(place / f"{name}{number}.wav", samples, SAMPLE_RATE)
            rows.append(f"{name}{number}.wav,{name}")
    if layout == "songs.csv":
        (tmp_path / "songs.csv").write_text("\n".join(rows))
    found = ear.songs_by_genre(tmp_path)
    assert {genre: len(paths) for genre, paths in found.items()} == dict.fromkeys(names, 3)
    features = ear.read_clip_features([path for paths in found.values() for path in paths])
    assert ear.leave_one_out(features, np.repeat([0, 1], 3)).argmax(axis=1).tolist() == [0, 0, 0, 1, 1, 1]
    with refused("two genres with two songs"):
        ear.songs_by_genre(next(tmp_path.glob("*/"), tmp_path / f"{names[0]}0.wav"))


def test_hardly_any_clip_of_the_set_is_out_of_distribution_and_noise_is():
    shipped = ear.read_ear_features(ROOT / "data" / "gtzan" / "ear.npz")
    tracks = pd.read_csv(ROOT / "data" / "gtzan" / "tracks.csv", dtype=str, keep_default_na=False)
    tracks = tracks.set_index("image").loc[list(shipped)].reset_index()
    clips = ear.fit_neighbours(np.stack(list(shipped.values())), tracks, artist_numbers(tracks))
    assert np.mean([clips.is_unfamiliar(row[None]) for row in shipped.values()]) < 0.02
    noise = np.random.default_rng(0).normal(0, 0.1, 30 * SAMPLE_RATE).astype(np.float32)
    assert clips.is_unfamiliar(ear.listen(noise).features[None])
