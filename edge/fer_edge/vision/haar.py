"""Viola-Jones detection with OpenCV's Haar cascades, which the package carries itself."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import cv2
import numpy as np

from fer_edge.contract.preprocess import UInt8Array
from fer_edge.errors import ModelError
from fer_edge.vision.base import Detection

_FRONTAL = "haarcascade_frontalface_default.xml"
_PROFILE = "haarcascade_profileface.xml"

TRUSTED_HITS = 6
"""Overlapping windows that make a trustworthy face: OpenCV's ``minNeighbors=5`` keeps groups of more than five."""
WEAK_HITS = 2
"""Fewer windows than this are not reported at all."""


class HaarDetector:
    """A frontal and, on request, a profile cascade (Viola and Jones 2001; Lienhart and Maydt 2002).

    The frontal cascade is OpenCV's ``frontalface_default``: the one that other systems scan with, so that results
    compare. The profile cascade knows one side only, so it searches the mirrored image too; it is asked only where
    the frontal one found nothing, because the two passes triple the cost.

    OpenCV splits a search over ``cv2.getNumThreads()`` threads. The schedule's searches are so small that this gains
    nothing and takes processors away from the classifier: a program that uses it should call ``cv2.setNumThreads(1)``.

    Args:
        profile: also look for faces in profile.
        cascade: another frontal cascade to use instead of the bundled one.

    Raises:
        ModelError: if this OpenCV has no cascades (version 5 dropped them) or the file is not a cascade.
    """

    def __init__(self, *, profile: bool = False, cascade: Path | None = None) -> None:
        self._frontal = _load(_FRONTAL) if cascade is None else _load_file(cascade)
        self._profile = _load(_PROFILE) if profile else None

    @property
    def name(self) -> str:
        """``haar`` or ``haar+profile``."""
        return "haar" if self._profile is None else "haar+profile"

    @property
    def window(self) -> int:
        """Side in pixels of the smallest face that the cascade can see: 24 for the bundled one."""
        return int(self._frontal.getOriginalWindowSize()[0])

    def detect(self, grey: UInt8Array, *, min_size: int, max_size: int | None, scale_factor: float) -> list[Detection]:
        """Find faces; see :class:`fer_edge.vision.base.Detector`. The score counts overlapping windows."""
        found = _search(self._frontal, grey, min_size, max_size, scale_factor)
        if found or self._profile is None:
            return found
        found = _search(self._profile, grey, min_size, max_size, scale_factor)
        mirrored = np.ascontiguousarray(grey[:, ::-1])
        for (x, y, w, h), score in _search(self._profile, mirrored, min_size, max_size, scale_factor):
            found.append(Detection((grey.shape[1] - x - w, y, w, h), score))
        return found


def _search(
    cascade: cv2.CascadeClassifier, grey: UInt8Array, min_size: int, max_size: int | None, scale_factor: float
) -> list[Detection]:
    largest = (0, 0) if max_size is None else (max_size, max_size)  # (0, 0) is OpenCV's "no limit"
    boxes, hits = cascade.detectMultiScale2(
        grey, scaleFactor=scale_factor, minNeighbors=WEAK_HITS - 1, minSize=(min_size, min_size), maxSize=largest
    )
    return [
        Detection((int(x), int(y), int(w), int(h)), int(n) / TRUSTED_HITS)
        for (x, y, w, h), n in zip(boxes, hits, strict=True)
    ]


def _load(name: str) -> cv2.CascadeClassifier:
    with resources.as_file(resources.files("fer_edge") / "data" / name) as path:
        return _load_file(path)


def _load_file(path: Path) -> cv2.CascadeClassifier:
    if not hasattr(cv2, "CascadeClassifier"):
        raise ModelError(
            f"OpenCV {cv2.__version__} has no CascadeClassifier: "
            "run  python -m pip install 'opencv-python-headless>=4.10,<5'"
        )
    if not path.is_file():
        raise ModelError(f"{path}: no such cascade; name an OpenCV cascade file (.xml), or none for the bundled one")
    cascade = cv2.CascadeClassifier()
    try:
        cascade.load(str(path))
    except (cv2.error, SystemError):  # some malformed files raise, others leave the cascade empty
        cascade = cv2.CascadeClassifier()
    if cascade.empty():
        raise ModelError(f"{path}: not an OpenCV cascade; name another file, or none for the bundled one")
    return cascade
