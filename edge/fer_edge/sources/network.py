"""Network cameras: RTSP, and MJPEG or other video over HTTP."""

from __future__ import annotations

import socket
import time
from urllib.parse import SplitResult, urlsplit

import cv2

from fer_edge.errors import SourceError, UsageError
from fer_edge.sources.base import SourceSettings, orient
from fer_edge.sources.live import LiveSource, Picture
from fer_edge.sources.opencv import open_capture, read_capture

_PORTS = {"http": 80, "https": 443, "rtsp": 554, "rtsps": 322}


class NetworkSource(LiveSource):
    """A stream that FFmpeg reads. Its address may hold a user and password, which are never shown."""

    def __init__(self, address: str, settings: SourceSettings) -> None:
        self._parts = _split(address)
        super().__init__(redacted(self._parts), settings)
        self._address = address
        self._capture: cv2.VideoCapture | None = None

    def _open_device(self) -> None:
        timeout_ms = round(self._settings.read_timeout_s * 1000)
        limits = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, timeout_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, timeout_ms)
        self._capture = open_capture(self._address, cv2.CAP_FFMPEG, limits)
        if self._capture is None:
            raise SourceError(f"{self._name}: {self._why_not()}")

    def _read_device(self) -> Picture:
        assert self._capture is not None
        image = read_capture(self._capture)
        if image is None:
            raise SourceError(
                f"{self._name}: the stream ended, or sent nothing usable for {self._settings.read_timeout_s:g} s; "
                "check the camera and the network"
            )
        return Picture(orient(image, self._settings.rotation, self._settings.flip), captured_at=time.monotonic())

    def _close_device(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _device_fps(self) -> float | None:
        fps = 0.0 if self._capture is None else self._capture.get(cv2.CAP_PROP_FPS)
        return fps if 0 < fps < 1000 else None

    def _why_not(self) -> str:
        """Ask the server itself, because OpenCV does not pass on why a stream could not be opened."""
        place = (self._parts.hostname or "", self._parts.port or _PORTS[self._parts.scheme])
        try:
            socket.create_connection(place, self._settings.read_timeout_s).close()
        except TimeoutError:
            return (
                f"no answer within {self._settings.read_timeout_s:g} s; check the address, the network and a firewall"
            )
        except OSError as error:
            return f"cannot be reached ({error.strerror or error}); check the address and that the camera is on"
        return "the server answers, but with no video; check the path, and the user and password if it asks for them"


def redacted(parts: SplitResult) -> str:
    """Return an address that may be shown: without user, password and query, which often holds a key."""
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = f":{parts.port}" if parts.port else ""
    query = "?..." if parts.query else ""
    return f"{parts.scheme}://{host}{port}{parts.path}{query}"


def _split(address: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        usable = bool(parts.hostname) and parts.scheme in _PORTS
        _ = parts.port
    except ValueError:
        # The address itself is not repeated: it may hold a password.
        usable = False
    if not usable:
        raise UsageError("the stream's address cannot be read; write it as rtsp://USER:PASSWORD@HOST:PORT/PATH")
    return parts
