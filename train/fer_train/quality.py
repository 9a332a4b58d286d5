"""What is wrong with the images of a FER2013: duplicates, leaks between splits, blanks, non-faces, contradictions.

Everything but :func:`not_faces` is judged by pixels and labels alone; NumPy and OpenCV are enough.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.contract.preprocess import UInt8Array
from fer_edge.errors import DataError, UsageError
from fer_train.fer2013 import SPLITS, Fer2013
from fer_train.fer2013.ferplus import VOTE_COLUMNS

Rows = NDArray[np.int64]

KINDS: Final[tuple[str, ...]] = ("constant", "duplicates", "conflicts", "leaks", "not_faces")
"""What :func:`rows_to_drop` can leave out."""

CONSTANT_BELOW: Final = 5.0
"""Standard deviation in grey levels under which an image shows nothing. Measured on FER2013: 12 black images have 0,
one nearly black one 0.7, and the flattest picture of a face 9.1."""

NEAR_CORRELATION: Final = 0.92
"""Normalized correlation of two whole images from which they are taken for the same photograph (another crop, size or
compression). Judged by eye on 28 random pairs of FER2013 each: above 0.92 none showed two people, of 0.90 to 0.92 one,
of 0.88 to 0.90 four."""

_THUMBNAIL_SIDE: Final = 16
_THUMBNAIL_CORRELATION: Final = 0.93
"""Thumbnails forgive a shift by a pixel: every pair over NEAR_CORRELATION is found among those over this."""
_BLOCK: Final = 1024
"""Images compared with all others at once: 150 MB for FER2013."""


@dataclass(frozen=True, slots=True, eq=False)
class NearPairs:
    """Pairs of images that are alike, but not equal."""

    pairs: Rows
    """(m, 2) positions in the data set, the smaller first."""
    correlation: NDArray[np.float32]
    """(m,) normalized correlation of each pair."""

    def __len__(self) -> int:
        return len(self.pairs)


@dataclass(frozen=True, slots=True, eq=False)
class Quality:
    """What was found in a data set; all numbers are positions in it."""

    constant: Rows
    identical: list[Rows]
    """Groups of two or more equal images; blanks are not among them."""
    conflicts: list[Rows]
    """Those groups of ``identical`` whose labels differ."""
    near: NearPairs
    not_faces: Rows | None
    """What FER+'s voters saw no face in; None without votes."""
    unclear: Rows | None
    """A face of whose expression they most often said "unknown"; None without votes."""


def inspect(data: Fer2013, votes: NDArray[np.float32] | None = None) -> Quality:
    """Look for everything.

    Args:
        data: FER2013 or a part of it.
        votes: (N, 10) FER+ votes on its images.
    """
    blank = constant(data.pixels)
    groups = [group for group in identical(data.pixels) if group[0] not in set(blank.tolist())]
    return Quality(
        constant=blank,
        identical=groups,
        conflicts=[group for group in groups if len(np.unique(data.labels[group])) > 1],
        near=near_duplicates(data.pixels),
        not_faces=None if votes is None else not_faces(votes),
        unclear=None if votes is None else _most_voted(votes, "unknown"),
    )


def constant(pixels: UInt8Array) -> Rows:
    """Return which of (N, H, W) images are of one grey, or nearly so (:data:`CONSTANT_BELOW`)."""
    # One at a time: NumPy would turn all of FER2013 into float64 at once.
    deviations = np.array([image.std() for image in pixels], np.float64)
    return np.flatnonzero(deviations < CONSTANT_BELOW).astype(np.int64)


def identical(pixels: UInt8Array) -> list[Rows]:
    """Return the groups of two or more equal images of (N, H, W), each ascending, ordered by their first image."""
    found: dict[bytes, list[int]] = {}
    for row, image in enumerate(pixels):
        found.setdefault(image.tobytes(), []).append(row)
    return [np.array(rows, np.int64) for rows in found.values() if len(rows) > 1]


def near_duplicates(pixels: UInt8Array, threshold: float = NEAR_CORRELATION) -> NearPairs:
    """Find the pairs of different images whose normalized correlation is at least ``threshold``.

    Every pair is compared as 16x16 thumbnails (one matrix product), and those that are alike there at full size. Nearly
    constant images are like nothing.

    Args:
        pixels: (N, H, W) uint8.
        threshold: of the correlation at full size.
    """
    live = np.setdiff1d(np.arange(len(pixels)), constant(pixels))
    small = [cv2.resize(p, (_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA) for p in pixels[live]]
    if not small:
        return NearPairs(np.empty((0, 2), np.int64), np.empty(0, np.float32))
    thumbnails = _unit_vectors(np.stack(small))
    candidates = []
    for start in range(0, len(live), _BLOCK):
        alike = thumbnails[start : start + _BLOCK] @ thumbnails[start:].T >= _THUMBNAIL_CORRELATION
        first, second = np.nonzero(np.triu(alike, k=1))
        candidates.append(np.stack([first, second], axis=1) + start)
    pairs = live[np.concatenate(candidates)].astype(np.int64)
    different = np.array([not np.array_equal(pixels[i], pixels[j]) for i, j in pairs], bool)
    pairs = pairs[different]
    correlation = np.array([_correlation(pixels[i], pixels[j]) for i, j in pairs], np.float32)
    kept = correlation >= threshold
    return NearPairs(pairs[kept], correlation[kept])


def not_faces(votes: NDArray[np.float32]) -> Rows:
    """Return which rows of (N, 10) FER+ votes are most often "not a face"."""
    return _most_voted(votes, "NF")


def pairs_by_split(groups: Iterable[Rows], splits: UInt8Array) -> dict[str, int]:
    """Count pairs of images within and across splits: ``{"Training/Training": 3, "Training/PublicTest": 1, ...}``.

    Args:
        groups: positions of images that belong together; each pair of a group counts once.
        splits: (N,) indices in SPLITS.
    """
    counts = np.zeros((len(SPLITS), len(SPLITS)), np.int64)
    for group in groups:
        present = np.bincount(splits[group], minlength=len(SPLITS))
        counts += np.outer(present, present) - np.diag(present)
    names = [(a, b) for a in range(len(SPLITS)) for b in range(a, len(SPLITS))]
    return {f"{SPLITS[a]}/{SPLITS[b]}": int(counts[a, b] // (2 if a == b else 1)) for a, b in names}


def rows_to_drop(data: Fer2013, kinds: Collection[str], votes: NDArray[np.float32] | None = None) -> Rows:
    """Choose the images that a training run should leave out, from Training and from nowhere else.

    Args:
        data: the whole of FER2013; PublicTest and PrivateTest are looked at for ``leaks`` alone, and of them only the
            pixels.
        kinds: any of

            - ``constant``: black or nearly constant images;
            - ``duplicates``: of equal images in Training all but the first;
            - ``conflicts``: all equal images in Training whose labels differ;
            - ``leaks``: images that are equal to one of PublicTest or PrivateTest;
            - ``not_faces``: what FER+'s voters most often saw no face in.
        votes: (n, 10) FER+ votes on the Training split, or on all of ``data``; needed for ``not_faces``.

    Returns:
        Ascending positions within ``data.split("Training")``, each once.

    Raises:
        UsageError: for an unknown kind, or ``not_faces`` without votes.
        DataError: if the votes are on other images.
    """
    if unknown := set(kinds) - set(KINDS):
        raise UsageError(f"cannot drop {', '.join(sorted(map(repr, unknown)))}: choose from {', '.join(KINDS)}")
    training = data.splits == SPLITS.index("Training")
    pixels, labels = data.pixels[training], data.labels[training]
    groups = identical(pixels) if {"duplicates", "conflicts"} & set(kinds) else []
    dropped: list[Rows] = []
    if "constant" in kinds:
        dropped.append(constant(pixels))
    if "duplicates" in kinds:
        dropped += [group[1:] for group in groups]
    if "conflicts" in kinds:
        dropped += [group for group in groups if len(np.unique(labels[group])) > 1]
    if "leaks" in kinds:
        held_out = {image.tobytes() for image in data.pixels[~training]}
        leaks = [row for row, image in enumerate(pixels) if image.tobytes() in held_out]
        dropped.append(np.array(leaks, np.int64))
    if "not_faces" in kinds:
        dropped.append(not_faces(_training_votes(votes, training)))
    return np.unique(np.concatenate(dropped)) if dropped else np.empty(0, np.int64)


def _training_votes(votes: NDArray[np.float32] | None, training: NDArray[np.bool_]) -> NDArray[np.float32]:
    if votes is None:
        raise UsageError("only FER+'s voters know what is no face: give the votes with --ferplus FILE")
    if len(votes) == len(training):
        return votes[training]
    if len(votes) != training.sum():
        raise DataError(f"{len(votes):,} rows of votes do not fit {int(training.sum()):,} Training images")
    return votes


def _most_voted(votes: NDArray[np.float32], column: str) -> Rows:
    """Rows in which one column has more votes than any other."""
    index = VOTE_COLUMNS.index(column)
    others = np.delete(votes, index, axis=1)
    return np.flatnonzero(votes[:, index] > others.max(axis=1, initial=0)).astype(np.int64)


def _unit_vectors(images: UInt8Array) -> NDArray[np.float32]:
    """Return (N, H * W) float32 of mean 0 and length 1, whose dot products are correlations."""
    vectors = images.reshape(len(images), -1).astype(np.float32)
    vectors -= vectors.mean(axis=1, keepdims=True)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    return vectors


def _correlation(first: UInt8Array, second: UInt8Array) -> float:
    one, other = _unit_vectors(np.stack([first, second]))
    return float(one @ other)
