"""Texture of a spectrogram: 32,512 hand-made features of a matrix, and a linear classifier on them.

A picture of music can be read like a piece of cloth: not where a thread lies, but how threads cross. Costa et al.
("Music genre classification using LBP textural features", 2012) did so on spectrograms. Four such descriptions, all
fixed, each pooled over the whole picture in eight zones of pitch:

    pattern   local binary patterns: which of eight neighbours are louder than a cell (Ojala et al., 2002)
    smooth    the same on smoothed pictures, for coarser texture
    levels    co-occurrence: how loud a cell and its neighbour are (Haralick, 1973)
    phase     local phase quantisation: the phase of four short waves in a patch (Ojansivu and Heikkila, 2008)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import Ridge

from genres.common import GENRES, in_parallel

LOGIT_SCALE = 5.0  # turns the linear layer's -1 to 1 into logits; chosen by artist-grouped cross-validation
RIDGE = 1e-4  # chosen by artist-grouped cross-validation on training and validation tracks
ZONE_BINS = 16  # mel bins that share a histogram: eight zones from low to high
NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))  # (bins, columns), in a circle
LEVEL_COUNT = 12  # loudness steps in a co-occurrence
CHUNK = 10  # matrices described at once: the windows of one song give both of two cores work
SMALLEST_PHASE = 1e-3  # what is below is rounding, and counts as no phase


@dataclass(frozen=True)
class Distances:
    """How far apart the cells are that a description compares, (bins, columns), and the width of phase patches.

    smooth is also the size of the box over which cells are summed.
    """

    pattern: tuple[tuple[int, int], ...]
    smooth: tuple[tuple[int, int], ...]
    levels: tuple[tuple[int, int], ...]
    phase: tuple[int, ...]


FINE = Distances(
    pattern=((1, 1), (1, 2), (2, 1), (1, 4), (4, 1), (2, 4)),
    smooth=((2, 1), (1, 2), (2, 2), (1, 4), (4, 1), (4, 4)),
    levels=((0, 1), (1, 0), (0, 4), (2, 2)),
    phase=(3, 5),
)
COARSE = Distances(  # for a web tool's pictures, half a second a column
    pattern=((1, 1), (1, 2), (2, 1), (4, 1), (2, 4)),
    smooth=((2, 1), (1, 2), (2, 2), (4, 2)),
    levels=((0, 1), (1, 0), (2, 2)),
    phase=(3,),
)


def describe_texture(matrices: np.ndarray, distances: Distances = FINE, progress: bool = False) -> np.ndarray:
    """Compute the texture features of matrices, uint8 (n, 128, columns): float32 (n, 32512), or (n, 23424) for COARSE.

    joblib spreads the work over all cores; `progress` shows a bar. The order of the features is that of
    `describe_groups`.
    """
    chunks = [matrices[start : start + CHUNK] for start in range(0, len(matrices), CHUNK)]
    groups = in_parallel(
        lambda chunk: np.hstack(list(describe_groups(chunk, distances).values())),
        chunks, "describing texture", 8, disable=not progress,
    )  # fmt: skip
    return np.concatenate(groups)


def describe_groups(matrices: np.ndarray, distances: Distances = FINE) -> dict[str, np.ndarray]:
    """Compute each group of features by its name: float32 (n, features of the group)."""
    levels, smooth = matrices.astype(np.int16), matrices.astype(np.float32)
    groups = {
        "pattern": [zone_histogram(binary_pattern(levels, *step), 256) for step in distances.pattern],
        "smooth": [zone_histogram(binary_pattern(box_sum(levels, *step), *step), 256) for step in distances.smooth],
        "levels": [co_occurrence(levels, *step) for step in distances.levels],
        "phase": [zone_histogram(phase_pattern(smooth, width), 256) for width in distances.phase],
    }
    return {name: np.concatenate(parts, axis=1).astype(np.float32) for name, parts in groups.items()}


def zone_histogram(codes: np.ndarray, count: int) -> np.ndarray:
    """Square root of the share of each of `count` codes in each zone of 16 bins: (n, zones * count).

    The root makes the distance of two histograms the Hellinger distance, which rare codes enter fairly.
    """
    offsets = count * np.arange(len(codes))[:, None]
    zones = []
    for low in range(0, codes.shape[1] - ZONE_BINS // 2, ZONE_BINS):
        zone = codes[:, low : low + ZONE_BINS].reshape(len(codes), -1)
        counted = np.bincount((zone + offsets).ravel(), minlength=count * len(codes)).reshape(len(codes), count)
        zones.append(np.sqrt(counted / zone.shape[1]))
    return np.concatenate(zones, axis=1)


def binary_pattern(levels: np.ndarray, bins: int, columns: int) -> np.ndarray:
    """One bit for each of the eight neighbours, at so many bins and columns, that is louder than the cell."""
    rows, width = levels.shape[1:]
    centre = levels[:, bins : rows - bins, columns : width - columns]
    codes = np.zeros(centre.shape, np.int32)
    for bit, (up, right) in enumerate(NEIGHBOURS):
        top, left = bins + up * bins, columns + right * columns
        neighbour = levels[:, top : top + centre.shape[1], left : left + centre.shape[2]]
        codes |= (neighbour > centre).astype(np.int32) << bit
    return codes


def box_sum(levels: np.ndarray, bins: int, columns: int) -> np.ndarray:
    """Sum over a box of so many bins and columns around each cell, without the rim."""
    rows, width = levels.shape[1] - bins + 1, levels.shape[2] - columns + 1
    return sum(levels[:, up : up + rows, right : right + width] for up in range(bins) for right in range(columns))


def co_occurrence(levels: np.ndarray, bins: int, columns: int) -> np.ndarray:
    """Histogram of the levels, in 12 steps, of two cells that lie so many bins and columns apart."""
    steps = levels.astype(np.int32) * LEVEL_COUNT // 256
    rows, width = steps.shape[1:]
    pairs = steps[:, : rows - bins, : width - columns] * LEVEL_COUNT + steps[:, bins:, columns:]
    return zone_histogram(pairs, LEVEL_COUNT**2)


def phase_pattern(levels: np.ndarray, width: int) -> np.ndarray:
    """Signs of the real and imaginary parts of the four slowest waves in each patch: codes of eight bits."""
    place = np.arange(width) - width // 2
    flat, wave = np.ones(width), np.exp(-2j * np.pi * place / width)

    def filtered(values: np.ndarray, kernel: np.ndarray, axis: int) -> np.ndarray:
        length = values.shape[axis] - width + 1
        return sum(kernel[k] * np.take(values, range(k, k + length), axis) for k in range(width))

    time_flat = filtered(levels, flat, 2)
    time_wave = filtered(levels, wave.astype(np.complex64), 2)
    waves = (
        filtered(time_wave, flat, 1),
        filtered(time_flat, wave, 1),
        filtered(time_wave, wave, 1),
        filtered(np.conj(time_wave), wave, 1),
    )
    signs = [part > SMALLEST_PHASE for z in waves for part in (z.real, z.imag)]
    return sum(sign.astype(np.int32) << bit for bit, sign in enumerate(signs))


@dataclass(frozen=True)
class TextureClassifier:
    """A linear layer on standardised features: float32 arrays mean, scale (d,), layer (d, genres), bias (genres,)."""

    mean: np.ndarray
    scale: np.ndarray
    layer: np.ndarray
    bias: np.ndarray

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Compute logits, float32 (n, genres), for rows of texture features."""
        return clip_to_deviations(features, self.mean, self.scale) @ self.layer + self.bias


def clip_to_deviations(features: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Standardise features, and cut off what is more than five deviations from the mean.

    A feature that hardly varied in training must not drown the others when it does later.
    """
    deviations = features - mean
    deviations /= scale
    return np.clip(deviations, -5, 5, out=deviations)


def fit_texture_classifier(
    features: np.ndarray, labels: np.ndarray, ridge: float = RIDGE, distances: Distances = FINE
) -> TextureClassifier:
    """Fit the linear layer by ridge regression on logits: LOGIT_SCALE for the label, -LOGIT_SCALE for other genres.

    features: float32 (n, d), as `describe_texture` computes them for these distances. Each group of features gets the
    same summed variance. `ridge` is relative to the variance of all features.
    """
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-6
    rows = clip_to_deviations(features, mean, deviation)
    widths = [group.shape[1] for group in describe_groups(np.zeros((1, 128, 54), np.uint8), distances).values()]
    groups = np.split(rows, np.cumsum(widths)[:-1], axis=1)
    weight = np.repeat([1 / np.sqrt(group.var(axis=0).sum()) for group in groups], widths).astype(np.float32)
    rows *= weight
    wanted = LOGIT_SCALE * (2 * np.eye(len(GENRES))[labels] - 1)
    fitted = Ridge(ridge * len(groups) * len(rows), solver="cholesky", copy_X=False).fit(rows, wanted)
    layer = fitted.coef_.T * weight[:, None]
    return TextureClassifier(mean, deviation, np.float32(layer), np.float32(fitted.intercept_))
