"""From a FER2013 data set and a recipe to what the training loop sees."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract.labels import LABELS
from fer_edge.contract.preprocess import UInt8Array
from fer_edge.errors import DataError
from fer_train.fer2013 import Fer2013
from fer_train.leak import oversampled_then_split
from fer_train.recipe import Recipe
from fer_train.targets import training_targets


@dataclass(frozen=True, eq=False)
class TrainingData:
    """The Training images with what to answer for them, and the PublicTest images to choose an epoch by."""

    pixels: UInt8Array
    """(n, 48, 48) uint8 grey."""
    targets: NDArray[np.float32]
    """(n, classes) float32, each row summing to 1."""
    chance: NDArray[np.float64] | None
    """(n,) float64, how often each image is drawn, summing to 1; None: each once an epoch."""
    weights: NDArray[np.float32] | None
    """(n,) float32, how much each image weighs in the loss, 1 on average; None: all alike."""
    public_pixels: UInt8Array
    """(m, 48, 48) uint8 grey."""
    public_labels: NDArray[np.int64]
    """(m,) int64 positions in the recipe's classes."""

    @property
    def sha256(self) -> str:
        """Digest of everything above."""
        digest = hashlib.sha256()
        for array in (self.pixels, self.public_pixels, self.public_labels):
            digest.update(np.ascontiguousarray(array).data)
        # Three digits: what the last bits of a target are depends on the machine's arithmetic.
        digest.update(np.round(self.targets, 3).tobytes())
        digest.update(repr((self.chance is None, self.weights is None)).encode())
        return digest.hexdigest()


def prepare(recipe: Recipe, data: Fer2013, votes: NDArray[np.float32] | None = None) -> TrainingData:
    """Return what ``recipe`` makes of ``data``.

    Args:
        recipe: its classes, protocol, dropped images, balance and targets count.
        data: the whole of FER2013; PrivateTest is not looked at (but by the protocol that is wrong on purpose).
        votes: (N, 10) FER+ votes on the same images.

    Raises:
        DataError: if nothing is left to train on.
        UsageError: if the recipe uses votes and there are none.
    """
    # Dropped first: which images are alike is a question about the data set as it came.
    data, votes = _without_dropped(recipe, data, votes)
    training = split_of(recipe, data, "Training")
    if votes is not None and recipe.protocol == "official" and recipe.classes == LABELS:
        votes = votes[data.splits == 0]
    targets = training_targets(recipe, training, votes)
    counts = np.bincount(training.labels, minlength=len(recipe.classes))
    if not counts.all():
        missing = ", ".join(name for name, count in zip(recipe.classes, counts, strict=True) if not count)
        raise DataError(f"{data.source}: Training holds no image of {missing}; name other --classes")
    # Each class in all as often, or as heavy, as any other.
    share = (len(training) / len(counts) / counts)[training.labels]
    public = split_of(recipe, data, "PublicTest")
    return TrainingData(
        training.pixels,
        targets,
        chance=share / share.sum() if recipe.balance == "sampling" else None,
        weights=share.astype(np.float32) if recipe.balance == "weights" else None,
        public_pixels=public.pixels,
        public_labels=public.labels.astype(np.int64),
    )


def split_of(recipe: Recipe, data: Fer2013, name: str) -> Fer2013:
    """Return the images of a split that have one of the recipe's classes; ids are positions in those.

    Raises:
        DataError: if there are none.
    """
    if recipe.protocol == "oversampled_then_split":
        data = oversampled_then_split(data, recipe.seed)
    return data.split(name).of_labels(recipe.classes)


def _without_dropped(
    recipe: Recipe, data: Fer2013, votes: NDArray[np.float32] | None
) -> tuple[Fer2013, NDArray[np.float32] | None]:
    if not recipe.drop:
        return data, votes
    from fer_train.quality import rows_to_drop

    training = np.flatnonzero(data.splits == 0)
    dropped = training[rows_to_drop(data, recipe.drop, votes)]
    kept = np.setdiff1d(np.arange(len(data)), dropped)
    return data.take(kept), None if votes is None else votes[kept]
