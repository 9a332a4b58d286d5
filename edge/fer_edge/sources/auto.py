"""The first camera that works, and the record of how it was found."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from fer_edge.errors import SourceError
from fer_edge.frames import Frame
from fer_edge.sources.attempt import TOO_LATE, Attempt
from fer_edge.sources.base import Source, SourceSettings

_log = logging.getLogger(__name__)

OPENING_FACTOR: Final = 1.6
"""The whole opening takes this many times ``read_timeout_s`` at most, so that it is over before the source counts as
hanging (see :data:`fer_edge.sources.supervised.HANG_FACTOR`)."""

_TAKEN: Final = "taken"

TOLD_AGAIN_AFTER_S: Final = 6 * 3600.0
"""An outcome that stays the same is logged as often: a camera may be missing for months, and journals are rotated."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A camera that ``auto`` may take, or the reason why it does not try it."""

    name: str
    source: Source | None
    reason: str = ""
    """Why ``source`` is None."""


class AutoSource:
    """Tries cameras in order and takes the first that delivers a picture; the order is looked up at each opening.

    Its name is that of the camera taken, so that status and logs never hide it.

    An opening as a whole keeps to a limit, however many cameras are dead: those still to be tried share the time that
    is left. A camera that ran out of its share has to let the others go first from then on; one such camera an opening
    gets all the time that they leave.
    """

    live = True

    def __init__(
        self,
        settings: SourceSettings,
        candidates: Callable[[SourceSettings], Iterable[Candidate]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._candidates = candidates or find_cameras
        self._clock = clock
        self._limit_s = OPENING_FACTOR * settings.read_timeout_s
        self._source: Source | None = None
        self._first: Frame | None = None
        self._outcomes: tuple[tuple[str, str], ...] = ()
        """Name of each camera looked at, and what became of it."""
        self._silent: list[str] = []
        """Names of cameras that ran out of time when they were last tried, the one whose turn comes next first."""
        self._given_up: dict[str, Attempt] = {}
        self._told: tuple[tuple[str, str], ...] = ()
        self._told_at = 0.0

    @property
    def name(self) -> str:
        """Name of the camera taken; ``auto`` while there is none."""
        return "auto" if self._source is None else self._source.name

    @property
    def nominal_fps(self) -> float | None:
        """Frames a second that the camera taken claims."""
        return None if self._source is None else self._source.nominal_fps

    @property
    def steps(self) -> tuple[str, ...]:
        """What the last opening tried, one line a camera, with the reason why it was passed over or taken."""
        return tuple(f"{name}: {outcome}" for name, outcome in self._outcomes)

    @property
    def hanging(self) -> bool:
        """Whether a thread still hangs in the driver of a camera that was given up."""
        return any(attempt.alive for attempt in self._given_up.values())

    def open(self) -> None:
        """Take the first camera from which one frame can be read; each step is logged, the same ones seldom again.

        Raises:
            SourceError: if there is none; the message lists what was tried.
        """
        if self._source is not None:
            return
        deadline = self._clock() + self._limit_s
        found = list(self._candidates(self._settings))
        outcomes = {each.name: each.reason for each in found if each.source is None}
        sources = {each.name: each.source for each in found if each.source is not None}
        queue = self._queue(sources)
        outcomes |= dict.fromkeys(self._silent, TOO_LATE)
        for position, name in enumerate(queue):
            share_s = (deadline - self._clock()) / (len(queue) - position)
            outcomes[name] = self._try(name, sources[name], share_s) or _TAKEN
            if outcomes[name] == _TAKEN:
                break
        self._outcomes = tuple((each.name, outcomes[each.name]) for each in found if each.name in outcomes)
        self._tell()
        if self._source is None:
            tried_what = ", ".join(step.partition(";")[0] for step in self.steps)
            raise SourceError(f"no camera works (tried {tried_what}); connect one, or name a source:  --source FILE")

    def read(self) -> Frame | None:
        """Return the next frame of the camera taken.

        Raises:
            SourceError: if that camera failed.
        """
        if self._first is not None:
            first, self._first = self._first, None
            return first
        source = self._source
        return None if source is None else source.read()

    def close(self) -> None:
        """Close the camera taken and forget the choice."""
        source, self._source, self._first = self._source, None, None
        if source is not None:
            source.close()

    def _queue(self, names: Collection[str]) -> list[str]:
        """Return which cameras to try in this opening, in order: of the silent ones, only the one whose turn it is."""
        self._silent = [name for name in self._silent if name in names]
        self._given_up = {name: attempt for name, attempt in self._given_up.items() if attempt.alive}
        return [name for name in names if name not in self._silent] + self._silent[:1]

    def _try(self, name: str, source: Source, timeout_s: float) -> str:
        """Open ``source`` and read a frame; return why that failed, or "" once it is taken."""
        if name in self._silent:
            self._silent.remove(name)
        reason = TOO_LATE
        if name not in self._given_up:  # else an earlier attempt still hangs in the driver, and so would this one
            attempt = Attempt(source)
            reason = attempt.wait(timeout_s)
            if not reason:
                self._source, self._first = source, attempt.frame
            elif reason == TOO_LATE:
                self._given_up[name] = attempt
        if reason == TOO_LATE:
            self._silent.append(name)
        return reason

    def _tell(self) -> None:
        """Log the steps if they are not those that were logged last, or if that was long ago."""
        now = self._clock()
        if self._outcomes == self._told and now - self._told_at < TOLD_AGAIN_AFTER_S:
            return
        self._told, self._told_at = self._outcomes, now
        for name, outcome in self._outcomes:
            if outcome == _TAKEN:
                _log.info("auto: took %s", name)
            else:
                _log.info("auto: passed over %s: %s", name, outcome)


def find_cameras(settings: SourceSettings) -> Iterator[Candidate]:
    """Yield what ``auto`` tries, in order: Raspberry Pi cameras, then V4L2 cameras, those with a stable name first.

    USB cameras that libcamera lists too are left to V4L2, which gives them MJPG and more rates.
    """
    yield from _picamera2(settings)
    yield from _v4l2(settings)


def _picamera2(settings: SourceSettings) -> Iterator[Candidate]:
    from fer_edge.sources import picamera2

    try:
        names = picamera2.camera_names(picamera2.import_picamera2())
    except SourceError as error:
        yield Candidate("picamera2", None, str(error).removeprefix("picamera2: "))
        return
    if not names:
        yield Candidate("picamera2", None, "libcamera finds no camera")
    for number, name in enumerate(names):
        if "/usb" in name:
            yield Candidate(f"picamera2:{number}", None, f"{name} is a USB camera, better read by v4l2")
        else:
            yield Candidate(f"picamera2:{number}", picamera2.Picamera2Source(number, settings))


def _v4l2(settings: SourceSettings) -> Iterator[Candidate]:
    from fer_edge.sources import v4l2

    devices = v4l2.devices()
    if not devices:
        yield Candidate("v4l2", None, "no /dev/video*")
    for device in devices:
        yield Candidate(f"v4l2:{device}", v4l2.V4l2Source(str(device), settings))
