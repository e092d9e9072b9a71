"""Named features: the course's first idea, and the classifiers that learn from them.

In the line of Tzanetakis and Cook ("Musical genre classification of audio signals", 2002): a few numbers per moment
that have a name and a unit, such as the centroid of the spectrum in Hz, and their mean and standard deviation over a
clip. From sound by librosa; from a matrix as far as it carries them. On them scikit-learn's multi-layer perceptron,
support vector machine and gradient boosting.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import librosa
import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from tqdm.auto import tqdm

from genres.audio import load_audio
from genres.common import SAMPLE_RATE, InputError, digest, files_key, in_parallel, kept
from genres.runs import Run, Split, keep_run
from genres.spectrogram import DB_PER_LEVEL


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
    "tonnetz": Feature(6, "coordinate", "from its chroma", "harmony: fifths, minor and major thirds"),
    "rms": Feature(1, "amplitude", "relative: loudest = 1", "loudness, and how it changes"),
}
MFCC_COUNT = NAMED_FEATURES["mfcc"].size
LOWEST_OCTAVE = 200.0  # Hz, upper end of the lowest band of the spectral contrast, librosa's default
# Below 440 Hz two mel bands are further apart than two semitones; above 5 kHz there are hardly any notes.
CHROMA_RANGE = (440.0, 5_000.0)  # Hz


def named_feature_table() -> pd.DataFrame:
    """List the named features: numbers per frame, unit, whether a picture carries them, and what they hear."""
    rows = [(name, f.size, f.unit, f.in_matrix, f.hears) for name, f in NAMED_FEATURES.items()]
    return pd.DataFrame(rows, columns=["feature", "numbers", "unit", "in a picture", "what it hears"])


def frames_of_sound(samples: np.ndarray) -> dict[str, np.ndarray]:
    """Compute the named features of each frame of a sound with librosa: float (numbers, 1 + n // 512) by name.

    samples: float32 (n,) at 22 050 Hz. Frames of 2 048 samples, 512 apart, librosa's defaults. The tonnetz is taken
    from the short-time chroma, so that sound and picture go the same way.
    """
    magnitude = np.abs(librosa.stft(samples))
    power = magnitude**2
    chroma = librosa.feature.chroma_stft(S=power, sr=SAMPLE_RATE)
    mel = librosa.feature.melspectrogram(S=power, sr=SAMPLE_RATE)
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
    loudest column. A cell at level 0 lies 40 dB or more below the loudest cell, nobody knows how far: it counts as no
    power.
    """
    edges = librosa.mel_frequencies(matrices.shape[1] + 2, fmin=0, fmax=SAMPLE_RATE / 2)
    centres, widths = edges[1:-1], (edges[2:, None] - edges[:-2, None]) / 2
    decibels = DB_PER_LEVEL * (matrices.astype(np.float32) - 255)
    power = np.where(matrices > 0, 10 ** (decibels / 10), 0).astype(np.float32)
    # librosa's mel filters have equal areas, so a band holds the mean power of its FFT bins, and counts for its width.
    magnitude = np.sqrt(power) * widths
    share = librosa.util.normalize(magnitude, norm=1, axis=1)
    centroid = librosa.feature.spectral_centroid(S=magnitude, freq=centres)
    rolloff = librosa.feature.spectral_rolloff(S=magnitude, freq=centres)
    loudness = np.sqrt((power * widths).sum(axis=1, keepdims=True))
    chroma = _pitch_classes(centres) @ (power * widths)
    chroma /= np.maximum(chroma.max(axis=1, keepdims=True), 1e-9)
    octaves = np.searchsorted(LOWEST_OCTAVE * 2.0 ** np.arange(NAMED_FEATURES["contrast"].size - 1), centres)
    in_octave = [decibels[:, octaves == octave] for octave in range(NAMED_FEATURES["contrast"].size)]
    return {
        "mfcc": librosa.feature.mfcc(S=decibels, n_mfcc=MFCC_COUNT),
        "chroma": chroma,
        "centroid": centroid,
        "contrast": np.stack([cells.max(axis=1) - cells.min(axis=1) for cells in in_octave], axis=1),
        "rolloff": rolloff * magnitude.any(axis=1, keepdims=True),
        "bandwidth": np.sqrt((share * (centres[:, None] - centroid) ** 2).sum(axis=1, keepdims=True)),
        "tonnetz": librosa.feature.tonnetz(chroma=chroma),
        "rms": loudness / np.maximum(loudness.max(axis=2, keepdims=True), 1e-9),
    }


def _pitch_classes(centres: np.ndarray) -> np.ndarray:
    """Weights, float (12, bands), that fold bands of these centre frequencies in Hz onto the pitch classes from C."""
    distance = (librosa.hz_to_midi(centres) - np.arange(12)[:, None] + 6) % 12 - 6
    inside = (centres >= CHROMA_RANGE[0]) & (centres <= CHROMA_RANGE[1])
    weights = np.exp(-((distance / 0.5) ** 2) / 2) * inside
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


STATISTICS = ("mean", "std", "change")  # change is the standard deviation of the step from frame to frame


def _statistics(frames: dict[str, np.ndarray]) -> pd.DataFrame:
    """Mean, deviation and change of (n, numbers, frames) over the frames: n rows, columns such as `mfcc_01_mean`."""
    columns = {}
    for name, values in frames.items():
        pooled = (values.mean(axis=-1), values.std(axis=-1), np.diff(values, axis=-1).std(axis=-1))
        for statistic, numbers in zip(STATISTICS, pooled, strict=True):
            for place, column in enumerate(numbers.T, 1):
                number = f"_{place:02d}" if len(numbers.T) > 1 else ""
                columns[f"{name}{number}_{statistic}"] = column
    return pd.DataFrame(columns, dtype=np.float64)


def describe_sound(samples: np.ndarray) -> pd.Series:
    """Give the named row of a sound, float32 (n,) at 22 050 Hz: mean and standard deviation of each named feature."""
    return _statistics({name: values[None] for name, values in frames_of_sound(samples).items()}).iloc[0]


def describe_matrices(matrices: np.ndarray) -> pd.DataFrame:
    """Give the named rows of matrices, uint8 (n, bands, columns): one row each, columns as in `describe_sound`."""
    chunks = (matrices[start : start + 50] for start in range(0, len(matrices), 50))
    return pd.concat([_statistics(frames_of_matrices(chunk)) for chunk in chunks], ignore_index=True)


def feature_group(column: str) -> str:
    """Name of the feature that a column belongs to: `mfcc_01_mean` gives mfcc."""
    return re.sub(r"_?\d*_(mean|std|change)$", "", column)


def read_sound_features(pairs: Sequence[tuple[Path, str]], cache: Path) -> pd.DataFrame:
    """Describe clips by their named features: one row per clip that can be read, the index is its picture's name.

    pairs: sound file and picture's name. The rows are kept in the file `cache` until a sound file changes.
    """

    def described() -> dict[str, np.ndarray]:
        rows = in_parallel(_sound_row, [audio for audio, _ in pairs], "listening for features", 10)
        named = {image: row for (_, image), row in zip(pairs, rows, strict=True) if row is not None}
        table = pd.DataFrame(named).T
        return {
            "image": table.index.to_numpy(str), "columns": table.columns.to_numpy(str), "values": table.to_numpy(float)
        }  # fmt: skip

    key = digest(NAMED_FEATURES, STATISTICS, files_key([audio for audio, _ in pairs]))
    stored = kept(cache, key, described)
    return pd.DataFrame(stored["values"], stored["image"].astype(object), stored["columns"].astype(object))


def _sound_row(path: Path) -> pd.Series | None:
    try:
        return describe_sound(load_audio(path))
    except InputError:
        return None


def read_kaggle_features(path: Path) -> pd.DataFrame | None:
    """Read the Kaggle set's features_30_sec.csv, or give None where there is none; index: the picture's name.

    Its variances become standard deviations, so that they have the feature's unit, and names become those of
    NAMED_FEATURES. Its own columns `harmony`, `perceptr` and `tempo` are kept, `length` and `label` are not; its chroma
    is one number for all twelve notes.

    Raises InputError for a file without its columns.
    """
    if not path.is_file():
        return None
    try:
        table = pd.read_csv(path)
        names = table["filename"].str.replace(r"^([a-z]+)\.(\d+)\.wav$", r"\1\2.png", regex=True)
        values = table.drop(columns=["filename", "length", "label"]).astype(float)
    except (ValueError, KeyError, AttributeError) as error:  # pandas' parser errors are ValueErrors
        raise InputError(f"'{path.name}' is not Kaggle's table of features: unpack the download again.") from error
    spread = values.columns.str.endswith("_var")
    values.loc[:, spread] = np.sqrt(values.loc[:, spread])
    short = values.columns.str.replace("_var", "_std").str.removeprefix("spectral_")
    values.columns = short.str.replace(r"^mfcc(\d+)", lambda found: f"mfcc_{int(found[1]):02d}", regex=True)
    return values.set_index(names.to_numpy())


def table_agreement(table: pd.DataFrame, other: pd.DataFrame) -> pd.Series:
    """Correlation over the clips that both tables have, mean over the columns of each feature that both have."""
    rows, columns = table.index.intersection(other.index), table.columns.intersection(other.columns)
    correlation = table.loc[rows, columns].corrwith(other.loc[rows, columns])
    return correlation.groupby(feature_group, sort=False).mean()


# What `search_settings` compares. SETTINGS are the best of them on the picture features of GTZAN's training and
# validation tracks, in cross-validation over artists.
CANDIDATES = {
    "mlp": [
        {"hidden_layer_sizes": hidden, "alpha": alpha} for hidden in ([64], [256], [64, 64]) for alpha in (1e-4, 1, 10)
    ],
    "svm": [{"C": c, "gamma": gamma} for gamma in ("scale", 0.002) for c in (1, 3, 10, 30)],
    "boosting": [
        {"max_iter": 60, "max_features": 0.3, "max_leaf_nodes": 4},
        {"max_iter": 60, "max_features": 0.3, "max_leaf_nodes": 8},
        {"max_iter": 60, "max_features": 0.3, "max_leaf_nodes": 4, "learning_rate": 0.2},
    ],
}
SETTINGS = {
    "mlp": {"hidden_layer_sizes": [256], "alpha": 1},
    "svm": {"C": 3, "gamma": 0.002},
    "boosting": {"max_iter": 60, "max_features": 0.3, "max_leaf_nodes": 8},
}
MLP_EPOCHS, MLP_BATCH = 50, 64


def make_classifier(view: str, seed: int, settings: dict | None = None) -> Pipeline:
    """Give an untrained classifier, "mlp", "svm" or "boosting", behind a scaler that is fitted on what it trains on.

    Without settings it takes its SETTINGS; what they do not name stays at scikit-learn's defaults, not tuned.
    The SVM, with its radial kernel, draws no random numbers.
    """
    settings = settings or SETTINGS[view]
    build = {
        "mlp": lambda: MLPClassifier(batch_size=MLP_BATCH, max_iter=MLP_EPOCHS, random_state=seed, **settings),
        "svm": lambda: SVC(**settings),
        "boosting": lambda: HistGradientBoostingClassifier(random_state=seed, **settings),
    }[view]
    return make_pipeline(StandardScaler(), build())


def fit_quietly(classifier: Pipeline, rows: np.ndarray, labels: np.ndarray) -> Pipeline:
    """Train a classifier on float rows (n, features) and give it back, without what the perceptron warns of each time.

    By intention it trains for a fixed number of epochs, and a small set is smaller than a batch.
    """
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        return classifier.fit(rows, labels)


def scores(classifier: Pipeline, rows: np.ndarray) -> np.ndarray:
    """Give float (n, classes), the largest at the answer: log-probabilities, or the SVM's one-against-rest values."""
    answer = getattr(classifier, "predict_log_proba", None) or classifier.decision_function
    return answer(rows)


def run_features(
    folder: Path, log: Path, view: str, table: pd.DataFrame, labels: np.ndarray, split: Split, seed: int
) -> Run:
    """Train "mlp", "svm" or "boosting" on split.train, or read the Run that was kept of it in `folder`.

    table: named features of all pictures, a row each. log: experiments.csv, which gets a row when it has trained.
    """
    rows = table.to_numpy()

    def fit() -> tuple[Callable[[np.ndarray], np.ndarray], None]:
        classifier = fit_quietly(make_classifier(view, seed), rows[split.train], labels[split.train])
        return lambda part: scores(classifier, rows[part]), None

    settings = SETTINGS[view] | {"features": digest(rows, *table.columns)}
    return keep_run(folder, log, view, split, seed, settings, labels, fit)


def search_settings(rows: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> pd.DataFrame:
    """Cross-validate every candidate: columns classifier, settings and accuracy, the share of right answers.

    Five folds, twice; rows of one group, say an artist, are never on both sides. Every classifier's seed is 0.
    """
    repeats = [StratifiedGroupKFold(5, shuffle=True, random_state=repeat) for repeat in range(2)]
    candidates = [(kind, settings) for kind, listed in CANDIDATES.items() for settings in listed]
    table = []
    for kind, settings in tqdm(candidates, desc="searching settings"):
        classifier = make_classifier(kind, 0, settings)
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # see `fit_quietly`
            answers = [cross_val_predict(classifier, rows, labels, groups=groups, cv=folds) for folds in repeats]
        table.append((kind, json.dumps(settings), np.equal(answers, labels).mean()))
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
