"""Figures: each one says what it shows, on its title and its axes."""

import inspect

import numpy as np
import pandas as pd
import pytest

import demo_songs
import features
import utils

TITLE = "GTZAN: what is seen"
SCORES, LABELS = np.random.default_rng(0).dirichlet(np.ones(10), 40), np.arange(40) % 10
MATRICES = np.random.default_rng(0).integers(0, 256, (40, utils.MEL_BINS, utils.COLUMNS), np.uint8)
TABLE = pd.DataFrame({"image": [f"{row}.png" for row in range(40)], "genre": np.take(utils.GENRES, LABELS)})
CURVE = pd.DataFrame({"epoch": [1, 2], "train_plain": [0.2, 0.3], "validation": [0.2, np.nan]})
SAMPLES = np.random.default_rng(0).normal(0, 0.1, 70_000).astype(np.float32)
NETWORK = utils.GenreNetwork()
HEARD = utils.SongResult(
    utils.Song(utils.Path("a.mp3"), "a"), np.arange(3) * 15.0, SCORES[:3], None, MATRICES[:3], MATRICES[0], 60.0
)
FRAMES = features.frames_of_sound(SAMPLES, utils.SAMPLE_RATE)
GTZAN = utils.DataSet("gtzan", "GTZAN", utils.ROOT, None)
FIGURES = {
    "plot_genre_counts": lambda: utils.plot_genre_counts({"all": TABLE["genre"]}, TITLE),
    "plot_floor_share": lambda: utils.plot_floor_share(utils.Pictures(TABLE, MATRICES), TITLE),
    "plot_clip": lambda: utils.plot_clip(SAMPLES, MATRICES[0], TITLE),
    "plot_learning_curves": lambda: utils.plot_learning_curves({"ours": CURVE}, TITLE),
    "plot_confusion": lambda: utils.plot_confusion(SCORES, LABELS, TITLE),
    "plot_genre_report": lambda: utils.plot_genre_report({"ours": utils.genre_report(SCORES, LABELS)}, TITLE),
    "plot_reliability": lambda: utils.plot_reliability(SCORES, LABELS, TITLE),
    "spectrogram_grid": lambda: utils.spectrogram_grid(MATRICES[:3], list("abc"), TITLE),
    "plot_feature_frames": lambda: utils.plot_feature_frames({"a": FRAMES}, ["mfcc", "rms"], TITLE),
    "plot_routes": lambda: utils.plot_routes({"CNN": {"random_split": {"mean": 0.7, "interval95": [0.6, 0.8]}}}, TITLE),
    "plot_importance": lambda: utils.plot_importance({"MLP": pd.DataFrame({"mfcc": [0.1, 0.2]})}, TITLE),
    "plot_song_course": lambda: utils.plot_song_course(HEARD, NETWORK, TITLE),
    "plot_genre_page": lambda: utils.plot_genre_page("rock", MATRICES[:2], NETWORK, GTZAN),
    "plot_song": lambda: demo_songs.plot_song(SAMPLES, TITLE),
    "plot_grooves": lambda: demo_songs.plot_grooves(["rock", "disco"], TITLE),
    "plot_notes": lambda: demo_songs.plot_notes(demo_songs.compose("rock", 1, 5), TITLE),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_has_its_title_and_named_axes(name):
    figure = FIGURES[name]()
    titles = [figure.get_suptitle(), *(axes.get_title() for axes in figure.axes)]
    assert TITLE in titles or "GTZAN: rock" in titles
    for side in ("xlabel", "ylabel"):
        assert any(getattr(axes, f"get_{side}")() for axes in figure.axes) or name == "plot_grooves"
    utils.plt.close(figure)


def test_no_figure_of_the_project_is_forgotten_here():
    functions = {
        name
        for module in (utils, demo_songs)
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and inspect.signature(function).return_annotation == "Figure"
    }
    assert functions == set(FIGURES)
