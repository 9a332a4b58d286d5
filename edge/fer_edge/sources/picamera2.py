"""Raspberry Pi cameras through libcamera, by picamera2.

Two streams of the same size are asked of the camera's own image processor: ``main`` in colour for display and
``lores`` in YUV420, whose Y plane is the grey picture that detection and classification want, for free. The colour
space is Sycc: BT.601 at full range, which makes Y the same grey as OpenCV's conversion from colour (the video
default would squeeze it to 16 to 235).
"""

from __future__ import annotations

import logging
import os
import threading
import time
from types import ModuleType
from typing import Any

import cv2
import numpy as np

from fer_edge.contract.preprocess import UInt8Array
from fer_edge.errors import SourceError
from fer_edge.sources.base import Flip, Rotation, SourceSettings, orient
from fer_edge.sources.live import LiveSource, Picture, plausible_stamp

_log = logging.getLogger(__name__)

DEFAULT_SIZE = (640, 480)
DEFAULT_FPS = 30.0

INSTALL = (
    "run  sudo apt install python3-picamera2  and make the virtual environment with  "
    "/usr/bin/python3 -m venv --system-site-packages"
)
"""libcamera's Python module comes from the system only and must match it."""


class Picamera2Source(LiveSource):
    """The camera with a number in the order of ``rpicam-hello --list-cameras``."""

    def __init__(self, number: int, settings: SourceSettings) -> None:
        super().__init__(f"picamera2:{number}", settings)
        self._number = number
        self._camera: Any = None
        self._main: dict[str, Any] = {}
        self._luma_size: tuple[int, int] | None = None
        self._luma_stride = 0
        self._hflip, self._vflip, self._turn = sensor_orientation(settings.rotation, settings.flip)

    def _open_device(self) -> None:
        module = import_picamera2()
        self._check_number(camera_names(module))
        camera: Any = None
        try:
            camera = module.Picamera2(self._number)
            camera.configure(self._configuration(camera))
            chosen = camera.camera_configuration()
            self._check_format(chosen["main"]["format"])
            camera.start()
        except SourceError:
            self._put_away(camera)
            raise
        except Exception as error:  # libcamera's and picamera2's errors have no common base
            if camera is not None:
                self._put_away(camera)
            raise SourceError(
                f"{self._name}: cannot be started ({_one_line(error)}); end other programs that use the camera "
                "(fuser -v /dev/media*), or check its ribbon cable"
            ) from error
        self._main, lores = chosen["main"], chosen["lores"]
        # libcamera may round sizes; a Y plane of another size than the picture is of no use.
        self._luma_size = tuple(lores["size"]) if lores["size"] == chosen["main"]["size"] else None
        self._luma_stride = lores["stride"]
        self._camera = camera

    def _read_device(self) -> Picture:
        try:
            request = self._camera.capture_request(wait=self._settings.read_timeout_s)
        except TimeoutError as error:
            raise SourceError(
                f"{self._name}: no picture within {self._settings.read_timeout_s:g} s; check the ribbon cable"
            ) from error
        except Exception as error:
            raise SourceError(f"{self._name}: cannot be read ({_one_line(error)}); check the ribbon cable") from error
        try:
            image = self._picture(request)
            luma = None
            if self._luma_size is not None:
                luma = y_plane(request.make_buffer("lores"), self._luma_size, self._luma_stride)
            stamp_ns = request.get_metadata().get("SensorTimestamp", 0)
        finally:
            request.release()
        return Picture(
            image=orient(image, self._turn, "none"),
            captured_at=plausible_stamp(stamp_ns / 1e9, time.monotonic()),
            luma=None if luma is None else orient(luma, self._turn, "none"),
        )

    def _close_device(self) -> None:
        if self._camera is not None:
            self._put_away(self._camera)
            self._camera = None

    def _device_fps(self) -> float | None:
        return self._settings.fps or DEFAULT_FPS

    def _picture(self, request: Any) -> UInt8Array:
        if self._main["format"] == "NV12":
            return bgr_of_nv12(request.make_buffer("main"), self._main["size"], self._main["stride"])
        return np.asarray(request.make_array("main"), np.uint8)

    def _check_format(self, chosen: str) -> None:
        """Refuse what cannot be made a picture: libcamera may choose another format than it was asked for."""
        if chosen not in ("RGB888", "NV12"):
            raise SourceError(
                f"{self._name}: delivers {chosen} only, not colours that can be used here; a USB camera is read by  "
                "--source v4l2:/dev/video0"
            )

    def _check_number(self, names: list[str]) -> None:
        if self._number >= len(names):
            listed = "; ".join(f"{number}: {name}" for number, name in enumerate(names))
            found = f"present are {listed}" if names else "none is found; check the ribbon cable and restart"
            raise SourceError(f"{self._name}: there is no such camera, {found} (rpicam-hello --list-cameras)")

    def _configuration(self, camera: Any) -> dict[str, Any]:
        import libcamera

        size = even(self._settings.width or DEFAULT_SIZE[0]), even(self._settings.height or DEFAULT_SIZE[1])
        configuration: dict[str, Any] = camera.create_preview_configuration(
            # picamera2 names formats by significance: "RGB888" lies in memory as B, G, R, as OpenCV wants it.
            main={"format": "RGB888", "size": size},
            lores={"format": "YUV420", "size": size},
            raw=full_view(camera.sensor_resolution, self._settings.fps or DEFAULT_FPS),
            transform=libcamera.Transform(hflip=self._hflip, vflip=self._vflip),
            colour_space=libcamera.ColorSpace.Sycc(),
            controls=camera_controls(self._settings, set(camera.camera_controls)),
            buffer_count=4,
            queue=True,
            display=None,
            encode=None,
        )
        return configuration

    def _put_away(self, camera: Any) -> None:
        """Close ``camera`` in a thread of its own: with a loose ribbon cable picamera2 never returns from it."""
        thread = threading.Thread(target=_close, args=(camera,), name="picamera2-close", daemon=True)
        thread.start()
        thread.join(self._settings.read_timeout_s)
        if thread.is_alive():
            _log.warning("%s: does not let go of the camera; if it cannot be reopened, restart the board", self._name)


def import_picamera2() -> ModuleType:
    """Import picamera2 quietly.

    Raises:
        SourceError: if it is not installed or does not fit what is.
    """
    # libcamera writes its log to stderr unless told otherwise; its errors reach us as exceptions.
    os.environ.setdefault("LIBCAMERA_LOG_LEVELS", "*:FATAL")
    logging.getLogger("picamera2").setLevel(logging.CRITICAL)
    try:
        import picamera2
    except ModuleNotFoundError as error:
        raise SourceError(f"picamera2: the module {error.name} is not installed; {INSTALL}") from error
    except Exception as error:  # numpy 2 beside apt's builds gives a ValueError, a foreign libcamera an ImportError
        raise SourceError(f"picamera2: cannot be imported ({_one_line(error)}); {INSTALL}") from error
    module: ModuleType = picamera2
    return module


def camera_names(module: ModuleType) -> list[str]:
    """Return model and place of each camera that libcamera finds, by number; USB cameras come last.

    Raises:
        SourceError: if libcamera cannot be asked.
    """
    try:
        return [f"{camera['Model']} ({camera['Id']})" for camera in module.Picamera2.global_camera_info()]
    except Exception as error:
        raise SourceError(f"picamera2: libcamera does not answer ({_one_line(error)}); restart the board") from error


def camera_controls(settings: SourceSettings, available: set[str]) -> dict[str, Any]:
    """Return libcamera's controls for ``settings``, of those that the camera has.

    FrameDurationLimits and ExposureTime count microseconds. An exposure longer than the frame interval stretches
    the interval. AfMode 2 is continuous autofocus, which Camera Module 3 does not do unasked.
    """
    interval_us = round(1e6 / (settings.fps or DEFAULT_FPS))
    longest_us = max(interval_us, settings.exposure_us or 0)
    controls: dict[str, Any] = {"FrameDurationLimits": (interval_us, longest_us), "AfMode": 2}
    if settings.exposure_us is not None:
        controls["ExposureTime"] = settings.exposure_us
    if settings.gain is not None:
        controls["AnalogueGain"] = settings.gain
    return {name: value for name, value in controls.items() if name in available}


def full_view(sensor_size: tuple[int, int], fps: float) -> dict[str, Any]:
    """Return the raw stream that makes libcamera read the whole sensor, binned 2x2.

    Left to itself it takes the mode nearest to the picture's size, which on Camera Modules 1 and 2 at 640x480 is a
    crop of the middle. Half the sensor's size is a whole-view mode of all modules; the slowest of them gives 40
    frames/s, so above that the choice is left to libcamera.
    """
    return {"size": (even(sensor_size[0] // 2), even(sensor_size[1] // 2))} if fps <= 40 else {}


def sensor_orientation(rotation: Rotation, flip: Flip) -> tuple[bool, bool, Rotation]:
    """Split an orientation into what the sensor does for free and the turn that is left for software.

    Sensors mirror but cannot turn by 90 degrees, and they mirror before anything else: a mirror after a quarter turn
    is one on the other axis before it.

    Returns:
        Horizontal mirror, vertical mirror, and degrees clockwise left to turn (0 or 90).
    """
    horizontal, vertical = flip in ("horizontal", "both"), flip in ("vertical", "both")
    if rotation in (90, 270):
        horizontal, vertical = vertical, horizontal
    if rotation in (180, 270):
        horizontal, vertical = not horizontal, not vertical
    return horizontal, vertical, 90 if rotation in (90, 270) else 0


def y_plane(buffer: UInt8Array, size: tuple[int, int], stride: int) -> UInt8Array:
    """Cut the Y plane out of a YUV420 (or NV12) buffer.

    Args:
        buffer: flat uint8; rows of ``stride`` bytes, all Y rows first, then U and V at half the stride.
        size: (width, height) in pixels.
        stride: bytes from one Y row to the next; what exceeds the width is padding.

    Returns:
        (height, width) uint8, contiguous.

    Raises:
        SourceError: if the buffer is too short for that.
    """
    width, height = size
    return np.ascontiguousarray(_rows(buffer, "YUV420", size, height, stride)[:, :width])


def bgr_of_nv12(buffer: UInt8Array, size: tuple[int, int], stride: int) -> UInt8Array:
    """Convert an NV12 picture to colour, which pipelines without Raspberry Pi's image processor leave to us.

    Full range, as asked for; OpenCV's own conversion of NV12 takes the values for video range (16 to 235).

    Args:
        buffer: flat uint8; rows of ``stride`` bytes, all Y rows first, then half as many with U and V in turn.
        size: (width, height) in pixels, both even.
        stride: bytes from one row to the next.

    Returns:
        (height, width, 3) uint8 BGR.

    Raises:
        SourceError: if the buffer is too short for that.
    """
    width, height = size
    planes = _rows(buffer, "NV12", size, height * 3 // 2, stride)[:, :width]
    chroma = cv2.resize(planes[height:].reshape(height // 2, width // 2, 2), size)
    blue, red = cv2.split(chroma)
    return np.asarray(cv2.cvtColor(cv2.merge([planes[:height], red, blue]), cv2.COLOR_YCrCb2BGR), np.uint8)


def _rows(buffer: UInt8Array, name: str, size: tuple[int, int], rows: int, stride: int) -> UInt8Array:
    """View the first ``rows`` rows of a planar picture, padding included."""
    width, height = size
    if stride < width or buffer.size < stride * rows:
        raise SourceError(
            f"picamera2: a {name} buffer of {buffer.size} bytes does not hold {width}x{height} pixels in rows of "
            f"{stride}; report it with the versions of libcamera and picamera2"
        )
    return buffer.reshape(-1)[: stride * rows].reshape(rows, stride)


def even(pixels: int) -> int:
    """Round down to an even number, as chroma at half resolution needs."""
    return pixels - pixels % 2


def _close(camera: Any) -> None:
    try:
        camera.close()
    except Exception as error:
        _log.debug("picamera2 did not close cleanly: %s", error)


def _one_line(error: Exception) -> str:
    """What went wrong first: picamera2 wraps libcamera's reason in vaguer ones."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return " ".join(str(cause).split()) or type(cause).__name__
