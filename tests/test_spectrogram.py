"""The picture recipe: pictures, sound and matrices say the same, and the numbers of one small run stay as they are."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sound_files import tune

import utils
from genres import texture
from genres.audio import SAMPLE_RATE, load_audio
from genres.common import GENRES, ROOT, InputError, digest
from genres.datasets import clips_with_audio, find_dataset
from genres.spectrogram import (
    CLIP_SAMPLES,
    CLIP_SECONDS,
    COLUMNS,
    MEL_BINS,
    audio_to_matrix,
    matrix_to_picture,
    mel_power,
    picture_to_matrix,
    song_windows,
)

MATRICES = arrays(np.uint8, (MEL_BINS, COLUMNS), elements=st.integers(0, 255), fill=st.integers(0, 255))


def test_the_numbers_of_a_small_run_are_what_they_were():
    """Digests of the code before it was moved; whoever changes one on purpose says so in the commit."""
    song = tune(40)
    matrix = audio_to_matrix(song[:CLIP_SAMPLES])
    assert digest(matrix) == "b9e34767aeb8a4d8"
    assert digest(song_windows(mel_power(song))[1]) == "155352c681db6327"
    assert digest(np.asarray(matrix_to_picture(matrix))) == "5e50adbd41d24a86"
    assert texture.describe(matrix[None]).sum() == pytest.approx(50842.0, rel=1e-4)
    table = pd.DataFrame({"image": [f"{row}.png" for row in range(60)], "genre": np.repeat(GENRES, 6)})
    noise = np.random.default_rng(0).integers(0, 256, (60, 4, 5), np.uint8)
    split = utils.random_split(utils.Pictures(None, table, noise), 0)
    assert digest(split.train, split.validation) == "111d1066260cefc6"


@settings(max_examples=10, deadline=None)
@given(matrix=MATRICES)
def test_a_drawn_matrix_is_read_back_without_loss(matrix, tmp_path_factory):
    path = tmp_path_factory.mktemp("picture") / "one.png"
    matrix_to_picture(matrix).save(path)
    assert np.array_equal(picture_to_matrix(path), matrix)


@pytest.mark.parametrize("samples", [np.zeros(500), np.full(30_000, np.nan), np.zeros((2, 30_000))])
def test_what_is_no_sound_is_refused(samples):
    with pytest.raises(InputError, match="no sound"):
        audio_to_matrix(samples.astype(np.float32))


STRETCHES = st.tuples(st.sampled_from([0, 1e-6, 1e-3, 0.3, 1]), st.floats(0.5, 50), st.booleans())


@settings(max_examples=8, deadline=None)
@given(stretches=st.lists(STRETCHES, min_size=1, max_size=5))
def test_any_song_gives_windows_that_lie_in_it(stretches):
    noise = lambda seconds: np.random.default_rng(0).normal(0, 0.2, int(seconds * SAMPLE_RATE))  # noqa: E731
    parts = [level * (tune(seconds) if notes else noise(seconds)) for level, seconds, notes in stretches]
    song = np.concatenate(parts).astype(np.float32)
    starts, windows = song_windows(mel_power(song))
    assert windows.dtype == np.uint8
    assert windows.shape == (len(starts), MEL_BINS, COLUMNS)
    assert len(starts) >= 1
    assert (np.diff(starts) > 0).all()
    assert starts.min() >= 0
    seconds = len(song) / SAMPLE_RATE
    assert starts.max() + min(CLIP_SECONDS, seconds) <= seconds + 0.05
    assert windows.any() or np.abs(song).max() < 0.01  # what is softer is all floor


def test_sound_and_picture_of_real_clips_agree(gtzan):
    pairs = clips_with_audio(find_dataset(gtzan), per_genre=1)
    if not pairs:
        pytest.skip("no sound here")
    for audio, picture in pairs:
        assert (audio_to_matrix(load_audio(audio)) == picture_to_matrix(picture)).mean() >= 0.9999, audio.name


def test_the_samples_are_what_the_code_draws_from_sound(gtzan):
    clips = {audio.stem: audio for audio, _ in clips_with_audio(find_dataset(gtzan))}
    for name in ("blues.00009", "hiphop.00003", "metal.00002"):
        if name not in clips:
            pytest.skip(f"no {name}.wav here")
        sample = picture_to_matrix(ROOT / "data_samples" / f"{name.replace('.', '')}.png")
        assert (audio_to_matrix(load_audio(clips[name])) == sample).all()
