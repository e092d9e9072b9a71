"""Figures: each one says what it shows, on its title and its axes, in any script and without a warning."""

import inspect
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from genres import metrics, named_features, plots, runs
from genres.common import GENRES
from genres.song_files import Song
from genres.songs import SongResult
from genres.spectrogram import COLUMNS, MEL_BINS

TITLE = "GTZAN: what is seen"
TITLES = ["Ba$$in", "A$AP & Ty Dolla $ign - 100%", "祭りの夜", "Ёлка", "まつり", "a_b^c \\frac", "Ütf 🎵", "שלום"]
NEEDED = pd.DataFrame({"view": ["ear", "ear", "cnn"], "tracks": [1, 5, 5], "accuracy": [0.3, 0.6, 0.5]})
SCORES, LABELS = np.random.default_rng(0).dirichlet(np.ones(10), 40), np.arange(40) % 10
MATRICES = np.random.default_rng(0).integers(0, 256, (40, MEL_BINS, COLUMNS), np.uint8)
HEATS = np.random.default_rng(0).random((2, MEL_BINS, COLUMNS)).astype(np.float32)
CURVE = pd.DataFrame({"epoch": [1, 2], "loss": [2.0, 1.9], "train_plain": [0.2, 0.3], "validation": [0.2, np.nan]})
SAMPLES = np.random.default_rng(0).normal(0, 0.1, 70_000).astype(np.float32)
LAYERS = pd.DataFrame(
    [("convolution", 24, 64, 64, 1200), ("dense", 10, 1, 1, 240)],
    columns=["layer", "channels", "rows", "columns", "weights"],
)
ABLATION = pd.DataFrame({"variant": ["all", "all", "no mixup"], "validation": [0.6, 0.7, 0.5]})
ROWS = [runs.answer_row("cnn", "random", 0.7, 0.6, 0.8, 300), runs.answer_row("ear", "folds", 0.8, 0.7, 0.9, 300)]
ROWS += [runs.answer_row("cnn", "folds", 0.6, 0.5, 0.7, 300)]


def _heard(title: str = "a", genre: str | None = "rock", kind: str = "sound") -> SongResult:
    starts = np.arange(3) * 15.0
    return SongResult(
        Song(Path("a.mp3"), title, genre),
        kind,
        starts,
        SCORES[:3],
        {"cnn": np.log(SCORES[:3])},
        None,
        MATRICES[:3],
        MATRICES[0],
        60.0,
    )


ANSWERS = [
    _heard(title, genre, kind)
    for title, genre, kind in zip(TITLES, [*GENRES[:7], None], ["sound", "web"] * 4, strict=True)
]
FIGURES = {
    "plot_genre_counts": lambda title: plots.plot_genre_counts({"all": np.take(GENRES, LABELS)}, title),
    "plot_floor_share": lambda title: plots.plot_floor_share(MATRICES, np.take(GENRES, LABELS), title),
    "plot_clip": lambda title: plots.plot_clip(SAMPLES, MATRICES[0], title),
    "plot_learning_curves": lambda title: plots.plot_learning_curves({"ours": CURVE}, title),
    "plot_architecture": lambda title: plots.plot_architecture(LAYERS, title),
    "plot_confusion": lambda title: plots.plot_confusion(SCORES, LABELS, title),
    "plot_genre_report": lambda title: plots.plot_genre_report({"a": metrics.genre_report(SCORES, LABELS)}, title),
    "plot_reliability": lambda title: plots.plot_reliability(SCORES, LABELS, title),
    "plot_results": lambda title: plots.plot_results(ROWS, ["folds", "random"], title),
    "spectrogram_grid": lambda title: plots.spectrogram_grid(MATRICES[:3], list("abc"), title),
    "plot_song": lambda title: plots.plot_song(_heard(), HEATS[0], title),
    "plot_views": lambda title: plots.plot_views([_heard(), _heard("Ёлка", None)], title),
    "plot_ablation": lambda title: plots.plot_ablation(ABLATION, title),
    "plot_grad_cam": lambda title: plots.plot_grad_cam(MATRICES[0], {"rock": HEATS[0], "pop": HEATS[1]}, title),
    "plot_feature_maps": lambda title: plots.plot_feature_maps({"first": HEATS}, title),
    "plot_answers": lambda title: plots.plot_answers(ANSWERS, title),
    "plot_genre_page": lambda title: plots.plot_genre_page("rock", MATRICES[:2], HEATS, title),
    "plot_feature_frames": lambda title: plots.plot_feature_frames(
        {"a": named_features.frames_of_sound(SAMPLES)}, ["mfcc", "rms"], title
    ),
    "plot_tags": lambda title: plots.plot_tags({"a": SCORES[0], "b": SCORES[1]}, GENRES, title),
    "plot_map": lambda title: plots.plot_map(SCORES[:, :2], LABELS, title),
    "plot_tracks_needed": lambda title: plots.plot_tracks_needed(NEEDED, title),
    "plot_tag_weights": lambda title: plots.plot_tag_weights(SCORES[:10], GENRES, title),
    "plot_importance": lambda title: plots.plot_importance({"MLP": pd.DataFrame({"mfcc": [0.1, 0.2]})}, title),
}
WORDS = ("architecture", "results", "views", "ablation", "feature_maps", "answers", "tags")  # their ticks are words


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)  # what seaborn asks of matplotlib is not ours
        yield
    plt.close("all")


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_has_its_title_and_named_axes(name):
    figure = FIGURES[name](TITLE)
    figure.canvas.draw()
    assert TITLE in [figure.get_suptitle(), *(axes.get_title() for axes in figure.axes)]
    for side in ("xlabel", "ylabel"):
        assert any(getattr(axes, f"get_{side}")() for axes in figure.axes) or name.removeprefix("plot_") in WORDS


def test_no_figure_of_the_project_is_forgotten_here():
    functions = {
        name
        for name, function in inspect.getmembers(plots, inspect.isfunction)
        if function.__module__ == plots.__name__ and inspect.signature(function).return_annotation == "Figure"
    }
    assert functions == set(FIGURES)


@pytest.mark.parametrize("title", TITLES)
def test_a_title_is_drawn_as_it_is_or_in_latin_letters(title):
    figure = FIGURES["plot_song"](title)
    figure.canvas.draw()
    drawn = figure.get_suptitle()
    assert drawn == title if title.isascii() or title == "Ёлка" else drawn.strip()
    (text,) = [text for text in figure.texts if text.get_text() == drawn]
    assert not text.get_parse_math()


def test_a_figure_is_saved_small_and_shown(tmp_path):
    shown = plots.save_figure(FIGURES["plot_confusion"](TITLE), tmp_path, "confusion")
    with Image.open(tmp_path / "confusion.png") as picture:
        assert picture.width > 300
    assert shown.data == (tmp_path / "confusion.png").read_bytes()
    assert not plt.get_fignums()
