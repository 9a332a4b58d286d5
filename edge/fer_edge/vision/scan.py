"""Searching for faces that are not known yet."""

from __future__ import annotations

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
"""Part of a frame's budget that a slice may use even if the known faces have spent it all: no face waits for ever."""
_NARROWER: Final = 0.85
_NARROWEST: Final = 160
"""Least working width: a face must then be 15 % of the frame's width, which is somebody in front of the camera."""
_WHOLE_EVERY: Final = 4
"""One of so many full scans ignores what changed and searches everything."""
_ALONE: Final = 3
"""With nobody in view scans come so many times as often."""


class Scanner:
    """Scans the frame, or what changed in it, in slices that keep the budget.

    A scan of a part of the frame earns a pause of that part of the cadence, so a small movement is looked at within two
    frames and a moving camera costs no more than the cadence allows.
    """

    def __init__(self, detector: Detector, settings: ScheduleSettings, budget: FrameBudget, work: Work) -> None:
        self._detector = detector
        self._settings = settings
        self._budget = budget
        self._work = work
        self._cost = CostModel()
        self._changes = ChangeMap()
        self._waiting: list[Slice] = []
        self._next = 0
        self._next_whole = 0
        self.working_width = settings.working_width
        self.every = settings.full_scan_every

    def restart(self) -> None:
        """Drop what is under way and scan everything in the next frame: the picture is another one."""
        self._changes = ChangeMap()
        self._waiting = []
        self._next = self._next_whole = 0

    def search(self, grey: UInt8Array, tracks: Sequence[Track]) -> list[Detection]:
        """Do this frame's part of a scan, if one is due.

        Returns:
            New faces, each looked at closely.
        """
        visible = [track.expected for track in tracks if not track.missed] if self._settings.follow else []
        if any(track.missed == _ALONE for track in tracks):
            self._next = min(self._next, self._work.frames)  # somebody was just lost: look for them now
        if not self._waiting:
            areas = self._due(grey, visible)
            if not areas:
                return []
            self._waiting = self._begin(grey, areas, bool(visible))
        return self._some_slices(grey, visible)

    def _due(self, grey: UInt8Array, visible: Sequence[Box]) -> list[Box]:
        everything = [(0, 0, grey.shape[1], grey.shape[0])]
        if self._work.frames >= self._next_whole:
            return everything
        if self._work.frames < self._next:
            return []
        return self._changes.changed(grey, visible) if self._settings.changes_only else everything

    def _begin(self, grey: UInt8Array, areas: Sequence[Box], following: bool) -> list[Slice]:
        size = grey.shape[1], grey.shape[0]
        if self._settings.changes_only:
            for area in areas:
                self._changes.searched(grey, area)
        self._adapt(size)
        every = self.every if following else max(1, self.every // _ALONE)
        part = sum(w * h for _, _, w, h in areas) / (size[0] * size[1])
        self._next = self._work.frames + max(min(2, every), round(every * part))
        if part == 1.0:
            self._work.full_scans += 1
            self._next_whole = self._work.frames + self.every * (_WHOLE_EVERY if following else 1)
        else:
            self._work.area_scans += 1
        room = self._cost.units(self._room())
        return [piece for area in areas for piece in self._plan(size, area, self.working_width, room)]

    def _some_slices(self, grey: UInt8Array, visible: Sequence[Box]) -> list[Detection]:
        octaves = Octaves(grey, self.working_width)
        unlimited = self._work.slices == 0  # nothing is known yet, of the scene or of the board
        first = True
        new: list[Detection] = []
        while self._waiting:
            piece = self._waiting[0]
            if not (first or unlimited or self._cost.seconds(piece.windows) <= self._budget.left()):
                break
            del self._waiting[0]
            first = False
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

    def _room(self) -> float:
        """Return the seconds that a scan may take of a frame like this one."""
        return max(self._budget.left(), self._budget.left(_SHARE) + self._budget.spent())

    def _adapt(self, size: tuple[int, int]) -> None:
        """Choose the working width and the cadence by what a scan costs here.

        The width is the largest of a ladder at which a full scan is done within one cadence, with some reluctance to
        widen it again. The cadence leaves every second frame free of slices.
        """
        widest = min(self._settings.working_width, size[0])
        width = widest
        while True:
            slices = self._plan(size, (0, 0, *size), width, float("inf"))
            frames = self._cost.seconds(sum(piece.windows for piece in slices)) / self._room()
            limit = self._settings.full_scan_every * (1.0 if width <= self.working_width else 0.7)
            if frames <= limit or width * _NARROWER < _NARROWEST:
                break
            width = round(width * _NARROWER)
        self.working_width = width
        self.every = max(self._settings.full_scan_every, round(2 * frames))

    def _plan(self, size: tuple[int, int], area: Box, width: int, slice_windows: float) -> list[Slice]:
        return plan(
            size,
            area,
            working_width=width,
            min_face=self._settings.min_face_px,
            window=self._detector.window,
            slice_windows=slice_windows,
        )
