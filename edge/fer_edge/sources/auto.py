"""The first camera that works, and the record of how it was found."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from fer_edge.errors import SourceError
from fer_edge.frames import Frame
from fer_edge.sources.base import Source, SourceSettings

_log = logging.getLogger(__name__)


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
    """

    live = True

    def __init__(
        self, settings: SourceSettings, candidates: Callable[[SourceSettings], Iterable[Candidate]] | None = None
    ) -> None:
        self._settings = settings
        self._candidates = candidates or find_cameras
        self._source: Source | None = None
        self._first: Frame | None = None
        self._steps: tuple[str, ...] = ()

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
        return self._steps

    def open(self) -> None:
        """Take the first camera from which one frame can be read; each step is logged.

        Raises:
            SourceError: if there is none; the message lists what was tried.
        """
        if self._source is not None:
            return
        steps: list[str] = []
        for candidate in self._candidates(self._settings):
            reason = candidate.reason if candidate.source is None else self._try(candidate.source)
            if not reason:
                steps.append(f"{candidate.name}: taken")
                _log.info("auto: took %s", candidate.name)
                break
            steps.append(f"{candidate.name}: {reason}")
            _log.info("auto: passed over %s: %s", candidate.name, reason)
        self._steps = tuple(steps)
        if self._source is None:
            tried = ", ".join(step.partition(";")[0] for step in steps)
            raise SourceError(f"no camera works (tried {tried}); connect one, or name a source:  --source FILE")

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

    def _try(self, source: Source) -> str:
        """Open ``source`` and read a frame; return why that failed, or "" once it is taken."""
        try:
            source.open()
            self._first = source.read()
        except SourceError as error:
            source.close()
            return str(error).removeprefix(f"{source.name}: ")
        if self._first is None:
            source.close()
            return "delivers no picture"
        self._source = source
        return ""


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
