"""What a converted model must keep of the float model's accuracy, measured on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_convert.delegation import FileFacts
from fer_convert.recipe import ConversionRecipe
from fer_train.metrics import evaluate

MIN_SUPPORT: Final = 30
"""Images of a class below which its recall is not judged: one image would be more than three points."""
Z: Final = 1.96
"""Of the 95 % interval of a mean."""


@dataclass(frozen=True, slots=True)
class RecallDrop:
    """Fall of one class's recall, in percentage points, with the 95 % interval of the paired differences."""

    support: int
    points: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """A converted model beside the float model on one split."""

    n: int
    float_accuracy: float
    accuracy: float
    agreement: float
    """Share of images on which both name the same label."""
    drop_low: float
    drop_high: float
    """95 % interval of the drop in accuracy, in percentage points, from the paired differences."""
    float_macro_f1: float
    macro_f1: float
    recall_drop: dict[str, RecallDrop] = field(default_factory=dict)
    """By label, of those that occur."""

    @property
    def drop_points(self) -> float:
        """Fall of accuracy in percentage points; negative where the converted model is better."""
        return 100.0 * (self.float_accuracy - self.accuracy)

    @property
    def macro_f1_drop_points(self) -> float:
        """Fall of macro-F1, in points of 0 to 100."""
        return 100.0 * (self.float_macro_f1 - self.macro_f1)

    def to_builtins(self) -> dict[str, Any]:
        """Plain form for JSON."""
        drops = {"drop_points": self.drop_points, "macro_f1_drop_points": self.macro_f1_drop_points}
        return {**asdict(self), **drops}


def compare(
    float_probabilities: NDArray[np.float32],
    probabilities: NDArray[np.float32],
    truth: NDArray[Any],
    labels: Sequence[str],
) -> Comparison:
    """Compare two models image by image.

    Args:
        float_probabilities: (n, labels) of the float model.
        probabilities: (n, labels) of the converted one, on the same images.
        truth: (n,) positions in ``labels``.
        labels: their names.
    """
    ours, theirs = probabilities.argmax(axis=1), float_probabilities.argmax(axis=1)
    lost = (theirs == truth).astype(np.float64) - (ours == truth)
    mean, half = _mean(lost)
    figures, float_figures = (evaluate(p, truth, labels) for p in (probabilities, float_probabilities))
    recall_drop = {}
    for number, label in enumerate(labels):
        of_class = lost[truth == number]
        if len(of_class):
            points, width = _mean(of_class)
            recall_drop[label] = RecallDrop(
                len(of_class), 100.0 * points, 100.0 * (points - width), 100.0 * (points + width)
            )
    return Comparison(
        n=len(truth),
        float_accuracy=float((theirs == truth).mean()),
        accuracy=float((ours == truth).mean()),
        agreement=float((ours == theirs).mean()),
        drop_low=100.0 * (mean - half),
        drop_high=100.0 * (mean + half),
        float_macro_f1=float_figures.macro_f1,
        macro_f1=figures.macro_f1,
        recall_drop=recall_drop,
    )


def _mean(differences: NDArray[np.float64]) -> tuple[float, float]:
    """Return mean and half the normal 95 % interval of paired differences, each -1, 0 or 1."""
    n = len(differences)
    half = Z * float(differences.std(ddof=1)) / float(np.sqrt(n)) if n > 1 else 1.0
    return float(differences.mean()), half


def failed_gates(comparison: Comparison | None, facts: FileFacts, recipe: ConversionRecipe) -> list[str]:
    """Return a line for each gate of ``recipe`` that is not passed.

    Args:
        comparison: on PublicTest; None if the data set has no such split, which leaves the file to be judged alone.
        facts: about the file.
        recipe: its gates count.
    """
    failures = [] if comparison is None else _failed_on_images(comparison, recipe)
    gates = recipe.gates
    if gates.integer and facts.float_operators:
        kinds = ", ".join(sorted(set(facts.float_operators)))
        failures.append(f"{len(facts.float_operators)} of {facts.operators} operators compute in float ({kinds})")
    if facts.delegated is not None and facts.delegated < gates.min_delegated:
        failures.append(
            f"XNNPACK runs {facts.delegated:.1%} of the multiplications; at least {gates.min_delegated:.0%} asked for"
        )
    if gates.max_megabytes and facts.megabytes > gates.max_megabytes:
        failures.append(f"the file has {facts.megabytes} MB; at most {gates.max_megabytes} allowed")
    return failures


def _failed_on_images(comparison: Comparison, recipe: ConversionRecipe) -> list[str]:
    gates, failures = recipe.gates, []
    drops = [
        ("accuracy", comparison.drop_points, gates.max_drop_points),
        ("macro-F1", comparison.macro_f1_drop_points, gates.max_macro_f1_drop_points),
    ]
    judged = ((label, drop) for label, drop in comparison.recall_drop.items() if drop.support >= MIN_SUPPORT)
    drops += [(f"the recall of {label}", drop.points, gates.max_recall_drop_points) for label, drop in judged]
    for what, points, limit in drops:
        if points > limit:
            failures.append(f"{what} fell by {points:.2f} points on PublicTest; at most {limit} allowed")
    if comparison.agreement < gates.min_agreement:
        failures.append(
            f"agrees with the float model on {comparison.agreement:.2%} of PublicTest; "
            f"at least {gates.min_agreement:.1%} asked for"
        )
    return failures


def advice(recipe: ConversionRecipe) -> str:
    """Say what to try when a model does not pass the gates of ``recipe``."""
    if recipe.activations != "int8":
        return "give --force to write it all the same"
    if recipe.preparation.equalization == "none":
        return "try --recipe int8_equalized or int8_mixed, see --sensitivity, or give --force to write it all the same"
    if not recipe.sensitive.layers:
        return "try --recipe int8_mixed, see --sensitivity, or give --force to write it all the same"
    return "leave more layers in float32 by a recipe of your own, see --sensitivity, or give --force"


def uncertain_below(probabilities: NDArray[np.float32], truth: NDArray[Any]) -> float:
    """Score under which the most probable label is more often wrong than right.

    The cut that maximizes (wrong - right) among the images under it, so that what is reported as uncertain is what a
    coin would do better on. Measured on PublicTest.

    Args:
        probabilities: (n, labels).
        truth: (n,) class ids.
    """
    score = probabilities.max(axis=1)
    order = np.argsort(score)
    gain = np.where(probabilities.argmax(axis=1)[order] == truth[order], -1, 1).cumsum()
    best = int(gain.argmax())
    return round(float(score[order][best]), 3) if gain[best] > 0 else 0.0
