"""How far figures on a few thousand images can be trusted: bootstrap intervals, and two models on the same images."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

RESAMPLES: Final = 10_000
_SEED: Final = 2013


@dataclass(frozen=True, slots=True)
class PairedTest:
    """Two models, ours and another, on the same images."""

    n: int
    only_ours: int
    """Images that only ours names rightly."""
    only_other: int
    gain_points: float
    """Our accuracy less the other's, in percentage points."""
    gain_low: float
    gain_high: float
    """95 % interval of the gain, by paired bootstrap."""
    p_value: float
    """Two-sided exact McNemar test of "both are equally often right"."""

    def to_builtins(self) -> dict[str, Any]:
        """Plain form for JSON."""
        return asdict(self)


def bootstrap_intervals(confusion_matrix: NDArray[np.int64]) -> dict[str, tuple[float, float]]:
    """Return 95 % percentile intervals (Efron 1979) of accuracy, balanced accuracy and macro F1.

    These figures depend on the images through the confusion matrix alone, so that drawing images with replacement is
    drawing its cells from a multinomial distribution.

    Args:
        confusion_matrix: (classes, classes); row = truth, column = prediction.
    """
    n = int(confusion_matrix.sum())
    classes = len(confusion_matrix)
    rng = np.random.default_rng(_SEED)
    drawn = rng.multinomial(n, confusion_matrix.ravel() / n, RESAMPLES).reshape(-1, classes, classes)
    hits = np.diagonal(drawn, axis1=1, axis2=2)
    support, guessed = drawn.sum(axis=2), drawn.sum(axis=1)
    occurs = support > 0
    recall = np.where(occurs, hits / np.maximum(support, 1), 0.0)
    f1 = np.where(occurs, 2 * hits / np.maximum(support + guessed, 1), 0.0)
    figures = {
        "accuracy": hits.sum(axis=1) / n,
        "balanced_accuracy": recall.sum(axis=1) / occurs.sum(axis=1),
        "macro_f1": f1.sum(axis=1) / occurs.sum(axis=1),
    }
    return {name: _percentiles(values) for name, values in figures.items()}


def paired_test(ours: NDArray[np.bool_], other: NDArray[np.bool_]) -> PairedTest:
    """Compare two models image by image.

    Args:
        ours: (n,) whether our model was right.
        other: (n,) whether the other was, on the same images.
    """
    n = len(ours)
    only_ours, only_other = int((ours & ~other).sum()), int((other & ~ours).sum())
    cells = np.array([only_ours, only_other, n - only_ours - only_other]) / n
    drawn = np.random.default_rng(_SEED).multinomial(n, cells, RESAMPLES)
    low, high = _percentiles(100.0 * (drawn[:, 0] - drawn[:, 1]) / n)
    return PairedTest(
        n=n,
        only_ours=only_ours,
        only_other=only_other,
        gain_points=100.0 * (only_ours - only_other) / n,
        gain_low=low,
        gain_high=high,
        p_value=mcnemar(only_ours, only_other),
    )


def mcnemar(only_ours: int, only_other: int) -> float:
    """Two-sided exact p-value of McNemar's test (1947): a fair coin decides each image on which only one is right."""
    n, fewer = only_ours + only_other, min(only_ours, only_other)
    tail = ways = 1
    for k in range(fewer):
        ways = ways * (n - k) // (k + 1)  # of choosing k + 1 of n
        tail += ways
    return min(1.0, float(2 * tail / 2**n))


def _percentiles(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)
