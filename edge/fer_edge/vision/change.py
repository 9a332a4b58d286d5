"""Notices cheaply where a picture has changed since it was last searched."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import cv2
import numpy as np

from fer_edge.contract.preprocess import Box, UInt8Array
from fer_edge.vision.boxes import bounding, clipped, intersection, scaled

CHANGE: Final = 10
"""Grey levels by which a cell must differ. Sensor noise of 5 levels leaves 0.6 in the mean of 8 x 8 pixels, and
passing light moves cells by a few; the edge of anything that moves is worth tens."""
_CELLS_ACROSS: Final = 80
_PERSON: Final = (-0.8, -0.8, 2.6, 4.0)
"""(x, y, width, height) of head and trunk, in sides of the face box: what moves with a known face is no news."""
_GROW: Final = np.ones((5, 5), np.uint8)
_PATCH: Final = 16
_PATCH_CHANGE: Final = 8
"""Lower than for the picture: a cell on a 90 pixel face is the mean of some 30 pixels, and a smile is a small thing."""


class ChangeMap:
    """The picture as it was when each part of it was last searched, on a grid of about 80 cells across."""

    def __init__(self) -> None:
        self._searched: UInt8Array | None = None
        self._size = (0, 0)

    def changed(self, grey: UInt8Array, known: Iterable[Box]) -> list[Box]:
        """Return boxes around everything that changed since it was searched.

        Args:
            grey: (H, W) uint8; of another size than before, all of it counts as changed.
            known: faces that are followed anyway; what changes around these does not count.

        Returns:
            Boxes in pixels of ``grey`` that do not overlap, with a margin of two cells.
        """
        now = _grid(grey)
        size = (grey.shape[1], grey.shape[0])
        if self._searched is None or self._size != size:
            return [(0, 0, *size)]
        different = cv2.threshold(cv2.absdiff(now, self._searched), CHANGE, 255, cv2.THRESH_BINARY)[1]
        cell = size[0] / now.shape[1], size[1] / now.shape[0]
        for box in known:
            x, y, w, h = _person(box)
            x0, y0 = max(0, int(x / cell[0])), max(0, int(y / cell[1]))
            different[y0 : max(0, int((y + h) / cell[1])), x0 : max(0, int((x + w) / cell[0]))] = 0
        if not different.any():
            return []
        grown = cv2.dilate(different, _GROW)
        # Row 0 is the unchanged background; the first four columns are x, y, width and height.
        parts = cv2.connectedComponentsWithStats(grown)[2][1:, :4].tolist()
        return _separate([clipped(scaled((x, y, w, h), cell), size) for x, y, w, h in parts])

    def searched(self, grey: UInt8Array, area: Box) -> None:
        """Remember that ``area`` of this picture is being searched."""
        now = _grid(grey)
        size = (grey.shape[1], grey.shape[0])
        if self._searched is None or self._size != size:
            self._searched, self._size = now, size
            return
        rows, columns = now.shape
        x0, y0 = area[0] * columns // size[0], area[1] * rows // size[1]
        x1, y1 = -(-(area[0] + area[2]) * columns // size[0]), -(-(area[1] + area[3]) * rows // size[1])
        self._searched[y0:y1, x0:x1] = now[y0:y1, x0:x1]


def face_patch(grey: UInt8Array, box: Box) -> UInt8Array | None:
    """Return a (16, 16) uint8 miniature of a face to compare with a later one, or None for a box outside."""
    x, y, w, h = clipped(box, (grey.shape[1], grey.shape[0]))
    if w < _PATCH or h < _PATCH:
        return None
    return np.asarray(cv2.resize(grey[y : y + h, x : x + w], (_PATCH, _PATCH), interpolation=cv2.INTER_AREA), np.uint8)


def still(before: UInt8Array, now: UInt8Array) -> bool:
    """Return whether nothing moved on a face: judged by the worst cell, because a mean hides a smile."""
    return cv2.norm(before, now, cv2.NORM_INF) < _PATCH_CHANGE


def _grid(grey: UInt8Array) -> UInt8Array:
    step = max(1, grey.shape[1] // _CELLS_ACROSS)
    size = (max(1, grey.shape[1] // step), max(1, grey.shape[0] // step))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)


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
