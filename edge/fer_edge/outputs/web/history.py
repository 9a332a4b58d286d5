"""The timeline: how many faces showed which expression, second by second, for the last minutes. Counts only."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from fer_edge.outputs.base import Record


@dataclass(slots=True)
class _Second:
    number: int
    """Of the monotonic clock, so that setting the clock (a Pi has none of its own) does not disturb the order."""
    frames: int = 0
    faces: Counter[str] = field(default_factory=Counter)


class History:
    """Seconds in which at least one frame was processed; safe to use from any thread."""

    def __init__(self, span_s: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin empty.

        Args:
            span_s: how far back it reaches, in seconds.
            clock: monotonic seconds.
        """
        self.span_s = span_s
        self._clock = clock
        self._lock = threading.Lock()
        self._seconds: deque[_Second] = deque(maxlen=span_s + 1)

    def add(self, expressions: Iterable[str]) -> None:
        """Count one frame and the expressions of the faces in it."""
        number = int(self._clock())
        with self._lock:
            if not self._seconds or self._seconds[-1].number != number:
                self._seconds.append(_Second(number))
            second = self._seconds[-1]
            second.frames += 1
            second.faces.update(expressions)

    def newest(self) -> int:
        """Return the number of the newest finished second, from which :meth:`since` goes on; -1 before any."""
        finished = self._finished(-1)
        return finished[-1].number if finished else -1

    def since(self, number: int) -> list[tuple[int, Record]]:
        """Return (number, record) of each finished second after ``number``, the oldest first.

        A record is ``{"time": Unix time at which the second began, "frames": how many, "faces": {expression: mean
        number of faces that showed it}}``.
        """
        unix = time.time() - self._clock()
        return [(second.number, _record(second, unix)) for second in self._finished(number)]

    def records(self) -> list[Record]:
        """Return the record of every finished second, the oldest first."""
        return [record for _, record in self.since(-1)]

    def _finished(self, after: int) -> list[_Second]:
        now = int(self._clock())
        oldest = max(after + 1, now - self.span_s)
        found: list[_Second] = []
        with self._lock:
            # From the new end: mostly there is one new second or none.
            for second in reversed(self._seconds):
                if second.number < oldest:
                    break
                if second.number < now:
                    found.append(second)
        return found[::-1]


def _record(second: _Second, unix: float) -> Record:
    means = {label: round(count / second.frames, 3) for label, count in sorted(second.faces.items())}
    return {"time": round(second.number + unix, 3), "frames": second.frames, "faces": means}
