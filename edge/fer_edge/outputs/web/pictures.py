"""The live view: annotated pictures as JPEG, encoded once for all viewers and only while there is one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import cv2
import numpy as np

from fer_edge.contract.preprocess import UInt8Array
from fer_edge.frames import Face, Observation
from fer_edge.outputs.lettering import draw_text, text_width
from fer_edge.outputs.overlay import draw_overlay
from fer_edge.outputs.settings import ServingSettings
from fer_edge.outputs.web.pulse import Pulse
from fer_edge.outputs.web.state import DashboardState, Seen

log = logging.getLogger(__name__)

MULTIPART: Final = "multipart/x-mixed-replace; boundary=frame"
"""Media type of MJPEG over HTTP."""

LINGER: Final = 1.5
"""A picture is the last for now when none has followed within so many intervals of ``max_fps``."""

Key: TypeAlias = int | str
"""What is to be shown: the number of a result, or the words of a notice."""


@dataclass(frozen=True, slots=True)
class _Picture:
    number: int
    part: bytes
    """As one part of the multipart stream."""


class PictureStream:
    """Encodes the newest result's picture while at least one viewer takes the parts; lives in the event loop."""

    def __init__(self, state: DashboardState, serving: ServingSettings) -> None:
        """Encode nothing yet."""
        self._state = state
        self._serving = serving
        self._viewers = 0
        self._pump: asyncio.Task[None] | None = None
        self._newest: _Picture | None = None
        self._published = Pulse()
        self._warned = False
        self.encoded = 0
        """Pictures encoded so far, for all viewers together."""

    @property
    def viewers(self) -> int:
        """How many take the stream now."""
        return self._viewers

    async def parts(self) -> AsyncGenerator[bytes, None]:
        """Yield the parts of one viewer's stream until the output is closed; a slow viewer misses pictures.

        While no picture may be shown (the run is paused, the source is away) there is one dark part that says so.
        """
        self._viewers += 1
        if self._pump is None:
            self._newest = None
            self._pump = asyncio.create_task(self._encode_while_watched())
        shown, again = 0, False
        try:
            while not self._state.closing:
                picture = self._newest
                if picture is not None and picture.number != shown:
                    shown, again = picture.number, True
                    yield picture.part
                # Chromium shows a part when the head of the next one comes. If none follows soon, send it twice.
                elif not await self._published.wait(LINGER / self._serving.max_fps if again else None) and picture:
                    again = False
                    yield picture.part
        finally:
            self._viewers -= 1
            if self._viewers == 0 and self._pump is not None:
                self._pump.cancel()
                self._pump, self._newest = None, None

    def _publish(self, jpeg: bytes) -> None:
        number = self._newest.number + 1 if self._newest else 1
        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
        self._newest = _Picture(number, head + jpeg + b"\r\n")
        self._published.beat_in_loop()

    async def _encode_while_watched(self) -> None:
        loop = asyncio.get_running_loop()
        shown: Key | None = None
        while not self._state.closing:
            started = loop.time()
            seen = self._state.seen
            key = self._key(seen)
            if key == shown:
                await self._state.changed.wait()
                continue
            jpeg = await asyncio.to_thread(self._jpeg, seen, key)
            # A pause may have come meanwhile: then not even this one picture goes out.
            if jpeg is not None and (isinstance(key, str) or self._state.seen is not None):
                self._publish(jpeg)
            shown = key
            await asyncio.sleep(max(0.0, 1 / self._serving.max_fps - (loop.time() - started)))
        self._published.beat_in_loop()

    def _key(self, seen: Seen | None) -> Key:
        if seen is not None and seen.image is not None:
            return seen.number
        if self._state.pause_wanted:
            return "Paused"
        return "No picture"

    def _jpeg(self, seen: Seen | None, key: Key) -> bytes | None:
        if isinstance(key, str) or seen is None or seen.image is None:
            return encode_jpeg(notice(str(key)), self._serving.jpeg_quality)
        self.encoded += 1
        try:
            observation, image = shrunk(seen.observation, seen.image, self._serving.max_side_px)
            return encode_jpeg(draw_overlay(image, observation), self._serving.jpeg_quality)
        except (cv2.error, ValueError) as error:
            if not self._warned:
                reason = " ".join(str(error).split())
                log.warning("web: frame %d cannot be shown (%s); others are not reported", seen.number, reason)
            self._warned = True
            return None


def shrunk(observation: Observation, image: UInt8Array, max_side_px: int) -> tuple[Observation, UInt8Array]:
    """Return both at a size of at most ``max_side_px`` on the longer side; unchanged if they are that small."""
    rows, cols = image.shape[:2]
    scale = max_side_px / max(rows, cols)
    if scale >= 1:
        return observation, image
    size = max(1, round(cols * scale)), max(1, round(rows * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    faces = tuple(_scaled(face, scale) for face in observation.faces)
    return replace(observation, size=size, faces=faces), small


def notice(words: str) -> UInt8Array:
    """Return a dark (360, 640, 3) picture with ``words`` in its middle, for a stream that has no frame to show."""
    picture = np.full((360, 640, 3), 22, np.uint8)
    capital = 22
    draw_text(picture, words, (640 - text_width(words, capital)) // 2, (360 - capital) // 2, capital, (170, 170, 170))
    return picture


def encode_jpeg(picture: UInt8Array, quality: int) -> bytes:
    """Return ``picture``, (H, W, 3) uint8 BGR, as JPEG.

    Raises:
        ValueError: if OpenCV cannot encode it.
    """
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError("OpenCV cannot encode it as JPEG")
    return data.tobytes()


def _scaled(face: Face, scale: float) -> Face:
    x, y, w, h = (round(edge * scale) for edge in face.box)
    return replace(face, box=(x, y, max(1, w), max(1, h)))
