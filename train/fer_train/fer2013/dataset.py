"""What a FER2013 data set is, once it is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract.labels import LABELS
from fer_edge.contract.preprocess import UInt8Array
from fer_edge.errors import DataError

SPLITS: Final[tuple[str, ...]] = ("Training", "PublicTest", "PrivateTest")
"""The challenge's split, by the names of its ``Usage`` column."""

OFFICIAL_COUNTS: Final[tuple[int, ...]] = (28_709, 3_589, 3_589)
"""Images in each of :data:`SPLITS`."""

SIDE: Final = 48
"""Height and width of an image in pixels."""

PIXELS: Final = SIDE * SIDE

MAX_IMAGES: Final = 250_000
"""Seven times FER2013 (576 MB of pixels): what is larger is not FER2013, and would fill the memory."""


class Fer2013Warning(UserWarning):
    """The data set can be used, but differs from the official one, or its cache cannot be used."""


@dataclass(frozen=True)
class ImageTable:
    """What a form of FER2013 holds, before it is a :class:`Fer2013`: every reader returns one."""

    pixels: UInt8Array
    """(N, 48, 48) grey."""
    labels: UInt8Array
    """(N,) ids in the order of :data:`fer_edge.contract.labels.LABELS`."""
    splits: UInt8Array
    """(N,) indices in :data:`SPLITS`."""
    notes: tuple[str, ...] = ()
    """What the reader had to assume; each becomes a :class:`Fer2013Warning`."""


@dataclass(frozen=True, eq=False)
class Fer2013:
    """FER2013 or a part of it, in the source's order."""

    pixels: UInt8Array
    """(N, 48, 48) uint8 grey."""
    labels: UInt8Array
    """(N,) uint8 ids in the order of :data:`fer_edge.contract.labels.LABELS`."""
    splits: UInt8Array
    """(N,) uint8 indices in :data:`SPLITS`."""
    rows: NDArray[np.int64]
    """(N,) int64 row numbers in the source, from 0 (its header not counted)."""
    source: str
    """The file or folder that was read."""
    sha256: str
    """Digest of the source: of the file's bytes, or of a folder's file names and contents."""

    def __post_init__(self) -> None:
        n = len(self.pixels)
        if self.pixels.shape != (n, SIDE, SIDE) or any(len(a) != n for a in (self.labels, self.splits, self.rows)):
            raise ValueError("pixels must be (N, 48, 48), and labels, splits and rows (N,)")

    def __len__(self) -> int:
        return len(self.pixels)

    def __repr__(self) -> str:
        counts = ", ".join(f"{name} {count}" for name, count in self.split_counts().items())
        return f"<Fer2013 {self.source}: {counts}>"

    def split(self, name: str) -> Fer2013:
        """Return the images of one of :data:`SPLITS`, in the source's order.

        Raises:
            DataError: if there is no such split, or the data set holds no image of it.
        """
        if name not in SPLITS:
            raise DataError(f"{self.source}: FER2013 has no split {name!r}; its splits are {', '.join(SPLITS)}")
        chosen = self.splits == SPLITS.index(name)
        if not chosen.any():
            present = ", ".join(split for split, count in self.split_counts().items() if count)
            raise DataError(f"{self.source}: holds no {name} image (only {present}); choose another split or data set")
        return self.take(np.flatnonzero(chosen))

    def take(self, positions: NDArray[np.int64]) -> Fer2013:
        """Return the images at ``positions`` (n,), in that order; one may be named more than once."""
        return replace(
            self,
            pixels=self.pixels[positions],
            labels=self.labels[positions],
            splits=self.splits[positions],
            rows=self.rows[positions],
        )

    def of_labels(self, labels: Sequence[str]) -> Fer2013:
        """Return the images that have one of ``labels``, with ids that are positions in ``labels``.

        Args:
            labels: a part of :data:`fer_edge.contract.labels.LABELS` in any order, such as that of a model's output.

        Raises:
            DataError: if no image has one of them.
        """
        position = np.full(len(LABELS), 255, np.uint8)
        for number, label in enumerate(labels):
            position[LABELS.index(label)] = number
        chosen = self.take(np.flatnonzero(position[self.labels] != 255))
        if not len(chosen):
            raise DataError(f"{self.source}: holds no image of {', '.join(labels)}; give the whole of FER2013")
        return replace(chosen, labels=position[chosen.labels])

    def relabelled(self, labels: UInt8Array) -> Fer2013:
        """Return the same images with other ids (N,), such as positions in a part of the labels."""
        return replace(self, labels=labels)

    def resplit(self, splits: UInt8Array) -> Fer2013:
        """Return the same images with other splits (N,), indices in :data:`SPLITS`."""
        return replace(self, splits=splits)

    def split_counts(self) -> dict[str, int]:
        """Return the number of images of each split, zeros included."""
        counts = np.bincount(self.splits, minlength=len(SPLITS))
        return {name: int(count) for name, count in zip(SPLITS, counts, strict=True)}

    def class_counts(self) -> dict[str, int]:
        """Return the number of images of each label, zeros included."""
        counts = np.bincount(self.labels, minlength=len(LABELS))
        return {name: int(count) for name, count in zip(LABELS, counts, strict=True)}


def differences(data: Fer2013) -> str | None:
    """Say in one line how ``data`` differs from the official FER2013 in images by split and class, if it does."""
    counts = data.split_counts()
    absent = [label for label, count in data.class_counts().items() if not count]
    if tuple(counts.values()) == OFFICIAL_COUNTS and not absent:
        return None
    found = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    official = ", ".join(f"{name} {count:,}" for name, count in zip(SPLITS, OFFICIAL_COUNTS, strict=True))
    classless = f", and none is {' or '.join(absent)}" if absent else ""
    return (
        f"{data.source}: the images are {found}{classless}, where FER2013 has {official}; "
        "figures measured on them do not compare with published ones"
    )
