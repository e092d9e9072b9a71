"""The random split: what it says of a seed or a share that it cannot use."""

import numpy as np
import pandas as pd
import pytest

import utils
from genres.common import GENRES, InputError


@pytest.fixture
def pictures():
    """Four different pictures of each genre."""
    table = pd.DataFrame({"genre": np.repeat(GENRES, 4)})
    table.insert(0, "image", [f"{genre}{row:05d}.png" for row, genre in enumerate(table["genre"])])
    return utils.Pictures(None, table, np.random.default_rng(0).integers(0, 256, (40, 128, 334), np.uint8))


@pytest.mark.parametrize("share", [30, 0, 1, -0.3, "0.3", None, float("nan")])
def test_a_share_that_is_none_is_named(pictures, share):
    with pytest.raises(InputError, match="validation share"):
        utils.random_split(pictures, 0, share)


@pytest.mark.parametrize("seed", ["abc", -1, 0.5, None, 2**32])
def test_a_seed_that_is_none_is_named(pictures, seed):
    with pytest.raises(InputError, match="seed"):
        utils.random_split(pictures, seed)


@pytest.mark.parametrize("share", [0.05, 0.95])
def test_a_share_that_leaves_a_genre_out_is_named(pictures, share):
    with pytest.raises(InputError, match=f"{share} leaves a genre out"):
        utils.random_split(pictures, 0, share)


def test_numbers_of_numpy_are_numbers_too(pictures):
    split = utils.random_split(pictures, np.int64(3), np.float64(0.3))
    assert len(split.train) == 28 and len(split.validation) == 12
