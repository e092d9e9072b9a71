"""What notebook 04 shows of songs: tables, views, neighbours, and one page that a later one replaces."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from genres import plots, songs, texture
from genres.common import GENRES, InputError
from genres.fingerprints import Fingerprints, Match
from genres.song_files import Song, file_names

RNG = np.random.default_rng(0)
MATRICES = RNG.integers(0, 256, (40, 128, 334), np.uint8)
IMAGES = np.array([f"{GENRES[k % 10]}{k:05d}.png" for k in range(40)])
PRINTS = Fingerprints(IMAGES, np.zeros((40, 32, 334), np.int8), np.full(40, 1292))
MODEL = SimpleNamespace(familiarity=texture.fit_familiarity(MATRICES, IMAGES))


def _result(title: str, answer: str, confidence: float, label: str | None = "rock", **more) -> songs.SongResult:
    windows = np.full((2, 10), (1 - confidence) / 9)
    windows[:, GENRES.index(answer)] = confidence
    views = {"cnn": np.log(windows), "texture": np.log(windows), "ear": np.log(windows[:1])}
    given = {"unsure_below": 0.4, "starts": np.array([0.0, 15.0]), "matrices": MATRICES[:2], "views": views}
    return songs.SongResult(Song(songs.Path(f"{title}.mp3"), title, label), windows=windows, **given | more)


def test_the_table_marks_right_and_wrong_and_gives_the_reason_for_unsure():
    bad = songs.SongResult(Song(songs.Path("bad.mp3"), "bad", "jazz", "'bad.mp3' cannot be read"))
    known = _result("known", "rock", 0.9, match=Match("rock00001.png", "Blondie", "Known"))
    html = plots.answer_table([_result("right", "rock", 0.9), _result("wrong", "pop", 0.3), bad, known])._repr_html_()
    assert html.count("✓") == 1 and html.count("✗") == 1
    assert "unsure (pop)" in html and "below 40%" in html
    assert "no answer" in html and "cannot be read" in html
    assert "in the training set: Blondie, Known" in html


def test_titles_are_shown_as_they_are_and_never_as_code_or_formulas():
    html = plots.page("<b>$a$</b>", plots.answer_table([_result("<i>Ba$$in</i>", "pop", 0.5)])).data
    assert "<i>Ba" not in html and "&lt;b&gt;" in html
    assert html.count("mathjax_ignore") == 2


@pytest.mark.parametrize("label", ["rock", None])
def test_views_of_any_number_stand_beside_each_other_with_all_together_last(label):
    figure = plots.plot_views([_result("a $ b $", "pop", 0.5, label), _result("夜に", "rock", 0.8, label)], "views")
    figure.canvas.draw()
    assert [axes.get_title() for axes in figure.axes[:4]] == ["CNN", "texture classifier", "ear", "all together"]
    plots.plt.close(figure)


def test_an_answer_to_a_web_picture_is_never_sure_and_says_to_give_the_sound():
    web = _result("a", "rock", 0.99, kind="web", matrices=None, views={})
    assert not web.sure
    assert "give the sound" in web.remarks


def test_the_nearest_training_clip_of_a_training_clip_is_itself():
    near = songs.nearest_clips(_result("a", "pop", 0.5, matrices=MATRICES[7:8]), MODEL, PRINTS)
    assert len(near) == 3
    assert near["image"][0] == IMAGES[7] and near["genre"][0] == GENRES[7]
    assert near["distance"].is_monotonic_increasing


def test_clips_of_another_set_than_the_models_are_not_called_near():
    other = replace(PRINTS, images=IMAGES[:5])
    assert songs.nearest_clips(_result("a", "pop", 0.5), MODEL, other).empty
    assert songs.nearest_clips(_result("a", "pop", 0.5, kind="web", matrices=None), MODEL, PRINTS).empty


def test_the_search_says_what_was_looked_for():
    web = _result("b", "pop", 0.5, kind="web", match=Match("pop00001.png", "Blondie", "B"))
    table = songs.match_table([_result("a", "pop", 0.5), web], replace(PRINTS, tracks=songs.pd.DataFrame()))
    assert table["looked for by"].tolist() == ["sound and title", "title"]
    assert table["in the training set"].tolist() == ["not found", "yes: Blondie, B, by its title"]
    assert songs.match_table([web], PRINTS)["looked for by"].tolist() == ["nothing"]


def test_songs_alone_make_no_demo_songs(monkeypatch, tmp_path):
    monkeypatch.setattr(songs, "ROOT", tmp_path)
    monkeypatch.delenv("SONGS", raising=False)
    with pytest.raises(InputError, match="No songs were named"):
        songs.choose_songs("", make=False)


def test_no_two_songs_share_a_figure():
    names = file_names(["Intro", "intro", "夜に", "Привет", "Intro"])
    assert len(set(names)) == 5
