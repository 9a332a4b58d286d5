from __future__ import annotations

import numpy as np
import pytest

from fer_train.metrics import evaluate
from fer_train.significance import bootstrap_intervals, mcnemar, paired_test


@pytest.mark.parametrize(
    ("ours", "other", "p"),
    [(0, 0, 1.0), (5, 5, 1.0), (10, 0, 2 / 1024), (1, 8, 20 / 512), (0, 1, 1.0), (60, 40, 0.05688793)],
)
def test_mcnemar_is_the_exact_binomial_test(ours: int, other: int, p: float) -> None:
    assert mcnemar(ours, other) == pytest.approx(p)
    assert mcnemar(other, ours) == pytest.approx(p)


def test_mcnemar_of_many_images_is_a_number() -> None:
    assert 0.0 <= mcnemar(12_000, 9_000) < 1e-80


def test_a_better_model_is_told_from_noise() -> None:
    other = np.arange(2000) % 10 < 6
    better = other | (np.arange(2000) % 20 == 19)
    found = paired_test(better, other)
    assert (found.only_ours, found.only_other, found.n) == (100, 0, 2000)
    assert found.gain_points == pytest.approx(5.0)
    assert 3.5 < found.gain_low < 5.0 < found.gain_high < 6.5
    assert found.p_value < 1e-20
    same = paired_test(other, other)
    assert (same.gain_low, same.gain_points, same.gain_high, same.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_the_interval_is_that_of_drawing_images_again() -> None:
    rng = np.random.default_rng(3)
    truth = rng.choice(4, 1500, p=[0.6, 0.25, 0.1, 0.05])
    predicted = np.where(rng.random(1500) < 0.7, truth, rng.integers(0, 4, 1500))
    probabilities = np.eye(4, dtype=np.float32)[predicted]
    found = bootstrap_intervals(evaluate(probabilities, truth, "abcd").confusion_matrix)
    again = []
    for _ in range(400):
        rows = rng.integers(0, 1500, 1500)
        figures = evaluate(probabilities[rows], truth[rows], "abcd")
        again.append((figures.accuracy, figures.balanced_accuracy, figures.macro_f1))
    direct = np.percentile(again, (2.5, 97.5), axis=0)
    for i, name in enumerate(("accuracy", "balanced_accuracy", "macro_f1")):
        assert found[name] == pytest.approx(direct[:, i], abs=0.008)
