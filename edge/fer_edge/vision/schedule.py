"""Decides what is scanned in each frame, so that faces are followed for a fraction of a full scan's cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from fer_edge.contract.preprocess import Box, UInt8Array
from fer_edge.vision.base import Detection, Detector, TrackedBox
from fer_edge.vision.tracker import Tracker, without_duplicates


@dataclass(frozen=True, slots=True)
class ScheduleSettings:
    """How faces are searched for."""

    budget_ms: float = 12.0
    """Milliseconds that detection may take in a frame, on average; cadence and width adapt to it."""
    min_face_px: int = 30
    """Side of the smallest face to report, in pixels of the frame."""
    working_width: int = 480
    """Width in pixels to which a frame is reduced for a full scan."""
    full_scan_every: int = 15
    """Frames between full scans while a face is being followed."""
    hold_s: float = 0.3
    """How long a face that is not found is still reported, in seconds."""
    forget_after_s: float = 1.0
    """How long a lost face keeps its id, in seconds."""


@dataclass(frozen=True, slots=True)
class ScheduleReport:
    """What the schedule has done so far."""

    frames: int
    full_scans: int
    roi_scans: int
    skipped: int
    """Frames in which nothing was scanned."""
    pixels: int
    """Pixels handed to the detector."""
    working_width: int
    full_scan_every: int
    cost_ms: float
    """Exponentially weighted mean of the cost of a frame, in milliseconds."""


class DetectionSchedule:
    """Searches each frame as little as it can get away with."""

    def __init__(
        self,
        detector: Detector,
        settings: ScheduleSettings | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._detector = detector
        self._settings = settings or ScheduleSettings()
        self._clock = clock
        self._tracker = Tracker(hold_s=self._settings.hold_s, forget_after_s=self._settings.forget_after_s)
        self._frames = self._full = self._roi = self._pixels = 0
        self._since_full = 0
        self._cost_ms = 0.0

    def faces(self, grey: UInt8Array, now: float) -> list[TrackedBox]:
        """Return the faces of the next frame of a stream.

        Args:
            grey: (H, W) uint8, the full frame.
            now: when the frame was taken, in seconds on any clock that the caller keeps to.
        """
        start = self._clock()
        boxes = self._tracker.predict(now)
        self._since_full += 1
        found: list[Detection] = []
        for box in boxes:
            found += self._near(grey, box)
        if not boxes or len(found) < len(boxes) or self._since_full >= self._settings.full_scan_every:
            found += self._everywhere(grey)
            self._since_full = 0
        tracked = self._tracker.update(without_duplicates(found), now)
        self._frames += 1
        self._cost_ms += 0.1 * ((self._clock() - start) * 1e3 - self._cost_ms)
        return tracked

    def faces_still(self, grey: UInt8Array) -> list[TrackedBox]:
        """Return the faces of a picture that stands alone, at full quality; ids count from 1 in the picture."""
        found = self._detector.detect(grey, min_size=self._settings.min_face_px, max_size=None, scale_factor=1.1)
        sure = [detection for detection in without_duplicates(found) if detection.score >= 1.0]
        return [TrackedBox(n, detection.box, True, 0.0, 0.0) for n, detection in enumerate(sure, 1)]

    def report(self) -> ScheduleReport:
        """Return counts since the start."""
        return ScheduleReport(
            frames=self._frames,
            full_scans=self._full,
            roi_scans=self._roi,
            skipped=0,
            pixels=self._pixels,
            working_width=self._settings.working_width,
            full_scan_every=self._settings.full_scan_every,
            cost_ms=self._cost_ms,
        )

    def _near(self, grey: UInt8Array, box: Box) -> list[Detection]:
        x, y, w, h = box
        pad = w // 3
        x0, y0 = max(0, x - pad), max(0, y - pad)
        region = grey[y0 : max(0, y + h + pad), x0 : max(0, x + w + pad)]
        if min(region.shape) < self._detector.window:
            return []
        self._roi += 1
        return self._detect(region, 40 / w, (x0, y0), 30, 54, 1.1)

    def _everywhere(self, grey: UInt8Array) -> list[Detection]:
        self._full += 1
        scale = min(1.0, self._settings.working_width / grey.shape[1])
        smallest = max(self._detector.window, round(self._settings.min_face_px * scale))
        return [d for d in self._detect(grey, scale, (0, 0), smallest, None, 1.2) if d.score >= 0.5]

    def _detect(
        self, grey: UInt8Array, scale: float, origin: tuple[int, int], smallest: int, largest: int | None, factor: float
    ) -> list[Detection]:
        size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
        small = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        self._pixels += small.size
        found = self._detector.detect(small, min_size=smallest, max_size=largest, scale_factor=factor)
        sx, sy = grey.shape[1] / size[0], grey.shape[0] / size[1]
        return [
            Detection((round(x * sx) + origin[0], round(y * sy) + origin[1], round(w * sx), round(h * sy)), score)
            for (x, y, w, h), score in found
        ]
