"""Texture of a spectrogram: 48 000 fixed descriptors of a matrix, a linear classifier on them, and familiarity.

A picture of music can be read like a piece of cloth: not where a thread lies, but how threads cross. Costa et al.
("Music genre classification using LBP textural features", 2012) did so on spectrograms. Five such descriptions and a
statistic, all fixed, each pooled over the whole picture in eight zones of pitch:

    pattern   local binary patterns: which of eight neighbours are louder than a cell (Ojala et al., 2002)
    smooth    the same on smoothed pictures, for coarser texture
    levels    co-occurrence: how loud a cell and its neighbour are (Haralick, 1973)
    phase     local phase quantisation: the phase of four short waves in a patch (Ojansivu and Heikkila, 2008)
    patch     modulation: the mean 2-D spectrum of patches (in the spirit of Anden and Mallat's scattering, 2014)
    stats     level, change, covariance and slow rhythm of the bands

Patterns and phases change less than levels when a record is louder, filtered or compressed. A filter still costs
accuracy, since cells sink into the black and others rise out of it: so the classifier of the model also learns from a
filtered copy of each track (see `recipes.random_filter`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.fft import dct, fft, rfft
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.neighbors import NearestNeighbors

from genres.common import GENRES, in_parallel

SHARPNESS = 5.0  # turns the linear layer's -1 to 1 into logits; chosen by artist-grouped cross-validation
RIDGE = 1e-4  # chosen by artist-grouped cross-validation on training and validation tracks
ZONE_BINS = 16  # mel bins that share a histogram: eight zones from low to high
NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))  # (bins, columns), in a circle
PATTERN_STEPS = ((1, 1), (1, 2), (2, 1), (1, 4), (4, 1), (2, 4))  # distance of the neighbours (bins, columns)
SMOOTH_STEPS = ((2, 1), (1, 2), (2, 2), (1, 4), (4, 1), (4, 4))  # the same, and the size of the smoothing box
LEVEL_STEPS = ((0, 1), (1, 0), (0, 4), (2, 2))  # distance of the two cells (bins, columns)
COARSE_STEPS = ((1, 1), (1, 2), (2, 1), (4, 1), (2, 4))  # the same three for coarse matrices
COARSE_SMOOTH_STEPS = ((2, 1), (1, 2), (2, 2), (4, 2))
COARSE_LEVEL_STEPS = ((0, 1), (1, 0), (2, 2))
_CODES = np.arange(256)
_CHANGES = np.bitwise_count(_CODES ^ (_CODES >> 1 | (_CODES & 1) << 7))
UNIFORM_NUMBER = np.where(_CHANGES <= 2, np.cumsum(_CHANGES <= 2) - 1, 58)  # of each pattern of eight bits, 0 to 58
LEVEL_COUNT = 12  # loudness steps in a co-occurrence
PHASE_WIDTHS = (3, 5)  # side of a patch, in bins and columns
CHUNK = 10  # matrices described at once: the windows of one song give both of two cores work
SMALLEST_PHASE = 1e-3  # what is below is rounding, and counts as no phase


def describe(matrices: np.ndarray, progress: bool = False) -> np.ndarray:
    """Describe the texture of matrices, uint8 (n, 128, columns), by float32 (n, features).

    joblib spreads the work over all cores; `progress` shows a bar. The order of the features is that of
    `describe_groups`.
    """
    chunks = [matrices[start : start + CHUNK] for start in range(0, len(matrices), CHUNK)]
    described = in_parallel(describe_groups, chunks, "describing texture", 8, disable=not progress)
    return np.block([list(groups.values()) for groups in described])


def describe_groups(matrices: np.ndarray) -> dict[str, np.ndarray]:
    """Give each group of descriptors by its name: float32 (n, features of the group)."""
    levels = matrices.astype(np.int16)
    smooth = matrices.astype(np.float32)
    groups = {
        "pattern": [zone_histogram(binary_pattern(levels, *step), 256) for step in PATTERN_STEPS],
        "smooth": [zone_histogram(binary_pattern(box_sum(levels, *step), *step), 256) for step in SMOOTH_STEPS],
        "levels": [co_occurrence(levels, *step) for step in LEVEL_STEPS],
        "phase": [zone_histogram(phase_pattern(smooth, width), 256) for width in PHASE_WIDTHS],
        "patch": [
            patch_spectrum(smooth, bins=16, columns=16, step=8, keep=(8, 9)),
            patch_spectrum(smooth, bins=16, columns=32, step=8, keep=(8, 17)),
            patch_spectrum(smooth, bins=64, columns=32, step=16, keep=(20, 17), every=(2, 1)),
            patch_spectrum(smooth, bins=16, columns=128, step=16, keep=(8, 65), every=(1, 2)),
        ],
        "stats": [band_statistics(smooth)],
    }
    return {name: np.concatenate(parts, axis=1).astype(np.float32) for name, parts in groups.items()}


def describe_coarse(matrices: np.ndarray) -> np.ndarray:
    """Describe coarse matrices, uint8 (n, 128, columns), half a second a column: float32 (n, 23 424)."""
    return np.hstack(list(describe_coarse_groups(matrices).values()))


def describe_coarse_groups(matrices: np.ndarray) -> dict[str, np.ndarray]:
    """Give the same patterns, phases and co-occurrences, at the steps that so few columns can carry, by their name."""
    levels = matrices.astype(np.int16)
    groups = {
        "pattern": [zone_histogram(binary_pattern(levels, *step), 256) for step in COARSE_STEPS],
        "smooth": [zone_histogram(binary_pattern(box_sum(levels, *step), *step), 256) for step in COARSE_SMOOTH_STEPS],
        "levels": [co_occurrence(levels, *step) for step in COARSE_LEVEL_STEPS],
        "phase": [zone_histogram(phase_pattern(matrices.astype(np.float32), 3), 256)],
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


def uniform_patterns(levels: np.ndarray) -> np.ndarray:
    """Give how often local patterns occur in matrices, (n, 128, columns): float32 (n, 2773), square roots of shares.

    At six distances and in each zone, the 58 patterns that change at most twice around the circle count by themselves,
    all others together. Source: Ojala et al., "Multiresolution gray-scale and rotation invariant texture classification
    with local binary patterns", 2002.
    """
    codes = [UNIFORM_NUMBER[binary_pattern(levels, *step)] for step in PATTERN_STEPS]
    return np.concatenate([zone_histogram(code, 59) for code in codes], axis=1).astype(np.float32)


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


def patch_spectrum(
    levels: np.ndarray, bins: int, columns: int, step: int, keep: tuple[int, int], every: tuple[int, int] = (1, 1)
) -> np.ndarray:
    """Log of the mean 2-D spectrum of patches, bins x columns, at every `step` bins: joint pitch-time modulation.

    keep says how many pitch and time modulations stay, every takes only each so-manyth of them.
    """
    window = (np.hanning(bins + 2)[1:-1, None] * np.hanning(columns + 2)[1:-1]).astype(np.float32)
    spectra = []
    for low in range(0, levels.shape[1] - bins + 1, step):
        patches = np.lib.stride_tricks.sliding_window_view(levels[:, low : low + bins], columns, axis=2)
        patches = patches[:, :, :: columns // 2].transpose(0, 2, 1, 3)
        patches = (patches - patches.mean(axis=(2, 3), keepdims=True)) * window
        spectrum = np.abs(fft(rfft(patches, axis=3), axis=2)).mean(axis=1)
        both_signs = np.concatenate([spectrum[:, : keep[0]], spectrum[:, 1 - keep[0] :]], axis=1)
        spectra.append(np.log(both_signs[:, :: every[0], : keep[1] : every[1]] + 30).reshape(len(levels), -1))
    return np.concatenate(spectra, axis=1)


def band_statistics(levels: np.ndarray) -> np.ndarray:
    """Level, change, covariance, contrast and slow modulation of bands over the whole picture: (n, features)."""
    count = len(levels)
    bands_64, bands_32 = levels.reshape(count, 64, 2, -1).mean(axis=2), levels.reshape(count, 32, 4, -1).mean(axis=2)
    change, change_32 = np.diff(levels, axis=2), np.diff(bands_32, axis=2)
    cepstrum = dct(levels, axis=1, norm="ortho")[:, :24]
    octave = np.sort(levels.reshape(count, 16, 8, -1), axis=2)
    contrast = np.concatenate(
        [octave[:, :, -1] - octave[:, :, 0], octave[:, :, -2:].mean(axis=2) - octave[:, :, 2:4].mean(axis=2)], axis=1
    )
    return np.concatenate(
        [
            levels.mean(axis=2),
            levels.std(axis=2),
            np.maximum(change, 0).reshape(count, 64, -1).mean(axis=2),
            change.reshape(count, 64, -1).std(axis=2),
            cepstrum.mean(axis=2),
            *np.quantile(bands_64, [0.1, 0.3, 0.5, 0.7, 0.9], axis=2),
            *np.quantile(change_32, [0.05, 0.5, 0.9, 0.97], axis=2),
            log_covariance(cepstrum, 1),
            log_covariance(np.diff(cepstrum, axis=2), 1),
            log_covariance(bands_32, 10),
            correlation(bands_32),
            correlation(change_32),
            slow_modulation(bands_32),
            contrast.mean(axis=2),
            contrast.std(axis=2),
            *[(bands_32 < level).mean(axis=2) for level in (8, 40, 90, 140)],
        ],
        axis=1,
    )


def slow_modulation(bands: np.ndarray) -> np.ndarray:
    """Log spectrum of each band's course in time, 0.09 to 5.6 Hz in steps that widen: beat and bar."""
    window = np.hanning(128).astype(np.float32)
    pieces = [bands[:, :, start : start + 128] for start in (0, 68, 136, 204)]
    spectrum = sum(np.abs(rfft((piece - piece.mean(axis=2, keepdims=True)) * window, axis=2)) for piece in pieces) / 4
    edges = np.unique(np.round(np.geomspace(1, 64, 25)).astype(int))
    steps = np.stack([spectrum[:, :, low:high].mean(axis=2) for low, high in pairwise(edges)], axis=2)
    return np.log(steps + 10).reshape(len(bands), -1)


def log_covariance(values: np.ndarray, floor: float) -> np.ndarray:
    """Upper triangle of the matrix logarithm of the covariance over time of (n, channels, columns)."""
    values = values - values.mean(axis=2, keepdims=True)
    covariance = values @ values.transpose(0, 2, 1) / values.shape[2]
    roots, vectors = np.linalg.eigh(covariance + floor * np.eye(values.shape[1], dtype=values.dtype))
    logarithm = vectors * np.log(roots)[:, None] @ vectors.transpose(0, 2, 1)
    rows, columns = np.triu_indices(values.shape[1])
    return logarithm[:, rows, columns]


def correlation(values: np.ndarray) -> np.ndarray:
    """Upper triangle of the correlation over time of (n, channels, columns); silent channels give 0."""
    values = values - values.mean(axis=2, keepdims=True)
    covariance = values @ values.transpose(0, 2, 1) / values.shape[2]
    spread = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2)) + 2
    rows, columns = np.triu_indices(values.shape[1], 1)
    return (covariance / spread[:, :, None] / spread[:, None])[:, rows, columns]


@dataclass(frozen=True)
class TextureClassifier:
    """A linear layer on standardised descriptors: float32 arrays mean, scale, weight (d,), layer (d, genres), bias.

    `weight` lets each group of descriptors count the same, however many it has.
    """

    mean: np.ndarray
    scale: np.ndarray
    weight: np.ndarray
    layer: np.ndarray
    bias: np.ndarray

    def logits(self, descriptors: np.ndarray) -> np.ndarray:
        """Give logits, float32 (n, genres), for rows of descriptors."""
        return SHARPNESS * (self.standardised(descriptors) @ self.layer + self.bias)

    def standardised(self, descriptors: np.ndarray) -> np.ndarray:
        """Give the descriptors as the layer sees them: of variance 1, cut off at 5, each group of equal weight."""
        # A descriptor that hardly varied in training must not drown the others when it does later.
        return np.clip((descriptors - self.mean) / self.scale, -5, 5) * self.weight


def fit_texture_classifier(
    descriptors: np.ndarray,
    labels: np.ndarray,
    ridge: float = RIDGE,
    described_by: Callable = describe_groups,
    told: np.ndarray | None = None,
) -> TextureClassifier:
    """Fit the linear layer in closed form, see `solve_layer`, which says what `told` is.

    Copies of the tracks may follow them among the descriptors. described_by: what made the descriptors; each of its
    groups counts the same, however many descriptors it has.
    """
    mean, scale = descriptors.mean(axis=0), descriptors.std(axis=0) + 1e-6
    classifier = TextureClassifier(mean, scale, np.ones_like(mean), np.empty(0), np.empty(0))
    plain = classifier.standardised(descriptors)
    widths = [part.shape[1] for part in described_by(np.zeros((1, 128, 334), np.uint8)).values()]
    groups = np.split(plain, np.cumsum(widths)[:-1], axis=1)
    weight = np.repeat([1 / np.sqrt(group.var(axis=0).sum()) for group in groups], widths)
    layer, bias = solve_layer(plain * weight, labels, ridge, told)
    return TextureClassifier(mean, scale, weight, np.float32(layer / SHARPNESS), np.float32(bias / SHARPNESS))


def solve_layer(
    rows: np.ndarray, labels: np.ndarray, ridge: float, told: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Give the linear layer with the smallest weights that suits all rows, float: (d, 10), and its bias (10,).

    rows (n, d) describe the tracks in the order of their labels (n,); with copies of them behind, they are (k n, d).
    Ridge regression on logits of SHARPNESS for the label and -SHARPNESS for the other genres; `ridge` is relative to
    the summed variance of all rows. told: what a teacher answers for each track, log-probabilities, float (n, 10), is
    added to these logits: to wrong genres that the teacher finds possible the layer need not be so far.

    Source: Hinton et al., "Distilling the knowledge in a neural network", 2015, for learning from answers.
    """
    wanted = SHARPNESS * (2 * np.eye(len(GENRES))[labels] - 1) + (0 if told is None else told)
    wanted = np.tile(wanted, (len(rows) // len(wanted), 1))
    fitted = Ridge(ridge * rows.var(axis=0).sum() * len(rows), solver="cholesky").fit(rows, wanted)
    return fitted.coef_.T, fitted.intercept_


def targets(descriptors: np.ndarray, labels: np.ndarray, components: int) -> np.ndarray:
    """Give what a network shall also tell of each training track: float32 (n, components), each of variance 1.

    The first principal components of the texture descriptors of these tracks; zeros where there are not as many.
    Nothing else enters, so a network that is taught so is from scratch.
    """
    described = fit_texture_classifier(descriptors, labels).standardised(descriptors)
    most = min(components, len(described) - 1, described.shape[1])
    found = PCA(most, whiten=True, random_state=0).fit_transform(described)
    return np.pad(found, ((0, 0), (0, components - most))).astype(np.float32)


# Familiarity: whether a matrix is like anything in the training data.
PLAIN_GROUPS = 16  # bands whose level, spread and change describe a matrix plainly
NEAREST = 5  # rank of the neighbour that says how far away the training data is
COMPONENTS = 40  # principal components of the plain description in which neighbours are looked for


@dataclass(frozen=True)
class Familiarity:
    """What the training matrices look like, as float32 arrays.

    centre (76,) and whitening (76, 40) bring a plain description to components of equal spread, points (n, 40) are the
    training matrices there, limit () is the distance from which on a matrix counts as out-of-distribution.
    """

    centre: np.ndarray
    whitening: np.ndarray
    points: np.ndarray
    limit: np.ndarray

    def distance(self, matrices: np.ndarray) -> np.ndarray:
        """Distance to the fifth nearest training matrix over the limit, float32 (n,); above 1 out-of-distribution."""
        return _neighbour_distance(self.place(matrices), self.points) / self.limit

    def place(self, matrices: np.ndarray) -> np.ndarray:
        """Where matrices, uint8 (n, 128, columns), lie among `points`: float32 (n, 40)."""
        return (describe_plainly(matrices) - self.centre) @ self.whitening


def describe_plainly(matrices: np.ndarray) -> np.ndarray:
    """Level, spread, changes in time and pitch, floor and rhythm of matrices, uint8 (n, 128, columns): float32 (n, 76).

    Few numbers on purpose: with 48 000 everything is far from everything.
    """
    level = matrices.astype(np.float32) / 255
    shape = (len(level), PLAIN_GROUPS, 128 // PLAIN_GROUPS, -1)
    groups = level.reshape(shape)
    change = np.abs(np.diff(level, axis=2)).reshape(shape)
    lines = np.abs(np.diff(level, axis=1, append=level[:, -1:])).reshape(shape)
    floor = (groups == 0).reshape(len(level), 4, -1)
    # How much the level goes up and down as a whole: much for speech, not at all for tones and noise.
    column = level.mean(axis=1)
    loudness = np.quantile(column, [0.05, 0.25, 0.5, 0.75, 0.95], axis=1).T
    beat = column - column.mean(axis=1, keepdims=True)
    power = (beat**2).mean(axis=1, keepdims=True) + 1e-6
    rhythm = np.stack([(beat[:, :-lag] * beat[:, lag:]).mean(axis=1) for lag in (1, 2, 4)], axis=1) / power
    pooled = [groups.mean(axis=(2, 3)), groups.std(axis=(2, 3)), change.mean(axis=(2, 3)), lines.mean(axis=(2, 3))]
    return np.concatenate([*pooled, floor.mean(axis=2), loudness, rhythm], axis=1).astype(np.float32)


def fit_familiarity(matrices: np.ndarray, artists: np.ndarray, false_warnings: float = 0.01) -> Familiarity:
    """Learn what is familiar from training matrices, uint8 (n, 128, columns), and their artists, (n,).

    The limit is the distance that only `false_warnings` of them exceed, each measured to those of other artists, as a
    new song would be.
    """
    described = describe_plainly(matrices).astype(np.float64)
    centre, scale = described.mean(axis=0), described.std(axis=0) + 1e-6
    pca = PCA(min(COMPONENTS, *described.shape)).fit((described - centre) / scale)
    strong = pca.singular_values_ > 1e-6 * pca.singular_values_[0]
    whitening = (pca.components_[strong] / np.sqrt(pca.explained_variance_[strong, None])).T / scale[:, None]
    points = (described - centre) @ whitening
    distances = []
    for artist in np.unique(artists):
        own = artists == artist
        if (~own).sum() >= NEAREST:
            distances.append(_neighbour_distance(points[own], points[~own]))
    limit = np.quantile(np.concatenate(distances), 1 - false_warnings)
    return Familiarity(*(np.asarray(array, np.float32) for array in (centre, whitening, points, limit)))


def _neighbour_distance(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    return NearestNeighbors(n_neighbors=NEAREST).fit(others).kneighbors(points)[0][:, -1]
