"""One thread that reads one live source, and reopens it when it fails."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace

from fer_edge.errors import FerEdgeError, SourceError
from fer_edge.frames import Frame
from fer_edge.runtime.feed import STOP_WITHIN_S, FeedState, check_frame
from fer_edge.sources.slot import LatestFrameSlot
from fer_edge.sources.supervised import Backoff, WatchedSource
from fer_edge.status import State

_log = logging.getLogger(__name__)


class Capture:
    """One thread that reads one source; one that is not ``patient`` ends if the source cannot be opened at first."""

    def __init__(
        self,
        source: WatchedSource,
        slot: LatestFrameSlot,
        backoff: Backoff,
        clock: Callable[[], float],
        first_index: int,
        *,
        patient: bool,
    ) -> None:
        self._source = source
        self._slot = slot
        self._backoff = backoff
        self._clock = clock
        self._first_index = first_index
        self._patient = patient
        self._first_wait_s = 0.0
        self.next_index = first_index
        self.failures = 0
        self.settled = threading.Event()
        """Set once the first opening has succeeded or failed."""
        self.first_error: SourceError | None = None
        self._changed = threading.Condition()
        self._ended = False
        self._paused = False
        self._closed = True
        self._state: State = "starting"
        self._detail = ""
        self._failing_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)

    @property
    def name(self) -> str:
        """The source's."""
        return self._source.name

    @property
    def alive(self) -> bool:
        """Whether the thread has not ended."""
        return self._thread.is_alive()

    @property
    def lingers(self) -> bool:
        """Whether a thread, this one or one of the source's, has not come back from a driver."""
        return self.alive or self._source.hanging

    def hangs(self, now: float) -> bool:
        """Whether the source's driver has not come back from a call for too long."""
        return self._source.stall.stalled(now)

    def snapshot(self) -> FeedState:
        """Return where it stands; ``paused`` only once the source is really closed."""
        with self._changed:
            if self._paused and not self._ended:
                if self._closed:
                    return FeedState("paused", self.name, "")
                return FeedState(self._state, self.name, "pausing: waiting until the camera lets go")
            return FeedState(self._state, self.name, self._detail)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def pause(self) -> None:
        """Put nothing into the slot from now on, and close the source."""
        with self._changed:
            self._paused = True
            self._changed.notify_all()

    def resume(self) -> None:
        """Open the source again."""
        with self._changed:
            if self._paused:
                self._paused = False
                self._state, self._detail = "starting", ""
            self._changed.notify_all()

    def join(self) -> None:
        """Wait a moment for the end of the thread."""
        if self._thread.ident is not None:
            self._thread.join(STOP_WITHIN_S)

    def abandon(self) -> None:
        """Tell the thread to close its source and end as soon as it can."""
        with self._changed:
            self._ended = True
            self._state = "stopped"
            self._changed.notify_all()
        self.settled.set()

    def fail_first(self, error: SourceError) -> bool:
        """Make ``error`` the outcome of the first opening, if somebody still waits for that."""
        if self._patient or self.settled.is_set():
            return False
        self.first_error = error
        self.settled.set()
        return True

    def take_over(self, former: Capture, error: SourceError) -> None:
        """Begin where ``former`` hangs."""
        self.settled.set()
        self._paused = former._paused
        self._first_wait_s = self._backoff.next_wait_s()
        self._note_failure(error, self._first_wait_s)

    def _run(self) -> None:
        try:
            self._wait(self._first_wait_s)
            while self._wait_until_wanted():
                error = self._read_until_it_fails()
                if error is None or self._unwanted():
                    continue
                if not self._patient and not self.settled.is_set():
                    self.first_error = error
                    return
                self.failures += 1
                wait_s = self._backoff.next_wait_s()
                self._note_failure(error, wait_s)
                self._wait(wait_s)
        finally:
            self.settled.set()

    def _read_until_it_fails(self) -> SourceError | None:
        try:
            with self._changed:
                self._closed = False
            self._source.open()
            self.settled.set()
            while not self._unwanted():
                frame = self._source.read()
                if frame is None:
                    return SourceError(f"{self.name}: the stream ended; check the camera and its connection")
                frame = check_frame(frame, self.name)
                if not self._source.suspect:
                    self._deliver(frame)
        except Exception as error:
            if not isinstance(error, FerEdgeError):
                _log.debug("%s: unexpected failure", self.name, exc_info=error)
            text = " ".join(str(error).split())
            return error if isinstance(error, SourceError) else SourceError(f"{self.name}: {text or repr(error)}")
        finally:
            self._close()
        return None

    def _deliver(self, frame: Frame) -> None:
        index = frame.index + self._first_index
        with self._changed:
            if self._unwanted():
                return
            self._slot.put(frame if index == frame.index else replace(frame, index=index))
            self.next_index = index + 1
            now = self._clock()
            self._backoff.working(now)
            if self._failing_since is not None:
                _log.info("%s: delivers again after %.1f s", self.name, now - self._failing_since)
                self._failing_since = None
            self._state, self._detail = "running", ""

    def _unwanted(self) -> bool:
        return self._ended or self._paused

    def _close(self) -> None:
        try:
            self._source.close()
        except Exception as error:
            _log.warning("%s: cannot be closed (%s)", self.name, error)
        with self._changed:
            self._closed = True

    def _note_failure(self, error: SourceError, wait_s: float) -> None:
        """Tell people why, and that it goes on; the same reason is not logged again."""
        with self._changed:
            if str(error) != self._detail:
                _log.warning("%s; it is tried again in %.1f s, and again until it works", error, wait_s)
            if self._failing_since is None:
                self._failing_since = self._clock()
            self._state, self._detail = "retrying", str(error)

    def _wait(self, timeout_s: float) -> None:
        with self._changed:
            self._changed.wait_for(self._unwanted, timeout_s)

    def _wait_until_wanted(self) -> bool:
        """Wait for the end of a pause; False if the thread is to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or not self._paused)
            return not self._ended
