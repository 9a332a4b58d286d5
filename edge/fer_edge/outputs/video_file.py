"""``video:PATH``: an annotated video. The one output that stores pictures of people, so it is never on by default."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from fer_edge.contract.files import atomic_write
from fer_edge.contract.native_log import silence_opencv
from fer_edge.contract.preprocess import UInt8Array
from fer_edge.errors import OutputError
from fer_edge.frames import Observation
from fer_edge.outputs.overlay import draw_overlay
from fer_edge.outputs.settings import VideoSettings
from fer_edge.status import RuntimeStatus

log = logging.getLogger(__name__)

CODECS: Final = {".mp4": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
"""FourCC by suffix: encoders that every OpenCV wheel and Debian's build have."""

LONGEST_REPEAT_S: Final = 2.0
"""A gap in time is filled with pictures for so long; a longer one (a camera was away, the clock was set) is cut."""


class VideoOutput:
    """Writes each result's annotated picture; the file appears, whole, when the output is closed."""

    wants_image = True
    lossless = True

    def __init__(self, path: Path, settings: VideoSettings) -> None:
        """Name the file; its suffix chooses the format.

        Raises:
            OutputError: for a suffix that stands for none of :data:`CODECS`.
        """
        self.name = f"video:{path}"
        self._path = path
        self._fps = settings.fps
        if path.suffix.lower() not in CODECS:
            raise OutputError(f"{path}: a video's name must end in {', '.join(CODECS)}")
        self._guard: AbstractContextManager[Path] | None = None
        self._partial: Path | None = None
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._started_at = 0.0
        self._pictures = 0

    def open(self) -> None:
        """Make the partial file, so that a place that cannot be written to shows at once.

        Raises:
            OutputError: if it cannot be made.
        """
        guard = atomic_write(self._path)
        self._partial = guard.__enter__()
        self._guard = guard
        self._pictures = 0
        log.warning("%s: pictures of people are being recorded, as asked", self.name)

    def write(self, observation: Observation, image: UInt8Array | None) -> None:
        """Add one result, as often as keeps time at the file's frame rate: not at all, once or more.

        Raises:
            OutputError: if OpenCV cannot encode it.
        """
        assert image is not None
        if self._writer is None:
            self._writer = self._start(image)
            self._started_at = observation.time
        due = round((observation.time - self._started_at) * self._fps) + 1
        if not 0 <= due - self._pictures <= LONGEST_REPEAT_S * self._fps:
            due = self._pictures + 1
            self._started_at = observation.time - self._pictures / self._fps
        if due == self._pictures:
            return
        picture = _fit(draw_overlay(image, observation), self._size)
        for _ in range(due - self._pictures):
            self._writer.write(picture)
        self._pictures = due

    def status(self, status: RuntimeStatus) -> None:
        """Ignore it."""

    def close(self) -> None:
        """Finish the file and give it its name; without a single picture there is no file.

        Raises:
            OutputError: if what was encoded cannot be read back, as after a full disk.
        """
        guard, self._guard = self._guard, None
        writer, self._writer = self._writer, None
        if guard is None:
            return
        assert self._partial is not None
        failure: OutputError | None = None
        if writer is None:
            failure = OutputError(f"{self._path}: not written, for there was no picture")
        else:
            writer.release()
            # OpenCV drops what it cannot write without a word.
            readable = _pictures_in(self._partial)
            if readable < self._pictures:
                failure = OutputError(
                    f"{self._path}: only {readable} of {self._pictures} pictures could be written; free some space"
                )
        if failure is None:
            guard.__exit__(None, None, None)
        else:
            _discard(guard, failure)
            if writer is not None:
                raise failure

    def _start(self, image: UInt8Array) -> cv2.VideoWriter:
        assert self._partial is not None
        # Encoders of 4:2:0 video take even sides only.
        self._size = image.shape[1] // 2 * 2, image.shape[0] // 2 * 2
        codec = CODECS[self._path.suffix.lower()]
        fourcc = cv2.VideoWriter.fourcc(codec[0], codec[1], codec[2], codec[3])
        silence_opencv()
        writer = cv2.VideoWriter(str(self._partial), cv2.CAP_FFMPEG, fourcc, self._fps, self._size)
        if not writer.isOpened():
            raise OutputError(f"{self._path}: the installed OpenCV cannot encode {codec}; try another suffix")
        return writer


def _fit(picture: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    """Return ``picture`` at (width, height) ``size``, with black bars where a camera changed its shape mid-stream."""
    width, height = size
    rows, cols = picture.shape[:2]
    if (cols // 2 * 2, rows // 2 * 2) == size:
        return picture[:height, :width]
    scale = min(width / cols, height / rows)
    inner = max(1, round(cols * scale)), max(1, round(rows * scale))
    fitted = np.zeros((height, width, 3), np.uint8)
    x, y = (width - inner[0]) // 2, (height - inner[1]) // 2
    fitted[y : y + inner[1], x : x + inner[0]] = cv2.resize(picture, inner, interpolation=cv2.INTER_AREA)
    return fitted


def _pictures_in(path: Path) -> int:
    """Return how many pictures the container says it holds, 0 if the first cannot be decoded."""
    video = cv2.VideoCapture(str(path))
    try:
        return int(video.get(cv2.CAP_PROP_FRAME_COUNT)) if video.read()[0] else 0
    finally:
        video.release()


def _discard(guard: AbstractContextManager[Path], failure: OutputError) -> None:
    """Leave ``guard`` as on an error, which removes the partial file."""
    with suppress(OutputError):
        guard.__exit__(type(failure), failure, failure.__traceback__)
