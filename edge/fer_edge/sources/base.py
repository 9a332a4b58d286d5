"""What a source of frames is, and what can be asked of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, get_args, runtime_checkable

import cv2
import numpy as np

from fer_edge.contract.preprocess import UInt8Array
from fer_edge.errors import ConfigError
from fer_edge.frames import Frame

Rotation: TypeAlias = Literal[0, 90, 180, 270]
Flip: TypeAlias = Literal["none", "horizontal", "vertical", "both"]
PixelFormat: TypeAlias = Literal["auto", "MJPG", "YUYV"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSettings:
    """What is asked of a source; None leaves a choice to the source.

    Raises:
        ConfigError: if a value is outside what its docstring allows.
    """

    width: int | None = None
    """Pixels before rotation. Cameras only (640 where None); files and streams keep their own size."""
    height: int | None = None
    """Pixels before rotation. Cameras only (480 where None)."""
    fps: float | None = None
    """Frames a second asked of a camera, or those that a folder of images stands for (25 where None)."""
    rotation: Rotation = 0
    """Degrees clockwise by which a picture is turned to stand upright; applied before ``flip``."""
    flip: Flip = "none"
    """``horizontal`` mirrors left and right (a selfie view), ``vertical`` top and bottom."""
    pixel_format: PixelFormat = "auto"
    """V4L2 only. ``auto`` takes MJPG where raw frames would not fit USB 2: above 640x480 or 30 frames/s."""
    exposure_us: int | None = None
    """Microseconds that a camera exposes a frame; None leaves exposure automatic."""
    gain: float | None = None
    """Analogue gain of a picamera2 camera, 1.0 and up; None leaves it automatic."""
    realtime: bool = False
    """Deliver a file's frames at its own pace, not as fast as they are decoded."""
    loop: bool = False
    """Start a file again at its end, for ever; frame numbers and times go on growing."""
    read_timeout_s: float = 5.0
    """Seconds that a camera or stream may take to open or to deliver a frame before it counts as failed."""
    stale_after_s: float = 2.0
    """Seconds without a new frame after which the last result counts as stale."""
    freeze_after_s: float = 10.0
    """Seconds of identical frames after which a live source counts as frozen; 0 never does. Sensor noise makes each
    frame of a real camera differ; a stream of a still drawing may need 0."""

    def __post_init__(self) -> None:
        _check_choice("rotation", self.rotation, get_args(Rotation))
        _check_choice("flip", self.flip, get_args(Flip))
        _check_choice("pixel_format", self.pixel_format, get_args(PixelFormat))
        _check_range("width", self.width, 16, 16384)
        _check_range("height", self.height, 16, 16384)
        _check_range("fps", self.fps, 0.1, 1000)
        _check_range("exposure_us", self.exposure_us, 1, 60_000_000)
        _check_range("gain", self.gain, 1, 1000)
        _check_range("read_timeout_s", self.read_timeout_s, 0.1, 3600)
        _check_range("stale_after_s", self.stale_after_s, 0.1, 3600)
        _check_range("freeze_after_s", self.freeze_after_s, 0, 86400)


@runtime_checkable
class Source(Protocol):
    """A backend that yields frames; one file a backend.

    A source is used by one thread at a time, but :meth:`close` may be called from another one and makes a waiting
    :meth:`read` return soon. After :meth:`close` it can be opened again.
    """

    @property
    def name(self) -> str:
        """Kind and place, such as ``v4l2:/dev/video0`` or ``file:clip.mp4``; never holds a password."""
        ...

    @property
    def live(self) -> bool:
        """True: the latest frame wins and older ones are dropped. False: every frame is processed."""
        ...

    @property
    def nominal_fps(self) -> float | None:
        """Frames a second that the open source claims to deliver; None if it does not say."""
        ...

    def open(self) -> None:
        """Make the source ready to be read; does nothing if it is open.

        Raises:
            SourceError: if the device, file or stream cannot be used.
        """
        ...

    def read(self) -> Frame | None:
        """Return the next frame, or None at the end of a finite source (or after :meth:`close`).

        Raises:
            SourceError: if the device or stream failed, or if there is not one readable frame.
        """
        ...

    def close(self) -> None:
        """Give the device back; does nothing if the source is closed."""
        ...


@runtime_checkable
class Paced(Protocol):
    """What a source can also be: one that waits on purpose within a read."""

    @property
    def waiting(self) -> bool:
        """Whether a read is waiting until its frame is due, rather than for a device or a disk."""
        ...


@runtime_checkable
class Deserting(Protocol):
    """What a source can also be: one that leaves calls which hang in a driver to a thread of their own."""

    @property
    def hanging(self) -> bool:
        """Whether such a thread is still there, so that the interpreter cannot end in order."""
        ...


def orient(image: UInt8Array, rotation: Rotation, flip: Flip) -> UInt8Array:
    """Turn ``image`` clockwise by ``rotation`` degrees, then mirror it as ``flip`` says.

    Args:
        image: (H, W) or (H, W, C) uint8.
        rotation: degrees; 90 and 270 exchange height and width.
        flip: which axes to mirror.

    Returns:
        A contiguous uint8 array; ``image`` itself when there is nothing to do.
    """
    if rotation == 180:
        # Half a turn is a mirror on both axes: one pass instead of two.
        rotation, flip = 0, _HALF_TURN[flip]
    turned = image if rotation == 0 else np.asarray(cv2.rotate(image, _ROTATIONS[rotation]), np.uint8)
    return turned if flip == "none" else np.asarray(cv2.flip(turned, _FLIPS[flip]), np.uint8)


_ROTATIONS = {90: cv2.ROTATE_90_CLOCKWISE, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
_FLIPS = {"horizontal": 1, "vertical": 0, "both": -1}
_HALF_TURN: dict[Flip, Flip] = {"none": "both", "horizontal": "vertical", "vertical": "horizontal", "both": "none"}


def _check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{name} must be one of {', '.join(map(str, choices))}, not {value!r}")


def _check_range(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise ConfigError(f"{name} must lie between {low} and {high}, not {value!r}")
