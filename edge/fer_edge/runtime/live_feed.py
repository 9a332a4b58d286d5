"""A live source, read in a thread of its own and opened again for as long as the run lasts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from fer_edge.errors import SourceError
from fer_edge.frames import Frame
from fer_edge.runtime.capture import Capture
from fer_edge.runtime.feed import FeedState
from fer_edge.sources.base import Source, SourceSettings
from fer_edge.sources.slot import LatestFrameSlot
from fer_edge.sources.supervised import Backoff, WatchedSource

HUNG_MOST: Final = 3
"""Threads that may hang in a driver at the same time. Beyond it no further attempt is made, and the feed no longer
counts as healthy: only a new process can help."""


class LiveFeed:
    """The latest frame of a camera or stream.

    A source that fails, ends or freezes is closed and opened again with growing waits. One whose driver hangs in a
    call is left to its thread, which closes it should the call ever return, and another is built in its place.

    Args:
        build: makes the source, unopened; called again after a hang.
        settings: its time limits.
        wait_for_source: a source that cannot be opened at the start is tried again, as one that is lost later; else
            :meth:`start` raises.
        first_index: the index of the first frame, where another feed went before.
        backoff: the waits between attempts.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        build: Callable[[], Source],
        settings: SourceSettings,
        *,
        wait_for_source: bool = False,
        first_index: int = 0,
        backoff: Backoff | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._build = build
        self._settings = settings
        self._wait_for_source = wait_for_source
        self._backoff = backoff or Backoff()
        self._clock = clock
        self._slot = LatestFrameSlot()
        self._capture = self._new_capture(first_index, patient=wait_for_source)
        self._hung: list[Capture] = []
        self._failures = 0

    @property
    def ended(self) -> bool:
        """Only when it was stopped."""
        return self._slot.closed

    @property
    def dropped(self) -> int:
        """Frames that were overtaken by a newer one."""
        return self._slot.dropped

    @property
    def failures(self) -> int:
        """How often the source failed."""
        return self._failures + self._capture.failures

    @property
    def next_index(self) -> int:
        """See :class:`~fer_edge.runtime.feed.Feed`."""
        return self._capture.next_index

    def state(self) -> FeedState:
        """Return a snapshot."""
        state = self._capture.snapshot()
        if state.state == "paused" and self._hung:
            return replace(state, detail="the camera's driver hangs and may still hold it: unplug it to be sure")
        return state

    def start(self) -> None:
        """Begin; waits until the source was opened, unless it is to be waited for.

        Raises:
            SourceError: if it cannot be opened, or its driver does not come back.
        """
        self._capture.start()
        if self._wait_for_source:
            return
        self._capture.settled.wait()
        if self._capture.first_error is not None:
            raise self._capture.first_error

    def get(self, timeout_s: float) -> Frame | None:
        """Take the newest frame; None if none comes within ``timeout_s``."""
        return self._slot.get(timeout_s)

    def pause(self) -> None:
        """Close the source, at once or when its read returns; no frame is delivered from now on."""
        self._capture.pause()
        self._slot.clear()

    def resume(self) -> None:
        """Open it again."""
        self._capture.resume()

    def supervise(self, now: float) -> None:
        """Give up a capture that hangs, and start another one."""
        self._hung = [capture for capture in self._hung if capture.alive]
        if not self._capture.hangs(now):
            return
        limit_s = self._settings.read_timeout_s
        error = SourceError(
            f"{self._capture.name}: the driver has not come back for more than {2 * limit_s:g} s; unplug the camera "
            "and plug it in again if this goes on"
        )
        if self._capture.fail_first(error) or len(self._hung) >= HUNG_MOST:
            return
        hung = self._capture
        self._capture = self._new_capture(hung.next_index, patient=True)
        self._capture.take_over(hung, error)
        self._hung.append(hung)
        hung.abandon()
        self._failures += hung.failures + 1
        self._capture.start()

    def healthy(self, now: float) -> bool:
        """Whether the source is being read or tried; False if its thread has ended or cannot be replaced any more."""
        return self._capture.alive and not self._capture.hangs(now)

    def end(self) -> None:
        """See :class:`~fer_edge.runtime.feed.Feed`."""
        self._slot.close()
        self._slot.clear()
        self._capture.abandon()

    def join(self) -> bool:
        """See :class:`~fer_edge.runtime.feed.Feed`."""
        self._capture.join()
        return not any(capture.lingers for capture in (self._capture, *self._hung))

    def _new_capture(self, first_index: int, *, patient: bool) -> Capture:
        watched = WatchedSource(self._build(), self._settings, self._clock)
        return Capture(watched, self._slot, self._backoff, self._clock, first_index, patient=patient)
