"""Pictures of whole songs as a web tool draws them: read once, simulated from clips, and their classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.interpolate import make_interp_spline
from scipy.special import softmax
from sklearn.model_selection import StratifiedGroupKFold

from genres import spectrogram, texture
from genres.common import GENRES, SAMPLE_RATE, InputError, in_parallel
from genres.metrics import accuracy, fit_temperature, fit_threshold
from genres.spectrogram import DB_PER_LEVEL, MEL_CENTRES

# A web tool's picture: FFmpeg's showspectrumpic with scale=lin and color=intensity.
WEB_ROWS, WEB_COLUMNS = 288, 432  # a whole song, 0 to 22 050 Hz: 76.6 Hz a row, half a second a column
ROW_CENTRES = (np.arange(WEB_ROWS // 2) + 0.5) * SAMPLE_RATE / WEB_ROWS  # Hz, of the lower half
WEB_WINDOW = 54  # columns: 30 s of a song of 4 minutes; a picture does not say how long its song is
WEB_DRAWS = 3  # simulated pictures of each clip
WEB_RIDGE = 0.1 / 3000  # chosen on simulated windows by artist folds, as were the groups of descriptors
LEVELS = (0, 0.13, 0.30, 0.60, 0.73, 0.78, 0.91, 1)  # corners of the palette, straight between (avf_showspectrum.c)
LUMA = (0, 0.0359, 0.1857, 0.2818, 0.6583, 0.7632, 0.9534, 1)
DIM_COLOURS = ((0, 0, 0.4308), (0, 0, 0), (0, 0.3146, 0.4997))  # red, green, blue at the first three corners
WEB_FLOOR, WEB_ROUNDING = 0.008, 0.03  # of the level: below there is only the tool's rounding to 8 bits
# Loudest mel power of a GTZAN clip, less 13.5 dB to FFmpeg's magnitude, and 6 dB more on records of today.
WEB_GAIN_DB, WEB_GAIN_SPREAD_DB = 23.5, 5.0
WEB_FILTER_DB = 4.0  # spread of a record's filter, at six points from low to high


@dataclass(frozen=True)
class SongPicture:
    """A spectrogram picture of a song: kind "kaggle", or "web" for FFmpeg's showspectrumpic of a whole song.

    matrix: uint8 (128, 334) of a Kaggle picture, else coarse, uint8 (128, columns), mel bins by half seconds.
    """

    kind: str
    matrix: np.ndarray


def read_song_picture(path: str | Path) -> SongPicture:
    """Read a Kaggle-style picture, or a web tool's picture of a whole song.

    Raises InputError for a file that is no picture, for a picture of another kind, or one with hardly any sound.
    """
    path = Path(path)
    pixels = spectrogram.read_pixels(path)
    if pixels.shape[:2] == (spectrogram.PICTURE_HEIGHT, spectrogram.PICTURE_WIDTH) and (pixels[0] == 255).all():
        return SongPicture("kaggle", spectrogram.pixels_to_matrix(pixels, path.name))
    picture = Image.fromarray(pixels)
    on_white = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    levels = _web_levels(np.asarray(on_white.resize((WEB_COLUMNS, WEB_ROWS)), float) / 255, path.name)
    return SongPicture("web", _coarse_matrix(levels))


def _web_levels(colours: np.ndarray, name: str) -> np.ndarray:
    """Return levels 0 to 1, (144, columns), of the sound up to 11 025 Hz in a web tool's picture, lowest row first.

    Raises InputError where the colours or the scale are not the tool's, or hardly anything sounds.
    """
    levels = np.interp(colours @ np.array([0.299, 0.587, 0.114]), LUMA, LEVELS)  # luminance rises all along the palette
    # Only dim pixels lie on the palette: bright ones were mixed when the picture was made smaller.
    dim = (colours.max(axis=-1) > 0.06) & (levels < 0.2)
    expected = np.stack([np.interp(levels, LEVELS[:3], corners) for corners in DIM_COLOURS], axis=-1)
    if dim.mean() < 0.02 or np.median(np.abs(colours - expected).max(axis=-1)[dim]) > 0.047:
        raise InputError(f"'{name}' is no spectrogram of a kind known here: give the song itself, as mp3.")
    low, high = levels[-WEB_ROWS // 10 :].mean(), levels[: WEB_ROWS // 2].mean()
    if high > 0.05 or low < 2 * high:
        raise InputError(f"'{name}' has another scale than the web pictures known here: give the song itself, as mp3.")
    levels = levels[::-1][: WEB_ROWS // 2]
    loudness = levels[: WEB_ROWS // 8].mean(axis=0)
    sounding = np.flatnonzero(loudness > 0.1 * np.quantile(loudness, 0.9))
    if not len(sounding) or np.ptp(sounding) + 1 < WEB_WINDOW:
        raise InputError(f"'{name}' shows too little sound to judge: give the song itself.")
    return levels[:, sounding[0] : sounding[-1] + 1]


def _coarse_matrix(levels: np.ndarray) -> np.ndarray:
    """Return linear rows of levels (144, columns) as uint8 (128, columns), on mel bins and a logarithmic scale."""
    mel = make_interp_spline(ROW_CENTRES, levels, k=1)(np.maximum(MEL_CENTRES, ROW_CENTRES[0]))
    scale = np.log10(np.maximum(mel, WEB_FLOOR) + WEB_ROUNDING)
    dark, bright = np.log10(WEB_FLOOR + WEB_ROUNDING), np.log10(1 + WEB_ROUNDING)
    return np.round(255 * np.clip((scale - dark) / (bright - dark), 0, 1)).astype(np.uint8)


def draw_as_web_tool(matrix: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Simulate the coarse matrix, uint8 (128, columns), that a web picture would show of a clip, uint8 (128, 334).

    Drawn by chance are the length of the song (30 s take 40 to 85 of 432 columns), its level and its mastering.
    """
    power = 10 ** ((matrix - 255.0) * DB_PER_LEVEL / 10)
    power[matrix == 0] = 10**-6.5  # far below the floor, where the tool draws black
    magnitude = make_interp_spline(MEL_CENTRES, np.sqrt(power), k=1)(np.clip(ROW_CENTRES, *MEL_CENTRES[[0, -1]]))
    corners = np.linspace(0, np.sqrt(ROW_CENTRES[-1]), 6) ** 2
    gain_db = np.interp(ROW_CENTRES, corners, rng.normal(WEB_GAIN_DB, WEB_FILTER_DB, 6))
    magnitude *= 10 ** ((gain_db[:, None] + rng.normal(0, WEB_GAIN_SPREAD_DB)) / 20)
    scatter = rng.uniform(0, 0.35)  # one row of one FFT scatters, a mel band does not
    magnitude *= 1 - scatter + scatter * rng.rayleigh(0.8, magnitude.shape)
    size = (int(rng.integers(40, 86)), len(magnitude))
    levels = Image.fromarray(np.clip(magnitude, 0, 1).astype(np.float32)).resize(size, Image.Resampling.BOX)
    return _coarse_matrix(np.asarray(levels))


@dataclass(frozen=True)
class WebClassifier:
    """A texture classifier for coarse matrices, with a temperature and a threshold of its own."""

    texture: texture.TextureClassifier
    temperature: float
    unsure_below: float

    def probabilities(self, matrices: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities, float32 (n, 10), for coarse matrices, uint8 (n, 128, columns)."""
        features = texture.describe_texture(matrices, texture.COARSE)
        return softmax(self.texture.logits(features) / self.temperature, axis=1)

    def aligned(self, songs: Sequence[np.ndarray]) -> WebClassifier:
        """Return the same, centred on the mean of these songs of many genres, uint8 (k, 128, columns) each."""
        mean = np.mean([texture.describe_texture(windows, texture.COARSE).mean(axis=0) for windows in songs], axis=0)
        return replace(self, texture=replace(self.texture, mean=mean))


def train_web_classifier(
    matrices: np.ndarray, labels: np.ndarray, artists: np.ndarray, wanted: float, seed: int = 0
) -> tuple[WebClassifier, float]:
    """Train on WEB_DRAWS simulated pictures of each clip, uint8 (n, 128, 334); return it and its accuracy.

    Accuracy, temperature and threshold (from which on answers reach the `wanted` accuracy) are of three artist folds.
    """

    def simulated(row: int) -> np.ndarray:
        rng = np.random.default_rng([seed, row])
        pictures = [draw_as_web_tool(matrices[row], rng) for _ in range(WEB_DRAWS)]
        return np.concatenate([texture.describe_texture(picture[None], texture.COARSE) for picture in pictures])

    def fit(rows: np.ndarray) -> texture.TextureClassifier:
        of_each = np.repeat(labels[rows], WEB_DRAWS)
        every = descriptors[rows].reshape(len(of_each), -1)
        return texture.fit_texture_classifier(every, of_each, WEB_RIDGE, texture.COARSE)

    descriptors = np.stack(in_parallel(simulated, range(len(matrices)), "drawing web pictures"))
    logits = np.zeros((len(labels), len(GENRES)), np.float32)
    for train, test in StratifiedGroupKFold(3, shuffle=True, random_state=seed).split(labels, labels, artists):
        logits[test] = fit(train).logits(descriptors[test, 0])
    temperature = fit_temperature(logits, labels)
    threshold = fit_threshold(softmax(logits / temperature, axis=1), labels, wanted)
    return WebClassifier(fit(np.arange(len(labels))), temperature, threshold), accuracy(logits, labels)


def web_windows(coarse: np.ndarray) -> np.ndarray:
    """Return half-overlapping windows, uint8 (k, 128, 54), of a whole song's coarse matrix, uint8 (128, columns)."""
    starts = range(0, coarse.shape[1] - WEB_WINDOW + 1, WEB_WINDOW // 2)
    return np.stack([coarse[:, start : start + WEB_WINDOW] for start in starts])
