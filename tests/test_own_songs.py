"""Notebook 04: what it says of songs, its exercises, and the quiz."""

import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

import run
from genres import plots, quiz, songs
from genres.common import GENRES, SAMPLE_RATE
from genres.fingerprints import Match
from genres.song_files import Song
from genres.songs import Answer, SongResult
from genres.spectrogram import COLUMNS, MEL_BINS

CLIP = np.zeros((MEL_BINS, COLUMNS), np.uint8)
SOLUTION = re.compile(r"```python\n(.*?)```", re.DOTALL)


def said(title: str, windows: list[str], label: str | None = None, cnn: list[str] | None = None, **more) -> SongResult:
    """A song of which each window is called a genre, by the CNN another if `cnn` says so."""
    probabilities = [0.04 + 0.6 * np.eye(10)[[GENRES.index(genre) for genre in of]] for of in (windows, cnn or windows)]
    views = {"cnn": np.log(probabilities[1]), "ear": np.log(probabilities[0])}
    starts, matrices = 15.0 * np.arange(len(windows)), np.stack([CLIP] * len(windows))
    answer = Answer(probabilities[0], views, 0.5)
    return SongResult(
        Song(Path(f"{title}.mp3"), title, label), "sound", starts, answer, matrices, None, CLIP, 90, **more
    )


def test_sure_answers_come_first_and_an_unsure_one_names_two_genres():
    unsure = said("<b>$a$", ["rock", "pop", "pop"], "pop", cnn=["rock"] * 3)
    unread = SongResult(Song(Path("bad.mp3"), "bad", "jazz", "'bad.mp3' cannot be read"))
    in_training = said("old", ["jazz"], "jazz", match=Match("jazz00000.png"))
    table = songs.answer_rows([unread, unsure, said("sure", ["jazz"], "jazz"), in_training])
    assert table["song"].tolist() == ["sure", "old", "<b>$a$", "bad"]
    assert table["✓ CNN"].tolist() == ["✓", "", "✗", ""]
    assert table["✓ answer"].tolist() == ["✓", "", "✓", ""]
    assert table["answer"].tolist() == ["jazz 64%", "jazz 64%", "unsure: pop 44% or rock 24%", "no answer"]
    assert table["CNN"].tolist() == ["jazz 64%", "jazz 64%", "rock 64%", ""]
    html = plots.answer_table([unsure, unread])._repr_html_()
    assert "&lt;b&gt;$a$" in html
    assert "mathjax_ignore" in html


def test_all_windows_are_compared_with_the_middle_one_on_scored_songs_of_several():
    results = [
        said("a", ["rock", "pop", "rock"], "rock", cnn=["rock", "rock", "pop"]),
        said("one window", ["rock"], "rock"),
        said("old", ["rock"] * 3, "rock", match=Match("rock00000.png")),
    ]
    table = songs.compare_windows(results)
    assert table.loc["CNN"].tolist() == [1, 1, 1]
    assert table.loc["answer"].tolist() == [0, 1, 1]
    assert songs.compare_windows(results[1:]).empty


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


@pytest.fixture(scope="module")
def executed(small_set, tmp_path_factory):
    """Notebook 04 on the small demo set, answered by the shipped model, with the solutions of its exercises."""
    from nbclient import NotebookClient

    folder, path = tmp_path_factory.mktemp("notebook"), run.NOTEBOOKS["04"]
    notebook = load_notebook_node(str(path))
    exercises = "".join(cell.source for cell in notebook.cells if "## Exercises" in cell.source)
    solutions = SOLUTION.findall(exercises)
    settings = run.SETTINGS["test"]["04"] | {"data_folder": str(small_set), "output_folder": str(folder)}
    notebook = parameterize_notebook(notebook, settings)
    notebook.cells += map(nbformat.v4.new_code_cell, solutions)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}}).execute()
    return notebook, len(solutions)


def _text(cell) -> str:
    return "".join(
        output.get("text", "") or output.get("data", {}).get("text/markdown", "") for output in cell.get("outputs", [])
    )


def test_the_exercises_of_notebook_04_have_solutions_that_run(executed):
    notebook, count = executed
    first, second, third = (_text(cell) for cell in notebook.cells[-count:])
    assert re.search(r"^1 [a-z]+ [01]\.\d+$", first, re.MULTILINE)
    assert re.search(r"^0 10 songs answered, \d+ right$", second, re.MULTILINE)
    assert re.search(r"changed; \d+ right by vote", third)


def test_notebook_04_says_what_its_numbers_say(executed):
    texts = [_text(cell) for cell in executed[0].cells]
    whole = "\n".join(texts)
    assert "The shipped CNN**: " in whole
    assert "of 10 songs right" in whole
    assert "10 scored songs, too few for a matrix" in whole
    assert "10 clips to listen to" in whole
    assert not re.search(r"\b1 (songs|windows|clips|answers|points|files)\b|\bnan\b|\b0 songs in", whole)
