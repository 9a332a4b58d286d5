"""Notices cheaply where a picture has changed since it was last searched."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import cv2
import numpy as np

from fer_edge.contract.preprocess import Box, UInt8Array
from fer_edge.vision.boxes import around, bounding, clipped, intersection

CHANGE: Final = 10
"""Grey levels by which a cell must differ. Sensor noise of 5 levels leaves 0.6 in the mean of 8 x 8 pixels, and
passing light moves cells by a few; the edge of anything that moves is worth tens."""
_CELL: Final = 8
"""Side of a cell in pixels, in a frame of up to 1280 pixels; larger frames have cells of 16, 24..."""
_CELLS_ACROSS: Final = 80
_PERSON: Final = (-0.8, -0.8, 2.6, 4.0)
"""(x, y, width, height) of head and trunk, in sides of the face box: what moves with a known face is no news."""
_FACE_REACH: Final = 1.5
"""Sides of the box around a known face in which the follower looks."""
_LOST_REACH: Final = 3.5
"""Sides of the box around the place of a lost face in which it may appear again."""
_GROW: Final = np.ones((5, 5), np.uint8)
_MOST_AREAS: Final = 16
"""More than that is rain or noise rather than people, and searched as one."""
_PATCH: Final = 16
_PATCH_CHANGE: Final = 8
"""Lower than for the picture: a cell on a 90 pixel face is the mean of some 30 pixels, and a smile is a small thing."""


class ChangeMap:
    """The picture as it was when each part of it was last searched, cell by cell."""

    def __init__(self) -> None:
        self._searched: UInt8Array | None = None
        self._size = (0, 0)

    def changed(self, grey: UInt8Array, known: Sequence[Box], lost: Sequence[Box] = ()) -> list[Box]:
        """Return boxes around everything that changed since it was searched.

        Args:
            grey: (H, W) uint8; of another size than before, all of it counts as changed.
            known: faces that are followed anyway; what changes there and on the bodies below does not count.
            lost: where lost faces are expected; what changes around these counts, in front of a body too.

        Returns:
            Boxes in pixels of ``grey`` that do not overlap, with a margin of two cells.
        """
        size = (grey.shape[1], grey.shape[0])
        if self._searched is None or self._size != size:
            return [(0, 0, *size)]
        now, cell = _grid(grey)
        different = cv2.threshold(cv2.absdiff(now, self._searched), CHANGE, 255, cv2.THRESH_BINARY)[1]
        everything = different.copy()
        for box in known:
            different[_cells(_person(box), cell)] = 0
        for box in lost:
            around_it = _cells(around(box, _LOST_REACH), cell)
            different[around_it] = everything[around_it]
        for box in known:
            different[_cells(around(box, _FACE_REACH), cell)] = 0
        if not different.any():
            return []
        grown = cv2.dilate(different, _GROW)
        # Row 0 is the unchanged background; the first four columns are x, y, width and height.
        parts = cv2.connectedComponentsWithStats(grown)[2][1:, :4].tolist()
        areas = [clipped((x * cell, y * cell, w * cell, h * cell), size) for x, y, w, h in parts]
        return _separate(areas if len(areas) <= _MOST_AREAS else [bounding(areas)])

    def searched(self, grey: UInt8Array, areas: Iterable[Box]) -> None:
        """Remember that these areas of this picture, in its pixels, are being searched."""
        now, cell = _grid(grey)
        size = (grey.shape[1], grey.shape[0])
        if self._searched is None or self._size != size:
            self._searched, self._size = now, size
            return
        for area in areas:
            cells = _cells(area, cell)
            self._searched[cells] = now[cells]


def face_patch(grey: UInt8Array, box: Box) -> UInt8Array | None:
    """Return a (16, 16) uint8 miniature of a face to compare with a later one, or None for a box outside."""
    x, y, w, h = clipped(box, (grey.shape[1], grey.shape[0]))
    if w < _PATCH or h < _PATCH:
        return None
    return np.asarray(cv2.resize(grey[y : y + h, x : x + w], (_PATCH, _PATCH), interpolation=cv2.INTER_AREA), np.uint8)


def still(before: UInt8Array, now: UInt8Array) -> bool:
    """Return whether nothing moved on a face: judged by the worst cell, because a mean hides a smile."""
    return cv2.norm(before, now, cv2.NORM_INF) < _PATCH_CHANGE


def _grid(grey: UInt8Array) -> tuple[UInt8Array, int]:
    """Return the mean of each cell, (rows, columns) uint8, and the side of a cell in pixels.

    A few pixels at the right and at the bottom belong to no cell: averaging is five times faster by whole numbers. Of a
    large frame every second, third... row is left out, so that a cell is always the mean of eight rows.
    """
    skip = max(1, grey.shape[1] // (_CELL * _CELLS_ACROSS))
    cell = _CELL * skip
    columns, rows = grey.shape[1] // cell, grey.shape[0] // cell
    if not columns or not rows:
        return np.zeros((max(1, rows), max(1, columns)), np.uint8), cell
    inside = grey[: rows * cell : skip, : columns * cell]
    return np.asarray(cv2.resize(inside, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8), cell


def _cells(area: Box, cell: int) -> tuple[slice, slice]:
    """Return the rows and columns of the cells that ``area`` touches."""
    x, y, w, h = area
    x0, y0, x1, y1 = x // cell, y // cell, -(-(x + w) // cell), -(-(y + h) // cell)
    return slice(max(0, y0), max(0, y1)), slice(max(0, x0), max(0, x1))


def _person(face: Box) -> Box:
    x, y, w, h = face
    return round(x + _PERSON[0] * w), round(y + _PERSON[1] * h), round(_PERSON[2] * w), round(_PERSON[3] * h)


def _separate(boxes: list[Box]) -> list[Box]:
    """Return boxes that cover the same pixels and do not overlap: those that do are replaced by their bounding box."""
    separate: list[Box] = []
    waiting = list(boxes)
    while waiting:
        box = waiting.pop()
        touching = [other for other in separate if intersection(box, other)]
        if touching:
            separate = [other for other in separate if other not in touching]
            waiting.append(bounding([box, *touching]))
        else:
            separate.append(box)
    return separate
