"""An output in a thread of its own, so that a slow or failing one never delays the pipeline."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

from fer_edge.contract.preprocess import UInt8Array
from fer_edge.errors import FerEdgeError, OutputError
from fer_edge.frames import Observation
from fer_edge.outputs.base import Output, OutputClosed
from fer_edge.status import RuntimeStatus

log = logging.getLogger(__name__)

Job: TypeAlias = Callable[[], None]

RESULTS_QUEUED: Final = 256
"""Results without pictures that may wait: 8 s at 30 frames/s, longer than an SD card pauses; some 0.5 MB."""
PICTURES_QUEUED_FINITE: Final = 4
"""Pictures that may wait of a source that waits too; of a live source it is one, the newest."""
OPEN_TIMEOUT_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """When a failed output is tried again."""

    first_s: float = 1.0
    """Seconds from a failure to the next attempt; doubled at each further failure."""
    longest_s: float = 60.0
    calm_s: float = 30.0
    """An output counts as mended when it has not failed for so many seconds: a full disk takes a line now and then."""


@dataclass(frozen=True, slots=True)
class OutputStats:
    """What became of an output's results so far."""

    name: str
    written: int
    dropped: int
    """Results that the output did not get or could not take."""
    failures: int
    failing: str
    """The last failure's message while the output is down; "" while it works."""


class IsolatedOutput:
    """Runs any output in its own thread behind a short queue; itself an :class:`Output`.

    With a live source a full queue drops its oldest result, and an output that fails is closed and reopened with
    backoff: it is logged once when it begins to fail and once when it works again. With a finite source nothing is
    dropped for an output that is ``lossless``: :meth:`write` waits for it, and raises its failure.
    """

    def __init__(
        self,
        output: Output,
        *,
        finite: bool = False,
        retry: RetrySettings | None = None,
        close_timeout_s: float = 3.0,
    ) -> None:
        """Wrap ``output``; nothing happens before :meth:`open`.

        Args:
            output: the sink; all its methods are called from one thread of its own.
            finite: whether the source is a file that is processed whole.
            retry: when a failed output is reopened.
            close_timeout_s: how long :meth:`close` waits for an output that may lose results.
        """
        self._output = output
        self._waits = finite and output.lossless
        self._retry = retry or RetrySettings()
        self._close_timeout_s = close_timeout_s
        pictures = PICTURES_QUEUED_FINITE if self._waits else 1
        self._capacity = pictures if output.wants_image else RESULTS_QUEUED

        self._changed = threading.Condition()
        # Guarded by _changed:
        self._results: deque[tuple[Observation, UInt8Array | None]] = deque()
        self._status: RuntimeStatus | None = None
        self._closing = False
        self._ended: OutputError | None = None
        self._written = self._dropped = self._failures = 0
        self._failing = ""

        # Used by the thread alone:
        self._is_open = False
        self._episode_since: float | None = None
        self._dropped_before = 0
        self._last_failure = 0.0
        self._delay_s = self._retry.first_s
        self._retry_at = 0.0

        self._thread: threading.Thread | None = None
        self._opened = threading.Event()
        self._keep_trying = False

    @property
    def name(self) -> str:
        """The output's."""
        return self._output.name

    @property
    def wants_image(self) -> bool:
        """The output's."""
        return self._output.wants_image

    @property
    def lossless(self) -> bool:
        """Whether :meth:`write` waits rather than drops."""
        return self._waits

    @property
    def stats(self) -> OutputStats:
        """A snapshot of the counters."""
        with self._changed:
            return OutputStats(self.name, self._written, self._dropped, self._failures, self._failing)

    def open(self, *, keep_trying: bool = False) -> None:
        """Start the thread and open the output in it.

        Args:
            keep_trying: treat an output that cannot be opened as one that fails later: nothing is raised, and it is
                tried again.

        Raises:
            OutputError: the output's; or that it did not open in time.
        """
        self._keep_trying = keep_trying
        self._thread = threading.Thread(target=self._run, name=f"output {self.name}", daemon=True)
        self._thread.start()
        if not self._opened.wait(OPEN_TIMEOUT_S) and not keep_trying:
            raise OutputError(
                f"{self.name}: did not open within {OPEN_TIMEOUT_S:.0f} s; see whether its device answers"
            )
        if self._ended is not None:
            raise self._ended

    def write(self, observation: Observation, image: UInt8Array | None) -> None:
        """Queue one result; returns at once, or waits if :attr:`lossless`.

        The image is kept until it was written: the caller must not write into it again.

        Raises:
            OutputClosed: if nobody reads the output any more.
            OutputError: if :attr:`lossless` and the output failed.
        """
        with self._changed:
            while self._waits and len(self._results) >= self._capacity and self._ended is None:
                self._changed.wait()
            if self._ended is not None:
                self._dropped += 1
                raise self._ended
            if len(self._results) >= self._capacity:
                self._results.popleft()
                self._dropped += 1
            self._results.append((observation, image if self.wants_image else None))
            self._changed.notify_all()

    def status(self, status: RuntimeStatus) -> None:
        """Hand over the newest state; returns at once."""
        with self._changed:
            self._status = status
            self._changed.notify_all()

    def close(self) -> None:
        """Let the output take what is queued, and close it; idempotent.

        Raises:
            OutputError: if :attr:`lossless` and something could not be written.
        """
        thread, self._thread = self._thread, None
        if thread is None:
            return
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        thread.join(None if self._waits else self._close_timeout_s)
        if thread.is_alive():
            log.warning("%s: did not finish within %.0f s; its last results are lost", self.name, self._close_timeout_s)
        elif self._waits and self._ended is not None and not isinstance(self._ended, OutputClosed):
            raise self._ended

    def _run(self) -> None:
        try:
            self._output.open()
            self._is_open = True
        except Exception as error:
            if not self._keep_trying:
                self._end(self._as_output_error(error))
                return
            self._fail(self._as_output_error(error), self._dropped)
        finally:
            self._opened.set()
        while self._ended is None and (job := self._next_job()) is not None:
            self._attempt(job)
        self._finish()

    def _next_job(self) -> Job | None:
        """Wait for something to do; None when the output is to be closed and nothing is left that it could take."""
        with self._changed:
            while True:
                if self._closing and not (self._is_open and (self._results or self._status)):
                    self._dropped += len(self._results)
                    return None
                if not self._is_open:
                    pause = self._retry_at - time.monotonic()
                    if pause <= 0:
                        return self._open
                    self._changed.wait(pause)
                elif self._status is not None:
                    status, self._status = self._status, None
                    return partial(self._output.status, status)
                elif self._results:
                    observation, image = self._results.popleft()
                    self._changed.notify_all()
                    return partial(self._write, observation, image)
                else:
                    self._changed.wait()

    def _open(self) -> None:
        self._output.open()
        self._is_open = True

    def _write(self, observation: Observation, image: UInt8Array | None) -> None:
        try:
            self._output.write(observation, image)
        except Exception:
            with self._changed:
                self._dropped += 1
            raise
        with self._changed:
            self._written += 1

    def _attempt(self, job: Job) -> None:
        dropped = self._dropped
        try:
            job()
        except OutputClosed as closed:
            self._end(closed)
        except Exception as error:
            self._fail(self._as_output_error(error), dropped)
        else:
            self._note_success()

    def _fail(self, error: OutputError, dropped_before: int) -> None:
        if self._waits:
            self._end(error)
            return
        now = time.monotonic()
        if self._episode_since is None:
            self._episode_since = now
            self._dropped_before = dropped_before
            log.warning("%s; the run goes on, and it is tried again", error)
        self._last_failure = now
        self._retry_at = now + self._delay_s
        self._delay_s = min(2 * self._delay_s, self._retry.longest_s)
        with suppress(Exception):
            self._output.close()
        self._is_open = False
        with self._changed:
            self._failures += 1
            self._failing = str(error)

    def _note_success(self) -> None:
        if self._episode_since is None:
            return
        with self._changed:
            self._failing = ""
        now = time.monotonic()
        if now - self._last_failure >= self._retry.calm_s:
            lost = self._dropped - self._dropped_before
            log.info("%s: works again after %.0f s; %d results were lost", self.name, now - self._episode_since, lost)
            self._episode_since = None
            self._delay_s = self._retry.first_s

    def _end(self, error: OutputError) -> None:
        """Stop taking results for good."""
        with self._changed:
            self._ended = error
            self._failing = str(error)
            self._failures += not isinstance(error, OutputClosed)
            self._dropped += len(self._results)
            self._results.clear()
            self._changed.notify_all()

    def _finish(self) -> None:
        try:
            if self._is_open:
                self._output.close()
        except Exception as error:
            failure = self._as_output_error(error)
            if self._ended is None and self._waits:
                self._end(failure)
            elif self._ended is None:
                log.warning("%s", failure)

    def _as_output_error(self, error: Exception) -> OutputError:
        if isinstance(error, OutputError):
            return error
        if not isinstance(error, FerEdgeError):
            log.debug("%s: unexpected failure", self.name, exc_info=error)
        text = " ".join(str(error).split())
        return OutputError(f"{self.name}: {type(error).__name__}: {text}")
