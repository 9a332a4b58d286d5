"""What the sources that read files share: pace, loops, and one line for a file that cannot be opened."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event

from fer_edge.errors import SourceError

SOURCE_GRAMMAR = (
    "auto, picamera2[:N], a camera's number, v4l2:DEVICE, rtsp://..., http://..., demo, or a file or folder"
)
"""What a source may be called, for messages."""


def cannot_open(path: Path, error: OSError) -> SourceError:
    """Turn the operating system's refusal to open ``path`` into one line with the way out."""
    if isinstance(error, FileNotFoundError):
        return SourceError(f"{path}: no such file or folder; check the name (a source is {SOURCE_GRAMMAR})")
    if isinstance(error, PermissionError):
        return SourceError(f"{path}: this user may not read it; grant that with  chmod a+r '{path}'")
    return SourceError(f"{path}: cannot be read ({error.strerror or error}); check the file and its disk")


class Pacer:
    """Waits until a frame is due on the monotonic clock.

    Due times are counted from the first frame, not from the one before, so the waits do not add up to a drift. A
    consumer that is a little late catches up; one that was away for longer than ``catch_up_s`` (a paused runtime)
    goes on at normal pace from where it is.
    """

    def __init__(
        self,
        catch_up_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        self._catch_up_s = catch_up_s
        self._clock = clock
        self._stopped = Event()
        self.waiting = False
        """Whether a frame is not due yet."""
        self._wait = self._stopped.wait if wait is None else wait
        self._origin: float | None = None

    def wait_until(self, position_s: float) -> None:
        """Return when the frame at ``position_s`` seconds from the start of the file is due, or when stopped."""
        now = self._clock()
        if self._origin is None or now - (self._origin + position_s) > self._catch_up_s:
            self._origin = now - position_s
        due_in_s = self._origin + position_s - now
        if due_in_s > 0:
            self.waiting = True
            self._wait(due_in_s)
            self.waiting = False

    def stop(self) -> None:
        """End a wait in another thread, and all later ones."""
        self._stopped.set()


def natural_order(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key under which ``frame2`` comes before ``frame10``; letters count as lower case.

    Numbers compare as numbers and sort before text; equal numbers fall back on their spelling (``01`` before ``1``),
    so the order is always the same.
    """
    parts = re.findall(r"[0-9]+|[^0-9]+", name.lower())
    values = tuple((0, int(part), "") if part[0] in "0123456789" else (1, 0, part) for part in parts)
    return (*values, (2, 0, name))
