"""What the model says of songs, and how notebook 04 shows it: answers, doubt, matches, scores and tables."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import refused
from test_library import Constant

import utils
from genres import plots, songs, texture
from genres.common import GENRES, ROOT
from genres.fingerprints import Fingerprints, Match
from genres.song_files import Song
from genres.songs import SongResult, score_sentence, score_songs, song_table
from genres.spectrogram import COLUMNS, MEL_BINS, audio_to_matrix, picture_to_matrix

SAMPLE = ROOT / "data_samples" / "metal00002.png"
MATRICES = np.random.default_rng(0).integers(0, 256, (40, MEL_BINS, COLUMNS), np.uint8)
IMAGES = np.array([f"{GENRES[k % 10]}{k:05d}.png" for k in range(40)])
PRINTS = Fingerprints(IMAGES, np.zeros((40, 32, COLUMNS), np.int8), np.full(40, 1292))
MATCH = Match("rock00000.png", "Band", "Title", 12.3, 0.9)


def answered(title: str = "a", answer: str = "rock", confidence: float = 0.5, label: str | None = None, **more):
    """A song with an answer of so much confidence in both of its windows; `more` are other fields of its result."""
    windows = np.full((2, 10), (1 - confidence) / 9)
    windows[:, GENRES.index(answer)] = confidence
    views = {"cnn": np.log(windows), "texture": np.log(windows), "ear": np.log(windows[:1])}
    given = {"starts": np.array([0.0, 15.0]), "views": views, "unsure_below": 0.4, "seconds": 45.0}
    given |= {"matrices": MATRICES[:2], "overview": MATRICES[0]}
    return SongResult(Song(Path(f"{title}.mp3"), title, label), windows=windows, **given | more)


WEB = {"kind": "web", "matrices": None, "views": {}}


def test_a_doubtful_answer_is_called_unsure_with_its_reason():
    certain, doubtful, foreign = answered(), answered(confidence=0.3), answered(unfamiliar=True)
    web = answered(confidence=0.99, **WEB)
    assert [result.sure for result in (certain, doubtful, foreign, web)] == [True, False, False, False]
    assert "unsure, perhaps rock" in repr(doubtful)
    assert "unsure: below 40%" in doubtful.remarks
    assert "unlike the training data" in foreign.remarks
    assert "give the sound" in web.remarks
    assert song_table([doubtful, certain])["answer"].tolist() == ["unsure (rock)", "rock"]


def test_songs_of_the_training_set_are_shown_and_not_scored():
    in_training = answered(label="rock", match=MATCH)
    results = [answered(label="rock"), answered(label="pop", confidence=0.3), in_training, answered()]
    score = score_songs(results)
    assert score["total"] == 2
    assert (score["correct"], score["answered"], score["answered_correct"], score["in_training"]) == (1, 1, 1, 1)
    assert "1 of 2 songs right, 50%" in score_sentence(score)
    assert "1 more are in the training set" in score_sentence(score)
    table = song_table(results)
    assert table["right"].tolist() == ["✓", "✗", "", ""]
    assert "in the training set: Band, Title, from 12 s" in table["note"][2]


def test_a_song_that_cannot_be_used_gets_a_sentence_and_the_others_an_answer(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n")
    given = [Song(tmp_path / "broken.png", "broken"), Song(tmp_path / "gone.mp3", "gone")]
    *bad, sample = songs.classify_songs([*given, Song(SAMPLE, "sample", "metal")], Constant(), squeeze=True)
    for result in bad:
        assert result.genre is None
        assert result.right is None
        assert result.song.path.name in result.song.note
        assert "\n" not in result.song.note
    assert (sample.genre, sample.kind, sample.right) == ("rock", "kaggle", False)
    assert sample.squeezed.shape == (10,)
    assert score_songs([*bad, sample])["total"] == 1


def test_the_plain_call_needs_nothing_but_the_shipped_files(small_set):
    result = utils.classify_song(sorted((small_set / "songs").glob("*.[!c]*"))[0])
    assert result.genre in repr(result)
    assert result.probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert len(result.windows) == len(result.starts) == len(result.matrices)
    assert result.match is None
    with refused(r"gone\.mp3"):
        utils.classify_song(small_set / "gone.mp3")


def test_what_is_no_music_is_out_of_distribution_and_music_is_not():
    time = np.arange(30 * 22_050) / 22_050
    noise = np.random.default_rng(0).normal(0, 0.1, len(time))
    foreign = [noise, 0.3 * np.sin(2 * np.pi * 440 * time), (np.arange(len(time)) % 11_025 == 0) * 0.9]
    music = [picture_to_matrix(path) for path in sorted((ROOT / "data_samples").glob("*.png"))]
    matrices = [*(audio_to_matrix(samples.astype(np.float32)) for samples in foreign), *music]
    unfamiliar = [utils.shipped_model().is_unfamiliar(matrix[None]) for matrix in matrices]
    assert unfamiliar == [True] * 3 + [False] * len(music)


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


def test_the_table_marks_right_and_wrong_and_shows_a_title_never_as_code_or_a_formula():
    bad = SongResult(Song(Path("bad.mp3"), "bad", "jazz", "'bad.mp3' cannot be read"))
    right, wrong = answered("<i>Ba$$in</i>", label="rock"), answered(answer="pop", confidence=0.3, label="rock")
    table = plots.answer_table([right, wrong, bad, answered(label="rock", match=MATCH)])
    html = plots.page("<b>$a$</b>", table).data
    assert html.count("✓") == html.count("✗") == 1
    for words in ("unsure (pop)", "below 40%", "no answer", "cannot be read", "in the training set: Band, Title"):
        assert words in html
    assert "<i>Ba" not in html
    assert "&lt;b&gt;" in html
    assert html.count("mathjax_ignore") == 2


def test_the_nearest_training_clip_of_a_training_clip_is_itself():
    model = SimpleNamespace(familiarity=texture.fit_familiarity(MATRICES, IMAGES))
    near = songs.nearest_clips(answered(matrices=MATRICES[7:8]), model, PRINTS)
    assert len(near) == 3
    assert (near["image"][0], near["genre"][0]) == (IMAGES[7], GENRES[7])
    assert near["distance"].is_monotonic_increasing
    other_set = replace(PRINTS, images=IMAGES[:5])
    assert songs.nearest_clips(answered(), model, other_set).empty
    assert songs.nearest_clips(answered(**WEB), model, PRINTS).empty


def test_the_search_says_what_was_looked_for():
    web = answered(match=Match("pop00001.png", "Blondie", "B"), **WEB)
    table = songs.match_table([answered(), web], replace(PRINTS, tracks=songs.pd.DataFrame()))
    assert table["looked for by"].tolist() == ["sound and title", "title"]
    assert table["in the training set"].tolist() == ["not found", "yes: Blondie, B, by its title"]
    assert songs.match_table([web], PRINTS)["looked for by"].tolist() == ["nothing"]


def test_songs_alone_make_no_demo_songs(monkeypatch, tmp_path):
    monkeypatch.setattr(songs, "ROOT", tmp_path)
    with refused("No songs were named"):
        songs.choose_songs("", make=False)
