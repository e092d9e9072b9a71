"""What several test files share: the demo set in small, the real pictures where they are, and what a refusal is."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
matplotlib.use("agg")
for name in ("GENRES_DATA", "GENRES_SONGS", "GENRES_MODEL"):  # the user's own would change answers
    os.environ.pop(name, None)

import utils  # noqa: E402
from genres import demo_songs  # noqa: E402
from genres.common import InputError  # noqa: E402
from run import SETTINGS  # noqa: E402

SIZES = {name: size for name, size in SETTINGS["test"]["00"].items() if name != "excerpt_seconds"}
SHARED = ROOT.parent / "shared"


@contextmanager
def refused(*patterns: str) -> Iterator[None]:
    """What is done inside must be refused in one sentence, in which all patterns are found."""
    with pytest.raises(InputError) as error:
        yield
    said = str(error.value)
    assert "\n" not in said
    assert all(re.search(pattern, said) for pattern in patterns), said


def git_status(folder: Path) -> str:
    """What git says has changed in a checkout; nothing where git is not there."""
    command = ["git", "status", "--porcelain"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """The home folder of the user, on any system."""
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    return tmp_path


@pytest.fixture(scope="session")
def small_set(tmp_path_factory) -> Path:
    """A demo set of four clips and one song per genre, as the pipeline makes it in the settings of a test."""
    folder = tmp_path_factory.mktemp("demo")
    demo_songs.make_demo_set(folder, **SIZES, progress=False)
    return folder


@pytest.fixture(scope="session")
def gtzan() -> Path:
    """The real Kaggle folder, from data/gtzan or a folder beside the checkout; else the test is skipped."""
    for place in (ROOT / "data" / "gtzan", SHARED / "gtzan" / "Data"):
        if any(place.glob("**/images_original")):
            return place
    pytest.skip("no GTZAN pictures here")


@pytest.fixture
def dataset(small_set, tmp_path) -> utils.DataSet:
    """The small demo set, with its results in a folder of the test's own."""
    return utils.find_dataset(small_set, output=tmp_path)


@pytest.fixture(scope="session")
def pictures(small_set, tmp_path_factory) -> utils.Pictures:
    """The pictures of the small demo set."""
    return utils.read_pictures(utils.find_dataset(small_set, output=tmp_path_factory.mktemp("results")))
