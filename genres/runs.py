"""Runs: train a view on a split, keep its answers, and put runs beside each other.

A **view** is one way of looking at a track: the network ("cnn"), the texture classifier ("texture"), both together
("picture"), the pretrained network ("ear"), a classifier on named features ("mlp", "svm"). Each is trained by
`keep_run`, and everything after that only reads what was kept.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import log_softmax, softmax

from genres.common import GENRES, InputError, digest, kept, locked, replacing
from genres.metrics import accuracy, accuracy_interval, percent

PROTOCOLS = {  # name in metrics.json: what tables and figures call it
    "fault_filtered": "new artists: fault-filtered split",
    "folds": "three artist folds",
    "random": "random split (artists overlap, optimistic)",
    "grouped": "cross-validation for choices",
    "real_songs": "104 real songs as sound",
    "real_songs_A": "the 80 of them with a plain label",
}
VIEWS = {
    "cnn": "CNN",
    "texture": "texture classifier",
    "picture": "CNN + texture",
    "mlp": "perceptron on features",
    "svm": "SVM on features",
    "reference_first": "reference project's first network, rerun",
    "reference_final": "reference project's final network, rerun",
    "ear": "pretrained network",
    "cnn_untrained": "CNN, convolutions untrained",
    "cnn_1": "CNN, one convolution",
    "cnn_2": "CNN, two convolutions",
    "cnn_3": "CNN, three convolutions",
    "cnn_one_zone": "CNN, mean over all pitch",
}
PRETRAINED = ("ear",)  # views that know more than GTZAN
Fit = Callable[[], tuple[Callable[[np.ndarray], np.ndarray], pd.DataFrame | None]]


@dataclass(frozen=True)
class Split:
    """Row numbers, int arrays, of the pictures in each part; a part that a protocol does not have is empty."""

    name: str
    train: np.ndarray
    validation: np.ndarray = field(default_factory=lambda: np.array([], int))
    test: np.ndarray = field(default_factory=lambda: np.array([], int))

    @property
    def parts(self) -> dict[str, np.ndarray]:
        """The rows of each part by its name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def held_out(self) -> str:
        """The part that a result is reported on: "test", or "validation" where there is no test part."""
        return "test" if len(self.test) else "validation"

    def among(self, known: np.ndarray) -> Split:
        """Return the same split without the pictures that are not known: bool (pictures,)."""
        return Split(self.name, *(rows[known[rows]] for rows in self.parts.values()))


@dataclass(frozen=True)
class Run:
    """A view that was trained on a split: its logits, float (n, 10), of each part, learning curve and minutes."""

    view: str
    split: Split
    seed: int
    logits: dict[str, np.ndarray]
    curve: pd.DataFrame
    minutes: float


def keep_run(
    folder: Path, log: Path, view: str, split: Split, seed: int, settings: dict, labels: np.ndarray, fit: Fit,
    *inputs: object,
) -> Run:  # fmt: skip
    """Train a view on a split, or read what a former call with the same inputs kept in `folder`.

    `fit` trains, and returns a function from rows of pictures to logits, float (n, 10), and a learning curve or None.
    inputs: all else that the answers depend on, such as matrices and the network; the code of `fit` counts by itself
    (see `kept`). A row with the accuracies goes to the table `log`, experiments.csv, when it has trained.
    """

    def train() -> dict[str, np.ndarray]:
        started = time.monotonic()
        answer, curve = fit()
        minutes = (time.monotonic() - started) / 60
        logits = {part: answer(rows) if len(rows) else np.empty((0, len(GENRES))) for part, rows in split.parts.items()}
        reached = {part: accuracy(logits[part], labels[rows]) for part, rows in split.parts.items() if len(rows)}
        record_experiment(log, view, split.name, seed, json.dumps(settings), reached, minutes)
        text = "" if curve is None else curve.to_csv(index=False)
        return {**logits, "curve": np.array(text), "minutes": np.array(minutes)}

    used = [labels[rows] for rows in split.parts.values()]
    path = folder / f"{view}-{split.name}-seed{seed}-{digest(settings)[:6]}.npz"
    stored = kept(path, train, fit, view, seed, settings, split.parts, used, *inputs)
    text = str(stored["curve"])
    curve = pd.read_csv(io.StringIO(text)) if text else pd.DataFrame()
    return Run(view, split, seed, {part: stored[part] for part in split.parts}, curve, float(stored["minutes"]))


def blend(logits: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """Return the weighted sum of the views' log-probabilities, each float (n, 10): logits of their geometric mean."""
    return sum(weight * log_softmax(view, axis=1) for view, weight in zip(logits, weights, strict=True))


@dataclass(frozen=True)
class Blend:
    """How views become one answer: the weight of each view's log-probabilities, and one temperature.

    An answer less sure than `unsure_below` is called unsure.
    """

    weights: dict[str, float]
    temperature: float = 1.0
    unsure_below: float = 0.0

    def probabilities(self, views: dict[str, np.ndarray]) -> np.ndarray:
        """Compute calibrated probabilities, float (n, 10), from the views' logits, float (n, 10) each."""
        logits = blend([views[view] for view in self.weights], list(self.weights.values()))
        return softmax(logits / self.temperature, axis=1)


def blend_runs(view: str, runs: Sequence[Run], weights: Sequence[float]) -> Run:
    """Combine the runs of several views on one split as one run of a new view."""
    logits = {part: blend([run.logits[part] for run in runs], weights) for part in runs[0].split.parts}
    return replace(runs[0], view=view, logits=logits, minutes=sum(run.minutes for run in runs))


def restrict_run(run: Run, known: np.ndarray) -> Run:
    """Restrict a run to the rows for which `known`, bool (pictures,), holds."""
    logits = {part: run.logits[part][known[rows]] for part, rows in run.split.parts.items()}
    return replace(run, split=run.split.among(known), logits=logits)


def ensemble(runs: Iterable[Run], part: str) -> np.ndarray:
    """Compute the mean of the runs' probabilities, float (n, 10), for a part of their common split."""
    return np.mean([softmax(run.logits[part], axis=1) for run in runs], axis=0)


def distinct(runs: Iterable[Run]) -> list[Run]:
    """Return each run once: a view that draws no random numbers has the same run for every seed."""
    return list({(run.view, run.split.name, run.seed): run for run in runs}.values())


def held_out_answers(runs: Sequence[Run], labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return logits, float (n, 10), and labels, int (n,), of the held-out parts of all runs, one after the other."""
    runs = distinct(runs)
    rows = np.concatenate([run.split.parts[run.split.held_out] for run in runs])
    return np.concatenate([run.logits[run.split.held_out] for run in runs]), labels[rows]


def result_row(protocol: str, runs: Sequence[Run], labels: np.ndarray, artists: np.ndarray | None = None) -> dict:
    """Return a row of metrics.json: a view's accuracy on the held-out tracks of a protocol, seeds or folds pooled.

    artists: whose track each picture is, (pictures,), as far as that is known. The row has view, protocol, accuracy,
    low and high (95 % interval), n (tracks that were answered) and seeds.
    """
    runs = distinct(runs)
    rows = np.concatenate([run.split.parts[run.split.held_out] for run in runs])
    logits, truth = held_out_answers(runs, labels)
    right = (logits.argmax(axis=1) == truth).astype(float)
    low, high = accuracy_interval(right, rows if artists is None else artists[rows])
    return answer_row(
        runs[0].view, protocol, right.mean(), low, high, len(np.unique(rows)), len({r.seed for r in runs})
    )


def answer_row(view: str, protocol: str, accuracy: float, low: float, high: float, n: int, seeds: int = 1) -> dict:
    """Return a row of metrics.json; fractions are rounded to six digits."""
    fractions = {"accuracy": round(float(accuracy), 6), "low": round(low, 6), "high": round(high, 6)}
    return {"view": view, "protocol": protocol, **fractions, "n": int(n), "seeds": int(seeds)}


def run_table(runs: Sequence[Run], labels: np.ndarray) -> pd.DataFrame:
    """Tabulate the accuracy on each part of each run, one row per run."""
    rows = [
        {"split": run.split.name, "view": VIEWS.get(run.view, run.view), "seed": run.seed}
        | {part: accuracy(run.logits[part], labels[rows]) for part, rows in run.split.parts.items() if len(rows)}
        | {"minutes": round(run.minutes, 2)}
        for run in runs
    ]
    return pd.DataFrame(rows).round(3).fillna("")


def result_table(results: Sequence[dict], views: Sequence[str], protocols: Sequence[str]) -> pd.DataFrame:
    """Write rows of metrics.json as a table, a row per view and a column per protocol: "69.5 % (63.8 to 74.3)".

    Views and protocols without a single result are left out.
    """
    cells = {}
    for row in results:
        interval = f"({100 * row['low']:.1f} to {100 * row['high']:.1f})"
        cells[row["view"], row["protocol"]] = f"{percent(row['accuracy'], 1)} {interval}"
    shown = [view for view in views if any((view, protocol) in cells for protocol in protocols)]
    filled = [protocol for protocol in protocols if any((view, protocol) in cells for view in shown)]
    table = {PROTOCOLS[p]: [cells.get((view, p), "") for view in shown] for p in filled}
    return pd.DataFrame(table, index=pd.Index([VIEWS[view] for view in shown], name="view"))


def record_experiment(
    log: Path, what: str, split: str, seed: int, settings: str, reached: dict, minutes: float
) -> None:
    """Append a row to experiments.csv; `reached` holds the accuracies of train, validation and test."""
    row = {
        "date": time.strftime("%Y-%m-%d"),
        "what": what,
        "split": split,
        "seed": seed,
        "settings": settings,
        "train_plain": reached.get("train"),
        "validation": reached.get("validation"),
        "test": reached.get("test"),
        "minutes": round(minutes, 2),
        "remark": "",  # a column for what is written by hand
    }
    with locked(log.parent):
        before = log.read_bytes() if log.is_file() else b""
        line = pd.DataFrame([row]).to_csv(header=not before, index=False, float_format="%.4f", lineterminator="\n")
        with replacing(log) as temporary:
            temporary.write_bytes(before + line.encode())


def read_metrics(path: Path) -> dict:
    """Read metrics.json; without one it has no results. Rows of a view or protocol of another version are left out.

    Raises InputError where the file is there and is no JSON of this project.
    """
    try:
        metrics = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"results": []}
        rows = [dict(row) for row in metrics["results"]]
        metrics["results"] = [row for row in rows if row["protocol"] in PROTOCOLS and row["view"] in VIEWS]
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(f"'{path.name}' is damaged: remove it and run the notebooks again.") from error
    return metrics


def update_metrics(path: Path, results: Sequence[dict] = (), **sections: object) -> dict:
    """Put rows of results (in place of older ones of the same view and protocol) and sections into metrics.json.

    Returns the whole. Raises InputError where the file is there and is no JSON of this project.
    """
    with locked(path.parent):
        metrics = read_metrics(path) | sections
        rows = {(row["view"], row["protocol"]): row for row in [*metrics["results"], *results]}
        order = {name: number for number, name in enumerate([*PROTOCOLS, *VIEWS])}
        metrics["results"] = sorted(rows.values(), key=lambda row: (order[row["protocol"]], order[row["view"]]))
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    return metrics
