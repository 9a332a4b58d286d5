"""USB and other V4L2 cameras through OpenCV."""

from __future__ import annotations

import fcntl
import getpass
import grp
import math
import os
import stat
import struct
import time
from dataclasses import dataclass
from pathlib import Path

import cv2

from fer_edge.errors import SourceError
from fer_edge.sources.base import SourceSettings, orient
from fer_edge.sources.files import natural_order
from fer_edge.sources.live import LiveSource, Picture, plausible_stamp
from fer_edge.sources.opencv import open_capture, read_capture

DEFAULT_SIZE = (640, 480)
"""(width, height) in pixels: every camera offers it, and a face at two metres still has 60 pixels."""

_VIDIOC_QUERYCAP = 0x80685600
"""``_IOR('V', 0, struct v4l2_capability)`` of linux/videodev2.h."""
_CAPABILITY = struct.Struct("=16s32s32sIII12x")
_VIDEO_CAPTURE = 0x00000001
_DEVICE_CAPS = 0x80000000
_CSI_DRIVERS = frozenset({"unicam", "rp1-cfe", "bm2835 mmal"})
"""Raspberry Pi's CSI receivers: they deliver the sensor's raw pixels, which libcamera has to develop."""
_PROCESSORS = frozenset({"bcm2835-isp", "pispbe"})
"""Raspberry Pi's image processors (up to the Pi 4, and since the Pi 5): several nodes each that call themselves capture
devices, and deliver no picture unless libcamera feeds them."""

_MANUAL_EXPOSURE, _APERTURE_PRIORITY = 1, 3
"""``enum v4l2_exposure_auto_type`` of linux/v4l2-controls.h."""
_EXPOSURE_UNIT_US = 100
"""V4L2_CID_EXPOSURE_ABSOLUTE counts in units of 100 microseconds."""


@dataclass(frozen=True, slots=True)
class Capability:
    """What a V4L2 device says of itself."""

    driver: str
    card: str
    """The name that people know, such as ``HD Pro Webcam C920``."""
    flags: int

    @property
    def why_no_camera(self) -> str:
        """Why the device cannot be used as a camera; "" if it can."""
        if self.driver in _CSI_DRIVERS:
            return f"a CSI camera's raw pixels (driver {self.driver}), which need picamera2"
        if self.driver in _PROCESSORS or not self.flags & _VIDEO_CAPTURE:
            return f"{self.card} delivers no pictures (a codec, image processor or metadata device)"
        return ""


class V4l2Source(LiveSource):
    """A camera behind /dev/videoN; a link such as /dev/v4l/by-id/... is followed each time it is opened."""

    def __init__(self, device: str, settings: SourceSettings) -> None:
        super().__init__(f"v4l2:{device}", settings)
        self._device = Path(device)
        self._capture: cv2.VideoCapture | None = None

    def _open_device(self) -> None:
        capability = query(self._device)
        if capability.why_no_camera:
            raise SourceError(f"{self._name}: is no camera: {capability.why_no_camera}")
        # OpenCV reads this once in a process, in whole seconds, and has no property for it.
        os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", str(math.ceil(self._settings.read_timeout_s)))
        capture = open_capture(str(self._device.resolve()), cv2.CAP_V4L2)
        if capture is None:
            raise SourceError(
                f"{self._name}: {capability.card} cannot be started, most often because another program uses it; "
                f"see which with  fuser -v {self._device}"
            )
        configure(capture, self._settings)
        self._capture = capture

    def _read_device(self) -> Picture:
        assert self._capture is not None
        image = read_capture(self._capture)
        now = time.monotonic()
        if image is None:
            raise SourceError(f"{self._name}: delivers no more pictures; check the plug, the cable and its power")
        captured_at = plausible_stamp(self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000, now)
        return Picture(orient(image, self._settings.rotation, self._settings.flip), captured_at)

    def _close_device(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _device_fps(self) -> float | None:
        fps = 0.0 if self._capture is None else self._capture.get(cv2.CAP_PROP_FPS)
        return fps if fps > 0 else None


def configure(capture: cv2.VideoCapture, settings: SourceSettings) -> None:
    """Ask an open camera for size, rate and format; what it does not offer it rounds or ignores."""
    width, height = settings.width or DEFAULT_SIZE[0], settings.height or DEFAULT_SIZE[1]
    # The format goes first: a driver lists its sizes and rates by format.
    capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*pixel_format(settings)))
    capture.set(cv2.CAP_PROP_FRAME_WIDTH, width)
    capture.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
    if settings.fps is not None:
        capture.set(cv2.CAP_PROP_FPS, settings.fps)
    # OpenCV's default of 4 buffers can hold frames that are 3 intervals old. With 1 the camera has nowhere to put
    # a frame while the last one is decoded, and every second one is lost.
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 2)
    if settings.exposure_us is None:
        capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, _APERTURE_PRIORITY)
    else:
        capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, _MANUAL_EXPOSURE)
        capture.set(cv2.CAP_PROP_EXPOSURE, max(1, round(settings.exposure_us / _EXPOSURE_UNIT_US)))


def pixel_format(settings: SourceSettings) -> str:
    """Return the four letters of the format to ask for.

    USB 2 carries about 24 MB/s of video: YUYV's two bytes a pixel fit up to 640x480 at 30 frames/s (18 MB/s).
    Compressed frames cost a JPEG decode each, so they are taken only where raw ones would be slowed down.
    """
    if settings.pixel_format != "auto":
        return settings.pixel_format
    pixels = (settings.width or DEFAULT_SIZE[0]) * (settings.height or DEFAULT_SIZE[1])
    return "MJPG" if pixels * (settings.fps or 30) > 640 * 480 * 30 else "YUYV"


def query(device: Path) -> Capability:
    """Ask a device what it is.

    Raises:
        SourceError: if it is missing, refused, or no V4L2 device.
    """
    try:
        status = device.stat()
        if not stat.S_ISCHR(status.st_mode):
            raise SourceError(f"v4l2:{device}: is no device; a video file is named without v4l2:")
        descriptor = os.open(device, os.O_RDWR | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise SourceError(f"v4l2:{device}: no such device; {_present()}") from error
    except PermissionError as error:
        raise SourceError(refused(device, status.st_gid)) from error
    except SourceError:
        raise
    except OSError as error:
        raise SourceError(f"v4l2:{device}: cannot be opened ({error.strerror or error}); plug it in again") from error
    try:
        answer = fcntl.ioctl(descriptor, _VIDIOC_QUERYCAP, bytes(_CAPABILITY.size))
    except OSError as error:
        raise SourceError(f"v4l2:{device}: is no video device; {_present()}") from error
    finally:
        os.close(descriptor)
    return parse_capability(answer)


def parse_capability(answer: bytes) -> Capability:
    """Take apart ``struct v4l2_capability`` of linux/videodev2.h (104 bytes)."""
    driver, card, _bus, _version, flags, device_flags = _CAPABILITY.unpack(answer)
    # The first flags are those of all nodes of a device; the second, where present, those of this one.
    own = device_flags if flags & _DEVICE_CAPS else flags
    return Capability(_text(driver), _text(card), own)


def devices() -> list[Path]:
    """Return the V4L2 devices present: stable names first, then those /dev/videoN that have none."""
    stable = sorted(Path("/dev/v4l/by-id").glob("*"), key=lambda path: natural_order(path.name))
    named = {path.resolve() for path in stable}
    numbered = sorted(Path("/dev").glob("video[0-9]*"), key=lambda path: natural_order(path.name))
    return stable + [path for path in numbered if path not in named]


def _present() -> str:
    found = devices()
    if not found:
        return "no camera is connected to this machine"
    return f"present are {', '.join(map(str, found))}"


def refused(device: Path, group_id: int) -> str:
    """Say how a user gets at ``device``, which belongs to the group ``group_id``."""
    try:
        group = grp.getgrgid(group_id).gr_name
    except KeyError:
        group = str(group_id)
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in containers
        user = "USER"
    return (
        f"v4l2:{device}: this user may not open it; run  sudo usermod -aG {group} {user}  "
        "and log in again (a service: restart it)"
    )


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode(errors="replace")
