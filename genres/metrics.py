"""Accuracy with its interval, calibration, and comparisons of classifiers: plain functions on arrays.

`scores` are logits or probabilities, float (n, 10): the largest of a row is the answer. `labels` are places in GENRES,
int (n,).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from genres.common import GENRES

CONFIDENCE_BINS = 10  # of a reliability diagram, each with equally many predictions
DRAWS = 2_000  # of every resampling


def percent(share: float, digits: int = 0) -> str:
    """Return a share in per cent: "59 %", or with one digit "58.6 %"."""
    return f"{100 * share:.{digits}f} %"


def accuracy(scores: np.ndarray, labels: np.ndarray) -> float:
    """Compute the share of rows whose largest entry is at the label; NaN for no rows."""
    return float((scores.argmax(axis=1) == labels).mean()) if len(labels) else float("nan")


def wilson_interval(correct: float, total: int) -> tuple[float, float]:
    """Compute Wilson's 95 % interval for a share, as two fractions; (0, 1) for no trials.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    if not total:
        return 0.0, 1.0
    return tuple(map(float, binomtest(round(correct), total).proportion_ci(method="wilson")))


def accuracy_interval(right: np.ndarray, groups: np.ndarray | None = None) -> tuple[float, float]:
    """Compute the 95 % interval of the mean of `right`, float (n,): the one rule for every accuracy of a report.

    `right` is 0 or 1 for an answer to a track. Answers of one group, (n,), are right or wrong together, so groups are
    resampled as a whole: tracks of one artist, and the answers of several seeds to one track. Where each answer is a
    group of its own, it is Wilson's interval.

    Source: Efron and Tibshirani, "An introduction to the bootstrap", 1993.
    """
    if groups is None or len(np.unique(groups)) == len(right):
        return wilson_interval(right.sum(), len(right))
    if len(np.unique(groups)) == 1:  # one artist says nothing of others
        return 0.0, 1.0
    hits, sizes = _resampled(right, groups), _resampled(np.ones(len(right)), groups)
    low, high = np.quantile(hits / sizes, [0.025, 0.975])
    return float(low), float(high)


def compare_accuracies(
    first: np.ndarray, second: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None
) -> dict[str, float | bool]:
    """Compare two sets of scores, float (n, 10), on the same tracks: first minus second, and whether it is chance.

    Groups, (n,), such as artists, are resampled as a whole. Returns difference, low and high (95 % interval),
    fractions, and beyond_chance: whether the interval leaves out 0.
    """
    gain = (first.argmax(axis=1) == labels).astype(float) - (second.argmax(axis=1) == labels)
    groups = np.arange(len(gain)) if groups is None else groups
    low, high = np.quantile(_resampled(gain, groups) / _resampled(np.ones(len(gain)), groups), [0.025, 0.975])
    return {
        "difference": float(gain.mean()), "low": float(low), "high": float(high), "beyond_chance": bool(low * high > 0)
    }  # fmt: skip


def _resampled(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Sum of values, float (n,), over as many groups as there are, drawn with replacement, DRAWS times."""
    _, group = np.unique(groups, return_inverse=True)
    sums = np.bincount(group, values)
    drawn = np.random.default_rng(0).integers(len(sums), size=(DRAWS, len(sums)))
    return sums[drawn].sum(axis=1)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature that minimises the cross-entropy of logits / temperature.

    Source: Guo et al., "On calibration of modern neural networks", 2017.
    """

    def cross_entropy(log_temperature: float) -> float:
        return -log_softmax(logits / np.exp(log_temperature), axis=1)[np.arange(len(labels)), labels].mean()

    return float(np.exp(minimize_scalar(cross_entropy, bounds=(-3, 3)).x))


def fit_threshold(probabilities: np.ndarray, labels: np.ndarray, wanted: float) -> float:
    """Return the lowest confidence from which on the answers reach the wanted accuracy.

    Where not even the surest tenth of the answers does, the threshold leaves that tenth.
    """
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence)
    right = (probabilities.argmax(axis=1) == labels)[order]
    running = np.cumsum(right) / np.arange(1, len(right) + 1)
    fewest = max(1, len(right) // 10)
    enough = np.flatnonzero(running[fewest - 1 :] >= wanted)
    return float(confidence[order[fewest - 1 + (enough[-1] if len(enough) else 0)]])


def reliability_table(probabilities: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None) -> pd.DataFrame:
    """Tabulate mean confidence, accuracy, its interval (low, high) and count, in equally filled bins of confidence.

    groups: see `accuracy_interval`.
    """
    confidence = probabilities.max(axis=1)
    hits = (probabilities.argmax(axis=1) == labels).astype(float)
    groups = np.arange(len(hits)) if groups is None else groups
    bins = np.array_split(np.argsort(confidence, kind="stable"), CONFIDENCE_BINS)
    rows = [
        (confidence[part].mean(), hits[part].mean(), *accuracy_interval(hits[part], groups[part]), len(part))
        for part in bins
        if len(part)
    ]
    return pd.DataFrame(rows, columns=["confidence", "accuracy", "low", "high", "count"])


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Compute the mean distance between confidence and accuracy over bins that hold equally many predictions."""
    table = reliability_table(probabilities, labels)
    return float(((table["confidence"] - table["accuracy"]).abs() * table["count"]).sum() / table["count"].sum())


def chance_calibration_error(probabilities: np.ndarray) -> tuple[float, float]:
    """Compute the range of 95 % of the calibration errors of a perfectly calibrated model with these confidences.

    With few predictions in a bin even such a model errs by chance: right answers are drawn from its own confidences.
    """
    confidence = np.sort(probabilities.max(axis=1), kind="stable")
    right = np.random.default_rng(0).random((DRAWS, len(confidence))) < confidence
    bins = np.array_split(np.arange(len(confidence)), CONFIDENCE_BINS)
    errors = [np.abs(confidence[part].mean() - right[:, part].mean(axis=1)) * len(part) for part in bins if len(part)]
    low, high = np.quantile(np.sum(errors, axis=0) / len(confidence), [0.025, 0.975])
    return float(low), float(high)


def genre_report(scores: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None) -> pd.DataFrame:
    """Tabulate precision, recall with its interval (low, high), F1 and number of answers per genre, one row each.

    groups: see `accuracy_interval`.
    """
    numbers = range(len(GENRES))
    columns = precision_recall_fscore_support(labels, scores.argmax(axis=1), labels=numbers, zero_division=0)
    table = pd.DataFrame(dict(zip(("precision", "recall", "F1", "tracks"), columns, strict=True)), index=list(GENRES))
    right = (scores.argmax(axis=1) == labels).astype(float)
    groups = np.arange(len(right)) if groups is None else groups
    of_genre = [labels == number for number in numbers]
    table[["low", "high"]] = [
        accuracy_interval(right[rows], groups[rows]) if rows.any() else (0, 1) for rows in of_genre
    ]
    return table


def confused_pairs(scores: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    """Tabulate pairs of genres that are taken for each other, most often first: columns true, predicted, tracks."""
    counts = confusion_matrix(labels, scores.argmax(1), labels=range(len(GENRES)))
    rows = [(GENRES[i], GENRES[j], counts[i, j]) for i, j in np.argwhere(counts) if i != j]
    pairs = pd.DataFrame(rows, columns=["true", "predicted", "tracks"])
    return pairs.sort_values("tracks", ascending=False, kind="stable", ignore_index=True)
