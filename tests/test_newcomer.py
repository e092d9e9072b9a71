"""A newcomer's machine: an empty folder, an empty environment, and README's commands as they are written."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, git_status

from run import NOTEBOOKS

HERE = os.name != "nt" and shutil.which("git") and shutil.which("make")  # README has other commands for Windows
pytestmark = [pytest.mark.newcomer, pytest.mark.skipif(not HERE, reason="no git or make here")]


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A clone of the last commit in an empty folder."""
    folder = tmp_path_factory.mktemp("newcomer") / "clone"
    subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
    return folder


def _type(command: str, clone: Path) -> str:
    """Run a line in a shell that knows nothing but PATH, pip's own settings and an empty home; give what it printed."""
    home = clone.parent / "home"
    home.mkdir(exist_ok=True)
    path = os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if ".venv" not in part)
    settings = [f"{name}={value}" for name, value in os.environ.items() if name.startswith("PIP_")]
    words = ["env", "-i", f"HOME={home}", f"PATH={path}", *settings, "sh", "-c", command]
    ended = subprocess.run(words, cwd=clone, capture_output=True, text=True, errors="replace", check=False)
    assert ended.returncode == 0, (ended.stdout + ended.stderr)[-5000:]
    assert not git_status(clone), "the command changed what git keeps"
    return ended.stdout


def test_the_pipeline_leaves_what_readme_promises(clone):
    _type("make pipeline", clone)
    results = clone / "data" / "demo" / "run"
    assert {path.name for path in (results / "executed").glob("*")} >= {path.name for path in NOTEBOOKS.values()}
    rows = json.loads((results / "metrics.json").read_text())["results"]
    assert max(row["accuracy"] for row in rows if row["protocol"] == "random") > 0.3, "guessing would be 0.1"
    assert {path.stem for path in (results / "figures").glob("*.png")} >= {"results", "confusion_random", "answers"}


def test_songs_are_answered_without_gtzan(clone):
    (clone.parent / "my songs").mkdir()
    shutil.copy(clone / "data_samples" / "demo_band.mp3", clone.parent / "my songs")
    assert "songs.csv" in _type("make songs SONGS='../my songs'", clone)


def test_the_tests_pass(clone):
    printed = _type("make test", clone)
    assert " passed" in printed and " failed" not in printed
