"""Gives faces ids that stay with them from frame to frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fer_edge.contract.preprocess import Box
from fer_edge.vision.base import Detection, TrackedBox


@dataclass(slots=True)
class _Track:
    id: int
    box: Box
    first_seen: float
    last_seen: float


class Tracker:
    """Follows faces by the overlap of their boxes."""

    def __init__(self, *, hold_s: float = 0.3, forget_after_s: float = 1.0) -> None:
        self._hold_s = hold_s
        self._forget_after_s = forget_after_s
        self._tracks: list[_Track] = []
        self._next_id = 1

    def predict(self, now: float) -> list[Box]:
        """Return where each track is expected at ``now``; tracks unseen for too long are forgotten."""
        self._tracks = [t for t in self._tracks if now - t.last_seen <= self._forget_after_s]
        return [t.box for t in self._tracks]

    def update(self, found: Sequence[Detection], now: float) -> list[TrackedBox]:
        """Match detections with tracks; each that is left over and sure of itself begins a track."""
        free = list(self._tracks)
        for box, score in found:
            best = max(free, key=lambda t: iou(t.box, box), default=None)
            if best is not None and iou(best.box, box) > 0.2:
                free.remove(best)
                best.box, best.last_seen = box, now
            elif score >= 1.0:
                self._tracks.append(_Track(self._next_id, box, now, now))
                self._next_id += 1
        return [
            TrackedBox(t.id, t.box, t.last_seen == now, t.first_seen, t.last_seen)
            for t in self._tracks
            if now - t.last_seen <= self._hold_s
        ]


def iou(a: Box, b: Box) -> float:
    """Return the intersection of two boxes over their union, 0 to 1."""
    common = _common(a, b)
    return common / (a[2] * a[3] + b[2] * b[3] - common) if common else 0.0


def without_duplicates(found: Sequence[Detection]) -> list[Detection]:
    """Return the detections without those that mostly overlap a stronger one, strongest first."""
    kept: list[Detection] = []
    for detection in sorted(found, key=lambda d: -d.score):
        area = detection.box[2] * detection.box[3]
        if all(_common(detection.box, k.box) <= 0.5 * min(area, k.box[2] * k.box[3]) for k in kept):
            kept.append(detection)
    return kept


def _common(a: Box, b: Box) -> int:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0
