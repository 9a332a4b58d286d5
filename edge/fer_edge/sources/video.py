"""A video file as a source: every frame, once, in order."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path
from threading import Lock

import cv2

from fer_edge.contract.preprocess import UInt8Array
from fer_edge.errors import SourceError
from fer_edge.frames import Frame
from fer_edge.sources.base import SourceSettings, orient
from fer_edge.sources.files import Pacer, cannot_open
from fer_edge.sources.image import DEFAULT_FPS
from fer_edge.sources.opencv import open_capture, read_capture

_log = logging.getLogger(__name__)


class VideoFileSource:
    """A file that FFmpeg can decode.

    A frame's time is its position in the file in seconds. A file that is cut short or damaged ends early: if at
    least one frame could be read, that is a warning that names the frame, else an error.
    """

    live = False

    def __init__(self, path: Path, settings: SourceSettings) -> None:
        self._path = path
        self._settings = settings
        self._capture: cv2.VideoCapture | None = None
        self._fps: float | None = None
        self._declared = 0
        self._index = 0
        self._pass_start = 0
        self._offset_s = 0.0
        self._position_s = 0.0
        self._pacer = Pacer()
        # OpenCV crashes if a capture is released while another thread reads it.
        self._using = Lock()

    @property
    def name(self) -> str:
        """``file:`` and the path."""
        return f"file:{self._path}"

    @property
    def nominal_fps(self) -> float | None:
        """Frames a second as the file's header says; None before it was opened."""
        return self._fps

    @property
    def waiting(self) -> bool:
        """See :class:`~fer_edge.sources.base.Paced`."""
        return self._pacer.waiting

    def open(self) -> None:
        """Open the file and read its header.

        Raises:
            SourceError: if it is missing, unreadable, empty, or no video that FFmpeg knows.
        """
        with self._using:
            if self._capture is None:
                self._capture = self._open_capture()
                self._index, self._pass_start, self._offset_s, self._position_s = 0, 0, 0.0, 0.0
                self._pacer = Pacer()

    def read(self) -> Frame | None:
        """Return the next frame; None at the end.

        Raises:
            SourceError: if not one frame can be decoded.
        """
        with self._using:
            frame = self._decode()
        if frame is not None and self._settings.realtime:
            self._pacer.wait_until(frame.time)
            frame = replace(frame, captured_at=time.monotonic())
        return frame

    def close(self) -> None:
        """Close the file and end a wait."""
        with self._using:
            if self._capture is not None:
                self._capture.release()
                self._capture = None
        self._pacer.stop()

    @property
    def _interval_s(self) -> float:
        return 1 / (self._fps or DEFAULT_FPS)

    def _decode(self) -> Frame | None:
        """Return the next frame at once; None at the end."""
        if self._capture is None:
            return None
        image = read_capture(self._capture)
        if image is None:
            self._report_end()
            if not self._settings.loop:
                return None
            self._rewind()
            image = read_capture(self._capture)
            if image is None:
                return None
        return self._frame(self._capture, image)

    def _open_capture(self) -> cv2.VideoCapture:
        try:
            with self._path.open("rb") as file:
                head = file.read(512)
        except OSError as error:
            raise cannot_open(self._path, error) from error
        if not head:
            raise SourceError(f"{self._path}: is empty; copy or record it again")
        if is_text(head):
            raise SourceError(f"{self._path}: is text, not a video; name a video, picture or folder")
        # An absolute path, because FFmpeg would take the first part of "a:b.mp4" for a protocol.
        capture = open_capture(str(self._path.absolute()), cv2.CAP_FFMPEG)
        if capture is None:
            raise SourceError(
                f"{self._path}: is not a video that can be decoded, or is cut short before its index; "
                "copy it again, or convert it with  ffmpeg -i IN OUT.mp4"
            )
        fps = capture.get(cv2.CAP_PROP_FPS)
        self._fps = fps if 0 < fps < 10_000 else None
        self._declared = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        return capture

    def _rewind(self) -> None:
        """Start again by reopening: seeking to 0 is inexact in some containers and impossible in others."""
        if self._capture is not None:
            self._capture.release()
        self._capture = self._open_capture()
        self._offset_s = self._position_s + self._interval_s
        self._pass_start = self._index

    def _frame(self, capture: cv2.VideoCapture, image: UInt8Array) -> Frame:
        position_s = self._offset_s + capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        first = self._index == self._pass_start
        if not first and position_s <= self._position_s:
            # Streams without time stamps report 0 or stand still.
            position_s = self._position_s + self._interval_s
        self._position_s = max(position_s, self._offset_s)
        index, self._index = self._index, self._index + 1
        oriented = orient(image, self._settings.rotation, self._settings.flip)
        return Frame(index, oriented, captured_at=time.monotonic(), time=self._position_s)

    def _report_end(self) -> None:
        """Warn if the file promised more than it held.

        The number of frames is exact in AVI and MP4 but an estimate (duration times rate) in Matroska and WebM, so
        the position has to fall short as well.
        """
        read = self._index - self._pass_start
        if read == 0:
            raise SourceError(
                f"{self._path}: not one frame can be decoded (its header promises {self._declared}); "
                "copy it again, or convert it with  ffmpeg -i IN OUT.mp4"
            )
        missing = self._declared - read
        ended_s = self._position_s - self._offset_s + self._interval_s
        if missing > 0 and ended_s < (self._declared - 0.5) * self._interval_s:
            _log.warning(
                "%s: ends after frame %d (%.2f s) although its header promises %d frames: it is cut short or damaged",
                self._path,
                read - 1,
                self._position_s - self._offset_s,
                self._declared,
            )


def is_text(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is text, which FFmpeg would play as ANSI art or as a playlist."""
    return "".join(head.decode(errors="ignore").split()).isprintable()
