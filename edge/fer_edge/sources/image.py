"""Pictures as a source: one, which is one frame, or a series of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from fer_edge.contract.preprocess import UInt8Array
from fer_edge.errors import SourceError
from fer_edge.frames import Frame
from fer_edge.sources import opencv
from fer_edge.sources.base import SourceSettings, orient
from fer_edge.sources.files import Pacer, cannot_open

_log = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".jp2", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"})
"""Lower case; what OpenCV 4.6 and later decode. An animated .gif is a video."""

DEFAULT_FPS = 25.0
"""Frames a second that a series of pictures stands for: the default of FFmpeg's image2 demuxer."""


def read_image(path: Path) -> UInt8Array:
    """Read the picture at ``path``, its EXIF orientation applied.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        SourceError: if the file is missing, unreadable, empty, cut short or no picture.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise cannot_open(path, error) from error
    image, complaint = opencv.decode_image(data)
    if image is None:
        reason = complaint or "it is damaged or not a picture"
        raise SourceError(f"{path}: cannot be decoded: {reason}; give another picture (such as JPEG, PNG or WebP)")
    if complaint:
        _log.warning("%s: decoded in spite of damage (%s)", path, complaint)
    return image


class StillsSource:
    """A series of pictures, each of them one frame; a damaged one is skipped with a warning.

    A frame's index is the number of its file, so that a skipped file leaves a gap.
    """

    live = False

    def __init__(self, name: str, settings: SourceSettings) -> None:
        self._name = name
        self._settings = settings
        self._fps = settings.fps or DEFAULT_FPS
        self._paths: Sequence[Path] | None = None
        self._next = 0
        self._readable = 0
        self._first_fault = ""
        self._pacer = Pacer()

    @property
    def name(self) -> str:
        """Kind and path."""
        return self._name

    @property
    def nominal_fps(self) -> float | None:
        """Frames a second that the series stands for."""
        return self._fps

    @property
    def waiting(self) -> bool:
        """See :class:`~fer_edge.sources.base.Paced`."""
        return self._pacer.waiting

    def open(self) -> None:
        """List the pictures.

        Raises:
            SourceError: if there is nothing to read.
        """
        if self._paths is None:
            self._paths = self._list()
            self._next, self._readable, self._first_fault = 0, 0, ""
            self._pacer = Pacer()

    def read(self) -> Frame | None:
        """Return the next readable picture; None after the last one.

        Raises:
            SourceError: if the source is not open, or none of its pictures can be read.
        """
        paths = self._paths
        if paths is None:
            return None
        while self._settings.loop or self._next < len(paths):
            if self._next and self._next % len(paths) == 0 and not self._readable:
                break
            index = self._next
            self._next += 1
            try:
                image = read_image(paths[index % len(paths)])
            except SourceError as error:
                self._skip(error)
                continue
            self._readable += 1
            return self._frame(index, image)
        if not self._readable:
            others = f"; so are the other {len(paths) - 1} pictures" if len(paths) > 1 else ""
            raise SourceError(self._first_fault + others)
        return None

    def close(self) -> None:
        """Forget the list and end a wait."""
        self._paths = None
        self._pacer.stop()

    def _list(self) -> Sequence[Path]:
        """Return the pictures in order, at least one."""
        raise NotImplementedError

    def _skip(self, error: SourceError) -> None:
        if not self._first_fault:
            self._first_fault = str(error)
        if self._paths is not None and len(self._paths) > 1:
            _log.warning("skipped: %s", error)

    def _frame(self, index: int, image: UInt8Array) -> Frame:
        position_s = index / self._fps
        if self._settings.realtime:
            self._pacer.wait_until(position_s)
        oriented = orient(image, self._settings.rotation, self._settings.flip)
        return Frame(index, oriented, captured_at=time.monotonic(), time=position_s)


class ImageSource(StillsSource):
    """One picture: one frame, or with ``loop`` the same one again and again."""

    def __init__(self, path: Path, settings: SourceSettings) -> None:
        super().__init__(f"image:{path}", settings)
        self._path = path

    def _list(self) -> Sequence[Path]:
        try:
            self._path.stat()
        except OSError as error:
            raise cannot_open(self._path, error) from error
        return [self._path]
