from __future__ import annotations

import numpy as np
import pytest

from fer_train.metrics import (
    average_precision,
    best_temperature,
    evaluate,
    expected_calibration_error,
    precision_recall_curve,
    reliability,
    softmax,
    without_temperature,
)

TRUTH = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 0, 1, 1, 2, 2])
PROBABILITIES = np.eye(3, dtype=np.float32)[PREDICTED]


def test_figures_of_a_small_case_by_hand() -> None:
    figures = evaluate(PROBABILITIES, TRUTH, ("a", "b", "c"))
    assert figures.n == 6
    assert figures.accuracy == pytest.approx(4 / 6)
    assert figures.balanced_accuracy == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert figures.confusion_matrix.tolist() == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    assert figures.per_class["a"].precision == 1.0
    assert figures.per_class["a"].recall == pytest.approx(2 / 3)
    assert figures.per_class["b"].f1 == pytest.approx(0.5)
    assert figures.per_class["c"].support == 1
    assert figures.macro_f1 == pytest.approx((0.8 + 0.5 + 2 / 3) / 3)
    assert figures.macro_precision == pytest.approx((1 + 1 / 2 + 1 / 2) / 3)
    assert figures.ece == pytest.approx(2 / 6)  # certain of all, wrong in two


def test_a_class_that_does_not_occur_counts_nowhere() -> None:
    figures = evaluate(np.eye(4, dtype=np.float32)[TRUTH], TRUTH, ("a", "b", "c", "d"))
    assert figures.accuracy == figures.balanced_accuracy == figures.macro_f1 == 1.0
    assert figures.per_class["d"].support == 0


def test_calibration_error_of_honest_probabilities_is_small() -> None:
    rng = np.random.default_rng(5)
    confidence = rng.uniform(0.5, 1.0, 20_000)
    truth = (rng.random(20_000) > confidence).astype(np.int64)
    probabilities = np.stack([confidence, 1 - confidence], axis=1).astype(np.float32)
    assert expected_calibration_error(probabilities, truth) < 0.02
    assert expected_calibration_error(probabilities**0.2, truth) > 0.1


def test_the_temperature_that_was_put_in_is_found() -> None:
    rng = np.random.default_rng(6)
    logits = rng.normal(0, 2, (20_000, 7)).astype(np.float32)
    probabilities = softmax(logits)
    truth = (probabilities.cumsum(axis=1) > rng.random((20_000, 1))).argmax(axis=1)
    assert best_temperature(logits * 2.5, truth) == pytest.approx(2.5, rel=0.05)


def test_softmax_adds_up_to_one_for_large_logits() -> None:
    probabilities = softmax(np.array([[1e4, 0.0, -1e4]], np.float32))
    assert probabilities.sum() == pytest.approx(1.0)
    assert np.isfinite(probabilities).all()


def test_a_precision_recall_curve_by_hand() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.7, 0.1], np.float32)
    positive = np.array([True, False, True, False, True])
    recall, precision = precision_recall_curve(scores, positive)
    assert recall.tolist() == pytest.approx([1 / 3, 1 / 3, 2 / 3, 1.0])  # the two of 0.7 are one threshold
    assert precision.tolist() == pytest.approx([1.0, 1 / 2, 2 / 4, 3 / 5])
    assert average_precision(scores, positive) == pytest.approx(1 / 3 + 1 / 3 * 2 / 4 + 1 / 3 * 3 / 5)
    assert average_precision(scores, np.ones(5, bool)) == pytest.approx(1.0)
    assert average_precision(scores, np.zeros(5, bool)) == 0.0


def test_a_temperature_can_be_undone() -> None:
    rng = np.random.default_rng(8)
    logits = rng.normal(0, 2, (500, 7)).astype(np.float32)
    truth = rng.integers(0, 7, 500)
    cooled = softmax(logits, 2.5)
    np.testing.assert_allclose(without_temperature(cooled, 2.5), softmax(logits), atol=1e-5)
    assert expected_calibration_error(without_temperature(cooled, 2.5), truth) == pytest.approx(
        expected_calibration_error(softmax(logits), truth), abs=1e-4
    )


def test_reliability_of_a_case_by_hand() -> None:
    probabilities = np.array([[0.95, 0.05], [0.97, 0.03], [0.6, 0.4]], np.float32)
    confidence, accuracy, count = reliability(probabilities, np.array([0, 1, 0]), bins=10)
    assert confidence == pytest.approx([0.6, 0.96])
    assert accuracy == pytest.approx([1.0, 0.5])
    assert count.tolist() == [1, 2]
