"""Notebook 03: the lesson before the long training runs, and so do the solutions of its exercises."""

import re

import nbformat
import pytest
from conftest import ROOT

import utils
from genres.datasets import write_split

NOTEBOOK = nbformat.read(ROOT / "notebooks" / "03_train_cnn.ipynb", 4)
SOLUTION = re.compile(r"<summary>Solution.*?```python\n(.*?)```", re.DOTALL)
SOLUTIONS = [code for cell in NOTEBOOK.cells for code in SOLUTION.findall(cell.source)]


@pytest.fixture(scope="module")
def lesson(pictures) -> dict:
    """The names that sections 1 to 5 leave, run on the small demo set."""
    write_split(pictures.table, utils.random_split(pictures, 0), pictures.dataset.results)
    folder = pictures.dataset.images.parents[1]
    names = {"__name__": "__main__"}
    settings = {"data_folder": str(folder), "output_folder": str(pictures.dataset.results)}
    settings |= {"lesson_clips": 16, "lesson_epochs": 2, "reference_epochs": 1, "epochs": 2}
    for cell in NOTEBOOK.cells:
        if cell.source.startswith("## 6 "):
            return names
        if cell.cell_type == "code":
            exec(cell.source, names)
        if "parameters" in cell.metadata.get("tags", []):
            names |= settings
    raise AssertionError("section 6 is missing")


def test_the_lesson_computes_what_pytorch_does(lesson):
    assert 1.5 < float(lesson["by_hand"]) < 3.5, "a network without training guesses"
    assert len(lesson["trials"]) == 7
    assert lesson["plain"][["loss", "train", "validation"]].notna().all(axis=None)


@pytest.mark.parametrize("number", range(max(4, len(SOLUTIONS))))
def test_the_four_or_more_exercises_of_notebook_03_have_solutions_that_run(number, lesson):
    exec(SOLUTIONS[number], dict(lesson))
