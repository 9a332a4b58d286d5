"""Searching where faces are known to be: with the detector, and in between by what they looked like."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from fer_edge.contract.preprocess import Box, UInt8Array
from fer_edge.vision.base import Detection, Detector, TrackedBox
from fer_edge.vision.boxes import around, intersection, iou
from fer_edge.vision.budget import CostModel, FrameBudget
from fer_edge.vision.change import face_patch, still
from fer_edge.vision.match import REACH, FacePicture, match, picture_of
from fer_edge.vision.nearby import CONFIRM, FOLLOW, RECOVER, Look, look
from fer_edge.vision.settings import ScheduleSettings, Work
from fer_edge.vision.tracker import Track

_SHARE: Final = 0.75
"""Part of a frame's budget for following; the rest is kept for finding new faces."""
_RETRY_EVERY: Final = 2
"""A face that is still lost is searched for in every second frame: that search costs four times the usual one."""


class Followed(NamedTuple):
    """What the search near known faces gave."""

    found: list[Detection]
    searched: set[int]
    """Ids of the faces that were searched for."""


@dataclass(slots=True)
class _Memory:
    box: Box
    patch: UInt8Array
    kept: int = 0


@dataclass(slots=True)
class _Portrait:
    face: FacePicture
    matched: int = 0
    """Frames since the detector saw it."""


class Follower:
    """Looks near each followed face, those not searched for longest first, until the budget is spent."""

    def __init__(self, detector: Detector, settings: ScheduleSettings, budget: FrameBudget, work: Work) -> None:
        self._detector = detector
        self._settings = settings
        self._budget = budget
        self._work = work
        self._cost = CostModel()
        self._memories: dict[int, _Memory] = {}
        self._portraits: dict[int, _Portrait] = {}

    def search(self, grey: UInt8Array, tracks: Sequence[Track]) -> Followed:
        """Search for the faces of ``tracks`` in a frame; at least one is searched for, whatever the budget."""
        result = Followed([], set())
        for gone in self._portraits.keys() - {track.id for track in tracks}:
            del self._portraits[gone]
        for track in sorted(tracks, key=lambda track: track.searched):
            if track.missed > 1 and self._work.frames - track.searched < _RETRY_EVERY:
                continue
            if result.searched and self._cost.seconds(1) > self._budget.left(_SHARE):
                self._work.postponed += 1
            elif self._unmoved(grey, track):
                self._work.kept += 1
            elif (detection := self._matched(grey, track, tracks)) is not None:
                result.found.append(detection)
                self._work.matched += 1
            else:
                found = self._look_for(grey, track)
                self._portray(grey, track, found)
                result.found.extend(found)
                result.searched.add(track.id)
                track.searched = self._work.frames
        return result

    def remember(self, grey: UInt8Array, faces: Iterable[TrackedBox]) -> None:
        """Keep a miniature of each face just seen, so that the next frame can tell whether anything moved."""
        if not self._settings.still_frames:
            return
        memories: dict[int, _Memory] = {}
        for face in faces:
            if not face.fresh:
                if face.id in self._memories:
                    memories[face.id] = self._memories[face.id]
            elif (patch := face_patch(grey, face.box)) is not None:
                memories[face.id] = _Memory(face.box, patch)
        self._memories = memories

    def _unmoved(self, grey: UInt8Array, track: Track) -> bool:
        memory = self._memories.get(track.id)
        if memory is None or track.missed or memory.kept >= self._settings.still_frames:
            return False
        now = face_patch(grey, memory.box)
        if now is None or not still(memory.patch, now):
            return False
        memory.kept += 1
        return True

    def _portray(self, grey: UInt8Array, track: Track, found: Sequence[Detection]) -> None:
        """Keep the picture of a face just found, if it is plain which of ``found`` it is."""
        self._portraits.pop(track.id, None)
        if self._settings.matched_frames and track.confirmed and len(found) == 1:
            face = picture_of(grey, found[0].box)
            if face is not None:
                self._portraits[track.id] = _Portrait(face)

    def _matched(self, grey: UInt8Array, track: Track, tracks: Sequence[Track]) -> Detection | None:
        """Return where the face's own picture is found, if that may stand for a search in this frame."""
        portrait = self._portraits.get(track.id)
        if portrait is None or track.missed or portrait.matched >= self._settings.matched_frames:
            return None
        region = around(track.expected, REACH)
        if any(intersection(region, other.expected) for other in tracks if other is not track):
            return None  # it might be taken for the other one
        box = match(grey, portrait.face, track.expected)
        if box is None:
            return None
        portrait.matched += 1
        return Detection(box, 1.0)

    def _look_for(self, grey: UInt8Array, track: Track) -> list[Detection]:
        if not track.confirmed:
            return self._look(grey, track.expected, CONFIRM)
        found = [] if track.missed else self._look(grey, track.expected, FOLLOW)
        if any(iou(detection.box, track.expected) > 0 for detection in found):
            return found
        return found + self._look(grey, track.expected, RECOVER)

    def _look(self, grey: UInt8Array, box: Box, how: Look) -> list[Detection]:
        started = self._budget.spent()
        found, pixels = look(grey, box, how, self._detector)
        if how is FOLLOW:
            self._cost.learn(1, self._budget.spent() - started)
        self._work.roi_scans += 1
        self._work.pixels += pixels
        return found
