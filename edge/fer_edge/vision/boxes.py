"""Geometry of boxes: (x, y, width, height) in pixels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fer_edge.contract.preprocess import Box
from fer_edge.vision.base import Detection

_SAME_FACE = 0.5
"""Two boxes are one face if they share more than this part of the smaller one. By the smaller, not by the union (IoU):
Haar also fires on a part of a face, and a part lies inside the whole."""


def iou(a: Box, b: Box) -> float:
    """Return the intersection of two boxes over their union, 0 to 1."""
    common = intersection(a, b)
    return common / (a[2] * a[3] + b[2] * b[3] - common) if common else 0.0


def intersection(a: Box, b: Box) -> int:
    """Return the area that two boxes share, in pixels."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0


def same_face(a: Box, b: Box) -> bool:
    """Return whether two boxes overlap so much that they must be one face."""
    return intersection(a, b) > _SAME_FACE * min(a[2] * a[3], b[2] * b[3])


def without_duplicates(found: Iterable[Detection]) -> list[Detection]:
    """Return the detections without those of a face that has a stronger one, strongest first."""
    kept: list[Detection] = []
    for detection in sorted(found, key=lambda d: -d.score):
        if not any(same_face(detection.box, other.box) for other in kept):
            kept.append(detection)
    return kept


def around(box: Box, reach: float) -> Box:
    """Return the square with the centre of ``box`` and ``reach`` times its longer side."""
    x, y, w, h = box
    side = max(1, round(max(w, h) * reach))
    return round(x + (w - side) / 2), round(y + (h - side) / 2), side, side


def clipped(box: Box, size: tuple[int, int]) -> Box:
    """Return the part of ``box`` inside a picture of ``size`` = (width, height); its width or height may be 0."""
    x0, y0 = min(max(box[0], 0), size[0]), min(max(box[1], 0), size[1])
    x1, y1 = min(max(box[0] + box[2], x0), size[0]), min(max(box[1] + box[3], y0), size[1])
    return x0, y0, x1 - x0, y1 - y0


def scaled(box: Box, scale: tuple[float, float], origin: tuple[int, int] = (0, 0)) -> Box:
    """Return ``box`` with its coordinates times ``scale`` = (in x, in y), then moved by ``origin``."""
    sx, sy = scale
    return round(box[0] * sx) + origin[0], round(box[1] * sy) + origin[1], round(box[2] * sx), round(box[3] * sy)


def bounding(boxes: Sequence[Box]) -> Box:
    """Return the smallest box that holds them all.

    Raises:
        ValueError: if there are none.
    """
    x0, y0 = min(b[0] for b in boxes), min(b[1] for b in boxes)
    return x0, y0, max(b[0] + b[2] for b in boxes) - x0, max(b[1] + b[3] for b in boxes) - y0
