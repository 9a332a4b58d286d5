"""Searching for faces that are not known yet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from fer_edge.contract.preprocess import Box, UInt8Array
from fer_edge.vision.base import Detection, Detector
from fer_edge.vision.boxes import same_face
from fer_edge.vision.budget import CostModel, FrameBudget
from fer_edge.vision.change import ChangeMap
from fer_edge.vision.nearby import CONFIRM, look
from fer_edge.vision.pyramid import Octaves, Slice, plan, search
from fer_edge.vision.settings import ScheduleSettings, Work
from fer_edge.vision.tracker import Track

_SHARE: Final = 0.25
"""Part of a frame's budget that slices are cut to fit even if known faces spend all of it."""
_NARROWER: Final = 0.85
_NARROWEST: Final = 240
"""Least working width: a new face must then be a tenth of the frame wide, which is somebody in front of the camera."""
_PATIENCE: Final = 2
"""Cadences that a full scan may take before it is better to scan less finely."""
_SELDOM: Final = 4
"""The cadence is stretched to so many times the one wanted at most."""
_STARVED: Final = 2
"""After so many frames without a slice there is one, whatever it costs: no face waits for ever."""
_FILL: Final = 0.8
"""Part of the time that frames leave for scanning, on average, which a slice is cut to fit: frames differ."""
_ROOM_RATE: Final = 0.1
"""Weight of a frame in that average."""
_WHOLE_EVERY: Final = 4
"""With somebody in view, everything is searched every so many cadences, whether it changed or not."""
_ALONE: Final = 3
"""With nobody in view what changed is scanned so many times as often."""
_LOST: Final = 2
"""After so many searches in vain a face may have jumped, and is searched for everywhere."""
_PAUSE: Final = 2
"""Least frames from the start of one scan to that of the next."""


class Scanner:
    """Scans the frame, or what changed in it, in slices that keep the budget.

    What changed is paid for from a purse: a full scan empties it, a cadence later it is full again, and a scan of a
    tenth of the frame takes a tenth. So a small movement is looked at within a few frames, and a moving camera costs no
    more than the cadence allows.
    """

    def __init__(self, detector: Detector, settings: ScheduleSettings, budget: FrameBudget, work: Work) -> None:
        self._detector = detector
        self._settings = settings
        self._budget = budget
        self._work = work
        self._cost = CostModel()
        self._changes = ChangeMap()
        self._waiting: list[Slice] = []
        self._debt = 0.0
        """Part of the frame scanned lately; 1.0 is an empty purse."""
        self._room: float | None = None
        """Seconds of a frame that are left for scanning, on average."""
        self._last_slice = 0
        self._next = 0
        self._last_whole: int | None = None
        self.working_width = settings.working_width
        self.every = settings.full_scan_every

    def restart(self) -> None:
        """Drop what is under way and scan everything in the next frame: the picture is another one."""
        self._changes = ChangeMap()
        self._waiting = []
        self._last_whole = None

    def search(self, grey: UInt8Array, tracks: Sequence[Track]) -> list[Detection]:
        """Do this frame's part of a scan, if one is due.

        Returns:
            New faces, each looked at closely.
        """
        visible = [track.expected for track in tracks if not track.missed] if self._settings.follow else []
        self._learn_room()
        self._debt = max(0.0, self._debt - (1 if visible else _ALONE) / self.every)
        if any(track.missed == _LOST for track in tracks):
            self._debt = 0.0  # somebody was just lost: look for them now
        if not self._waiting:
            areas = self._due(grey, visible, [track.expected for track in tracks if track.missed])
            if not areas:
                return []
            self._waiting = self._begin(grey, areas)
        return self._some_slices(grey, visible)

    def _due(self, grey: UInt8Array, visible: Sequence[Box], lost: Sequence[Box]) -> list[Box]:
        everything = [(0, 0, grey.shape[1], grey.shape[0])]
        wait = max(self.every, _WHOLE_EVERY * self._settings.full_scan_every) if visible else self.every
        if self._last_whole is None or self._work.frames - self._last_whole >= wait:
            return everything
        if self._work.frames < self._next:
            return []
        areas = self._changes.changed(grey, visible, lost) if self._settings.changes_only else everything
        return areas if self._debt + _part(areas, grey) <= 1.0 else []

    def _begin(self, grey: UInt8Array, areas: Sequence[Box]) -> list[Slice]:
        size = grey.shape[1], grey.shape[0]
        if self._settings.changes_only:
            self._changes.searched(grey, areas)
        part = _part(areas, grey)
        self._debt = min(1.0, self._debt + part)
        self._next = self._work.frames + min(_PAUSE, self.every)
        if part == 1.0:
            self._work.full_scans += 1
            self._adapt(size)
            self._last_whole = self._work.frames
        else:
            self._work.area_scans += 1
        return [piece for area in areas for piece in self._plan(size, area, self.working_width)]

    def _some_slices(self, grey: UInt8Array, visible: Sequence[Box]) -> list[Detection]:
        octaves = Octaves(grey, self.working_width)
        unlimited = self._work.slices == 0  # nothing is known yet, of the scene or of the board
        new: list[Detection] = []
        while self._waiting:
            piece = self._waiting[0]
            starved = self._work.frames - self._last_slice >= _STARVED
            if not (unlimited or starved or self._cost.seconds(piece.windows) <= self._budget.left()):
                break
            del self._waiting[0]
            self._last_slice = self._work.frames
            for proposal in self._search(octaves, piece):
                if not any(same_face(proposal.box, known) for known in visible):
                    new += self._confirmed(grey, proposal, new)
        return new

    def _search(self, octaves: Octaves, piece: Slice) -> list[Detection]:
        started = self._budget.spent()
        found = search(octaves, piece, self._detector)
        self._cost.learn(piece.windows, self._budget.spent() - started)
        self._work.slices += 1
        self._work.pixels += piece.area[2] * piece.area[3]
        return found

    def _confirmed(self, grey: UInt8Array, proposal: Detection, known: Sequence[Detection]) -> list[Detection]:
        if any(same_face(proposal.box, detection.box) for detection in known):
            return []
        found, pixels = look(grey, proposal.box, CONFIRM, self._detector)
        self._work.roi_scans += 1
        self._work.pixels += pixels
        return [detection for detection in found if min(detection.box[2:]) >= 0.9 * self._settings.min_face_px]

    def _learn_room(self) -> None:
        """Take in how many seconds of this frame are left to scan, which is never less than a share of the budget."""
        room = max(self._budget.left(), self._budget.left(_SHARE) + self._budget.spent())
        known = room if self._room is None or math.isinf(room) else self._room
        self._room = room if math.isinf(room) else known + _ROOM_RATE * (room - known)

    def _adapt(self, size: tuple[int, int]) -> None:
        """Choose the working width and the cadence by what a scan costs here.

        The width is the largest of a ladder at which a full scan is done within two cadences, with some reluctance
        to widen it again. The cadence leaves every second frame free of slices.
        """
        wanted = self._settings.full_scan_every
        width = min(self._settings.working_width, size[0])
        while True:
            windows = sum(piece.windows for piece in self._plan(size, (0, 0, *size), width))
            frames = self._cost.seconds(windows) / self._slice_s
            if frames <= wanted * _PATIENCE * (1.0 if width <= self.working_width else 0.7):
                break
            if width * _NARROWER < _NARROWEST:
                break
            width = round(width * _NARROWER)
        self.working_width = width
        self.every = max(wanted, min(round(2 * frames), _SELDOM * wanted))

    @property
    def _slice_s(self) -> float:
        """Seconds that a slice may take."""
        return _FILL * self._room if self._room else float("inf")

    def _plan(self, size: tuple[int, int], area: Box, width: int) -> list[Slice]:
        return plan(
            size,
            area,
            working_width=width,
            min_face=self._settings.min_face_px,
            window=self._detector.window,
            slice_windows=self._cost.units(self._slice_s),
        )


def _part(areas: Sequence[Box], grey: UInt8Array) -> float:
    """Return which part of the frame the areas, which do not overlap, make up."""
    return sum(w * h for _, _, w, h in areas) / grey.size
