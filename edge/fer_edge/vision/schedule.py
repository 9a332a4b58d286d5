"""Decides what is searched in each frame, so that faces are followed for a fraction of what a full scan costs.

::

    frame ─► Follower: each known face by its picture, or a close look ─┐
       └───► Scanner: what changed, or everything, slice by slice ──► Tracker ─► faces with ids
                └► a close look at each proposal ───────────────────────┘

Each part keeps to the time that is left of the frame's budget. The parts are measured one by one in
``benchmarks/detection.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Final

from fer_edge.contract.preprocess import UInt8Array
from fer_edge.vision.base import Detector, TrackedBox
from fer_edge.vision.boxes import scaled, without_duplicates
from fer_edge.vision.budget import FrameBudget
from fer_edge.vision.follow import Followed, Follower
from fer_edge.vision.resample import resized
from fer_edge.vision.scan import Scanner
from fer_edge.vision.settings import ScheduleReport, ScheduleSettings, Work
from fer_edge.vision.tracker import Tracker

__all__ = ["DetectionSchedule", "ScheduleReport", "ScheduleSettings"]

_STILL_SIDE: Final = 1920
"""A picture is reduced to this longer side before it is searched: a photograph of 12 megapixels would take seconds."""
_STILL_SCALE_FACTOR: Final = 1.1


class DetectionSchedule:
    """Finds and follows the faces of one stream of frames; belongs to one thread.

    Args:
        detector: what recognises a face.
        settings: see :class:`ScheduleSettings`.
        clock: monotonic seconds; measures what detection costs, to keep the budget.
    """

    def __init__(
        self,
        detector: Detector,
        settings: ScheduleSettings | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._detector = detector
        self._settings = settings or ScheduleSettings()
        self._budget = FrameBudget(self._settings.budget_ms / 1e3, clock)
        self._work = Work()
        self._tracker = Tracker(hold_s=self._settings.hold_s, forget_after_s=self._settings.forget_after_s)
        self._follower = Follower(detector, self._settings, self._budget, self._work)
        self._scanner = Scanner(detector, self._settings, self._budget, self._work)
        self._size: tuple[int, ...] | None = None

    def faces(self, grey: UInt8Array, now: float) -> list[TrackedBox]:
        """Return the faces in the next frame of the stream.

        The first frame is scanned at once, whatever the budget; after that a frame costs the budget at most, as far as
        the cost of its pieces can be foreseen.

        Args:
            grey: (H, W) uint8, the full frame. A size other than that of the frame before begins a new scene.
            now: when the frame was taken, in seconds by any clock that the caller keeps to.

        Returns:
            Faces that are seen or were seen a moment ago, oldest first; boxes in pixels of the frame, which may
            reach over its edge.
        """
        self._budget.begin()
        pixels = self._work.pixels
        if grey.shape != self._size:
            self._size = grey.shape
            self._tracker.clear()
            self._scanner.restart()
        self._tracker.advance(now)
        tracks = self._tracker.tracks
        if self._settings.follow:
            found, searched = self._follower.search(grey, tracks)
        else:
            found, searched = Followed([], {track.id for track in tracks})
        newcomers = self._scanner.search(grey, tracks)
        faces = self._tracker.update(found, newcomers, searched, now)
        self._follower.remember(grey, faces)
        self._work.frames += 1
        self._work.skipped += self._work.pixels == pixels
        self._budget.end()
        return faces

    def faces_still(self, grey: UInt8Array) -> list[TrackedBox]:
        """Return the faces of a picture that stands alone, at full quality and cost; followed faces are left alone.

        Args:
            grey: (H, W) uint8.

        Returns:
            Faces from left to right, with ids that count from 1 in this picture.
        """
        scale = min(1.0, _STILL_SIDE / max(grey.shape))
        size = max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale))
        smallest = max(self._detector.window, round(self._settings.min_face_px * scale))
        found = self._detector.detect(
            resized(grey, size), min_size=smallest, max_size=None, scale_factor=_STILL_SCALE_FACTOR
        )
        back = grey.shape[1] / size[0], grey.shape[0] / size[1]
        boxes = sorted(scaled(d.box, back) for d in without_duplicates(d for d in found if d.score >= 1.0))
        return [TrackedBox(n, box, fresh=True, first_seen=0.0, last_seen=0.0) for n, box in enumerate(boxes, 1)]

    def report(self) -> ScheduleReport:
        """Return what was done since the start, and the width and cadence that the budget allows at present."""
        return ScheduleReport(
            **asdict(self._work),
            working_width=self._scanner.working_width,
            full_scan_every=self._scanner.every,
            cost_ms=self._budget.mean_s * 1e3,
            budget_ms=self._settings.budget_ms,
        )
