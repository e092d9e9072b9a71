"""Named features, from sound or as far as a matrix carries them, and the classifiers that learn from them.

In the line of Tzanetakis and Cook ("Musical genre classification of audio signals", 2002): a few numbers per moment
that have a name and a unit, pooled over a clip. On them scikit-learn's multi-layer perceptron and support vector
machine.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import librosa
import numpy as np
import pandas as pd
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from genres.common import SAMPLE_RATE
from genres.runs import Run, Split, keep_run
from genres.spectrogram import DB_PER_LEVEL


class Feature(NamedTuple):
    """A named feature: numbers per frame, unit from sound, what a matrix carries of it, and what it measures."""

    size: int
    unit: str
    in_matrix: str
    measures: str


NAMED_FEATURES = {
    "mfcc": Feature(20, "dB", "yes, above the floor", "timbre: the broad shape of the spectrum"),
    "chroma": Feature(12, "share of the strongest note", "440 Hz to 5 kHz", "which of the twelve notes sound"),
    "zero_crossing_rate": Feature(1, "per sample", "no", "how often the wave changes sign: noise and hiss"),
    "centroid": Feature(1, "Hz", "yes", "brightness: the centre of mass of the spectrum"),
    "contrast": Feature(7, "dB", "up to 40 dB", "peaks over valleys in each octave: notes against noise"),
    "rolloff": Feature(1, "Hz", "yes", "below which 85 % of the spectrum lies"),
    "bandwidth": Feature(1, "Hz", "yes", "how far the spectrum spreads around its centroid"),
    "tonnetz": Feature(6, "coordinate", "from its chroma", "harmony: fifths, minor and major thirds"),
    "rms": Feature(1, "amplitude", "relative: loudest = 1", "loudness, and how it changes"),
}
MFCC_COUNT = NAMED_FEATURES["mfcc"].size
LOWEST_OCTAVE = 200.0  # Hz, upper end of the lowest band of the spectral contrast, librosa's default
# Below 440 Hz two mel bands are further apart than two semitones; above 5 kHz there are hardly any notes.
CHROMA_RANGE = (440.0, 5_000.0)  # Hz


def named_feature_table() -> pd.DataFrame:
    """Return the named features: numbers per frame, unit, whether a picture carries them, and what they measure."""
    rows = [(name, *feature) for name, feature in NAMED_FEATURES.items()]
    return pd.DataFrame(rows, columns=["feature", "numbers", "unit", "in a picture", "what it measures"])


def frames_of_sound(samples: np.ndarray) -> dict[str, np.ndarray]:
    """Compute the named features of each frame of a sound with librosa: float (numbers, 1 + n // 512) by name.

    samples: float32 (n,) at 22 050 Hz. Frames are librosa's: 2 048 samples, 512 apart. The tonnetz is taken from the
    short-time chroma, as it is of pictures.
    """
    magnitude = np.abs(librosa.stft(samples))
    chroma = librosa.feature.chroma_stft(S=magnitude**2, sr=SAMPLE_RATE)
    mel = librosa.feature.melspectrogram(S=magnitude**2, sr=SAMPLE_RATE)
    return {
        "mfcc": librosa.feature.mfcc(S=librosa.power_to_db(mel), n_mfcc=MFCC_COUNT),
        "chroma": chroma,
        "zero_crossing_rate": librosa.feature.zero_crossing_rate(samples),
        "centroid": librosa.feature.spectral_centroid(S=magnitude, sr=SAMPLE_RATE),
        "contrast": librosa.feature.spectral_contrast(S=magnitude, sr=SAMPLE_RATE, fmin=LOWEST_OCTAVE),
        "rolloff": librosa.feature.spectral_rolloff(S=magnitude, sr=SAMPLE_RATE),
        "bandwidth": librosa.feature.spectral_bandwidth(S=magnitude, sr=SAMPLE_RATE),
        "tonnetz": librosa.feature.tonnetz(chroma=chroma),
        "rms": librosa.feature.rms(y=samples),
    }


def frames_of_matrices(matrices: np.ndarray) -> dict[str, np.ndarray]:
    """Compute what matrices, uint8 (n, bands, columns), carry of the named features: float (n, numbers, columns).

    A matrix has no wave, so the zero-crossing rate is missing, and no absolute loudness, so `rms` is relative to the
    loudest column. A cell at level 0, 40 dB or more below the loudest, counts as no power.
    """
    edges = librosa.mel_frequencies(matrices.shape[1] + 2, fmin=0, fmax=SAMPLE_RATE / 2)
    centres, widths = edges[1:-1], (edges[2:, None] - edges[:-2, None]) / 2
    decibels = DB_PER_LEVEL * (matrices.astype(np.float32) - 255)
    power = np.where(matrices > 0, 10 ** (decibels / 10), 0).astype(np.float32)
    # librosa's mel filters have equal areas, so a band holds the mean power of its FFT bins, and counts for its width.
    magnitude = np.sqrt(power) * widths
    centroid = librosa.feature.spectral_centroid(S=magnitude, freq=centres)
    rolloff = librosa.feature.spectral_rolloff(S=magnitude, freq=centres)
    loudness = np.sqrt((power * widths).sum(axis=1, keepdims=True))
    chroma = librosa.util.normalize(_pitch_classes(centres) @ (power * widths), axis=1)
    octaves = np.searchsorted(LOWEST_OCTAVE * 2.0 ** np.arange(NAMED_FEATURES["contrast"].size - 1), centres)
    in_octave = [decibels[:, octaves == octave] for octave in range(NAMED_FEATURES["contrast"].size)]
    return {
        "mfcc": librosa.feature.mfcc(S=decibels, n_mfcc=MFCC_COUNT),
        "chroma": chroma,
        "centroid": centroid,
        "contrast": np.stack([cells.max(axis=1) - cells.min(axis=1) for cells in in_octave], axis=1),
        "rolloff": rolloff * magnitude.any(axis=1, keepdims=True),
        "bandwidth": librosa.feature.spectral_bandwidth(S=magnitude, freq=centres, centroid=centroid),
        "tonnetz": librosa.feature.tonnetz(chroma=chroma),
        "rms": librosa.util.normalize(loudness, axis=2),
    }


def _pitch_classes(centres: np.ndarray) -> np.ndarray:
    """Weights, float (12, bands), that fold bands of these centre frequencies in Hz onto the pitch classes from C."""
    distance = (librosa.hz_to_midi(centres) - np.arange(12)[:, None] + 6) % 12 - 6
    inside = (centres >= CHROMA_RANGE[0]) & (centres <= CHROMA_RANGE[1])
    weights = np.exp(-((distance / 0.5) ** 2) / 2) * inside
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _pool_frames(frames: dict[str, np.ndarray]) -> pd.DataFrame:
    """Pool (n, numbers, frames) to mean, deviation and change over the frames: n rows, columns such as mfcc_01_mean."""
    columns = {}
    for name, values in frames.items():
        change = np.diff(values, axis=-1).std(axis=-1)  # deviation of the step from frame to frame
        pooled = {"mean": values.mean(axis=-1), "std": values.std(axis=-1), "change": change}
        for statistic, numbers in pooled.items():
            for position, column in enumerate(numbers.T, 1):
                number = f"_{position:02d}" if len(numbers.T) > 1 else ""
                columns[f"{name}{number}_{statistic}"] = column
    return pd.DataFrame(columns, dtype=np.float64)


def features_of_sound(samples: np.ndarray) -> pd.Series:
    """Compute the named features of a sound, float32 (n,) at 22 050 Hz, pooled over its frames: a number per column."""
    return _pool_frames({name: values[None] for name, values in frames_of_sound(samples).items()}).iloc[0]


def features_of_matrices(matrices: np.ndarray) -> pd.DataFrame:
    """Compute the named features of matrices, uint8 (n, bands, columns): a row each, columns as `features_of_sound`."""
    chunks = (matrices[start : start + 50] for start in range(0, len(matrices), 50))
    return pd.concat([_pool_frames(frames_of_matrices(chunk)) for chunk in chunks], ignore_index=True)


def feature_group(column: str) -> str:
    """Return the name of the feature that a column belongs to: mfcc for `mfcc_01_mean`."""
    return re.sub(r"_?\d*_(mean|std|change)$", "", column)


# The best of nine and of eight settings in cross-validation over artists, on the picture features of GTZAN's training
# and validation tracks (fault-filtered split). What they do not name stays at scikit-learn's defaults, not tuned.
SETTINGS = {
    "mlp": {"hidden_layer_sizes": [64, 64], "alpha": 1},
    "svm": {"C": 3, "gamma": 0.002},
}


def make_classifier(view: str, seed: int) -> Pipeline:
    """Return an untrained "mlp" or "svm" with its SETTINGS, behind a scaler; the SVM draws no random numbers."""
    if view == "svm":
        return make_pipeline(StandardScaler(), SVC(**SETTINGS["svm"]))
    perceptron = MLPClassifier(batch_size=64, max_iter=50, random_state=seed, **SETTINGS["mlp"])
    return make_pipeline(StandardScaler(), perceptron)


def fit_without_warnings(classifier: Pipeline, rows: np.ndarray, labels: np.ndarray) -> Pipeline:
    """Fit a classifier on float rows (n, features), without a word on its fixed epochs and small sets; return it."""
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        return classifier.fit(rows, labels)


def run_features(
    folder: Path,
    log: Path,
    view: str,
    table: pd.DataFrame,
    matrices: np.ndarray,
    labels: np.ndarray,
    split: Split,
    seed: int,
) -> Run:
    """Train "mlp" or "svm" on split.train, or read the Run that was kept of it in `folder`.

    table: named features of all pictures, a row each. matrices: what they were computed from, uint8 (n, bands,
    columns): a kept run is known by them, as the last digits of features differ between machines. log: experiments.csv.
    """
    rows = table.to_numpy()

    def fit() -> tuple[Callable[[np.ndarray], np.ndarray], None]:
        classifier = fit_without_warnings(make_classifier(view, seed), rows[split.train], labels[split.train])
        answer = classifier.decision_function if view == "svm" else classifier.predict_log_proba
        return lambda part: answer(rows[part]), None

    inputs = (features_of_matrices, matrices, list(table.columns))
    return keep_run(folder, log, view, split, seed, SETTINGS[view], labels, fit, *inputs)


def group_importance(
    classifier: Pipeline, rows: np.ndarray, labels: np.ndarray, columns: Sequence[str]
) -> pd.DataFrame:
    """Compute the accuracy that is lost when all columns of a feature are shuffled together: 20 draws x features.

    Source: Breiman, "Random forests", 2001. What another feature also tells does not show as a loss.
    """
    groups = np.array([feature_group(column) for column in columns])
    whole = (classifier.predict(rows) == labels).mean()
    generator = np.random.default_rng(0)
    names = list(dict.fromkeys(groups))
    losses = []
    for _ in range(20):
        foreign = rows[generator.permutation(len(rows))]
        shuffled = np.concatenate([np.where(groups == name, foreign, rows) for name in names])
        right = classifier.predict(shuffled).reshape(len(names), -1) == labels
        losses.append(whole - right.mean(axis=1))
    return pd.DataFrame(losses, columns=names)
