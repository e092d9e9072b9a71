"""Is a song in the training set? The search finds clips whatever happened to their sound."""

import numpy as np
import pytest

import utils
from genres import fingerprints
from genres.audio import load_audio
from genres.datasets import clips_with_audio, find_dataset
from genres.spectrogram import CLIP_SAMPLES, mel_power


@pytest.fixture(scope="module")
def demo(pictures):
    """Sounds of the small demo set with their pictures' names, and the fingerprints of all its pictures."""
    pairs = [(audio, picture.name) for audio, picture in clips_with_audio(pictures.dataset)]
    return pairs, fingerprints.make_fingerprints(pictures.matrices, pictures.table["image"].to_numpy(str))


def test_buried_clips_are_found_and_no_others(demo):
    trial = fingerprints.measure_search(demo[0], {}, demo[1], count=6, seed=0)
    assert trial["found"].mean() >= 0.8
    assert trial["error"].max() < 0.2
    assert trial["foreign"].sum() == 0


def test_most_of_a_clip_at_the_begin_of_a_song_is_found(demo):
    pairs, prints = demo
    most, rest = load_audio(pairs[0][0])[CLIP_SAMPLES * 3 // 10 :], load_audio(pairs[4][0])
    song = np.concatenate([most, rest * most.std() / rest.std()])
    found = {match.image: match.start for match in fingerprints.find_clips(mel_power(song), prints)}
    assert found[pairs[0][1]] == pytest.approx(-9, abs=0.2)


def test_a_song_without_the_clip_is_not_accused(demo):
    (audio, image), prints = demo[0][0], demo[1]
    mel = mel_power(load_audio(audio))
    assert fingerprints.find_clips(mel, prints)[0].image == image
    others = prints.images != image
    rest = fingerprints.Fingerprints(prints.images[others], prints.codes[others], prints.frames[others])
    assert fingerprints.find_clips(mel, rest) == []


def test_the_shipped_fingerprints_are_those_of_the_pictures(gtzan, tmp_path):
    pictures, shipped = utils.read_pictures(find_dataset(gtzan, tmp_path)), fingerprints.read_fingerprints()
    assert shipped.images.tolist() == pictures.table["image"].tolist()
    assert np.array_equal(shipped.codes[::50], fingerprints.fingerprint_codes(pictures.matrices[::50]))
