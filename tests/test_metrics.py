"""Metrics against values worked out by hand or published."""

import json

import numpy as np
import pytest
from scipy.special import softmax

import utils


def test_wilson_gives_the_published_intervals():
    assert utils.wilson_interval(179, 300) == pytest.approx((0.540, 0.651), abs=0.001)
    assert utils.wilson_interval(6, 20) == pytest.approx((0.145, 0.519), abs=0.001)


@pytest.mark.parametrize("correct", [0, 20])
def test_wilson_stays_inside_nought_and_one(correct):
    low, high = utils.wilson_interval(correct, 20)
    assert -1e-9 <= low < high <= 1 + 1e-9


def test_the_t_interval_of_five_runs():
    low, high = utils.mean_interval([0.6, 0.62, 0.64, 0.66, 0.68])
    assert (low, high) == pytest.approx((0.64 - 0.03926, 0.64 + 0.03926), abs=1e-4)


def test_an_honest_network_has_no_calibration_error_and_a_boaster_has():
    labels = np.arange(1000) % 2
    honest = np.tile([0.5, 0.5 - 1e-9], (1000, 1))
    assert utils.expected_calibration_error(honest, labels) == pytest.approx(0, abs=0.09)
    boaster = np.tile([0.95, 0.05], (1000, 1))
    assert utils.expected_calibration_error(boaster, labels) == pytest.approx(0.45, abs=0.06)


def test_the_temperature_undoes_overconfidence():
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 1.5, (4000, 10))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([generator.choice(10, p=row) for row in probabilities])
    assert utils.fit_temperature(4 * logits, labels) == pytest.approx(4, rel=0.1)


def test_calibration_makes_a_boasting_and_biased_model_honest():
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 1.5, (4000, 10))
    labels = np.array([generator.choice(10, p=row) for row in softmax(logits, axis=1)])
    boasting = 2 * logits
    boasting[:, 3] += 2
    calibration = utils.fit_calibration((boasting, labels), (boasting[:1000], labels[:1000]))
    before, after = (softmax(each, axis=1) for each in (boasting, calibration.logits(boasting)))
    assert utils.expected_calibration_error(before, labels) > 0.2
    assert utils.expected_calibration_error(after, labels) < 0.04
    assert utils.accuracy(after, labels) > utils.accuracy(before, labels)
    # Near answers that are wrong more often flatten the model, and leave its genres as they are to each other.
    wrong = np.where(np.arange(4000) % 2, labels, (labels + 1) % 10)
    flat = utils.fit_calibration((boasting, labels), (boasting, wrong))
    assert np.allclose(flat.scale / flat.scale[0], calibration.scale / calibration.scale[0], rtol=1e-3)
    assert flat.scale.max() < 0.7 * calibration.scale.max()


def test_confused_pairs_are_counted():
    scores = np.eye(10)[[0, 1, 1, 9, 9, 9]]
    pairs = utils.confused_pairs(scores, np.array([0, 0, 0, 6, 6, 9]))
    assert pairs.iloc[0].tolist() == ["blues", "classical", 2]
    assert pairs["tracks"].sum() == 4


def test_mcnemar_counts_the_disagreements():
    labels = np.zeros(12, int)
    first, second = np.eye(10)[[0] * 10 + [1, 1]], np.eye(10)[[1] * 8 + [0, 0, 0, 1]]
    assert utils.mcnemar(first, second, labels) == {"only first right": 8, "only second right": 1, "p": 0.0391}
    assert utils.mcnemar(first, first, labels)["p"] == 1


def test_metrics_keep_the_sections_they_had(dataset):
    utils.update_metrics(dataset, first={"a": 1})
    utils.update_metrics(dataset, second=2)
    stored = json.loads((dataset.results / "metrics.json").read_text())
    assert stored == {"dataset": "demo", "first": {"a": 1}, "second": 2}


def test_an_honest_model_lies_in_the_range_of_honest_models():
    rng = np.random.default_rng(1)
    probabilities = utils.softmax(2 * rng.normal(size=(300, 10)), axis=1)
    labels = np.array([rng.choice(10, p=row) for row in probabilities])
    low, high = utils.honest_calibration_error(probabilities)
    assert 0.02 < low < high < 0.12
    assert low <= utils.expected_calibration_error(probabilities, labels) <= high
    boasting = utils.softmax(10 * np.log(probabilities), axis=1)
    assert utils.expected_calibration_error(boasting, labels) > utils.honest_calibration_error(boasting)[1]
