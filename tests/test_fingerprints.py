"""Is a song in the training set? The search finds clips whatever happened to their sound."""

import numpy as np
import pytest

import utils


@pytest.fixture(scope="module")
def demo(small_set, tmp_path_factory):
    """The small demo set with its fingerprints."""
    dataset = utils.find_dataset(small_set, output=tmp_path_factory.mktemp("prints"))
    return dataset, utils.write_fingerprints(dataset, utils.read_pictures(dataset))


def test_buried_clips_are_found_and_no_others(demo):
    trial = utils.measure_search(*demo, count=8, seed=0)
    assert trial["found"].mean() >= 0.85
    assert trial["error"].max() < 0.2
    assert trial["foreign"].sum() == 0


def test_most_of_a_clip_at_the_begin_of_a_song_is_found(demo):
    dataset, prints = demo
    (audio, picture), (other, _) = utils.clips_with_audio(dataset, 1)[:2]
    most, rest = utils.load_audio(audio)[utils.CLIP_SAMPLES * 3 // 10 :], utils.load_audio(other)
    song = np.concatenate([most, rest * most.std() / rest.std()])
    matches = utils.find_clips(utils.mel_power(song), prints)
    found = {match.image: match.start for match in matches}
    assert found[picture.name] == pytest.approx(-9, abs=0.2)


def test_a_song_without_the_clip_is_not_accused(demo):
    dataset, prints = demo
    audio, picture = utils.clips_with_audio(dataset, 1)[0]
    mel = utils.mel_power(utils.load_audio(audio))
    assert utils.find_clips(mel, prints)[0].image == picture.name
    others = prints.images != picture.name
    rest = utils.Fingerprints(prints.images[others], prints.codes[others], prints.frames[others])
    assert utils.find_clips(mel, rest) == []


def test_fingerprints_are_read_as_written_and_a_damaged_file_is_named(demo, tmp_path):
    dataset, prints = demo
    path = dataset.results / "fingerprints.npz"
    assert np.array_equal(utils.read_fingerprints(path).codes, prints.codes)
    (tmp_path / "fingerprints.npz").write_bytes(path.read_bytes()[:3000])
    with pytest.raises(utils.InputError, match=r"fingerprints\.npz"):
        utils.read_fingerprints(tmp_path / "fingerprints.npz")


def test_the_shipped_fingerprints_are_those_of_the_pictures(gtzan):
    pictures = utils.read_pictures(utils.find_dataset(gtzan))
    shipped = utils.read_fingerprints()
    assert shipped.images.tolist() == pictures.table["image"].tolist()
    assert np.array_equal(shipped.codes[::50], utils.fingerprint_codes(pictures.matrices[::50]))


def test_titles_are_given_where_they_are_known():
    assert utils.track_title("no such.png") == "no such"
    known = utils.read_tracks(utils.DataSet("gtzan", "GTZAN", utils.ROOT, None))
    row = known[known["artist"] != ""].iloc[0]
    assert row["artist"] in utils.track_title(row["image"])
