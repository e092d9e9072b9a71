"""The spectrogram door: pictures, sound and matrices say the same."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

import utils

MATRICES = arrays(np.uint8, (utils.MEL_BINS, utils.COLUMNS), elements=st.integers(0, 255), fill=st.integers(0, 255))


@settings(max_examples=30, deadline=None)
@given(matrix=MATRICES)
def test_a_drawn_matrix_is_read_back_without_loss(matrix, tmp_path_factory):
    path = tmp_path_factory.mktemp("picture") / "one.png"
    utils.matrix_to_picture(matrix).save(path)
    assert np.array_equal(utils.picture_to_matrix(path), matrix)


@settings(max_examples=20, deadline=None)
@given(seconds=st.floats(0.5, 100), seed=st.integers(0, 99), level=st.floats(1e-3, 1))
def test_any_sound_becomes_a_matrix(seconds, seed, level):
    samples = np.random.default_rng(seed).normal(0, level, int(seconds * utils.SAMPLE_RATE)).astype(np.float32)
    matrix = utils.audio_to_matrix(samples)
    assert matrix.shape == (utils.MEL_BINS, utils.COLUMNS)
    assert matrix.dtype == np.uint8
    assert matrix.max() > 128


def test_a_tone_lights_the_row_of_its_frequency():
    time = np.arange(utils.CLIP_SAMPLES) / utils.SAMPLE_RATE
    matrix = utils.audio_to_matrix(np.sin(2 * np.pi * 1000 * time).astype(np.float32))
    assert abs(utils.MEL_CENTRES[matrix.mean(axis=1).argmax()] - 1000) < 30


def test_silence_gives_zeros():
    assert not utils.audio_to_matrix(np.zeros(utils.CLIP_SAMPLES, np.float32)).any()


@pytest.mark.parametrize("samples", [np.zeros(500), np.full(30_000, np.nan), np.zeros((2, 30_000))])
def test_what_is_no_sound_is_refused(samples):
    with pytest.raises(utils.InputError, match="no sound"):
        utils.audio_to_matrix(samples.astype(np.float32))


def test_the_level_of_a_recording_does_not_matter():
    samples = np.random.default_rng(0).normal(0, 0.1, 100_000).astype(np.float32)
    assert (utils.audio_to_matrix(samples) == utils.audio_to_matrix(samples / 8)).mean() > 0.999


def test_sound_and_picture_of_every_real_clip_agree(gtzan):
    pairs = utils.clips_with_audio(utils.find_dataset(gtzan), per_genre=4)
    assert pairs
    for audio, picture in pairs:
        assert utils.compare_doors(audio, picture) >= 0.9999, audio.name


def test_the_broken_real_clip_is_named(gtzan):
    dataset = utils.find_dataset(gtzan)
    broken = dataset.audio / "jazz" / "jazz.00054.wav" if dataset.audio else None
    if not broken or not broken.is_file():
        pytest.skip("no jazz.00054.wav here")
    assert "jazz.00054.wav" in utils.compare_doors(broken, dataset.images / "jazz" / "jazz00054.png")


def test_the_mean_grey_of_the_real_set_is_its_known_fingerprint(gtzan):
    paths = sorted(utils.find_dataset(gtzan).images.glob("*/*0007*.png"))
    assert np.mean([np.array(Image.open(path).convert("L")).mean() for path in paths]) == pytest.approx(119.1, abs=1.5)
