"""What a converted model must keep of the float model's accuracy, measured on the same images."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_convert.recipes import ConversionRecipe


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

    @property
    def drop_points(self) -> float:
        """Fall of accuracy in percentage points; negative where the converted model is better."""
        return 100.0 * (self.float_accuracy - self.accuracy)

    def to_builtins(self) -> dict[str, Any]:
        """Plain form for JSON."""
        return {**asdict(self), "drop_points": self.drop_points}


def compare(
    float_probabilities: NDArray[np.float32], probabilities: NDArray[np.float32], truth: NDArray[Any]
) -> Comparison:
    """Compare two models image by image.

    Args:
        float_probabilities: (n, labels) of the float model.
        probabilities: (n, labels) of the converted one, on the same images.
        truth: (n,) class ids.
    """
    ours, theirs = probabilities.argmax(axis=1), float_probabilities.argmax(axis=1)
    lost = (theirs == truth).astype(np.float64) - (ours == truth)
    # Normal interval of the mean of paired differences, each -1, 0 or 1.
    half = 1.96 * float(lost.std(ddof=1)) / np.sqrt(len(lost)) if len(lost) > 1 else float("inf")
    return Comparison(
        n=len(truth),
        float_accuracy=float((theirs == truth).mean()),
        accuracy=float((ours == truth).mean()),
        agreement=float((ours == theirs).mean()),
        drop_low=100.0 * float(lost.mean() - half),
        drop_high=100.0 * float(lost.mean() + half),
    )


def failed_gates(comparison: Comparison, recipe: ConversionRecipe) -> list[str]:
    """Return a line for each gate that ``comparison`` does not pass."""
    failures = []
    if comparison.drop_points > recipe.max_drop_points:
        failures.append(
            f"accuracy fell by {comparison.drop_points:.2f} points on PublicTest; "
            f"at most {recipe.max_drop_points} allowed"
        )
    if comparison.agreement < recipe.min_agreement:
        failures.append(
            f"agrees with the float model on {comparison.agreement:.2%} of PublicTest; "
            f"at least {recipe.min_agreement:.1%} asked for"
        )
    return failures


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
