"""Pictures of whole songs as a web tool draws them: read once, simulated from clips, and their classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.special import softmax
from sklearn.model_selection import StratifiedGroupKFold
from torch.nn.functional import adaptive_avg_pool1d

from genres import texture
from genres.common import GENRES, SAMPLE_RATE, InputError, in_parallel
from genres.metrics import accuracy, fit_temperature, fit_threshold
from genres.spectrogram import (
    COLUMNS,
    DB_PER_LEVEL,
    FRAME_BOTTOM,
    FRAME_LEFT,
    FRAME_RIGHT,
    FRAME_TOP,
    MEL_BINS,
    MEL_CENTRES,
    PICTURE_HEIGHT,
    PICTURE_WIDTH,
    pixels_to_matrix,
    read_pixels,
)  # fmt: skip

# A web tool's picture: FFmpeg's showspectrumpic with scale=lin and color=intensity. All ten of the user's pictures lie
# within 3 of 255 steps of this palette, and of the tool's four level scales only the linear one is so dark above.
WEB_ROWS, WEB_COLUMNS = 288, 432  # a whole song, 0 to 22 050 Hz: 76.6 Hz a row, half a second a column
WEB_WINDOW = 54  # columns: 30 s of a song of 4 minutes; a picture does not say how long its song is
WEB_DRAWS = 3  # simulated pictures of each clip
WEB_RIDGE = 0.1 / 3000  # chosen on simulated windows by artist folds, as were the groups of descriptors
INTENSITY = np.array(  # level, Y, U, V at the palette's corners, straight between (libavfilter/avf_showspectrum.c)
    [
        (0.00, 0.0000, 0.0000, 0.0000), (0.13, 0.0359, 0.1573, -0.0255), (0.30, 0.1857, 0.1772, 0.1748),
        (0.60, 0.2818, -0.1593, 0.4713), (0.73, 0.6583, -0.3716, 0.2435), (0.78, 0.7632, -0.4308, 0.1687),
        (0.91, 0.9534, -0.2045, 0.0331), (1.00, 1.0000, 0.0000, 0.0000),
    ]
)  # fmt: skip
WEB_FLOOR, WEB_ROUNDING = 0.008, 0.03  # of the level: below there is only the tool's rounding to 8 bits
# Loudest mel power of a GTZAN clip, 31 dB, less 13.5 dB to FFmpeg's magnitude (measured on 41 clips), and 6 dB more on
# records of today, which is where the user's ten pictures lie (seen without their labels).
WEB_GAIN_DB, WEB_GAIN_SPREAD_DB = 23.5, 5.0
WEB_FILTER_DB = 4.0  # spread of a record's filter, at six points from low to high


@dataclass(frozen=True)
class SongPicture:
    """A spectrogram picture, read once: its kind and what classifiers need of it.

    kind: "kaggle", or "web" for FFmpeg's showspectrumpic of a whole song. matrix: uint8 (128, 334) of a Kaggle picture,
    else coarse, uint8 (128, columns), mel bins by half seconds. squeezed: the picture's brightness as one matrix, uint8
    (128, 334), which is how the reference project gave its songs to the network.
    """

    kind: str
    matrix: np.ndarray
    squeezed: np.ndarray


def read_song_picture(path: str | Path) -> SongPicture:
    """Read a Kaggle-style picture, or a web tool's picture of a whole song.

    Raises InputError for a file that is no picture, for a picture of another kind, or one with hardly any sound.
    """
    path = Path(path)
    pixels = read_pixels(path)
    picture = Image.fromarray(pixels)
    squeezed = np.array(picture.convert("L").resize((COLUMNS, MEL_BINS)))[::-1].copy()
    inside = (slice(FRAME_TOP, FRAME_BOTTOM + 1), slice(FRAME_LEFT, FRAME_RIGHT + 1))
    if pixels.shape[:2] == (PICTURE_HEIGHT, PICTURE_WIDTH):
        margin = pixels[..., :3].copy()
        margin[inside] = 255
        if (margin == 255).all() and (pixels[inside] < 255).any():
            return SongPicture("kaggle", pixels_to_matrix(pixels, path.name), squeezed)
    on_white = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    levels = _web_levels(np.asarray(on_white.resize((WEB_COLUMNS, WEB_ROWS)), float), path.name)
    return SongPicture("web", _sounding_matrix(levels, path.name), squeezed)


def _web_levels(colours: np.ndarray, name: str) -> np.ndarray:
    """Levels 0 to 1, (288, 432), of a web tool's picture; InputError where the colours or the scale are not its own."""
    # By their luminance, which rises all along the palette.
    levels = np.interp(colours @ np.array([0.299, 0.587, 0.114]) / 255, INTENSITY[:, 1], INTENSITY[:, 0])
    # Only dim pixels lie on the palette: bright ones were mixed when the picture was made smaller.
    dim = (colours.max(axis=-1) > 15) & (levels < 0.2)
    off = np.abs(colours - _intensity_colours(levels)).max(axis=-1)
    if dim.mean() < 0.02 or np.median(off[dim]) > 12:
        raise InputError(f"'{name}' is no spectrogram of a kind known here: give the song itself, as mp3.")
    low, high = levels[-WEB_ROWS // 10 :].mean(), levels[: WEB_ROWS // 2].mean()
    if high > 0.05 or low < 2 * high:
        raise InputError(
            f"'{name}' has another level or frequency scale than the web pictures known here: give the song."
        )
    return levels


def _sounding_matrix(levels: np.ndarray, name: str) -> np.ndarray:
    """The coarse matrix of the columns that sound; InputError where they are too few."""
    levels = levels[::-1][: WEB_ROWS // 2]
    loudness = levels[: WEB_ROWS // 8].mean(axis=0)
    sounding = np.flatnonzero(loudness > 0.1 * np.quantile(loudness, 0.9))
    levels = levels[:, sounding[0] : sounding[-1] + 1] if len(sounding) else levels[:, :0]
    if levels.shape[1] < WEB_WINDOW:
        raise InputError(f"'{name}' shows too little sound to judge: give the song itself.")
    return _coarse_matrix(levels)


def _intensity_colours(levels: np.ndarray) -> np.ndarray:
    """The tool's colours, float (..., 3) of 0 to 255, of levels 0 to 1."""
    luma, blue, red = (np.interp(levels, INTENSITY[:, 0], INTENSITY[:, k]) for k in (1, 2, 3))
    green = luma - 0.344136 * blue - 0.714136 * red
    return 255 * np.clip(np.stack([luma + 1.402 * red, green, luma + 1.772 * blue], axis=-1), 0, 1)


def _coarse_matrix(levels: np.ndarray) -> np.ndarray:
    """Linear rows of levels (144, columns), 0 to 11 025 Hz, as uint8 (128, columns) on mel bins and a log scale."""
    mel = _rows_at(levels, np.clip(MEL_CENTRES / (SAMPLE_RATE / 2) * len(levels) - 0.5, 0, len(levels) - 1))
    scale = np.log10(np.maximum(mel, WEB_FLOOR) + WEB_ROUNDING)
    dark, bright = np.log10(WEB_FLOOR + WEB_ROUNDING), np.log10(1 + WEB_ROUNDING)
    return np.round(255 * np.clip((scale - dark) / (bright - dark), 0, 1)).astype(np.uint8)


def _rows_at(values: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Rows of values (rows, n) at fractional places (k,), straight between the two beside them: (k, n)."""
    low = np.minimum(place.astype(int), len(values) - 2)
    share = (place - low)[:, None].astype(values.dtype)
    return values[low] * (1 - share) + values[low + 1] * share


def draw_as_web_tool(matrix: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Simulate the coarse matrix, uint8 (128, columns), that a web picture would show of a clip, uint8 (128, 334).

    What a web picture does not tell is drawn by chance: how long the song is (30 s take 40 to 85 of its 432 columns),
    how large it was drawn before it was made smaller, its level, and the filter and compressor of its mastering.
    Against 41 clips drawn by FFmpeg itself the bands' mean levels agree within .04 in log10, .08 in the lowest.
    """
    power = 10 ** ((matrix.astype(np.float32) - 255) * DB_PER_LEVEL / 10)
    power[matrix == 0] = 10**-6.5  # far below the floor, where the tool draws black
    rows = WEB_ROWS // 2
    frequencies = (np.arange(rows) + 0.5) * SAMPLE_RATE / 2 / rows
    magnitude = _rows_at(np.sqrt(power), np.interp(frequencies, MEL_CENTRES, np.arange(MEL_BINS)))
    filter_db = np.interp(np.linspace(0, 1, rows), np.linspace(0, 1, 6) ** 2, rng.normal(0, WEB_FILTER_DB, 6))
    gain_db = WEB_GAIN_DB + WEB_GAIN_SPREAD_DB * rng.normal() + filter_db
    magnitude *= 10 ** (gain_db[:, None] / 20)
    if rng.random() < 0.5:
        loudness = np.sqrt((magnitude**2).sum(axis=0)) + 1e-4
        magnitude *= (loudness / np.quantile(loudness, 0.8)) ** rng.uniform(-0.6, 0)
    scatter = rng.uniform(0, 0.35)  # one row of one FFT scatters, a mel band does not
    magnitude *= 1 - scatter + scatter * rng.rayleigh(0.8, magnitude.shape)
    columns = int(rng.integers(40, 86))
    wide = int(columns * rng.uniform(1.0, 1.8))
    drawn = adaptive_avg_pool1d(torch.from_numpy(magnitude).double(), wide).numpy()  # each its share of the time
    luma = np.interp(np.clip(drawn, 0, 1), INTENSITY[:, 0], INTENSITY[:, 1])
    method = Image.Resampling.BICUBIC if rng.random() < 0.5 else Image.Resampling.BOX
    small = Image.fromarray(luma.astype(np.float32)).resize((columns, rows), method)
    return _coarse_matrix(np.interp(np.clip(small, 0, 1), INTENSITY[:, 1], INTENSITY[:, 0]))


@dataclass(frozen=True)
class WebClassifier:
    """A texture classifier for coarse matrices, with a temperature and a threshold of its own."""

    texture: texture.TextureClassifier
    temperature: float
    unsure_below: float

    def probabilities(self, matrices: np.ndarray) -> np.ndarray:
        """Give calibrated probabilities, float32 (n, 10), for coarse matrices, uint8 (n, 128, columns)."""
        return softmax(self.texture.logits(texture.describe_coarse(matrices)) / self.temperature, axis=1)

    def aligned(self, songs: Sequence[np.ndarray]) -> WebClassifier:
        """The same, with the descriptors centred on these songs' own mean, each song, uint8 (k, 128, columns), alike.

        Training pictures are simulated, and what is simulated wrongly shifts all songs in the same way; centring takes
        the shift back. It needs songs of many genres, or it takes their genre back too.
        """
        mean = np.mean([texture.describe_coarse(windows).mean(axis=0) for windows in songs], axis=0)
        return replace(self, texture=replace(self.texture, mean=mean))


def train_web_classifier(
    matrices: np.ndarray, labels: np.ndarray, artists: np.ndarray, wanted: float, seed: int = 0
) -> tuple[WebClassifier, float]:
    """Train on what a web tool's pictures of clips, uint8 (n, 128, 334), would look like, WEB_DRAWS times each.

    Temperature and threshold (from which on answers reach the `wanted` accuracy) come from three folds of artists.
    Gives the classifier and its accuracy in these folds.
    """

    def described(row: int) -> np.ndarray:
        rng = np.random.default_rng([seed, row])
        drawn = [draw_as_web_tool(matrices[row], rng) for _ in range(WEB_DRAWS)]
        return np.concatenate([texture.describe_coarse(matrix[None]) for matrix in drawn])

    descriptors = np.stack(in_parallel(described, range(len(matrices)), "drawing web pictures"))

    def fitted(rows: np.ndarray) -> texture.TextureClassifier:
        many, of_each = np.concatenate(descriptors[rows]), np.repeat(labels[rows], WEB_DRAWS)
        return texture.fit_texture_classifier(many, of_each, WEB_RIDGE, texture.describe_coarse_groups)

    logits = np.zeros((len(labels), len(GENRES)), np.float32)
    for train, test in StratifiedGroupKFold(3, shuffle=True, random_state=seed).split(labels, labels, artists):
        logits[test] = fitted(train).logits(descriptors[test, 0])
    temperature = fit_temperature(logits, labels)
    threshold = fit_threshold(softmax(logits / temperature, axis=1), labels, wanted)
    return WebClassifier(fitted(np.arange(len(labels))), temperature, threshold), accuracy(logits, labels)


def web_windows(coarse: np.ndarray) -> np.ndarray:
    """Half-overlapping windows, uint8 (k, 128, 54), of a whole song's coarse matrix, uint8 (128, columns)."""
    starts = range(0, coarse.shape[1] - WEB_WINDOW + 1, WEB_WINDOW // 2)
    return np.stack([coarse[:, start : start + WEB_WINDOW] for start in starts])
