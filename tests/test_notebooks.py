"""The notebooks run headless, the committed ones are clean and short, and all figures say what they show."""

import inspect
import json
import re
import shutil
import statistics
from itertools import pairwise

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, git_status
from test_songs import MATRICES, answered

import run
from genres import demo_songs, metrics, named_features, notebooks, plots, runs
from genres.audio import load_audio
from genres.common import GENRES, SAMPLE_RATE
from genres.runs import VIEWS
from genres.spectrogram import COLUMNS, MEL_BINS

NOTEBOOKS = list(run.NOTEBOOKS.values())
ONLY_ON_GTZAN = {"ablation", "twins", "artist_leakage", "artist_split", "confusion_artists"}
# What a text may say with a decimal point or per cent: constants of the recipe, not results.
RECIPE = {"95 %", "95%", "0.3", "0.5", "0.7", "11.5", "0.05", "22.05", "30.01", "23.2", "92.9", "89.7"}
FIGURE = re.compile(r"""save_figure\(.*?,\s*[\w.]*figures,\s*["'](\w+)["']\)""", re.DOTALL)


def _figures(notebook) -> set[str]:
    """Names of the figures that a notebook's code saves, as far as they stand there in full."""
    return {name for cell in notebook.cells if cell.cell_type == "code" for name in FIGURE.findall(cell.source)}


def _hidden(cell) -> bool:
    """Whether a reader sees only what a cell says: such cells assemble sentences."""
    return cell.metadata.get("jupyter", {}).get("source_hidden", False)


@pytest.fixture(scope="module")
def pipeline(small_set, tmp_path_factory):
    """A folder in which all notebooks ran on the small demo set."""
    folder, before = tmp_path_factory.mktemp("pipeline"), git_status(ROOT)
    run.pipeline(str(small_set), [], "test", str(folder))
    assert git_status(ROOT) == before, "a run must not change a tracked file"
    return folder


def test_the_whole_story_runs_and_leaves_its_results(pipeline):
    for name in ("names.csv", "train_data.csv", "validate_data.csv", "model.pt", "metrics.json", "experiments.csv"):
        assert (pipeline / name).stat().st_size, name
    assert not list(pipeline.rglob(".*.p*")), "half-written files are left"
    results = json.loads((pipeline / "metrics.json").read_text())["results"]
    views = {"cnn", "texture", "picture", "mlp", "reference_first", "reference_final"}
    assert views <= {row["view"] for row in results} <= set(VIEWS)
    assert all(row["low"] <= row["accuracy"] <= row["high"] for row in results)
    trained = pd.read_csv(pipeline / "experiments.csv")
    assert not trained.duplicated(["what", "split", "seed", "settings"]).any(), "a notebook trained what another had"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_figure_that_a_notebook_names_is_saved_and_none_is_called_gtzan(path, pipeline):
    notebook = nbformat.read(pipeline / "executed" / path.name, 4)
    saved = {figure.stem for figure in (pipeline / "figures").glob("*.png")}
    assert _figures(notebook) - ONLY_ON_GTZAN <= saved
    printed = [str(output) for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not any("GTZAN:" in text or "On GTZAN" in text for text in printed)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_committed_notebook_is_clean_and_its_figures_lie_beside_it(path):
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert notebook.cells[0].source.startswith("# ")
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in code) == 1
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert path.stat().st_size < 2e6
    assert not re.search(r"/(root|home|tmp|work|Users)/\w|[A-Z]:\\\\", path.read_text(encoding="utf-8"))
    missing = _figures(notebook) - {figure.stem for figure in (ROOT / "figures" / "gtzan").glob("*.png")}
    assert path.name.startswith("00") or not missing, "run make report (figures of the demo band are not committed)"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_committed_notebook_can_be_read_by_a_student(path):
    notebook = nbformat.read(path, 4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    lines = [len(cell.source.splitlines()) for cell in code]
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    assert max(lines) <= 35
    assert statistics.median(len(cell.source.splitlines()) for cell in code if not _hidden(cell)) <= 8
    assert len(text.split()) >= 900
    for cell in notebook.cells:
        between = re.sub(r"```.*?```", "", cell.source, flags=re.DOTALL) if cell.cell_type == "markdown" else ""
        assert len(between.split()) <= 250 or between.startswith("## Exercises"), between
    for before, cell in pairwise(notebook.cells):
        settings = "parameters" in before.metadata.get("tags", [])
        settings = settings or _hidden(cell)
        assert cell.cell_type != "code" or before.cell_type == "markdown" or settings, f"no text before {cell.source}"
    plain = re.sub(r"\S*\b10\.\d{4}/\S+|\b\d{4}\.\d{4,5}\b", "", text)  # without DOIs and arXiv's numbers
    numbers = set(re.findall(r"\d+(?:\.\d+)?\s?%|(?<![\w.])\d*\.\d+\b", plain))
    assert numbers <= RECIPE, "a text must not say a number that a new run could change"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_opened_alone_says_where_it_belongs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "utils.py").write_text("")  # another project's
    source = next(cell.source for cell in nbformat.read(path, 4).cells if "sys.path.insert" in cell.source)
    with pytest.raises(AssertionError, match="Open this notebook inside the project's folder"):
        exec(source, {})


def test_notebook_01_needs_no_sound_and_calls_a_set_by_its_own_name(small_set, tmp_path):
    shutil.copytree(small_set / "Data" / "images_original", tmp_path / "mine")
    given = {"data_folder": str(tmp_path / "mine"), "output_folder": str(tmp_path / "results")}
    notebooks.execute("01", tmp_path / "01.ipynb", given)
    said = json.dumps([cell.get("outputs", []) for cell in nbformat.read(tmp_path / "01.ipynb", 4).cells])
    assert "0 sound files are at hand" in said
    assert "own set 'mine'" in said and "GTZAN" not in said


def test_the_band_to_hear_plays_what_notebook_00_plays():
    heard = load_audio(ROOT / "data_samples" / "demo_band.mp3")
    blues = demo_songs.song("blues", seed=2009, seconds=12)[: 3 * SAMPLE_RATE]
    assert np.corrcoef(heard[: len(blues)], blues)[0, 1] > 0.9


TITLE = "GTZAN: what is seen"
TITLES = ["Ba$$in", "A$AP & Ty Dolla $ign - 100%", "祭りの夜", "Ёлка", "まつり", "a_b^c \\frac", "Ütf 🎵", "שלום"]
NEEDED = pd.DataFrame({"view": ["ear", "ear", "cnn"], "tracks": [1, 5, 5], "accuracy": [0.3, 0.6, 0.5]})
SCORES, LABELS = np.random.default_rng(0).dirichlet(np.ones(10), 40), np.arange(40) % 10
HEATS = np.random.default_rng(0).random((2, MEL_BINS, COLUMNS)).astype(np.float32)
CURVE = pd.DataFrame({"epoch": [1, 2], "loss": [2.0, 1.9], "train_plain": [0.2, 0.3], "validation": [0.2, np.nan]})
SAMPLES = np.random.default_rng(0).normal(0, 0.1, 70_000).astype(np.float32)
LAYERS = pd.DataFrame([(24, 64, 64, 1200), (10, 1, 1, 240)], columns=["channels", "rows", "columns", "weights"])
ABLATION = pd.DataFrame({"variant": ["no mixup", "all", "all"], "validation": [0.5, 0.6, 0.7]})
ROWS = [runs.answer_row("cnn", "random", 0.7, 0.6, 0.8, 300), runs.answer_row("ear", "folds", 0.8, 0.7, 0.9, 300)]
ROWS += [runs.answer_row("cnn", "folds", 0.6, 0.5, 0.7, 300)]
ANSWERS = [
    answered(title, genre, label=genre, kind=kind)
    for title, genre, kind in zip(TITLES, GENRES, ["sound", "web"] * 4, strict=False)
]
MAPS = {"in": np.zeros((2, 8, 8)), "conv": np.random.default_rng(0).random((9, 4, 4))}
MAPS["conv"][7] *= 10
FIGURES = {
    "plot_genre_counts": lambda title: plots.plot_genre_counts({"all": np.take(GENRES, LABELS)}, title),
    "plot_floor_share": lambda title: plots.plot_floor_share(MATRICES, np.take(GENRES, LABELS), title),
    "plot_clip": lambda title: plots.plot_clip(SAMPLES, MATRICES[0], title),
    "plot_learning_curves": lambda title: plots.plot_learning_curves({"ours": CURVE}, title),
    "plot_architecture": lambda title: plots.plot_architecture(LAYERS.assign(layer="dense"), title),
    "plot_confusion": lambda title: plots.plot_confusion(SCORES, LABELS, title),
    "plot_genre_report": lambda title: plots.plot_genre_report({"a": metrics.genre_report(SCORES, LABELS)}, title),
    "plot_reliability": lambda title: plots.plot_reliability(SCORES, LABELS, title),
    "plot_results": lambda title: plots.plot_results(ROWS, ["folds", "random"], title),
    "spectrogram_grid": lambda title: plots.spectrogram_grid(MATRICES[:3], list("abc"), title),
    "plot_song": lambda title: plots.plot_song(answered(), HEATS[0], title),
    "plot_views": lambda title: plots.plot_views([answered(label="rock"), answered("Ёлка")], title),
    "plot_ablation": lambda title: plots.plot_ablation(ABLATION, title),
    "plot_grad_cam": lambda title: plots.plot_grad_cam(MATRICES[0], {"rock": HEATS[0], "pop": HEATS[1]}, title),
    "plot_feature_maps": lambda title: plots.plot_feature_maps(MAPS, title, channels=3),
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


# But for what seaborn asks of matplotlib, and the sockets of a kernel that ran before, which are not ours.
without_warnings = pytest.mark.filterwarnings("error", "ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


OF_THE_PROJECT = [
    name
    for name, function in inspect.getmembers(plots, inspect.isfunction)
    if function.__module__ == plots.__name__ and inspect.signature(function).return_annotation == "Figure"
]


@without_warnings
@pytest.mark.parametrize("name", OF_THE_PROJECT)
def test_a_figure_has_its_title_and_named_axes(name):
    figure = FIGURES[name](TITLE)
    figure.canvas.draw()
    assert TITLE in [figure.get_suptitle(), *(axes.get_title() for axes in figure.axes)]
    for side in ("xlabel", "ylabel"):
        assert any(getattr(axes, f"get_{side}")() for axes in figure.axes) or name.removeprefix("plot_") in WORDS


def test_what_counts_most_comes_first_and_no_panel_is_empty():
    axes = FIGURES["plot_ablation"](TITLE).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["all", "no mixup"]
    views = FIGURES["plot_views"](TITLE).axes
    assert [axes.get_title() for axes in views[:4]] == ["CNN", "texture classifier", "ear", "all together"]
    maps = [axes.get_title() for axes in FIGURES["plot_feature_maps"](TITLE).axes if axes.get_visible()]
    assert len(maps) == 5
    assert "channel 8 of 9" in maps


@without_warnings
@pytest.mark.parametrize("title", TITLES)
def test_a_title_is_drawn_as_it_is_or_in_latin_letters(title):
    figure = FIGURES["plot_song"](title)
    figure.canvas.draw()
    drawn = figure.get_suptitle()
    assert drawn == title if title.isascii() or title == "Ёлка" else drawn.strip()
    (text,) = [text for text in figure.texts if text.get_text() == drawn]
    assert not text.get_parse_math()
