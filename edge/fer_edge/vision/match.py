"""Following a face by its own picture, for the frames between two searches by the detector.

Normalised cross-correlation finds a face again that looks as it did a moment ago, for a tenth of what a search costs.
It cannot tell a face from a wall, and its picture grows old: so the detector has the word every few frames, and
wherever the match is not beyond doubt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.contract.preprocess import Box, UInt8Array
from fer_edge.vision.boxes import around, clipped

REACH: Final = 1.5
"""Side of the region searched, in sides of the box."""
_SIDE: Final = 24
"""Side of the picture in pixels."""
_SURE: Final = 0.9
"""Least correlation; chosen so that a face that turns away or is being covered is left to the detector."""
_APART: Final = 2
_FALL: Final = 0.03
"""The correlation must fall by so much within so many pixels on each side, or the place is not certain: along a
straight edge everything looks alike."""
_LIGHT: Final = 1.25
"""How much more or less contrast there may be than before; correlation itself does not mind."""
_CONTRAST: Final = 8.0
"""Least standard deviation of a picture in grey levels; what has less looks like anything. A lit face has 30 to 60."""


@dataclass(frozen=True, slots=True)
class FacePicture:
    """What a face looked like when the detector saw it."""

    box: Box
    """Where it was, in pixels of the frame."""
    pixels: UInt8Array
    """(24, 24) uint8."""
    contrast: float
    """Their standard deviation in grey levels."""


def picture_of(grey: UInt8Array, box: Box) -> FacePicture | None:
    """Return the picture of the face at ``box``; None if it lies over the edge, is too small or has no contrast."""
    x, y, w, h = box
    if min(w, h) < _SIDE or clipped(box, (grey.shape[1], grey.shape[0])) != box:
        return None
    pixels = _reduced(grey[y : y + h, x : x + w], (_SIDE, _SIDE))
    contrast = float(pixels.std())
    return FacePicture(box, pixels, contrast) if contrast >= _CONTRAST else None


def match(grey: UInt8Array, face: FacePicture, expected: Box) -> Box | None:
    """Return where the face is now, of the size that it had; None if that is not beyond doubt.

    Args:
        grey: (H, W) uint8, the full frame.
        face: what to look for.
        expected: where, in pixels of the frame.
    """
    _, _, w, h = face.box
    middle = expected[0] + (expected[2] - w) // 2, expected[1] + (expected[3] - h) // 2, w, h
    x, y, width, height = clipped(around(middle, REACH), (grey.shape[1], grey.shape[0]))
    size = round(width * _SIDE / w), round(height * _SIDE / h)
    if min(size) < _SIDE:
        return None
    region = _reduced(grey[y : y + height, x : x + width], size)
    scores = np.asarray(cv2.matchTemplate(region, face.pixels, cv2.TM_CCOEFF_NORMED), np.float32)
    _, best, _, (column, row) = cv2.minMaxLoc(scores)
    if best < _SURE or not (_stands_out(scores[row], column) and _stands_out(scores[:, column], row)):
        return None
    here = region[row : row + _SIDE, column : column + _SIDE]
    if not 1 / _LIGHT < float(here.std()) / face.contrast < _LIGHT:
        return None
    left = column + _peak(scores[row], column)
    top = row + _peak(scores[:, column], row)
    return round(x + left * width / size[0]), round(y + top * height / size[1]), w, h


def _reduced(image: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _stands_out(scores: NDArray[np.float32], at: int) -> bool:
    """Return whether ``scores`` fall off on both sides of ``at``."""
    if not _APART <= at < len(scores) - _APART:
        return False
    return max(float(scores[at - _APART]), float(scores[at + _APART])) < float(scores[at]) - _FALL


def _peak(scores: NDArray[np.float32], at: int) -> float:
    """Return how far from ``at`` the parabola through it and its neighbours has its top, -0.5 to 0.5."""
    before, top, after = (float(score) for score in scores[at - 1 : at + 2])
    curvature = before - 2 * top + after
    return 0.5 * (before - after) / curvature if curvature < 0 else 0.0
