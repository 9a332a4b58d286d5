from __future__ import annotations

import numpy as np
import pytest

from fer_train.metrics import best_temperature, evaluate, expected_calibration_error, softmax

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
