"""Descriptions of music that nobody trained, and the classifiers that learn from them.

1 Texture of a spectrogram. A picture of music can be read like a piece of cloth: not where a thread lies, but how
threads cross. Costa et al. ("Music genre classification using LBP textural features", 2012) did so on spectrograms.
Here are five such looks and a statistic, all fixed, each pooled over the whole picture in eight zones of pitch:

    pattern   local binary patterns: which of eight neighbours are louder than a cell (Ojala et al., 2002)
    smooth    the same on smoothed pictures, for coarser texture
    levels    co-occurrence: how loud a cell and its neighbour are (Haralick, 1973)
    phase     local phase quantisation: the phase of four short waves in a patch (Ojansivu and Heikkila, 2008)
    patch     modulation: the mean 2-D spectrum of patches (in the spirit of Anden and Mallat's scattering, 2014)
    stats     level, change, covariance and slow rhythm of the bands

Patterns and phases do not feel how loud, how filtered or how compressed a record is: that is what makes them keep
their accuracy on artists that training never met.

2 Familiarity: whether a matrix is like anything in the training data.

3 Named features. The course's first idea, in the line of Tzanetakis and Cook ("Musical genre classification of audio
signals", 2002): a few numbers per moment that have a name and a unit, such as the centroid of the spectrum in Hz, and
their mean and standard deviation over a clip. From sound by librosa; from a matrix as far as it carries them.

4 Classifiers on named features: a multi-layer perceptron, and scikit-learn's support vector machine and gradient
boosting beside it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import joblib
import librosa
import numpy as np
import pandas as pd
import torch
from scipy.fft import dct, fft, rfft
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import nn
from tqdm.auto import tqdm

# ---------------------------------------------------------------------------------------------------------
# 1 Texture of a spectrogram
# ---------------------------------------------------------------------------------------------------------

RIDGE = 1e-4  # chosen by artist-grouped cross-validation on training and validation tracks
ZONE_BINS = 16  # mel bins that share a histogram: eight zones from low to high
NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))  # (bins, columns), in a circle
PATTERN_STEPS = ((1, 1), (1, 2), (2, 1), (1, 4), (4, 1), (2, 4))  # distance of the neighbours (bins, columns)
SMOOTH_STEPS = ((2, 1), (1, 2), (2, 2), (1, 4), (4, 1), (4, 4))  # the same, and the size of the smoothing box
LEVEL_STEPS = ((0, 1), (1, 0), (0, 4), (2, 2))  # distance of the two cells (bins, columns)
COARSE_STEPS = ((1, 1), (1, 2), (2, 1), (4, 1), (2, 4))  # the same three for coarse matrices
COARSE_SMOOTH_STEPS = ((2, 1), (1, 2), (2, 2), (4, 2))
COARSE_LEVEL_STEPS = ((0, 1), (1, 0), (2, 2))
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
    with joblib.Parallel(n_jobs=-1 if len(chunks) > 1 else 1, prefer="threads") as parallel:
        rounds = tqdm(range(0, len(chunks), 8), desc="describing texture", leave=False, disable=not progress)
        parts = [parallel(joblib.delayed(_describe_chunk)(chunk) for chunk in chunks[k : k + 8]) for k in rounds]
    return np.concatenate([chunk for part in parts for chunk in part])


def _describe_chunk(matrices: np.ndarray) -> np.ndarray:
    return np.concatenate(list(describe_groups(matrices).values()), axis=1)


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
    return np.concatenate(list(describe_coarse_groups(matrices).values()), axis=1)


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
        """Give float32 (n, genres): how far each row of descriptors leans to each genre, about -1 to 1."""
        return self._standardised(descriptors) @ self.layer + self.bias

    def _standardised(self, descriptors: np.ndarray) -> np.ndarray:
        # A descriptor that hardly varied in training must not drown the others when it does later.
        return np.clip((descriptors - self.mean) / self.scale, -5, 5) * self.weight


def fit_texture_classifier(
    descriptors: np.ndarray, labels: np.ndarray, ridge: float = RIDGE, described_by: Callable = describe_groups
) -> TextureClassifier:
    """Fit the linear layer by ridge regression on targets of -1 and 1, in closed form.

    described_by: what made the descriptors; each of its groups counts the same, however many descriptors it has.

    With far more descriptors (48 000) than tracks, the tracks' inner products are all that counts, so the system to
    solve has one row per track. `ridge` is relative to the mean squared length of a row.
    """
    mean, scale = descriptors.mean(axis=0), descriptors.std(axis=0) + 1e-6
    classifier = TextureClassifier(mean, scale, np.ones_like(mean), np.empty(0), np.empty(0))
    plain = classifier._standardised(descriptors)
    weight = np.empty_like(mean)
    for columns in group_columns(described_by).values():
        weight[columns] = 1 / np.sqrt(plain[:, columns].var(axis=0).sum())
    rows = plain * weight
    centre = rows.mean(axis=0)
    rows -= centre
    products = (rows @ rows.T).astype(np.float64)
    targets = 2.0 * np.eye(labels.max() + 1)[labels] - 1
    damping = ridge * np.trace(products) * np.eye(len(rows))
    layer = rows.T @ np.linalg.solve(products + damping, targets - targets.mean(axis=0)).astype(np.float32)
    bias = targets.mean(axis=0).astype(np.float32) - centre @ layer
    return TextureClassifier(mean, scale, weight, layer, bias)


def group_columns(described_by: Callable = describe_groups) -> dict[str, slice]:
    """Columns that each group takes in what `describe` (or, of its groups, `describe_coarse`) gives."""
    widths = {name: part.shape[1] for name, part in described_by(np.zeros((1, 128, 334), np.uint8)).items()}
    ends = np.cumsum(list(widths.values()))
    return {name: slice(end - width, end) for (name, width), end in zip(widths.items(), ends, strict=True)}


# ---------------------------------------------------------------------------------------------------------
# 2 Familiarity
# ---------------------------------------------------------------------------------------------------------

PLAIN_GROUPS = 16  # bands whose level, spread and change describe a matrix plainly
NEAREST = 5  # rank of the neighbour that says how far away the training data is
COMPONENTS = 40  # principal components of the plain description in which neighbours are looked for


@dataclass(frozen=True)
class Familiarity:
    """What the training matrices look like, as float32 arrays.

    centre (76,) and whitening (76, 40) bring a plain description to components of equal spread, points (n, 40) are the
    training matrices there, limit () is the distance that counts as strange.
    """

    centre: np.ndarray
    whitening: np.ndarray
    points: np.ndarray
    limit: np.ndarray

    def strangeness(self, matrices: np.ndarray) -> np.ndarray:
        """Distance to the fifth nearest training matrix over its limit, float32 (n,): above 1 is unlike them all."""
        points = (describe_plainly(matrices) - self.centre) @ self.whitening
        return _neighbour_distance(points, self.points) / self.limit


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
    _, size, axes = np.linalg.svd((described - centre) / scale, full_matrices=False)
    kept = size[:COMPONENTS] > 1e-6 * size[0]
    spread = size[:COMPONENTS][kept] / np.sqrt(len(described))
    whitening = (axes[:COMPONENTS][kept] / spread[:, None]).T / scale[:, None]
    points = (described - centre) @ whitening
    distances = []
    for artist in np.unique(artists):
        own = artists == artist
        if (~own).sum() >= NEAREST:
            distances.append(_neighbour_distance(points[own], points[~own]))
    limit = np.quantile(np.concatenate(distances), 1 - false_warnings)
    return Familiarity(*(np.asarray(array, np.float32) for array in (centre, whitening, points, limit)))


def _neighbour_distance(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    squared = (points**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2 * points @ others.T
    return np.sqrt(np.maximum(np.partition(squared, NEAREST - 1, axis=1)[:, NEAREST - 1], 0))


# ---------------------------------------------------------------------------------------------------------
# 3 Named features
# ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Feature:
    """A named feature: numbers per frame, unit from sound, what a matrix carries of it, and what it hears."""

    size: int
    unit: str
    in_matrix: str
    hears: str


NAMED_FEATURES = {
    "mfcc": Feature(20, "dB", "yes, above the floor", "timbre: the broad shape of the spectrum"),
    "chroma": Feature(12, "of the strongest", "440 Hz to 5 kHz", "which of the twelve notes sound"),
    "zero_crossing_rate": Feature(1, "per sample", "no", "how often the wave changes sign: noise and hiss"),
    "centroid": Feature(1, "Hz", "yes", "brightness: the centre of mass of the spectrum"),
    "contrast": Feature(7, "dB", "up to 40 dB", "peaks over valleys in each octave: notes against noise"),
    "rolloff": Feature(1, "Hz", "yes", "below which 85 % of the spectrum lies"),
    "bandwidth": Feature(1, "Hz", "yes", "how far the spectrum spreads around its centroid"),
    "tonnetz": Feature(6, "-1 to 1", "from its chroma", "harmony: fifths, minor and major thirds"),
    "rms": Feature(1, "amplitude", "relative: loudest = 1", "loudness, and how it changes"),
}
MFCC_COUNT = NAMED_FEATURES["mfcc"].size
ROLLOFF_SHARE = 0.85  # librosa's default
LOWEST_OCTAVE = 200.0  # Hz, upper end of the lowest band of the spectral contrast, librosa's default
# Below 440 Hz two mel bands are further apart than two semitones; above 5 kHz there are hardly any notes.
CHROMA_RANGE = (440.0, 5_000.0)  # Hz
A4, A4_CLASS = 440.0, 9  # Hz, and its place among the pitch classes from C


def named_feature_table() -> pd.DataFrame:
    """List the named features: numbers per frame, unit, whether a picture carries them, and what they hear."""
    rows = [(name, f.size, f.unit, f.in_matrix, f.hears) for name, f in NAMED_FEATURES.items()]
    return pd.DataFrame(rows, columns=["feature", "numbers", "unit", "in a picture", "what it hears"])


def frames_of_sound(samples: np.ndarray, rate: int) -> dict[str, np.ndarray]:
    """Compute the named features of each frame of a sound with librosa: float (numbers, 1 + n // 512) by name.

    samples: float32 (n,) at `rate` Hz. Frames of 2 048 samples, 512 apart, librosa's defaults. The tonnetz is taken
    from the short-time chroma, so that sound and picture go the same way.
    """
    magnitude = np.abs(librosa.stft(samples))
    power = magnitude**2
    chroma = librosa.feature.chroma_stft(S=power, sr=rate)
    mel = librosa.feature.melspectrogram(S=power, sr=rate)
    return {
        "mfcc": librosa.feature.mfcc(S=librosa.power_to_db(mel), n_mfcc=MFCC_COUNT),
        "chroma": chroma,
        "zero_crossing_rate": librosa.feature.zero_crossing_rate(samples),
        "centroid": librosa.feature.spectral_centroid(S=magnitude, sr=rate),
        "contrast": librosa.feature.spectral_contrast(S=magnitude, sr=rate, fmin=LOWEST_OCTAVE),
        "rolloff": librosa.feature.spectral_rolloff(S=magnitude, sr=rate, roll_percent=ROLLOFF_SHARE),
        "bandwidth": librosa.feature.spectral_bandwidth(S=magnitude, sr=rate),
        "tonnetz": librosa.feature.tonnetz(chroma=chroma),
        "rms": librosa.feature.rms(y=samples),
    }


def frames_of_matrices(matrices: np.ndarray, db_per_level: float, rate: int) -> dict[str, np.ndarray]:
    """Compute what matrices, uint8 (n, bands, columns), carry of the named features: float (n, numbers, columns).

    db_per_level is the dB of power from one level to the next, rate the sampling rate of the sound in Hz. A matrix
    has no wave, so the zero-crossing rate is missing, and no absolute loudness, so `rms` is relative to the loudest
    column. A cell at level 0 lies 40 dB or more below the loudest cell, nobody knows how far: it counts as no power.
    """
    edges = librosa.mel_frequencies(matrices.shape[1] + 2, fmin=0, fmax=rate / 2)
    centres, widths = edges[1:-1, None], (edges[2:, None] - edges[:-2, None]) / 2
    decibels = db_per_level * (matrices.astype(np.float32) - 255)
    power = np.where(matrices > 0, 10 ** (decibels / 10), 0).astype(np.float32)
    # librosa's mel filters have equal areas, so a band holds the mean power of its FFT bins, and counts for its width.
    magnitude = np.sqrt(power) * widths
    total = magnitude.sum(axis=1, keepdims=True)
    share = magnitude / np.maximum(total, 1e-9)
    centroid = (share * centres).sum(axis=1, keepdims=True)
    reached = np.argmax(share.cumsum(axis=1) >= ROLLOFF_SHARE, axis=1)
    loudness = np.sqrt((power * widths).sum(axis=1, keepdims=True))
    chroma = _pitch_classes(centres[:, 0]) @ (power * widths)
    chroma /= np.maximum(chroma.max(axis=1, keepdims=True), 1e-9)
    octaves = np.searchsorted(LOWEST_OCTAVE * 2.0 ** np.arange(NAMED_FEATURES["contrast"].size - 1), centres[:, 0])
    in_octave = [decibels[:, octaves == octave] for octave in range(NAMED_FEATURES["contrast"].size)]
    return {
        "mfcc": dct(decibels, axis=1, norm="ortho")[:, :MFCC_COUNT],
        "chroma": chroma,
        "centroid": centroid,
        "contrast": np.stack([cells.max(axis=1) - cells.min(axis=1) for cells in in_octave], axis=1),
        "rolloff": np.where(total > 0, centres[reached, 0][:, None], 0),
        "bandwidth": np.sqrt((share * (centres - centroid) ** 2).sum(axis=1, keepdims=True)),
        "tonnetz": librosa.feature.tonnetz(chroma=chroma),
        "rms": loudness / np.maximum(loudness.max(axis=2, keepdims=True), 1e-9),
    }


def _pitch_classes(centres: np.ndarray) -> np.ndarray:
    """Weights, float (12, bands), that fold bands of these centre frequencies in Hz onto the pitch classes from C."""
    semitone = 12 * np.log2(centres / A4) + A4_CLASS
    distance = (semitone - np.arange(12)[:, None] + 6) % 12 - 6
    inside = (centres >= CHROMA_RANGE[0]) & (centres <= CHROMA_RANGE[1])
    weights = np.exp(-((distance / 0.5) ** 2) / 2) * inside
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


STATISTICS = ("mean", "std", "change")  # change is the standard deviation of the step from frame to frame


def _statistics(frames: dict[str, np.ndarray]) -> tuple[list[str], np.ndarray]:
    """Mean, deviation and change over the last axis: names such as `mfcc_01_mean`, and float (..., features)."""
    names = [
        f"{name}_{number:02d}_{statistic}" if values.shape[-2] > 1 else f"{name}_{statistic}"
        for name, values in frames.items()
        for statistic in STATISTICS
        for number in range(1, values.shape[-2] + 1)
    ]
    parts = [
        part
        for values in frames.values()
        for part in (values.mean(axis=-1), values.std(axis=-1), np.diff(values, axis=-1).std(axis=-1))
    ]
    return names, np.concatenate(parts, axis=-1)


def describe_sound(samples: np.ndarray, rate: int) -> pd.Series:
    """Give the named row of a sound, float32 (n,) at `rate` Hz: mean and standard deviation of each named feature."""
    names, values = _statistics(frames_of_sound(samples, rate))
    return pd.Series(values, names, dtype=np.float64)


def describe_matrices(matrices: np.ndarray, db_per_level: float, rate: int) -> pd.DataFrame:
    """Give the named rows of matrices, uint8 (n, bands, columns): one row each, columns as in `describe_sound`."""
    names, parts = [], []
    for start in range(0, len(matrices), 50):
        names, values = _statistics(frames_of_matrices(matrices[start : start + 50], db_per_level, rate))
        parts.append(values)
    return pd.DataFrame(np.concatenate(parts), columns=names, dtype=np.float64)


def feature_group(column: str) -> str:
    """Name of the feature that a column belongs to: `mfcc_01_mean` gives mfcc."""
    return re.sub(r"_?\d*_(mean|std|change)$", "", column)


# ---------------------------------------------------------------------------------------------------------
# 4 Classifiers on named features
# ---------------------------------------------------------------------------------------------------------


class Perceptron(ClassifierMixin, BaseEstimator):
    """A multi-layer perceptron in PyTorch, behind scikit-learn's interface: fit, predict_proba, predict.

    hidden are the widths of its hidden layers, with ReLU and dropout after each. AdamW with a one-cycle learning
    rate; the last weights count. The same seed gives the same network.
    """

    def __init__(
        self,
        hidden: Sequence[int] = (64,),
        dropout: float = 0.5,
        weight_decay: float = 0.1,
        learning_rate: float = 3e-3,
        epochs: int = 60,
        batch_size: int = 64,
        label_smoothing: float = 0.05,
        seed: int = 0,
    ) -> None:
        self.hidden = hidden
        self.dropout = dropout
        self.weight_decay = weight_decay
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.label_smoothing = label_smoothing
        self.seed = seed

    def fit(self, rows: np.ndarray, labels: np.ndarray) -> Perceptron:
        """Train on float rows (n, features) with labels (n,)."""
        self.classes_, targets = np.unique(labels, return_inverse=True)
        inputs, targets = torch.from_numpy(np.asarray(rows, np.float32)), torch.from_numpy(targets)
        batches = -(-len(inputs) // self.batch_size)
        # On the CPU also where there is a faster device: so small a network waits longer for the device than it
        # computes. The caller's own random numbers stay untouched.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            widths = [inputs.shape[1], *self.hidden]
            layers = [
                layer
                for inside, outside in pairwise(widths)
                for layer in (nn.Linear(inside, outside), nn.ReLU(), nn.Dropout(self.dropout))
            ]
            self.network_ = nn.Sequential(*layers, nn.Linear(widths[-1], len(self.classes_)))
            optimiser = torch.optim.AdamW(
                self.network_.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
            )
            schedule = torch.optim.lr_scheduler.OneCycleLR(
                optimiser, self.learning_rate, total_steps=self.epochs * batches, pct_start=0.25
            )
            loss_function = nn.CrossEntropyLoss(label_smoothing=self.label_smoothing)
            self.network_.train()
            for _ in range(self.epochs):
                for batch in torch.randperm(len(inputs)).tensor_split(batches):
                    loss = loss_function(self.network_(inputs[batch]), targets[batch])
                    optimiser.zero_grad()
                    loss.backward()
                    optimiser.step()
                    schedule.step()
        self.network_.eval()
        return self

    @torch.inference_mode()
    def decision_function(self, rows: np.ndarray) -> np.ndarray:
        """Give the log-probabilities, float32 (n, classes)."""
        return self.network_(torch.from_numpy(np.asarray(rows, np.float32))).log_softmax(dim=1).numpy()

    def predict_proba(self, rows: np.ndarray) -> np.ndarray:
        """Give the probabilities, float32 (n, classes)."""
        return np.exp(self.decision_function(rows))

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Give the most probable label of each row."""
        return self.classes_[self.decision_function(rows).argmax(axis=1)]


# What `search_settings` compares. SETTINGS are the best of them on the picture features of GTZAN's training and
# validation tracks, in cross-validation over artists.
CANDIDATES = {
    "MLP": [
        {"hidden": [64]},
        {"hidden": [128]},
        {"hidden": [256]},
        {"hidden": [64, 64]},
        {"hidden": [128, 128]},
        {"hidden": [64], "dropout": 0.2},
        {"hidden": [64], "dropout": 0.7},
        {"hidden": [64], "weight_decay": 1.0},
    ],
    "SVM": [{"C": c, "gamma": gamma} for gamma in ("scale", 0.002) for c in (1, 3, 10, 30)],
    "boosting": [
        {"max_iter": 60, "max_features": 0.3, "max_leaf_nodes": 4},
        {"max_iter": 60, "max_features": 0.3, "max_leaf_nodes": 8},
        {"max_iter": 60, "max_features": 0.3, "max_leaf_nodes": 4, "learning_rate": 0.2},
    ],
}
SETTINGS = {
    "MLP": {"hidden": [64, 64]},
    "SVM": {"C": 3, "gamma": 0.002},
    "boosting": {"max_iter": 60, "max_features": 0.3, "max_leaf_nodes": 8},
}
SEARCH_FOLDS, SEARCH_REPEATS = 5, 2


def make_classifier(kind: str, seed: int, settings: dict | None = None) -> Pipeline:
    """Give an untrained classifier, "MLP", "SVM" or "boosting", behind a scaler that is fitted on what it trains on.

    Without settings it takes its SETTINGS; what they do not name stays at scikit-learn's and `Perceptron`'s defaults,
    which were not tuned. The SVM, with its radial kernel, draws no random numbers.
    """
    settings = settings or SETTINGS[kind]
    build = {
        "MLP": lambda: Perceptron(seed=seed, **settings),
        "SVM": lambda: SVC(**settings),
        "boosting": lambda: HistGradientBoostingClassifier(random_state=seed, **settings),
    }[kind]
    return make_pipeline(StandardScaler(), build())


def scores(classifier: Pipeline, rows: np.ndarray) -> np.ndarray:
    """Give float (n, classes), the largest at the answer: log-probabilities, or the SVM's one-against-rest values."""
    return classifier.decision_function(rows)


def search_settings(rows: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> pd.DataFrame:
    """Cross-validate every candidate: columns classifier, settings and accuracy, the share of right answers.

    Five folds, twice; rows of one group, say an artist, are never on both sides. Every classifier's seed is 0.
    """
    folds = [
        fold
        for repeat in range(SEARCH_REPEATS)
        for fold in StratifiedGroupKFold(SEARCH_FOLDS, shuffle=True, random_state=repeat).split(rows, labels, groups)
    ]
    candidates = [(kind, settings) for kind, listed in CANDIDATES.items() for settings in listed]
    table = []
    for kind, settings in tqdm(candidates, desc="searching settings"):
        right = 0
        for inside, outside in folds:
            classifier = make_classifier(kind, 0, settings).fit(rows[inside], labels[inside])
            right += int((classifier.predict(rows[outside]) == labels[outside]).sum())
        table.append((kind, json.dumps(settings), right / (SEARCH_REPEATS * len(rows))))
    return pd.DataFrame(table, columns=["classifier", "settings", "accuracy"])


def group_importance(
    classifier: Pipeline, rows: np.ndarray, labels: np.ndarray, columns: Sequence[str], repeats: int = 20
) -> pd.DataFrame:
    """Accuracy that is lost when all columns of a feature are shuffled among the rows: (repeats, features).

    A feature's columns are shuffled together, so each row gets a whole, but foreign, feature. Source: Breiman, "Random
    forests", 2001. What another feature also tells does not show as a loss.
    """
    groups = np.array([feature_group(column) for column in columns])
    whole = (classifier.predict(rows) == labels).mean()
    generator = np.random.default_rng(0)
    names = list(dict.fromkeys(groups))
    losses = []
    for _ in range(repeats):
        foreign = rows[generator.permutation(len(rows))]
        # One call for all features: trees are slow to start and quick to answer.
        shuffled = np.concatenate([np.where(groups == name, foreign, rows) for name in names])
        right = classifier.predict(shuffled).reshape(len(names), -1) == labels
        losses.append(whole - right.mean(axis=1))
    return pd.DataFrame(losses, columns=names)
