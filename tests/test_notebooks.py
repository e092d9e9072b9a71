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

EVERY_NOTEBOOK = pytest.mark.parametrize("path", run.NOTEBOOKS.values(), ids=lambda path: path.stem)
ONLY_ON_GTZAN = {"twins", "artist_leakage", "artist_split", "reliability"}  # or in a set with more tracks
# What a text may say with a decimal point or per cent: constants of the recipe, not results.
RECIPE = {"95 %", "95%", "0.3", "0.5", "0.7", "11.5", "0.05", "22.05", "30.01", "23.2", "92.9", "89.7"}
FIGURE = re.compile(r"""save_figure\(.*?,\s*[\w.]*figures,\s*["'](\w+)["']\)""", re.DOTALL)


def _code(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _figures(notebook) -> set[str]:
    """Names of the figures that a notebook's code saves, as far as they stand there in full."""
    return {name for cell in _code(notebook) for name in FIGURE.findall(cell.source)}


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


@EVERY_NOTEBOOK
def test_every_figure_that_a_notebook_names_is_saved_and_none_is_called_gtzan(path, pipeline):
    notebook = nbformat.read(pipeline / "executed" / path.name, 4)
    saved = {figure.stem for figure in (pipeline / "figures").glob("*.png")}
    assert _figures(notebook) - ONLY_ON_GTZAN <= saved
    printed = [str(output) for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not any("GTZAN:" in text or "On GTZAN" in text for text in printed)


@EVERY_NOTEBOOK
def test_a_committed_notebook_is_clean_and_its_figures_lie_beside_it(path):
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    assert notebook.cells[0].source.startswith("# ")
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in notebook.cells) == 1
    assert [cell.execution_count for cell in _code(notebook)] == list(range(1, len(_code(notebook)) + 1))
    assert path.stat().st_size < 2e6
    assert not re.search(r"/(root|home|tmp|work|Users)/\w|[A-Z]:\\\\", path.read_text(encoding="utf-8"))
    missing = _figures(notebook) - {figure.stem for figure in (ROOT / "figures" / "gtzan").glob("*.png")}
    assert path.name.startswith("00") or not missing, "run make report (figures of the demo band are not committed)"


@EVERY_NOTEBOOK
def test_a_committed_notebook_can_be_read_by_a_student(path):
    notebook = nbformat.read(path, 4)
    hidden = [cell for cell in _code(notebook) if cell.metadata.get("jupyter", {}).get("source_hidden")]  # sentences
    lines = {cell.id: len(cell.source.splitlines()) for cell in _code(notebook)}
    assert max(lines.values()) <= 35
    assert statistics.median(lines[cell.id] for cell in _code(notebook) if cell not in hidden) <= 8
    texts = [re.sub(r"```.*?```", "", c.source, flags=re.DOTALL) for c in notebook.cells if c.cell_type == "markdown"]
    assert len(" ".join(texts).split()) >= 900
    for text in texts:
        assert len(text.split()) <= 250 or text.startswith("## Exercises"), text
    for before, cell in pairwise(notebook.cells):
        settings = cell in hidden or "parameters" in before.metadata.get("tags", [])
        assert cell.cell_type != "code" or before.cell_type == "markdown" or settings, f"no text before {cell.source}"
    plain = re.sub(r"\S*\b10\.\d{4}/\S+|\b\d{4}\.\d{4,5}\b", "", "\n".join(texts))  # without DOIs and arXiv's numbers
    numbers = set(re.findall(r"\d+(?:\.\d+)?\s?%|(?<![\w.])\d*\.\d+\b", plain))
    assert numbers <= RECIPE, "a text must not say a number that a new run could change"


@EVERY_NOTEBOOK
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
NEAR = pd.DataFrame({"image": ["rock1.png"], "genre": "rock", "artist": "A$AP", "title": "Ba$$", "distance": 1.2})
CURVE = pd.DataFrame({"epoch": [1, 2], "loss": [2.0, 1.9], "train": [0.2, 0.3], "validation": [0.2, np.nan]})
SAMPLES = np.random.default_rng(0).normal(0, 0.1, 70_000).astype(np.float32)
LAYERS = pd.DataFrame([(24, 64, 64, 1200), (10, 1, 1, 240)], columns=["channels", "rows", "columns", "weights"])
CONTROLS = pd.DataFrame({"view": ["untrained", "CNN", "CNN"], "accuracy": [0.5, 0.6, 0.7]})
ROWS = [
    runs.answer_row(*names, 0.7, 0.6, 0.8, 300) for names in (("cnn", "random"), ("ear", "folds"), ("cnn", "folds"))
]
ANSWERS = [*(answered(title, label="rock") for title in TITLES), answered(kind="web")]
MAPS = {"clip": MATRICES[0], "kernel": np.eye(3) - 0.5, "answer": np.zeros((4, 4))}
STEPS = [("training", 0.99, 0.98, 1.0), ("new artists", 0.6, 0.5, 0.7)]
FIGURES = {  # what each function gets before the title
    "plot_genre_counts": ({"all": np.take(GENRES, LABELS)},),
    "plot_floor_share": (MATRICES, np.take(GENRES, LABELS)),
    "plot_clip": (SAMPLES, MATRICES[0]),
    "plot_learning_curves": ({"ours": CURVE},),
    "plot_architecture": (LAYERS.assign(layer="dense"),),
    "plot_confusion": (SCORES, LABELS),
    "plot_genre_report": ({"a": metrics.genre_report(SCORES, LABELS)},),
    "plot_reliability": (SCORES, LABELS),
    "plot_results": (ROWS, ["folds", "random"]),
    "spectrogram_grid": (MATRICES[:3], list("abc")),
    "plot_song": (answered(), NEAR),
    "plot_interval_width": (17, 30),
    "plot_controls": (CONTROLS,),
    "plot_staircase": (STEPS,),
    "plot_grad_cam": (MATRICES[0], {"rock": HEATS[0], "pop": HEATS[1]}),
    "plot_maps": (MAPS,),
    "plot_answers": (ANSWERS,),
    "plot_activation_courses": (dict.fromkeys(GENRES[:2], HEATS[:, :, 0]),),
    "plot_feature_frames": ({"a": named_features.frames_of_sound(SAMPLES)}, ["mfcc", "rms"]),
    "plot_tags": ({"a": SCORES[0], "b": SCORES[1]}, GENRES),
    "plot_map": (SCORES[:, :2], LABELS),
    "plot_tracks_needed": (NEEDED,),
    "plot_tag_weights": (SCORES[:10], GENRES),
    "plot_importance": ({"MLP": pd.DataFrame({"mfcc": [0.1, 0.2]})},),
}
OPTIONS = {"plot_maps": {"columns": 2, "signed": True}}
WORDS = ("architecture", "results", "controls", "maps", "answers", "tags")  # their ticks are words


# But for what seaborn asks of matplotlib, and the sockets of a kernel that ran before, which are not ours.
without_warnings = pytest.mark.filterwarnings("error", "ignore::DeprecationWarning", "ignore::ResourceWarning")


OF_THE_PROJECT = [
    name
    for name, function in inspect.getmembers(plots, inspect.isfunction)
    if function.__module__ == plots.__name__ and inspect.signature(function).return_annotation == "Figure"
]


def _draw(name: str, title: str = TITLE):
    plt.close("all")
    figure = getattr(plots, name)(*FIGURES[name], title, **OPTIONS.get(name, {}))
    figure.canvas.draw()
    return figure


@without_warnings
@pytest.mark.parametrize("name", OF_THE_PROJECT)
def test_a_figure_has_its_title_and_named_axes(name):
    figure = _draw(name)
    assert TITLE in [figure.get_suptitle(), *(axes.get_title() for axes in figure.axes)]
    for side in ("xlabel", "ylabel"):
        assert any(getattr(axes, f"get_{side}")() for axes in figure.axes) or name.removeprefix("plot_") in WORDS


def test_what_counts_most_comes_first_and_no_panel_is_empty():
    axes = _draw("plot_controls").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["CNN", "untrained"]
    maps = [axes.get_title() for axes in _draw("plot_maps").axes if axes.get_visible()]
    assert maps == ["clip", "kernel", "answer"]


@without_warnings
@pytest.mark.parametrize("title", TITLES)
def test_a_title_is_drawn_as_it_is_or_in_latin_letters(title):
    figure = _draw("plot_song", title)
    drawn = figure.get_suptitle()
    assert drawn == title if title.isascii() or title == "Ёлка" else drawn.strip()
    (text,) = [text for text in figure.texts if text.get_text() == drawn]
    assert not text.get_parse_math()
