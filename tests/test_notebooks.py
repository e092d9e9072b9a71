"""The notebooks: they run headless on a small set, and the committed ones are clean, short and say no number."""

import json
import re
import statistics
import subprocess
from itertools import pairwise

import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

import run
from genres import demo_songs
from genres.audio import SAMPLE_RATE, load_audio
from genres.runs import PROTOCOLS, VIEWS

NOTEBOOKS = list(run.NOTEBOOKS.values())
ONLY_ON_GTZAN = {"ablation", "twins", "artist_leakage", "artist_split", "confusion_artists"}
# What a text may say with a decimal point or per cent: constants of the recipe, not results.
RECIPE = {"95 %", "95%", "0.3", "0.5", "0.7", "11.5", "0.05", "22.05", "30.01", "23.2", "92.9", "89.7"}
FIGURE = re.compile(r"""save_figure\(.*?,\s*[\w.]*figures,\s*["'](\w+)["']\)""", re.DOTALL)


def _figures(notebook) -> set[str]:
    """Names of the figures that a notebook's code saves, as far as they stand there in full."""
    return {name for cell in notebook.cells if cell.cell_type == "code" for name in FIGURE.findall(cell.source)}


def _git_status() -> str:
    command = ["git", "status", "--porcelain"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout


@pytest.fixture(scope="module")
def pipeline(small_set, tmp_path_factory):
    """A folder in which all notebooks ran on the small demo set."""
    folder, before = tmp_path_factory.mktemp("pipeline"), _git_status()
    run.pipeline(str(small_set), [], "test", str(folder))
    assert _git_status() == before, "a run must not change a tracked file"
    return folder


def test_the_whole_story_runs_and_leaves_its_results(pipeline):
    for name in ("names.csv", "train_data.csv", "validate_data.csv", "model.pt", "metrics.json", "experiments.csv"):
        assert (pipeline / name).stat().st_size, name
    assert not list(pipeline.rglob(".*.p*")), "half-written files are left"
    results = json.loads((pipeline / "metrics.json").read_text())["results"]
    views = {"cnn", "texture", "picture", "mlp", "reference_first", "reference_final"}
    assert views <= {row["view"] for row in results}
    for row in results:
        assert row["view"] in VIEWS
        assert row["protocol"] in PROTOCOLS
        assert row["low"] <= row["accuracy"] <= row["high"]
    trained = pd.read_csv(pipeline / "experiments.csv")
    assert not trained.duplicated(["what", "split", "seed", "settings"]).any(), "a notebook trained what another had"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_figure_that_a_notebook_names_is_saved_and_none_is_called_gtzan(path, pipeline):
    notebook = nbformat.read(pipeline / "executed" / path.name, 4)
    saved = {figure.stem for figure in (pipeline / "figures").glob("*.png")}
    assert _figures(notebook) - ONLY_ON_GTZAN <= saved
    printed = [str(output) for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not any("GTZAN:" in text or "On GTZAN" in text for text in printed)


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def committed(request):
    """A committed notebook: its path, and what is in it."""
    return request.param, nbformat.read(request.param, 4)


def test_a_committed_notebook_is_clean(committed):
    path, notebook = committed
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert notebook.cells[0].source.startswith("# ")
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in code) == 1
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert path.stat().st_size < 2e6
    assert not re.search(r"/(root|home|tmp|work|Users)/\w|[A-Z]:\\\\", path.read_text(encoding="utf-8"))


def test_a_committed_notebook_can_be_read_by_a_student(committed):
    _, notebook = committed
    lines = [len(cell.source.splitlines()) for cell in notebook.cells if cell.cell_type == "code"]
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert max(lines) <= 35
    assert statistics.median(lines) <= 8
    assert 900 <= len(text.split()) <= 2500
    for before, cell in pairwise(notebook.cells):
        settings = "parameters" in before.metadata.get("tags", [])
        assert cell.cell_type != "code" or before.cell_type == "markdown" or settings, f"no text before {cell.source}"
    plain = re.sub(r"\S*\b10\.\d{4}/\S+|\b\d{4}\.\d{4,5}\b", "", text)  # without DOIs and arXiv's numbers
    numbers = set(re.findall(r"\d+(?:\.\d+)?\s?%|(?<![\w.])\d*\.\d+\b", plain))
    assert numbers <= RECIPE, "a text must not say a number that a new run could change"


def test_the_figures_of_a_committed_notebook_lie_beside_it(committed):
    path, notebook = committed
    if path.name.startswith("00"):
        pytest.skip("its figures are of the demo band, which is not committed")
    missing = [name for name in _figures(notebook) if not (ROOT / "figures" / "gtzan" / f"{name}.png").is_file()]
    assert not missing, "run make report"


def test_the_band_to_hear_plays_what_notebook_00_plays():
    heard = load_audio(ROOT / "data_samples" / "demo_band.mp3")
    blues = demo_songs.song("blues", seed=2009, seconds=12)[: 3 * SAMPLE_RATE]
    assert np.corrcoef(heard[: len(blues)], blues)[0, 1] > 0.9
