"""Noticing that a live source has failed without saying so, and how long to wait before it is opened again.

Policies here are pure: they are told the time and own no thread. The runtime's capture thread reads a
:class:`WatchedSource`; its supervisor asks the :class:`StallWatch` from outside, because a thread that hangs in a
read cannot notice that itself.
"""

from __future__ import annotations

import logging
import random
import time
import zlib
from collections.abc import Callable
from typing import Final

import numpy as np

from fer_edge.contract.preprocess import UInt8Array
from fer_edge.errors import SourceError
from fer_edge.frames import Frame
from fer_edge.sources.base import Deserting, Source, SourceSettings
from fer_edge.sources.spec import Kind

_log = logging.getLogger(__name__)

_SUBSAMPLE = 8
"""Every eighth pixel of every eighth row: 14 kB of a 640x480 picture, in which sensor noise always shows."""

HANG_FACTOR = 2.0
"""A source keeps to ``read_timeout_s`` itself; only a driver that hangs in spite of that takes this many times it."""

REMOTE_CAP_S: Final = 30.0
"""The longest wait before a stream is tried again: each attempt costs a network and another machine something."""

LOCAL_CAP_S: Final = 2.0
"""The longest wait before a camera of this machine is tried again: to look whether it is there costs next to nothing,
and whoever has just plugged it in stands beside it and waits."""


def longest_wait_s(kind: Kind) -> float:
    """Return the cap of :class:`Backoff` for a source of this kind, in seconds."""
    return REMOTE_CAP_S if kind == "network" else LOCAL_CAP_S


def fingerprint(image: UInt8Array) -> int:
    """Return a checksum of a sparse grid of pixels and of the size; equal for identical pictures.

    Args:
        image: (H, W) or (H, W, C) uint8.
    """
    grid = np.ascontiguousarray(image[::_SUBSAMPLE, ::_SUBSAMPLE])
    return zlib.crc32(grid.tobytes(), zlib.crc32(repr(image.shape).encode()))


class FreezeDetector:
    """Tells when a source has delivered the same picture again and again for too long."""

    def __init__(self, freeze_after_s: float) -> None:
        """Watch for ``freeze_after_s`` seconds of identical frames; 0 never reports any."""
        self._freeze_after_s = freeze_after_s
        self._last: int | None = None
        self._same_since = 0.0
        self._stood: int | None = None

    @property
    def suspect(self) -> bool:
        """Whether the picture stood still and has not moved since, also across a reopening."""
        return self._stood is not None

    def frozen(self, image: UInt8Array, now: float) -> bool:
        """Take in the frame received at ``now`` (monotonic seconds); True once the picture has stood too long."""
        if not self._freeze_after_s:
            return False
        current = fingerprint(image)
        # One frame says nothing: a camera that hangs may wake with another picture, and hang on that one.
        if self._last is not None and current not in (self._last, self._stood):
            self._stood = None
        if current != self._last:
            self._last, self._same_since = current, now
        if now - self._same_since < self._freeze_after_s:
            return False
        self._stood = current
        return True

    def reset(self) -> None:
        """Forget the last picture, as when the source was opened again; a suspicion stays."""
        self._last = None


class StallWatch:
    """Tells when the last sign of life is too long ago."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._last: float | None = None

    def beat(self, now: float) -> None:
        """Note a sign of life: a frame, or the start of an attempt to get one."""
        self._last = now

    def rest(self) -> None:
        """Expect nothing until the next beat, as while the source is closed or paused."""
        self._last = None

    def silent_s(self, now: float) -> float:
        """Seconds since the last beat; 0 while nothing is expected."""
        last = self._last  # read once: another thread may be about to rest
        return 0.0 if last is None else now - last

    def stalled(self, now: float) -> bool:
        """Whether nothing came for longer than the timeout."""
        return self.silent_s(now) > self._timeout_s


class Backoff:
    """Growing waits between attempts: doubled each time up to a cap, with jitter.

    Jitter keeps several devices behind one switch or one hub from trying again in step ("Exponential Backoff And
    Jitter", AWS Architecture Blog, 2015).
    """

    def __init__(
        self,
        first_s: float = 0.5,
        cap_s: float = REMOTE_CAP_S,
        jitter: float = 0.25,
        stable_after_s: float = 10.0,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Set the waits.

        Args:
            first_s: seconds to wait after the first failure.
            cap_s: the longest wait in seconds, before jitter; see :func:`longest_wait_s`.
            jitter: the fraction by which a wait is made longer or shorter at random.
            stable_after_s: seconds that a source must work before the next failure counts as a first one, so that
                one that fails right after each start is not hammered.
            uniform: gives a random number between two bounds.
        """
        self._first_s = first_s
        self._cap_s = cap_s
        self._jitter = jitter
        self._stable_after_s = stable_after_s
        self._uniform = uniform
        self._failures = 0
        self._working_since: float | None = None

    @property
    def failures(self) -> int:
        """Failures in a row."""
        return self._failures

    def working(self, now: float) -> None:
        """Note a frame received at ``now`` (monotonic seconds)."""
        if self._working_since is None:
            self._working_since = now
        if now - self._working_since >= self._stable_after_s:
            self._failures = 0

    def next_wait_s(self) -> float:
        """Note a failure and return how many seconds to wait before the next attempt."""
        # The exponent is bounded: a camera may be missing for months.
        wait_s = min(self._cap_s, self._first_s * 2.0 ** min(self._failures, 32))
        self._failures += 1
        self._working_since = None
        return wait_s * (1 + self._uniform(-self._jitter, self._jitter))


class WatchedSource:
    """A live source whose silent failures become a :class:`~fer_edge.errors.SourceError`.

    A frozen picture raises, and what the source delivers when it was opened again is :attr:`suspect` until it moves. A
    picture of another size is passed on and announced in :attr:`resized`, so that who holds boxes in pixels can drop
    them. A finite source is passed through unwatched: its frames may well be equal.
    """

    def __init__(self, source: Source, settings: SourceSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._freeze = FreezeDetector(settings.freeze_after_s if source.live else 0.0)
        self._freeze_after_s = settings.freeze_after_s
        self._clock = clock
        self._size: tuple[int, int] | None = None
        self._resized = False
        self.stall = StallWatch(HANG_FACTOR * settings.read_timeout_s)
        """Counts while a live source is being opened or read, and rests in between."""

    @property
    def name(self) -> str:
        """The name of the source within."""
        return self._source.name

    @property
    def live(self) -> bool:
        """Whether the source within is live."""
        return self._source.live

    @property
    def nominal_fps(self) -> float | None:
        """Frames a second that the source within claims."""
        return self._source.nominal_fps

    @property
    def hanging(self) -> bool:
        """Whether the source within has left a thread behind in a driver."""
        return isinstance(self._source, Deserting) and self._source.hanging

    @property
    def suspect(self) -> bool:
        """Whether the last frame is the picture that had frozen, or may be another one that stands still."""
        return self._freeze.suspect

    @property
    def resized(self) -> bool:
        """Whether the last frame differs in size from the one before it, also across a reopening."""
        return self._resized

    def open(self) -> None:
        """Open the source within.

        Raises:
            SourceError: if it cannot be opened.
        """
        self._freeze.reset()
        if self.live:
            self.stall.beat(self._clock())
        try:
            self._source.open()
        finally:
            self.stall.rest()

    def read(self) -> Frame | None:
        """Read the source within.

        Raises:
            SourceError: if it failed, or has stood still for ``freeze_after_s``.
        """
        if not self._source.live:
            return self._sized(self._source.read())
        self.stall.beat(self._clock())
        try:
            frame = self._source.read()
        finally:
            # Between reads nothing is expected: what the caller does meanwhile is not the source's silence.
            self.stall.rest()
        if frame is None:
            return None
        now = self._clock()
        if self._freeze.frozen(frame.image, now):
            raise SourceError(
                f"{self.name}: the picture has not changed for {self._freeze_after_s:g} s, so the camera hangs; "
                "it is opened again (a still scene on purpose: set freeze_after_s = 0)"
            )
        return self._sized(frame)

    def close(self) -> None:
        """Close the source within."""
        self.stall.rest()
        self._source.close()

    def _sized(self, frame: Frame | None) -> Frame | None:
        if frame is None:
            return None
        self._resized = self._size is not None and frame.size != self._size
        if self._resized and self._size is not None:
            before, after = self._size, frame.size
            _log.warning("%s: pictures changed from %dx%d to %dx%d", self.name, *before, *after)
        self._size = frame.size
        return frame
