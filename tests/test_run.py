"""run.py and make: what a user types is what the notebooks get, what fails ends in one sentence; what imports what."""

import ast
import os
import shutil
import subprocess
import sys
from graphlib import TopologicalSorter

import nbformat
import pytest
from conftest import ROOT, refused

import run
from genres.common import InputError

MODULES = {path.stem: path for path in [ROOT / "run.py", ROOT / "utils.py", *(ROOT / "genres").glob("[a-z]*.py")]}
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


@pytest.fixture
def executed(monkeypatch) -> dict:
    """The parameters that each notebook would have been run with, by its number; no notebook is run."""
    calls, names = {}, {f"{number:02d}": ROOT / "notebooks" / f"{number:02d}_name.ipynb" for number in range(7)}
    monkeypatch.setattr(run, "NOTEBOOKS", names)
    monkeypatch.setattr(run, "execute", lambda number, target, parameters, place=0: calls.update({number: parameters}))
    return calls


def test_a_command_without_what_it_needs_says_one_sentence_and_fails():
    ended = subprocess.run([sys.executable, ROOT / "run.py", "songs"], capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    assert ended.stderr == "No songs were named: give a folder or files, as in 'python run.py songs my_songs'.\n"


def test_readme_begins_with_commands_that_make_and_run_py_know():
    lines = [line.strip() for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()]
    typed = [line.partition("#")[0].strip() for line in lines if line.startswith("make ")]
    assert typed[:3] == ["make pipeline", "make songs SONGS=my_songs", "make test"]
    windows = [line.partition("run.py ")[2] for line in lines if line.startswith(".venv\\Scripts\\python run.py")]
    assert windows == ["pipeline", "songs my_songs"]


@pytest.mark.parametrize("data", ["1999", "two words", "it's mine"])
def test_folders_reach_the_notebooks_as_text_whatever_they_look_like(data, small_set, tmp_path, monkeypatch, executed):
    monkeypatch.chdir(tmp_path)
    (tmp_path / data).symlink_to(small_set, target_is_directory=True)
    run.main(["pipeline", "--data", data, "--songs", "2024", "AC'DC", "--output", "results", "--settings", "test"])
    assert sorted(executed) == sorted(run.NOTEBOOKS)
    given = {"data_folder": str(tmp_path / data), "output_folder": str(tmp_path / "results")}
    given["songs_folder"] = [str(tmp_path / "2024"), str(tmp_path / "AC'DC")]
    for number, parameters in executed.items():
        assert parameters == given | run.SETTINGS["test"].get(number, {})


def test_every_setting_is_a_parameter_of_its_notebook():
    for number, path in run.NOTEBOOKS.items():
        (cell,) = [c for c in nbformat.read(path, 4).cells if "parameters" in c.metadata.get("tags", [])]
        named = {line.partition(" = ")[0] for line in cell.source.splitlines()}
        common = {"data_folder", "songs_folder", "output_folder"}
        for settings in run.SETTINGS.values():
            assert set(settings.get(number, {})) | common <= named, path.name


def test_songs_are_given_to_notebook_04_and_to_nothing_else(executed, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "1999").mkdir()
    (tmp_path / "1999" / "a song (rock).mp3").write_bytes(b"x")
    run.main(["songs", "1999", "--model", "my.pt", "--output", "out"])
    assert list(executed) == ["04"]
    given = {"songs_folder": [str(tmp_path / "1999")], "output_folder": str(tmp_path / "out"), "songs_only": True}
    assert executed["04"] == given | {"model_path": str(tmp_path / "my.pt")}
    assert "songs.csv" in capsys.readouterr().out


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    """Give a function that makes notebook 99 of these sources, the first of them its parameters."""
    monkeypatch.setitem(run.NOTEBOOKS, "99", tmp_path / "99_trial.ipynb")

    def make(*sources: str) -> None:
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        cells[0].metadata["tags"] = ["parameters"]
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL}), run.NOTEBOOKS["99"])

    return make


def test_a_failing_notebook_names_its_cell_and_the_sentence(notebook, tmp_path):
    error = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom genres.common import InputError"
    notebook("folder = ''", f"{error}\nraise InputError(f'No songs in {{folder}}.')")
    with refused(r"^Notebook 99_trial stopped in cell \d: No songs in here\.$"):
        run.execute("99", tmp_path / "out" / "99.ipynb", {"folder": "here"})
    assert (tmp_path / "out" / "99.ipynb").is_file(), "the copy shows how far it came"


def test_a_failing_pipeline_ends_with_the_sentence_and_another_exit_code(small_set, tmp_path, monkeypatch):
    def fail(number, *_, **__):
        if number == "01":
            raise InputError("Notebook 01 stopped in cell 3: why.")

    monkeypatch.setattr(run, "execute", fail)
    with pytest.raises(SystemExit, match=r"^Notebook 01 stopped in cell 3: why\.$"):  # a text makes the exit code 1
        run.main(["pipeline", "--data", str(small_set), "--output", str(tmp_path)])


def test_a_committed_notebook_does_not_show_the_run_s_own_parameters(notebook, tmp_path, capfd):
    notebook("seed = 0", "", "seed")
    run.execute("99", tmp_path / "99.ipynb", {"seed": 7})
    assert "WARNING" not in capfd.readouterr().err, "a warning that a user can do nothing about"
    clean = run.without_parameters(nbformat.read(tmp_path / "99.ipynb", 4))
    nbformat.validate(clean)
    assert [cell.source for cell in clean.cells] == ["seed = 0", "", "seed"]
    assert [cell.execution_count for cell in clean.cells] == [1, 2, 3]
    assert clean.cells[2].outputs[0].execution_count == 3
    assert clean.cells[2].outputs[0].data["text/plain"] == "7"
    assert "papermill" not in str(clean)


@pytest.mark.skipif(os.name == "nt" or not shutil.which("make"), reason="no make here")
def test_make_hands_names_over_as_they_are_and_fails_where_run_py_fails(tmp_path):
    interpreter = tmp_path / "python"
    interpreter.write_text('#!/bin/sh\necho "$*|$GENRES_DATA|$GENRES_SONGS"\nexit 3\n')
    interpreter.chmod(0o755)
    for name in ("requirements.txt", "ready"):  # nothing is to be installed
        (tmp_path / name).touch()
    words = ["make", "-f", ROOT / "Makefile", "pipeline", f"PY={interpreter}", "READY=ready", "DATA=it's 1999"]
    words.append("SONGS=a b;$(echo no)")
    made = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert made.returncode != 0
    assert any(line.startswith("run.py pipeline|it's 1999|a b;") for line in made.stdout.splitlines())


def _imported(path) -> set[str]:
    """Modules of the project that a file imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.removeprefix("genres.") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.name for alias in node.names} if node.module == "genres" else set()
            names.add((node.module or "").removeprefix("genres."))
    return names & set(MODULES)


def test_the_imports_have_no_circle_and_nothing_in_the_package_imports_what_stands_on_it():
    imports = {name: _imported(path) for name, path in MODULES.items()}
    order = list(TopologicalSorter(imports).static_order())
    assert order.index("common") < order.index("utils") < order.index("run")
    assert not any(names & {"utils", "run"} for name, names in imports.items() if name != "run")
