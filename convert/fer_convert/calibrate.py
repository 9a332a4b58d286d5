"""The images on which the ranges of activations are measured."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract.preprocess import InputSpec, UInt8Array, batch_input
from fer_edge.errors import DataError
from fer_train.fer2013 import Fer2013

CALIBRATION_IMAGES: Final = 700
CALIBRATION_SEED: Final = 2013


def calibration_rows(
    training: Fer2013, images: int = CALIBRATION_IMAGES, seed: int = CALIBRATION_SEED
) -> NDArray[np.int64]:
    """Choose rows of the Training split, equally many of each class as far as they go.

    Balanced, because a range must hold for the rare expressions too: disgust is 1.5 % of Training.

    Args:
        training: the Training split alone, so that the set is disjoint from every evaluation.
        images: how many to choose.
        seed: of the choice.

    Returns:
        (n,) int64 positions in ``training``, n <= ``images``.

    Raises:
        DataError: if there is no image to choose from.
    """
    rng = np.random.default_rng(seed)
    present = np.unique(training.labels)
    if len(present) == 0:
        raise DataError(f"{training.source}: no Training images to calibrate on; give the whole of FER2013")
    each = -(-images // len(present))
    chosen = [rng.permutation(np.flatnonzero(training.labels == label))[:each] for label in present]
    return np.asarray(rng.permutation(np.concatenate(chosen))[:images], np.int64)


def calibration_set(training: Fer2013, rows: NDArray[np.int64], spec: InputSpec) -> UInt8Array:
    """Return (n, height, width, channels) uint8, through the preprocessing of the runtime."""
    return batch_input(training.pixels[rows], spec)
