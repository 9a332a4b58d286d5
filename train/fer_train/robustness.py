"""How accuracy falls when a face is cut out, lit or focused otherwise than in FER2013.

FER2013's crops are one detector's; a camera in a room and the runtime's own detector give others: a box a little larger
or smaller or beside the face, a head at an angle, a blurred or badly exposed picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.contract.files import atomic_write
from fer_edge.contract.preprocess import UInt8Array
from fer_train.classifiers import Classifier
from fer_train.evaluation import Truth, probabilities_of

Change = Callable[[UInt8Array, float], UInt8Array]
"""(48, 48) uint8 crop and amount -> the crop as another detector or camera would have given it."""


def scaled(image: UInt8Array, amount: float) -> UInt8Array:
    """The face ``amount`` times as large in its box; what was outside the box repeats its edge."""
    return _warped(image, cv2.getRotationMatrix2D(_centre(image), 0.0, amount))


def rotated(image: UInt8Array, degrees: float) -> UInt8Array:
    """The head turned anticlockwise in the image plane."""
    return _warped(image, cv2.getRotationMatrix2D(_centre(image), degrees, 1.0))


def shifted_right(image: UInt8Array, share: float) -> UInt8Array:
    """The face to the right of the middle by a share of the box's side."""
    return _warped(image, np.array([[1.0, 0.0, share * image.shape[1]], [0.0, 1.0, 0.0]]))


def shifted_down(image: UInt8Array, share: float) -> UInt8Array:
    """The face under the middle by a share of the box's side."""
    return _warped(image, np.array([[1.0, 0.0, 0.0], [0.0, 1.0, share * image.shape[0]]]))


def blurred(image: UInt8Array, sigma: float) -> UInt8Array:
    """Out of focus by a Gaussian of ``sigma`` pixels of the 48-pixel crop; 0 changes nothing."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8) if sigma else image


def exposed(image: UInt8Array, gain: float) -> UInt8Array:
    """``gain`` times as bright; what is brighter than white is white."""
    return np.asarray(cv2.convertScaleAbs(image, alpha=gain), np.uint8)


SWEEPS: Final[Mapping[str, tuple[Change, float, tuple[float, ...]]]] = {
    "scale": (scaled, 1.0, (0.8, 0.85, 0.9, 0.95, 1.05, 1.1, 1.15, 1.2)),
    "shift across": (shifted_right, 0.0, (-0.12, -0.08, -0.04, 0.04, 0.08, 0.12)),
    "shift down": (shifted_down, 0.0, (-0.12, -0.08, -0.04, 0.04, 0.08, 0.12)),
    "rotation": (rotated, 0.0, (-25.0, -15.0, -8.0, 8.0, 15.0, 25.0)),
    "blur": (blurred, 0.0, (0.5, 1.0, 1.5)),
    "gain": (exposed, 1.0, (0.4, 0.6, 0.8, 1.25, 1.6, 2.0)),
}
"""Name -> the change, the amount that changes nothing, and the amounts that are tried."""

LIMITS: Final[Mapping[str, tuple[float, float]]] = {
    "scale": (0.9, 1.1),
    "shift across": (-0.08, 0.08),
    "shift down": (-0.08, 0.08),
    "rotation": (-15.0, 15.0),
    "blur": (0.0, 1.0),
    "gain": (0.6, 1.6),
}
"""What a kiosk must expect: the range in which a model should stay near its clean accuracy."""

UNITS: Final[Mapping[str, str]] = {
    "scale": "times",
    "shift across": "of the side",
    "shift down": "of the side",
    "rotation": "degrees",
    "blur": "pixels",
    "gain": "times",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """Accuracy under one change."""

    change: str
    amount: float
    accuracy: float
    drop_points: float
    """Clean accuracy minus this one, in percentage points, on the same images."""
    within_limits: bool
    """Whether the amount lies in :data:`LIMITS`."""


@dataclass(frozen=True, slots=True)
class Robustness:
    """A model under all changes."""

    n: int
    clean_accuracy: float
    cells: tuple[Cell, ...]

    @property
    def worst(self) -> Cell:
        """The largest drop within the limits."""
        return max((cell for cell in self.cells if cell.within_limits), key=lambda cell: cell.drop_points)


def measure(classifier: Classifier, truth: Truth, progress: Callable[[int, int], None] | None = None) -> Robustness:
    """Classify all images of ``truth`` under each change.

    Args:
        classifier: the model.
        truth: images and labels.
        progress: called with (changes done, changes in all).
    """
    clean = _accuracy(classifier, truth, truth.images)
    cells: list[Cell] = []
    total = sum(len(amounts) for _, _, amounts in SWEEPS.values())
    for name, (change, _, amounts) in SWEEPS.items():
        low, high = LIMITS[name]
        for amount in amounts:
            accuracy = _accuracy(classifier, truth, np.stack([change(image, amount) for image in truth.images]))
            cells.append(Cell(name, amount, accuracy, 100 * (clean - accuracy), low <= amount <= high))
            if progress is not None:
                progress(len(cells), total)
    return Robustness(len(truth.images), clean, tuple(cells))


def draw(results: Sequence[tuple[str, Robustness]], path: Path) -> None:
    """Draw accuracy against the amount of each change, a line a model, as SVG.

    Raises:
        OutputError: if the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6), layout="constrained")
    panels = figure.subplots(2, 3, sharey=True).ravel()
    colours = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
    for panel, (name, (_, neutral, _)) in zip(panels, SWEEPS.items(), strict=True):
        low, high = LIMITS[name]
        panel.axvspan(low, high, color="#0072b2", alpha=0.08, linewidth=0)
        for index, (model, result) in enumerate(results):
            points = {cell.amount: 100 * cell.accuracy for cell in result.cells if cell.change == name}
            points[neutral] = 100 * result.clean_accuracy
            amounts = sorted(points)
            colour = colours[index % len(colours)]
            panel.plot(amounts, [points[a] for a in amounts], "o-", markersize=3.5, color=colour, label=model)
        panel.set_xlabel(f"{name} ({UNITS[name]})")
        panel.grid(alpha=0.3)
    for panel in panels[::3]:
        panel.set_ylabel("accuracy (%)")
    panels[0].legend(frameon=False, fontsize=8)
    with atomic_write(path) as partial:
        figure.savefig(partial, format="svg")


def to_builtins(result: Robustness) -> dict[str, Any]:
    """Plain form for JSON."""
    return {
        "n": result.n,
        "clean_accuracy": result.clean_accuracy,
        "worst_drop_points": result.worst.drop_points,
        "cells": [
            {
                "change": cell.change,
                "amount": cell.amount,
                "accuracy": cell.accuracy,
                "drop_points": cell.drop_points,
                "within_limits": cell.within_limits,
            }
            for cell in result.cells
        ],
    }


def _accuracy(classifier: Classifier, truth: Truth, images: UInt8Array) -> float:
    return float(truth.hits(probabilities_of(classifier, images, truth.labels)).mean())


def _centre(image: UInt8Array) -> tuple[float, float]:
    return (image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2


def _warped(image: UInt8Array, matrix: NDArray[Any]) -> UInt8Array:
    size = image.shape[1], image.shape[0]
    # The runtime repeats the edge of the frame too, where a face sticks out of it.
    warped = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, np.uint8)
