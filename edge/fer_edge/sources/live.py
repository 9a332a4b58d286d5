"""What cameras and streams have in common: numbering, clocks, and closing while another thread waits for a frame."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from threading import Condition

from fer_edge.contract.preprocess import UInt8Array
from fer_edge.errors import SourceError
from fer_edge.frames import Frame
from fer_edge.sources.base import SourceSettings

OLDEST_STAMP_S = 5.0
"""A device's time stamp that is older than this (or lies ahead) is on another clock and not used."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What a device delivered, upright."""

    image: UInt8Array
    """(H, W, 3) uint8 BGR."""
    captured_at: float
    """``time.monotonic()`` in seconds."""
    luma: UInt8Array | None = None
    """(H, W) uint8 grey if it came for free."""


class LiveSource(ABC):
    """Base of the sources whose latest frame wins.

    A device must not be released while a read is under way: OpenCV crashes. So :meth:`close` during a read only
    leaves a note, and the reading thread releases the device when its read returns. Frame numbers go on growing
    when the source is opened again.
    """

    live = True

    def __init__(self, name: str, settings: SourceSettings) -> None:
        self._name = name
        self._settings = settings
        self._next_index = 0
        self._state = Condition()
        self._open = False
        self._held = False
        self._reading = False

    @property
    def name(self) -> str:
        """Kind and place, without a password."""
        return self._name

    @property
    def nominal_fps(self) -> float | None:
        """Frames a second that the open device claims to deliver."""
        return self._device_fps() if self._open else None

    def open(self) -> None:
        """Take the device and start it.

        Raises:
            SourceError: if it is missing, refused, busy or no camera, or if an earlier read still holds it.
        """
        with self._state:
            if self._open:
                return
            if not self._state.wait_for(lambda: not self._held, self._settings.read_timeout_s):
                raise SourceError(f"{self._name}: an earlier read still holds the device; unplug it and plug it in")
            self._open_device()
            self._open = self._held = True

    def read(self) -> Frame | None:
        """Wait for the next picture; None if the source is closed (also meanwhile).

        Raises:
            SourceError: if the device delivers nothing for ``read_timeout_s`` or is gone.
        """
        with self._state:
            if not self._open:
                return None
            self._reading = True
        try:
            picture = self._read_device()
        except SourceError:
            if self._is_open():
                raise
            return None
        finally:
            with self._state:
                self._reading = False
                if not self._is_open():
                    self._release()
        index, self._next_index = self._next_index, self._next_index + 1
        unix_time = time.time() - (time.monotonic() - picture.captured_at)
        return Frame(index, picture.image, picture.captured_at, unix_time, picture.luma)

    def close(self) -> None:
        """Stop the device and give it back, at once or as soon as a read under way returns."""
        with self._state:
            self._open = False
            if self._held and not self._reading:
                self._release()

    def _is_open(self) -> bool:
        return self._open

    def _release(self) -> None:
        self._close_device()
        self._held = False
        self._state.notify_all()

    @abstractmethod
    def _open_device(self) -> None:
        """Take the device; leave nothing open on failure."""

    @abstractmethod
    def _read_device(self) -> Picture:
        """Wait for a picture."""

    @abstractmethod
    def _close_device(self) -> None:
        """Give the device back; must not raise."""

    def _device_fps(self) -> float | None:
        return None


def plausible_stamp(stamp_s: float, now: float) -> float:
    """Return ``stamp_s`` if it can be the time of a frame received at ``now``, else ``now``.

    Drivers mostly stamp frames on the monotonic clock, which gives the true age of a frame; a few use another clock
    or none.

    Args:
        stamp_s: a device's time stamp in seconds.
        now: ``time.monotonic()`` in seconds.
    """
    return stamp_s if now - OLDEST_STAMP_S < stamp_s <= now else now
