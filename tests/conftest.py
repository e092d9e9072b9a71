"""What several test files share: the demo set in small, and the real pictures where they are."""

import os
import sys
from pathlib import Path

import matplotlib
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
matplotlib.use("agg")

import utils  # noqa: E402

# Parameters with which the notebooks run in a small setting, by the first two letters of their names.
QUICK_RUN = {"epochs": 2, "protocol_seeds": 1, "protocol_folds": 0}
QUICK = {
    "00": {"clips_per_genre": 4, "songs_per_genre": 1, "song_seconds": [32, 40], "excerpt_seconds": 4},
    "03": QUICK_RUN | {"reference_epochs": 2},
    "04": {"explained_songs": 1, "page_pictures": 4, "search_clips": 3},
    "05": QUICK_RUN,
}


@pytest.fixture(scope="session")
def small_set(tmp_path_factory) -> Path:
    """A demo set of four clips and two songs per genre, as the pipeline would make it."""
    import demo_songs

    folder = tmp_path_factory.mktemp("demo")
    demo_songs.make_demo_set(folder, clips_per_genre=4, song_seconds=(32, 40), songs_per_genre=1, progress=False)
    return folder


@pytest.fixture(scope="session")
def gtzan() -> Path:
    """The real Kaggle folder, from $GTZAN, data/gtzan or a folder beside the checkout; else the test is skipped."""
    places = [os.environ.get("GTZAN"), ROOT / "data" / "gtzan", ROOT.parent / "shared" / "gtzan" / "Data"]
    for place in filter(None, places):
        if any(Path(place).glob("**/images_original")):
            return Path(place)
    pytest.skip("no GTZAN pictures here")


@pytest.fixture
def dataset(small_set, tmp_path) -> utils.DataSet:
    """The small demo set, with its results in a folder of the test's own."""
    return utils.find_dataset(small_set, output=tmp_path)
