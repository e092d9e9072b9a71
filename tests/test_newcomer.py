"""A newcomer's machine: an empty folder, an empty environment, and README's commands as they are written."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest

import utils

pytestmark = [
    pytest.mark.newcomer,
    pytest.mark.skipif(os.name == "nt", reason="README has other commands for Windows"),
    pytest.mark.skipif(not (shutil.which("git") and shutil.which("make")), reason="no git or make here"),
]


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A clone of the last commit in an empty folder."""
    folder = tmp_path_factory.mktemp("newcomer") / "clone"
    subprocess.run(["git", "clone", "--quiet", utils.ROOT, folder], check=True)
    return folder


def _type(command: str, clone: Path) -> str:
    """Run a line in a shell that knows nothing but PATH, pip's own settings and an empty home; give what it printed.

    Where packages come from is a matter of the machine, so variables of pip stay.
    """
    home = clone.parent / "home"
    home.mkdir(exist_ok=True)
    path = os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if ".venv" not in part)
    settings = [f"{name}={value}" for name, value in os.environ.items() if name.startswith("PIP_")]
    ended = subprocess.run(
        ["env", "-i", f"HOME={home}", f"PATH={path}", *settings, "sh", "-c", command],
        cwd=clone,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-5000:]
    return ended.stdout


def _commands_of_readme() -> list[str]:
    quick_start = (
        (utils.ROOT / "README.md").read_text(encoding="utf-8").partition("## Quick start")[2].partition("\n## ")[0]
    )
    lines = [line.partition("#")[0].strip() for line in quick_start.splitlines() if line.startswith("    make ")]
    return lines


def test_readme_names_the_two_commands():
    assert _commands_of_readme() == ["make pipeline", "make test"]


def test_the_pipeline_leaves_what_readme_promises(clone):
    command, _ = _commands_of_readme()
    _type(command, clone)
    results = clone / "data" / "demo"
    names = [path.name for path in sorted((utils.ROOT / "notebooks").glob("0*.ipynb"))]
    assert sorted(path.name for path in (results / "executed").glob("*.ipynb")) == names
    for name in names:
        code = [c for c in nbformat.read(results / "executed" / name, 4).cells if c.cell_type == "code" and c.source]
        assert all(cell.execution_count for cell in code), name
        assert not any(output.output_type == "error" for cell in code for output in cell.outputs), name
    metrics = json.loads((results / "metrics.json").read_text())
    assert metrics["dataset"] == "demo"
    assert metrics["random_split"]["mean"] > 0.3, "no better than guessing among ten would be 0.1"
    assert metrics["own_songs"]["total"] + metrics["own_songs"]["in_training"] == 20
    figures = {path.stem for path in (clone / "figures" / "demo").glob("*.png")}
    assert figures >= {"genre_counts", "learning_curves", "confusion_random", "confusion_songs"}
    status = subprocess.run(["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True)
    assert not status.stdout, "the pipeline changed what git keeps"


def test_the_tests_pass(clone):
    _, command = _commands_of_readme()
    printed = _type(command, clone)
    assert " passed" in printed
    assert " failed" not in printed
