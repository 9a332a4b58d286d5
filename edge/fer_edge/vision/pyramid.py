"""A full scan in affordable pieces: octaves of sizes, each cut into tiles.

A detector that slides a window spends most of its time on the smallest faces. So the frame is reduced once, to the
working width at which the smallest face wanted just fills the window, and then halved again and again; each octave is
searched for faces of one to two windows, where OpenCV moves its window by two pixels rather than one. What this coarse
search proposes, :mod:`fer_edge.vision.nearby` looks at closely.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Final

from fer_edge.contract.preprocess import Box, UInt8Array
from fer_edge.vision.base import Detection, Detector
from fer_edge.vision.boxes import clipped, scaled
from fer_edge.vision.resample import resized

_FINEST_FACTOR: Final = 1.2
_FACTOR: Final = 1.1
"""Ratio of neighbouring sizes, in octave 0 and in the others. The smallest faces cost two thirds of a scan and get the
coarse step: of the faces that a full-scale scan finds in difficult pictures (tilted, dim, blurred) this proposes 98 %,
as 1.1 everywhere does for half as much again; 1.2 everywhere proposes 82 % and saves little."""
_CALL: Final = 100.0
"""What a call costs besides its windows, in windows. (Time is proportional to windows: over 216 regions of six scenes
the pixels explain nothing besides. What is in the picture makes the rest, some 40 % up or down.)"""
_LEAST_STEP: Final = 40
"""How far neighbouring tiles are apart, in pixels, at least: with less they would be all overlap."""


@dataclass(frozen=True, slots=True)
class Slice:
    """One piece of a full scan."""

    octave: int
    """How often the reduced frame is halved."""
    area: Box
    """Where to search, in pixels of the octave."""
    scale_factor: float
    """Ratio of neighbouring sizes."""
    smallest: int
    """Smallest face to search for, in pixels of the octave."""
    windows: float
    """Windows to look at: what the slice costs."""


class Octaves:
    """A frame, reduced once and then halved, as far as somebody asks.

    Args:
        grey: (H, W) uint8, the full frame.
        working_width: width in pixels of octave 0, if the frame is wider.
    """

    def __init__(self, grey: UInt8Array, working_width: int) -> None:
        self._frame = grey
        self._sizes = octave_sizes((grey.shape[1], grey.shape[0]), working_width)
        self._images: list[UInt8Array] = []

    def image(self, octave: int) -> UInt8Array:
        """Return the (h, w) uint8 picture of an octave."""
        while len(self._images) <= octave:
            finer = self._images[-1] if self._images else self._frame
            self._images.append(resized(finer, self._sizes[len(self._images)]))
        return self._images[octave]

    def scale(self, octave: int) -> tuple[float, float]:
        """Return how many pixels of the frame a pixel of the octave is wide and high."""
        w, h = self._sizes[octave]
        return self._frame.shape[1] / w, self._frame.shape[0] / h


def octave_sizes(size: tuple[int, int], working_width: int) -> list[tuple[int, int]]:
    """Return the (width, height) of each octave of a frame of ``size``, down to a few pixels."""
    factor = min(1.0, working_width / size[0])
    w, h = max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
    sizes = [(w, h)]
    while min(w, h) >= 4:
        w, h = w // 2, h // 2
        sizes.append((w, h))
    return sizes


def plan(
    size: tuple[int, int], area: Box, *, working_width: int, min_face: int, window: int, slice_windows: float
) -> list[Slice]:
    """Return the slices that search ``area`` of a frame for faces of any size, large faces first.

    Args:
        size: (width, height) of the frame in pixels.
        area: what to search, in pixels of the frame.
        working_width: width to which the frame is reduced.
        min_face: smallest face to find, in pixels of the frame.
        window: smallest face that the detector can see, in pixels.
        slice_windows: windows that one slice may cost; one that has to be larger, is.
    """
    slices: list[Slice] = []
    for octave, (w, h) in enumerate(octave_sizes(size, working_width)):
        part = clipped(scaled(area, (w / size[0], h / size[1])), (w, h))
        smallest = max(window, math.ceil(min_face * w / size[0]))
        if min(part[2], part[3]) >= smallest and smallest < 2 * window:
            slices += _tiles(octave, part, smallest, window, slice_windows)
    return slices[::-1]


def windows(area: Box, smallest: int, largest: int, window: int, scale_factor: float) -> float:
    """Return how many windows a search of ``area`` looks at, and what its call costs besides."""
    _, _, width, height = area
    count, side = _CALL, float(window)
    while side <= min(largest, width, height):
        if side >= smallest:
            count += (width - side + 1) * (height - side + 1) * (window / side) ** 2 / 4.0
        side *= scale_factor
    return count


def search(octaves: Octaves, piece: Slice, detector: Detector) -> list[Detection]:
    """Return what the detector proposes in one slice; boxes in pixels of the frame."""
    x, y, w, h = piece.area
    scale = octaves.scale(piece.octave)
    found = detector.detect(
        octaves.image(piece.octave)[y : y + h, x : x + w],
        min_size=piece.smallest,
        max_size=2 * detector.window - 1,
        scale_factor=piece.scale_factor,
    )
    return [Detection(scaled((bx + x, by + y, bw, bh), scale), score) for (bx, by, bw, bh), score in found]


def _tiles(octave: int, part: Box, smallest: int, window: int, slice_windows: float) -> list[Slice]:
    """Cut a part of an octave into the tiles that cost least in all; they overlap by the largest face searched for."""
    x, y, w, h = part
    factor = _FACTOR if octave else _FINEST_FACTOR
    overlap = 2 * window - 1

    def tile(left: int, top: int, width: int, height: int) -> Slice:
        area = (left, top, width, height)
        return Slice(octave, area, factor, smallest, windows(area, smallest, overlap, window, factor))

    def cost(grid: tuple[int, int]) -> tuple[float, float]:
        """Return what a tile exceeds the limit by, and what all tiles cost."""
        one = tile(0, 0, _span(w, overlap, grid[0]), _span(h, overlap, grid[1])).windows
        return max(0.0, one - slice_windows), one * grid[0] * grid[1]

    whole = tile(*part)
    if whole.windows <= slice_windows:
        return [whole]
    most = [1 + max(0, length - overlap) // _LEAST_STEP for length in (w, h)]
    columns, rows = min(itertools.product(range(1, most[0] + 1), range(1, most[1] + 1)), key=cost)
    lefts = _starts(w, overlap, columns)
    return [
        tile(x + left, y + top, _span(w, overlap, columns), _span(h, overlap, rows))
        for top in _starts(h, overlap, rows)
        for left in lefts
    ]


def _span(length: int, overlap: int, count: int) -> int:
    """Return how long each of ``count`` overlapping pieces of ``length`` must be to cover it."""
    return length if count == 1 else overlap + math.ceil((length - overlap) / count)


def _starts(length: int, overlap: int, count: int) -> list[int]:
    """Return where overlapping pieces begin; the last ends at ``length``."""
    last = length - _span(length, overlap, count)
    return [last * n // max(1, count - 1) for n in range(count)]
