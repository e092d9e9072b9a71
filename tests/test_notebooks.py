"""The notebooks: they run headless on a small set, and the committed ones are clean."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import papermill
import pytest
from conftest import QUICK

import demo_songs
import utils

NOTEBOOKS = sorted((utils.ROOT / "notebooks").glob("0*.ipynb"))
STORY = [path for path in NOTEBOOKS if not path.name.startswith("00")]


@pytest.fixture(scope="module")
def pipeline(small_set, tmp_path_factory) -> Path:
    """A folder in which all notebooks ran one after the other on the small demo set."""
    folder = tmp_path_factory.mktemp("pipeline")
    for path in NOTEBOOKS:
        parameters = {"data_folder": str(small_set), "songs_folder": "", "output_folder": str(folder)}
        papermill.execute_notebook(
            path,
            folder / path.name,
            parameters | QUICK.get(path.name[:2], {}),
            cwd=path.parent,
            progress_bar=False,
        )
    return folder


def test_the_whole_story_runs_and_leaves_its_results(pipeline):
    results = pipeline / "data" / "demo"
    for name in ("names.csv", "train_data.csv", "validate_data.csv", "model.pt", "metrics.json", "experiments.csv"):
        assert (results / name).stat().st_size, name
    metrics = json.loads((results / "metrics.json").read_text())
    assert metrics["dataset"] == "demo"
    assert metrics["own_songs"]["total"] + metrics["own_songs"]["in_training"] == 10
    assert set(metrics["reference"]) == {"first", "final"}
    assert not list(pipeline.rglob(".*.p*")), "half-written files are left"


def test_every_figure_of_the_story_is_saved(pipeline):
    names = {path.stem for path in (pipeline / "figures" / "demo").glob("*.png")}
    assert names >= {
        "genre_counts",
        "examples",
        "random_split",
        "learning_curves",
        "confusion_random",
        "confusion_songs",
        "feature_mfcc",
        "feature_harmony",
        "feature_noise",
        "feature_brightness",
        "feature_contrast",
        "feature_routes",
        "feature_importance",
        "feature_f1",
    }


def test_the_feature_route_stands_beside_the_network_that_was_trained_before(pipeline):
    results = pipeline / "data" / "demo"
    metrics = json.loads((results / "metrics.json").read_text())
    assert set(metrics["features"]) >= {"CNN", "MLP, pictures", "SVM, pictures", "boosting, pictures", "MLP + CNN"}
    assert metrics["features"]["CNN + texture"]["random_split"]["mean"] == metrics["random_split"]["mean"]
    assert metrics["feature_songs"]["MLP"]["total"] == metrics["own_songs"]["total"]
    experiments = pd.read_csv(results / "experiments.csv")
    assert (experiments["what"] == "cnn").sum() == 1, "notebook 05 must read the network of 03, not train another"


def test_demo_results_are_never_called_gtzan(pipeline):
    for path in STORY:
        notebook = nbformat.read(pipeline / path.name, 4)
        printed = [str(output) for cell in notebook.cells for output in cell.get("outputs", [])]
        assert not any("GTZAN:" in text for text in printed), path.name


def test_no_notebook_of_the_story_was_forgotten():
    assert [path.name[:2] for path in STORY][:5] == ["01", "02", "03", "04", "05"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_committed_notebook_is_clean(path):
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    text = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    assert notebook.cells[0].source.startswith("# ")
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in code) == 1
    assert max(len(cell.source.splitlines()) for cell in code) <= 35
    assert len(code) <= 1.5 * len(text)
    assert not re.search(r"^\s*(def|class) ", "\n".join(cell.source for cell in code), re.MULTILINE)
    assert not any(output.output_type == "error" for cell in code for output in cell.outputs)
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert path.stat().st_size < 2e6
    assert not re.search(r"/(root|home|tmp|work|Users)/\w|[A-Z]:\\\\", path.read_text())


def test_readme_numbers_are_those_of_metrics_json():
    readme = (utils.ROOT / "README.md").read_text()
    metrics = json.loads((utils.ROOT / "data/gtzan/metrics.json").read_text())
    assert utils.report_table(metrics) in readme, "run make report, or put the table of metrics.json into README"


def test_the_samples_are_what_the_code_draws_from_sound(gtzan):
    dataset = utils.find_dataset(gtzan)
    for name in ("blues.00009", "hiphop.00003", "metal.00002"):
        clip = dataset.audio / name.split(".")[0] / f"{name}.wav" if dataset.audio else Path()
        if not clip.is_file():
            pytest.skip(f"no {name}.wav here")
        drawn = utils.audio_to_matrix(utils.load_audio(clip))
        sample = utils.ROOT / "data_samples" / f"{name.replace('.', '')}.png"
        assert (utils.picture_to_matrix(sample) == drawn).all()


@pytest.mark.skipif(os.name == "nt" or not shutil.which("make"), reason="no make here")
@pytest.mark.parametrize("failing", ["none", "01_data", "03_train", "04_test"])
def test_make_fails_where_a_notebook_fails_be_it_in_the_background(tmp_path, failing):
    interpreter = tmp_path / "python"
    interpreter.write_text(
        f'#!/bin/sh\ncase "$*" in *find_dataset*) echo gtzan;; *{failing}*) exit 3;; *) echo "ran $*";; esac\n'
    )
    interpreter.chmod(0o755)
    for name in ("requirements.txt", "ready"):  # nothing is to be installed
        (tmp_path / name).touch()
    made = subprocess.run(
        ["make", "-f", utils.ROOT / "Makefile", "pipeline", f"PY={interpreter}", "READY=ready"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    finished = {line.split("notebooks/")[1][:2] for line in made.stdout.splitlines() if line.startswith("ran")}
    if failing == "none":
        assert made.returncode == 0
        assert finished == {path.name[:2] for path in STORY}
    else:
        assert made.returncode != 0


def test_the_band_to_hear_plays_what_notebook_00_plays():
    heard = utils.load_audio(utils.ROOT / "data_samples" / "demo_band.mp3")
    blues = demo_songs.song("blues", seed=2009, seconds=12)[: 3 * utils.SAMPLE_RATE]
    assert np.corrcoef(heard[: len(blues)], blues)[0, 1] > 0.9


def test_nothing_large_or_foreign_is_in_data_samples():
    files = list((utils.ROOT / "data_samples").iterdir())
    assert sum(path.stat().st_size for path in files) < 1e6
