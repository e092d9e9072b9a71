"""run.py and make: what a user types is what the notebooks get, what fails ends in one sentence; what imports what."""

import ast
import os
import shutil
import subprocess
import sys
import time
from graphlib import TopologicalSorter
from unittest import mock

import nbformat
import pytest
from conftest import ROOT, refused

import run
from genres import library, notebooks
from genres.common import InputError, relative_path

MODULES = {path.stem: path for path in [ROOT / "run.py", ROOT / "utils.py", *(ROOT / "genres").glob("[a-z]*.py")]}
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


@pytest.fixture
def executed(monkeypatch) -> dict:
    """The parameters that each notebook would have been run with, by its number; no notebook is run."""
    calls = {}
    monkeypatch.setattr(notebooks, "execute", lambda number, target, parameters, *_: calls.update({number: parameters}))
    return calls


@pytest.mark.parametrize(
    ("options", "words", "setting", "sentence"),
    [
        ([], ["songs"], {}, "No songs were named: give a folder or files, as in 'python run.py songs my_songs'."),
        ([], ["songs", "音楽"], {"PYTHONOPTIMIZE": "2"}, "does not exist"),
        ([], ["songs", "音楽"], {"PYTHONSAFEPATH": "1"}, "does not exist"),
        ([], ["songs", "音楽"], {"PYTHONIOENCODING": "cp1252"}, "does not exist"),
        (["-S"], ["songs", "x"], {}, ".venv"),  # without what is installed
    ],
)
def test_what_fails_ends_in_one_sentence_under_python_s_own_settings(options, words, setting, sentence, tmp_path):
    command = [sys.executable, *options, ROOT / "run.py", *words]
    ended = subprocess.run(command, env=os.environ | setting, cwd=tmp_path, capture_output=True, check=False)
    assert ended.returncode == 1
    assert sentence.encode() in ended.stderr and ended.stderr.count(b"\n") == 1


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
    for folder in ("2024", "AC'DC"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.mp3").touch()
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


def test_what_is_wrong_with_the_names_is_said_before_a_notebook_runs(executed, small_set, tmp_path):
    (tmp_path / "file").touch()
    data, long, spoiled = ["--data", str(small_set)], "x" * 300, tmp_path / "spoiled"
    shutil.copytree(small_set / "Data" / "images_original", spoiled / "images_original")
    (spoiled / "features_30_sec.csv").write_text("filename;length\nblues.00000.wav;30,01\n")  # saved by Excel
    commands = {
        "typo' does not exist": ["pipeline", *data, "--songs", str(tmp_path / "typo")],
        "cannot be written": ["pipeline", *data, "--output", str(tmp_path / "file" / "results")],
        "features_30_sec.csv' is not as it was downloaded": ["pipeline", "--data", str(spoiled)],
        "too long": ["pipeline", "--data", long],
        "gpt-4o' does not exist": ["songs", str(small_set / "songs"), "--model", "gpt-4o"],
        "not a table of this project": ["songs", str(small_set / "songs"), "--output", str(small_set / "songs")],
        "out/rock.m3u8' would be overwritten": ["songs", str(small_set / "songs"), "--output", str(tmp_path / "out")],
    }
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "rock.m3u8").write_text("mine")
    for sentence, words in commands.items():
        with pytest.raises(SystemExit) as ended:
            run.main(words)
        assert sentence in str(ended.value).replace("\\", "/") and "\n" not in str(ended.value)
    assert not executed
    assert (tmp_path / "out" / "rock.m3u8").read_text() == "mine"


def test_songs_of_two_folders_have_tables_of_their_own_and_a_page_that_is_named(tmp_path, capsys, monkeypatch):
    asked = []
    classify = lambda *given: asked.append(given) or library.read_rows(given[1])  # noqa: E731
    monkeypatch.setattr(library, "classify_library", classify)
    monkeypatch.chdir(tmp_path)
    for folder in ("1999", "2024"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a song (rock).mp3").write_bytes(b"x")
        run.main(["songs", folder])
    (tmp_path / "my.pt").touch()
    run.main(["songs", "1999", "--model", "my.pt", "--output", "{2024} mixes"])
    first, second, third = asked
    assert first[1] != second[1]
    assert first[1].parent.parent == second[1].parent.parent == ROOT / "data" / "songs_run"
    assert [song.title for song in third[0]] == ["a song"]
    assert (third[1], third[2].path) == (tmp_path / "{2024} mixes" / "songs.csv", tmp_path / "my.pt")
    assert "{2024} mixes/songs.html" in capsys.readouterr().out.replace(os.sep, "/")


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    """Give a function that makes notebook 99 of these sources, the first of them its parameters."""
    monkeypatch.setitem(notebooks.NOTEBOOKS, "99", tmp_path / "99_trial.ipynb")

    def make(*sources: str) -> None:
        made = nbformat.v4.new_notebook(cells=[*map(nbformat.v4.new_code_cell, sources)])
        made.cells[0].metadata["tags"], made.metadata["kernelspec"] = ["parameters"], KERNEL
        nbformat.write(made, notebooks.NOTEBOOKS["99"])

    return make


def test_a_failing_notebook_names_its_cell_and_the_sentence(notebook, tmp_path):
    error = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom genres.common import InputError"
    notebook("folder = ''", f"{error}\nraise InputError(f'No songs in {{folder}}.')")
    with refused(r"^Notebook 99_trial stopped in cell \d: No songs in here\.$"):
        notebooks.execute("99", tmp_path / "out" / "99.ipynb", {"folder": "here"})
    assert (tmp_path / "out" / "99.ipynb").is_file(), "the copy shows how far it came"


def test_a_failing_notebook_or_ctrl_c_ends_all_lanes_in_seconds(notebook, tmp_path, monkeypatch):
    notebook("fail = 0", "import os, time\nos.kill(os.getpid(), 9) if fail else time.sleep(600)")
    for stop in ("a notebook", "Ctrl-C"):
        lanes = notebooks.Lanes(tmp_path / stop, lambda number: {})
        first = lanes.start(["99", "99"])
        while not lanes.kernels:
            time.sleep(0.1)
        time.sleep(1)  # into the cell that sleeps
        if stop == "Ctrl-C":
            monkeypatch.setattr(notebooks, "wait", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            other = []
        else:
            lanes.parameters = lambda number: {"fail": 1}
            other = [lanes.start(["99"])]
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt if stop == "Ctrl-C" else InputError, match=r"want of memory|^$"):
            lanes.finish(first, *other)
        lanes.pool.shutdown(wait=True)
        assert time.monotonic() - started < 60, "on a free machine it takes two seconds"
        assert len(lanes.kernels) == 1 + len(other), "no further notebook starts"


def test_a_failing_pipeline_ends_with_the_sentence_and_another_exit_code(small_set, tmp_path, monkeypatch):
    def fail(number, *_, **__):
        if number == "01":
            raise InputError("Notebook 01 stopped in cell 3: why.")

    monkeypatch.setattr(notebooks, "execute", fail)
    with pytest.raises(SystemExit, match=r"^Notebook 01 stopped in cell 3: why\.$"):  # a text makes the exit code 1
        run.main(["pipeline", "--data", str(small_set), "--output", str(tmp_path)])


def test_a_committed_notebook_does_not_show_the_run_s_own_parameters(notebook, tmp_path, capfd):
    notebook("seed = 0", "", "seed")
    notebooks.execute("99", tmp_path / "99.ipynb", {"seed": 7})
    assert "WARNING" not in capfd.readouterr().err, "a warning that a user can do nothing about"
    clean = notebooks.without_parameters(nbformat.read(tmp_path / "99.ipynb", 4))
    nbformat.validate(clean)
    assert [(cell.source, cell.execution_count) for cell in clean.cells] == [("seed = 0", 1), ("", 2), ("seed", 3)]
    (output,) = clean.cells[2].outputs
    assert (output.execution_count, output.data["text/plain"]) == (3, "7")
    assert "papermill" not in str(clean)


needs_make = pytest.mark.skipif(os.name == "nt" or not shutil.which("make"), reason="no make here")


@needs_make
def test_make_hands_names_over_as_they_are_and_fails_where_run_py_fails(tmp_path):
    interpreter = tmp_path / "python"
    interpreter.write_text('#!/bin/sh\necho "$*|$GENRES_DATA|$GENRES_SONGS|$GENRES_MODEL|"\nexit 3\n')
    interpreter.chmod(0o755)
    for name in ("requirements.txt", "ready"):  # nothing is to be installed
        (tmp_path / name).touch()
    songs = "Ke$ha & co;$(echo no)$(shell touch no)"
    words = [f"PY={interpreter}", "READY=ready", "DATA=it's 1999", f"SONGS={songs}"]
    made = subprocess.run(
        ["make", "--no-print-directory", "-f", ROOT / "Makefile", "pipeline", *words],
        cwd=tmp_path, env=os.environ | {"MODEL": "gpt-4o"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode != 0
    assert made.stdout.splitlines()[0] == f"run.py pipeline|it's 1999|{songs}||"
    assert not (tmp_path / "no").exists()


@needs_make
@pytest.mark.parametrize("found, asked", [("0", "pip install"), ("1", "venv --clear")], ids=["sound", "broken"])
def test_make_repairs_an_environment_that_is_broken_and_keeps_one_that_is_not(found, asked, tmp_path):
    """`found`: with what the environment's Python ends when it is asked for its version."""
    log = tmp_path / "log"
    for name, ends in (("inside", f'case "$2" in *pip*) exit {found};; esac'), ("outside", "")):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {log}\n{ends}\n')
        (tmp_path / name).chmod(0o755)
    (tmp_path / "requirements.txt").touch()
    words = ["make", "-f", ROOT / "Makefile", "data", f"PY={tmp_path}/inside", f"PYTHON={tmp_path}/outside"]
    subprocess.run([*words, "READY=ready"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert asked in log.read_text()
    assert ("venv --clear" in log.read_text()) == (found == "1")


def test_a_path_on_another_drive_is_shown_as_it_is(monkeypatch):
    def fail(*_):
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", fail)
    assert relative_path("D:/results") == "D:/results"


def test_a_browser_is_opened_for_a_person_at_a_screen_only(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    for shell, seen in (({}, False), ({"DISPLAY": ":0"}, True), ({"DISPLAY": ":0", "CI": "1"}, False)):
        with mock.patch.dict(os.environ, shell, clear=True):
            assert run.has_browser() == seen


def test_one_notebook_of_the_report_may_be_named_by_its_number_alone():
    assert run.arguments().parse_args(["report", "--only", "3", "04"]).only == ["03", "04"]


def _imported(path) -> set[str]:
    """Modules of the project that a file imports, also inside functions."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = {alias.name for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.removeprefix("genres.") for name in names} & set(MODULES)


def test_the_imports_have_no_circle_and_nothing_in_the_package_imports_what_stands_on_it():
    imports = {name: _imported(path) for name, path in MODULES.items()}
    order = list(TopologicalSorter(imports).static_order())
    assert order.index("common") < order.index("utils") < order.index("run")
    assert not any(names & {"utils", "run"} for name, names in imports.items() if name != "run")
