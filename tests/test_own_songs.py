"""Notebook 04: its sentences, its exercises, and the quiz."""

import re

import nbformat
import numpy as np
from nbclient import NotebookClient
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

import run
from genres import quiz
from genres.common import GENRES, SAMPLE_RATE

SOLUTION = re.compile(r"```python\n(.*?)```", re.DOTALL)


def test_a_quiz_counts_ten_buttons_and_ends_with_both_matrices(tmp_path, monkeypatch):
    screens, buttons = [], []

    class Screen:
        update = staticmethod(screens.append)

    def show(shown, display_id=False):
        return screens.append(shown) or Screen() if display_id else buttons.extend(shown.children)

    monkeypatch.setattr(quiz, "display", show)
    samples, labels = [np.zeros(SAMPLE_RATE, np.float32)] * 2, np.array([9, 0])
    quiz.Quiz(samples, labels, np.eye(10)[[9, 9]], tmp_path).start()
    assert [button.description for button in buttons] == list(GENRES)
    assert "Clip 1 of 2" in screens[-1].data
    buttons[9].click()
    assert "That was rock. Clip 2 of 2" in screens[-1].data
    buttons[0].click()
    assert "you: 2 of 2 right" in screens[-1].data
    assert "network: 1 of 2 right" in screens[-1].data
    assert screens[-1].data.count("<img") == 2
    buttons[0].click()
    assert len(screens) == 3, "the quiz is over"


def test_notebook_04_says_what_its_numbers_say_and_its_solutions_run(small_set, tmp_path):
    """On the small demo set, answered by the shipped model."""
    path = run.NOTEBOOKS["04"]
    notebook = load_notebook_node(str(path))
    exercises = "".join(cell.source for cell in notebook.cells if "## Exercises" in cell.source)
    solutions = SOLUTION.findall(exercises)
    settings = run.SETTINGS["test"]["04"] | {"data_folder": str(small_set), "output_folder": str(tmp_path)}
    notebook = parameterize_notebook(notebook, settings)
    notebook.cells += map(nbformat.v4.new_code_cell, solutions)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}}).execute()
    texts = []
    for cell in notebook.cells:
        outputs = cell.get("outputs", [])
        texts.append("".join(o.get("text", "") or o.get("data", {}).get("text/markdown", "") for o in outputs))
    whole = "\n".join(texts)
    for words in (
        "The shipped CNN**: ", "of 10 songs right", "10 scored songs, too few for a matrix", "10 clips to listen to"
    ):  # fmt: skip
        assert words in whole
    assert not re.search(r"\b1 (songs|windows|clips|answers|points|files)\b|\bnan\b|\b0 songs in", whole)
    first, second, third = texts[-len(solutions) :]
    assert re.search(r"^1 [a-z]+ [01]\.\d+$", first, re.MULTILINE)
    assert re.search(r"^0 10 songs answered, \d+ right$", second, re.MULTILINE)
    assert re.search(r"changed; \d+ right by vote", third)
