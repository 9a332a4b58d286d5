"""Figures of merit of a classifier, computed from probabilities alone (NumPy, no framework)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float32]
Labels = NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """Figures of one class; a figure without any case to compute it from is 0."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of one classifier on one set of images."""

    n: int
    accuracy: float
    balanced_accuracy: float
    """Mean recall of the classes that occur."""
    macro_f1: float
    """Mean F1 of the classes that occur."""
    macro_precision: float
    """Mean precision of the classes that occur."""
    ece: float
    nll: float
    per_class: dict[str, ClassFigures]
    confusion_matrix: NDArray[np.int64]
    """(classes, classes); row = truth, column = prediction."""


def evaluate(probabilities: Probabilities, truth: Labels, labels: Sequence[str]) -> Figures:
    """Compute all figures.

    Args:
        probabilities: (n, classes) float32.
        truth: (n,) class ids.
        labels: name of each class id.
    """
    classes = len(labels)
    predicted = probabilities.argmax(axis=1)
    matrix = np.bincount(truth.astype(np.int64) * classes + predicted, minlength=classes * classes)
    matrix = matrix.reshape(classes, classes)
    hits, support, guessed = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    recall = _ratio(hits, support)
    precision = _ratio(hits, guessed)
    f1 = _ratio(2 * hits, support + guessed)
    occurs = support > 0
    return Figures(
        n=len(truth),
        accuracy=float(hits.sum() / len(truth)),
        balanced_accuracy=float(recall[occurs].mean()),
        macro_f1=float(f1[occurs].mean()),
        macro_precision=float(precision[occurs].mean()),
        ece=expected_calibration_error(probabilities, truth),
        nll=negative_log_likelihood(probabilities, truth),
        per_class={
            label: ClassFigures(float(precision[i]), float(recall[i]), float(f1[i]), int(support[i]))
            for i, label in enumerate(labels)
        },
        confusion_matrix=matrix.astype(np.int64),
    )


def expected_calibration_error(probabilities: Probabilities, truth: Labels, bins: int = 15) -> float:
    """ECE over equal-width bins of the top probability (Guo et al. 2017; 15 bins as there)."""
    confidence, accuracy, count = reliability(probabilities, truth, bins)
    return float((np.abs(confidence - accuracy) * count).sum() / len(truth))


def reliability(
    probabilities: Probabilities, truth: Labels, bins: int = 15
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return mean top probability, accuracy and count of each of ``bins`` equal-width bins that holds a case."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    correct = probabilities.argmax(axis=1) == truth
    which = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(which, minlength=bins)
    used = count > 0
    sums = (np.bincount(which, weights=values, minlength=bins)[used] for values in (confidence, correct))
    mean_confidence, accuracy = (total / count[used] for total in sums)
    return mean_confidence, accuracy, count[used].astype(np.int64)


def precision_recall_curve(
    scores: NDArray[np.float32], positive: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return recall (ascending) and precision (n,) at each distinct threshold on ``scores``; empty without a positive.

    Args:
        scores: (n,), higher for what is more likely positive.
        positive: (n,) truth.
    """
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(positive[order])
    last_of_score = np.append(np.diff(scores[order]) != 0, True)
    at = np.flatnonzero(last_of_score)
    total = int(positive.sum())
    if not total:
        return np.empty(0), np.empty(0)
    return hits[at] / total, hits[at] / (at + 1)


def average_precision(scores: NDArray[np.float32], positive: NDArray[np.bool_]) -> float:
    """Area under the precision-recall curve as the sum of precision times step of recall; 0 without a positive."""
    recall, precision = precision_recall_curve(scores, positive)
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def without_temperature(probabilities: Probabilities, temperature: float) -> Probabilities:
    """Return what the model would say had its logits not been divided by ``temperature``.

    Softmax forgets only a constant of the logits, so their logarithms times the temperature are logits again; a
    probability of 0 counts as 1e-30.
    """
    logits = np.log(np.maximum(probabilities.astype(np.float64), 1e-30)) * temperature
    return softmax(logits.astype(np.float32))


def negative_log_likelihood(probabilities: Probabilities, truth: Labels) -> float:
    """Mean negative log likelihood in nats; a probability of 0 counts as 1e-7."""
    chosen = probabilities[np.arange(len(truth)), truth.astype(np.int64)]
    return float(-np.log(np.clip(chosen, 1e-7, 1.0)).mean())


def softmax(logits: NDArray[np.float32], temperature: float = 1.0) -> Probabilities:
    """Softmax of (n, classes) logits over ``temperature``."""
    scaled = logits.astype(np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def best_temperature(logits: NDArray[np.float32], truth: Labels) -> float:
    """Temperature that minimizes the negative log likelihood (Guo et al. 2017), by golden-section search.

    The likelihood is unimodal in the logarithm of the temperature; the search covers 0.1 to 10.
    """
    low, high = np.log(0.1), np.log(10.0)
    ratio = (np.sqrt(5.0) - 1.0) / 2.0

    def loss(log_temperature: float) -> float:
        return negative_log_likelihood(softmax(logits, float(np.exp(log_temperature))), truth)

    while high - low > 1e-4:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if loss(left) < loss(right):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(np.where(whole > 0, part / np.maximum(whole, 1), 0.0), np.float64)
