"""What the model says of songs: answers, doubt, matches, scores and the table."""

import numpy as np
import pytest
from test_library import Constant

import utils
from genres.common import GENRES, ROOT, InputError
from genres.fingerprints import Match
from genres.song_files import Song
from genres.songs import SongResult, classify_songs, score_sentence, score_songs, song_table
from genres.spectrogram import audio_to_matrix, picture_to_matrix

SAMPLE = ROOT / "data_samples" / "metal00002.png"
SAYS_ROCK = np.full((2, 10), 0.07) + 0.3 * np.eye(10)[[9, 9]]


def _result(genre: str | None = None, unsure_below: float = 0.3, **more) -> SongResult:
    song = Song(SAMPLE, "a title", genre)
    return SongResult(song, starts=np.arange(2) * 15.0, windows=SAYS_ROCK, unsure_below=unsure_below, **more)


def test_a_doubtful_answer_is_called_unsure_with_its_reason():
    certain, doubtful, foreign = _result(), _result(unsure_below=0.5), _result(unfamiliar=True)
    assert [result.sure for result in (certain, doubtful, foreign)] == [True, False, False]
    assert "unsure, perhaps rock" in repr(doubtful)
    assert "unsure: below 50%" in doubtful.remarks
    assert "unlike the training data" in foreign.remarks
    assert song_table([doubtful, certain])["answer"].tolist() == ["unsure (rock)", "rock"]


def test_songs_of_the_training_set_are_shown_and_not_scored():
    match = Match("rock00000.png", "Band", "Title", 12.3, 0.9)
    results = [_result("rock"), _result("pop", unsure_below=0.5), _result("rock", match=match), _result()]
    score = score_songs(results)
    assert score["total"] == 2
    assert (score["correct"], score["answered"], score["answered_correct"], score["in_training"]) == (1, 1, 1, 1)
    assert "1 of 2 songs right, 50%" in score_sentence(score)
    assert "1 more are in the training set" in score_sentence(score)
    table = song_table(results)
    assert table["right"].tolist() == ["✓", "✗", "", ""]
    assert "in the training set: Band, Title, from 12 s" in table["note"][2]


def test_a_song_that_cannot_be_used_gets_a_sentence_and_the_others_an_answer(small_set, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n")
    songs = [
        Song(tmp_path / "broken.png", "broken"),
        Song(tmp_path / "gone.mp3", "gone"),
        Song(SAMPLE, "sample", "metal"),
    ]
    broken, gone, sample = classify_songs(songs, Constant(), squeeze=True)
    for result, name in ((broken, "broken.png"), (gone, "gone.mp3")):
        assert result.genre is None
        assert result.right is None
        assert name in result.song.note
        assert "\n" not in result.song.note
    assert (sample.genre, sample.kind, sample.right) == ("rock", "kaggle", False)
    assert sample.squeezed.shape == (10,)
    assert score_songs([broken, gone, sample])["total"] == 1


def test_the_plain_call_needs_nothing_but_the_shipped_files(small_set):
    song = sorted((small_set / "songs").glob("*.[!c]*"))[0]
    result = utils.classify_song(song)
    assert result.genre in GENRES
    assert result.genre in repr(result)
    assert result.probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert len(result.windows) == len(result.starts) == len(result.matrices)
    assert result.match is None
    with pytest.raises(InputError, match=r"gone\.mp3"):
        utils.classify_song(small_set / "gone.mp3")


@pytest.mark.parametrize("sound", ["white noise", "a tone", "clicks"])
def test_what_is_no_music_is_out_of_distribution(sound):
    time = np.arange(30 * 22_050) / 22_050
    samples = {
        "white noise": np.random.default_rng(0).normal(0, 0.1, len(time)),
        "a tone": 0.3 * np.sin(2 * np.pi * 440 * time),
        "clicks": (np.arange(len(time)) % 11_025 == 0) * 0.9,
    }[sound]
    model = utils.shipped_model()
    assert model.is_unfamiliar(audio_to_matrix(samples.astype(np.float32))[None])
    music = [picture_to_matrix(path) for path in sorted((ROOT / "data_samples").glob("*.png"))]
    assert not any(model.is_unfamiliar(matrix[None]) for matrix in music)


def test_where_the_network_looks_is_what_its_answer_hangs_on():
    matrix, network = picture_to_matrix(SAMPLE), utils.shipped_model().network
    heat = utils.grad_cam(network, matrix[None], "metal")[0]
    assert heat.shape == matrix.shape
    assert heat.min() >= 0
    assert heat.max() == pytest.approx(1)
    order, left = np.argsort(heat, axis=None), []
    for cells in (order[: len(order) // 4], order[-len(order) // 4 :]):
        blanked = matrix.copy()
        blanked.flat[cells] = int(matrix.mean())
        left.append(utils.predict(network, blanked[None])[0, GENRES.index("metal")])
    assert left[1] < left[0], "blanking what is hot must cost metal more than blanking what is cold"
