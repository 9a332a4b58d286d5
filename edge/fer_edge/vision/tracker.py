"""Gives faces ids that stay with them: through gaps in the detection, past each other, until they are gone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from fer_edge.contract.preprocess import Box
from fer_edge.vision.base import Detection, TrackedBox
from fer_edge.vision.boxes import same_face, without_duplicates
from fer_edge.vision.steady import SteadyBox

_NEAR = 0.6
"""A detection may lie this many face widths from where its track was expected..."""
_NEAR_PER_S = 1.2
"""...and as many more for each second that the track was not seen."""
_SIMILAR = math.log(1.7)
"""A detection may be this much larger or smaller than its track."""
_SURE = 3.0
"""Evidence, summed over the frames without a gap, that a new face needs to be believed. Most true faces have it at the
first look (their median is 4); what fools the detector has half as much, and seldom twice."""
_PART = 0.6
"""What begins inside a known face and is smaller than this part of it is an eye or a mouth, not a face."""
_FORGET_AFTER_FRAMES = 300
"""A lost face is forgotten after so many frames even if the clock stands still."""


@dataclass(slots=True)
class Track:
    """One face and what is known about it; read it, leave the writing to the :class:`Tracker`."""

    id: int
    shape: SteadyBox
    first_seen: float
    last_seen: float
    expected: Box
    """Where a detector should find the face in the present frame."""
    evidence: float
    """Sum of the scores so far."""
    missed_since: float | None = None
    """When the face was first searched for in vain since it was last seen."""
    missed: int = 0
    """Frames in a row in which it was searched for in vain."""
    searched: int = 0
    """Number of the frame in which it was last searched for."""

    @property
    def confirmed(self) -> bool:
        """Whether there was evidence enough to report the face."""
        return self.evidence >= _SURE


class Tracker:
    """Association by predicted position and size.

    Args:
        hold_s: how long a face that is searched for in vain is still reported, in seconds.
        forget_after_s: how long such a face keeps its id, in seconds.
    """

    def __init__(self, *, hold_s: float = 0.3, forget_after_s: float = 1.0) -> None:
        self._hold_s = hold_s
        self._forget_after_s = max(hold_s, forget_after_s)
        self._tracks: list[Track] = []
        self._ids = itertools.count(1)
        self._now: float | None = None

    @property
    def tracks(self) -> Sequence[Track]:
        """All faces that are remembered, oldest first, lost and unconfirmed ones included."""
        return self._tracks

    def clear(self) -> None:
        """Forget all faces; their ids stay used."""
        self._tracks = []

    def advance(self, now: float) -> None:
        """Go to the moment of the next frame: faces lost for too long are forgotten, the others' places predicted."""
        if self._now is not None and now < self._now:  # a clip that starts again: keep the ages, not the moments
            for track in self._tracks:
                _shift(track, now - self._now)
        self._now = now
        self._tracks = [track for track in self._tracks if not self._gone(track, now)]
        for track in self._tracks:
            track.expected = track.shape.measured(now - track.last_seen)

    def update(
        self,
        found: Sequence[Detection],
        newcomers: Sequence[Detection],
        searched: Collection[int],
        now: float,
    ) -> list[TrackedBox]:
        """Match a frame's detections with the tracks.

        Args:
            found: seen near faces that are followed: they may belong to one of these, but begin no track.
            newcomers: seen elsewhere and strong enough to begin a track.
            searched: ids of the tracks that were searched for. The others are neither seen nor missed.
            now: the moment given to :meth:`advance`.

        Returns:
            The faces to report, oldest first.
        """
        detections = without_duplicates([*found, *newcomers])
        match = _associate(self._tracks, detections, now)
        for t, track in enumerate(self._tracks):
            if t in match:
                _seen(track, detections[match[t]], now)
            elif track.id in searched:
                _missed(track, now)
        fresh = {self._tracks[t].id for t in match}
        self._tracks = [track for track in self._tracks if track.confirmed or not track.missed]
        for d, detection in enumerate(detections):
            if d not in match.values() and detection in newcomers and not self._part_of_a_face(detection, now):
                self._tracks.append(self._begin(detection, now))
                fresh.add(self._tracks[-1].id)
        return [
            TrackedBox(
                track.id,
                track.shape.smooth(now - track.last_seen),
                track.id in fresh,
                track.first_seen,
                track.last_seen,
            )
            for track in self._tracks
            if self._reported(track, now)
        ]

    def _part_of_a_face(self, detection: Detection, now: float) -> bool:
        return any(
            same_face(detection.box, track.expected) and detection.box[2] < _PART * track.expected[2]
            for track in self._tracks
            if self._reported(track, now)
        )

    def _begin(self, detection: Detection, now: float) -> Track:
        box, score = detection
        return Track(next(self._ids), SteadyBox(box), now, now, box, score)

    def _gone(self, track: Track, now: float) -> bool:
        if track.missed_since is None:
            return False
        return now - track.missed_since > self._forget_after_s or track.missed > _FORGET_AFTER_FRAMES

    def _reported(self, track: Track, now: float) -> bool:
        if track.missed_since is None:
            return track.confirmed
        # A face that was there for a moment only is not held for longer than that.
        return track.confirmed and now - track.missed_since < min(self._hold_s, track.last_seen - track.first_seen)


def _associate(tracks: Sequence[Track], found: Sequence[Detection], now: float) -> dict[int, int]:
    """Return which track gets which detection, by their indices, at a low total cost.

    Cheapest pair first, then pairs exchange detections wherever that is cheaper for both together. The first alone is
    optimal while no two tracks compete, and the second where two do, which is what a crossing is; for the rare knot of
    more the loss against the Hungarian algorithm is one frame's, and repaired by the next.
    """
    costs = {
        (t, d): cost
        for t, track in enumerate(tracks)
        for d, detection in enumerate(found)
        if (cost := _cost(track, detection.box, now)) is not None
    }
    match: dict[int, int] = {}
    for t, d in sorted(costs, key=lambda pair: costs[pair]):
        if t not in match and d not in match.values():
            match[t] = d
    for a, b in itertools.combinations(match, 2):
        kept = costs[a, match[a]] + costs[b, match[b]]
        if costs.get((a, match[b]), math.inf) + costs.get((b, match[a]), math.inf) < kept:
            match[a], match[b] = match[b], match[a]
    return match


def _cost(track: Track, box: Box, now: float) -> float | None:
    """Return how badly ``box`` fits the track, or None if it cannot be the same face."""
    x, y, w, h = track.expected
    distance = math.hypot(box[0] + box[2] / 2 - x - w / 2, box[1] + box[3] / 2 - y - h / 2) / ((w + box[2]) / 2)
    growth = abs(math.log(box[2] / w))
    unseen_s = 0.0 if track.missed_since is None else max(0.0, now - track.last_seen)
    if distance > _NEAR + _NEAR_PER_S * unseen_s or growth > _SIMILAR:
        return None
    # A lost track only gets what a visible one does not want.
    return distance + 0.5 * growth + (0.3 if track.missed else 0.0)


def _seen(track: Track, detection: Detection, now: float) -> None:
    track.shape.update(detection.box, now - track.last_seen)
    track.last_seen = now
    track.missed_since, track.missed = None, 0
    track.evidence += detection.score


def _missed(track: Track, now: float) -> None:
    track.missed += 1
    if track.missed_since is None:
        track.missed_since = now


def _shift(track: Track, by_s: float) -> None:
    track.first_seen += by_s
    track.last_seen += by_s
    if track.missed_since is not None:
        track.missed_since += by_s
