"""A close look at one place: is there a face of about this size, and where exactly?

The place is cut from the full frame and resized so that the face has a standard size, so a large face costs no more
than a small one and the evidence means the same for both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fer_edge.contract.preprocess import Box, UInt8Array
from fer_edge.vision.base import Detection, Detector
from fer_edge.vision.boxes import around, clipped, scaled
from fer_edge.vision.resample import resized

_SCALE_FACTOR: Final = 1.1
"""As fine as the full-scale scans that people compare with: their boxes are ours."""


@dataclass(frozen=True, slots=True)
class Look:
    """How to look at a place."""

    reach: float
    """Side of the region, in sides of the box."""
    windows: float
    """Side that the box is resized to, in windows of the detector."""
    shrink: float
    """Smallest face searched for, in sides of the box."""
    grow: float
    """Largest face searched for, in sides of the box."""
    evidence: float
    """Least score of a detection that counts."""


FOLLOW: Final = Look(reach=1.5, windows=1.1**5, shrink=0.9, grow=1.12, evidence=0.3)
"""For a face seen a moment ago: the size expected and one step to either side. On scripted scenes that holds a face as
well as five sizes do, for two thirds of the cost, and the boxes tremble least. Weak evidence will do where a face is
known to be."""
RECOVER: Final = Look(reach=2.2, windows=5 / 3, shrink=0.65, grow=1.55, evidence=0.6)
"""For a face that was not where it was expected."""
CONFIRM: Final = Look(reach=1.6, windows=2.5, shrink=0.7, grow=1.4, evidence=1.3)
"""For a proposal of the coarse scan: as closely as a full-scale scan, because at two windows and over OpenCV steps by
one pixel, and with a little more evidence than such a scan asks for."""


def look(grey: UInt8Array, box: Box, how: Look, detector: Detector) -> tuple[list[Detection], int]:
    """Search for a face near ``box``.

    Args:
        grey: (H, W) uint8, the full frame.
        box: where a face is expected, in pixels of the frame.
        how: how closely.
        detector: what searches.

    Returns:
        What was found, in pixels of the frame, and how many pixels the detector was given.
    """
    x, y, w, h = clipped(around(box, how.reach), (grey.shape[1], grey.shape[0]))
    side = how.windows * detector.window
    scale = side / max(box[2], box[3], 1)
    smallest = max(detector.window, round(how.shrink * side))
    size = round(w * scale), round(h * scale)
    if min(size) < smallest:
        return [], 0
    patch = resized(grey[y : y + h, x : x + w], size)
    found = detector.detect(patch, min_size=smallest, max_size=round(how.grow * side), scale_factor=_SCALE_FACTOR)
    back = w / size[0], h / size[1]
    return [Detection(scaled(d.box, back, (x, y)), d.score) for d in found if d.score >= how.evidence], patch.size
