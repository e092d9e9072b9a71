"""Metrics against values worked out by hand or published; runs, metrics.json and the tables made of it."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT
from scipy.special import softmax

from genres import metrics, runs
from genres.common import InputError

METRICS = ROOT / "data" / "gtzan" / "metrics.json"


def test_seeds_do_not_narrow_an_interval_and_artists_widen_it():
    assert metrics.wilson_interval(179, 300) == pytest.approx((0.540, 0.651), abs=0.001)  # as published
    right = np.random.default_rng(0).random(60) < 0.7
    once, thrice = (metrics.accuracy_interval(np.tile(right, n), np.tile(np.arange(60), n)) for n in (1, 3))
    assert thrice == pytest.approx(once, abs=0.02)
    one_artist = metrics.accuracy_interval(np.sort(right).astype(float), np.arange(60) // 6)
    assert one_artist[1] - one_artist[0] > 1.5 * (once[1] - once[0])


def _honest(count: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels that are drawn from their own probabilities."""
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 1.5, (count, 10))
    return logits, np.array([generator.choice(10, p=row) for row in softmax(logits, axis=1)])


def test_an_honest_model_lies_in_the_range_of_honest_models_and_a_boaster_does_not():
    logits, labels = _honest(300)
    for factor, honest in ((1, True), (5, False)):
        probabilities = softmax(factor * logits, axis=1)
        low, high = metrics.honest_calibration_error(probabilities)
        assert (low <= metrics.expected_calibration_error(probabilities, labels) <= high) == honest
    boaster = np.tile([0.95, 0.05], (1000, 1))
    assert metrics.expected_calibration_error(boaster, np.arange(1000) % 2) == pytest.approx(0.45, abs=0.06)


def test_the_threshold_is_the_lowest_that_keeps_answers_right():
    confidence = np.linspace(0.95, 0.5, 10)
    probabilities = np.stack([confidence, 1 - confidence, *[np.zeros(10)] * 8], axis=1)
    labels = np.array([0, 0, 0, 0, 1, 0, 1, 1, 1, 1])  # the surest four right, then five of six, then ever fewer
    assert metrics.fit_threshold(probabilities, labels, wanted=0.8) == pytest.approx(confidence[5])
    assert metrics.fit_threshold(probabilities, np.ones(10, int), wanted=0.8) == pytest.approx(confidence[0])


def test_mcnemar_counts_the_disagreements():
    labels = np.zeros(12, int)
    first, second = np.eye(10)[[0] * 10 + [1, 1]], np.eye(10)[[1] * 8 + [0, 0, 0, 1]]
    compared = metrics.mcnemar(first, second, labels)
    assert compared == {"only first right": 8, "only second right": 1, "p": pytest.approx(0.0391, abs=1e-4)}
    assert metrics.mcnemar(first, first, labels)["p"] == 1


def _run(seed: int, view: str = "cnn") -> runs.Run:
    split = runs.Split(f"random-{seed}", np.arange(10), np.arange(10, 40))
    logits = np.eye(10)[np.random.default_rng(seed).integers(0, 2, 40)]
    return runs.Run(view, split, seed, {"train": logits[:10], "validation": logits[10:], "test": logits[:0]}, None, 0.1)


def test_a_row_has_the_interval_of_its_tracks_and_stands_once_in_metrics_json(tmp_path):
    labels, path = np.zeros(40, int), tmp_path / "metrics.json"
    row = runs.result_row("random", [_run(seed) for seed in range(3)], labels)
    right = np.concatenate([_run(seed).logits["validation"].argmax(1) == 0 for seed in range(3)]).astype(float)
    low, high = metrics.accuracy_interval(right, np.tile(np.arange(30), 3))
    assert row == runs.answer_row("cnn", "random", right.mean(), low, high, 30, 3)
    runs.update_metrics(path, [row], dataset="demo", first={"a": 1})
    other = runs.answer_row("texture", "folds", 0.5, 0.4, 0.6, 30)
    stored = runs.update_metrics(path, [row | {"accuracy": 0.9}, other], second=2)
    assert stored == json.loads(path.read_text())
    assert stored["results"] == [other, row | {"accuracy": 0.9}]
    assert (stored["dataset"], stored["first"], stored["second"]) == ("demo", {"a": 1}, 2)


def test_readme_gets_its_tables_from_metrics_json_alone(tmp_path):
    rows = [
        runs.answer_row("cnn", "random", 0.7, 0.6, 0.8, 300),
        runs.answer_row("ear", "real_songs", 0.8, 0.7, 0.9, 107),
    ]
    runs.update_metrics(tmp_path / "metrics.json", rows)
    names = ("from scratch", "pretrained", "songs")
    before = "\n".join(f"words\n<!-- {name} -->\n<!-- end of {name} -->" for name in names)
    (tmp_path / "README.md").write_text(before)
    for _ in range(2):
        runs.write_readme(tmp_path / "metrics.json", tmp_path / "README.md")
        text = (tmp_path / "README.md").read_text()
        assert text.count("| CNN | 70.0% (60.0 to 80.0) |") == text.count("| ear | 80.0% (70.0 to 90.0) |") == 1
        assert text.count("words") == 3
    (tmp_path / "README.md").write_text(text.replace("<!-- end of songs -->", ""))
    with pytest.raises(InputError, match="lost its marks around the table 'songs'"):
        runs.write_readme(tmp_path / "metrics.json", tmp_path / "README.md")


def test_the_committed_readme_says_what_the_committed_metrics_say(tmp_path):
    committed = (ROOT / "README.md").read_text(encoding="utf-8")
    (tmp_path / "README.md").write_text(committed, encoding="utf-8")
    runs.write_readme(METRICS, tmp_path / "README.md")
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == committed, "run make report"


def test_the_committed_results_are_known_views_and_protocols_with_one_rule_for_intervals():
    results = [SimpleNamespace(**row) for row in runs.read_metrics(METRICS)["results"]]
    assert results, "run make report"
    assert len({(row.view, row.protocol) for row in results}) == len(results)
    for row in results:
        assert row.view in runs.VIEWS
        assert row.protocol in runs.PROTOCOLS
        assert row.low <= row.accuracy <= row.high
        if "songs" in row.protocol or row.protocol == "web_pictures":  # no artists known: Wilson's
            expected = metrics.wilson_interval(row.accuracy * row.n, row.n)
            assert (row.low, row.high) == pytest.approx(expected, abs=1e-4), row
