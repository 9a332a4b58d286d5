"""Catching what native libraries print on file descriptor 2, where ``sys.stderr`` and ``logging`` do not reach."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import cv2


def silence_opencv() -> None:
    """Stop OpenCV and FFmpeg from writing to stderr, unless the environment asks for their messages."""
    # Read once, when the first capture is made; -8 is AV_LOG_QUIET of libavutil/log.h.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    if "OPENCV_LOG_LEVEL" in os.environ:
        return
    # OpenCV 4.6 has cv2.setLogLevel, later ones cv2.utils.logging.setLogLevel; 0 is LOG_LEVEL_SILENT in both.
    set_level = getattr(cv2, "setLogLevel", None) or getattr(getattr(cv2.utils, "logging", None), "setLogLevel", None)
    if set_level is not None:
        set_level(0)


@contextmanager
def native_messages(is_noise: Callable[[str], bool]) -> Iterator[list[str]]:
    """Catch the lines for which ``is_noise`` holds while the block runs; all others are passed on after it.

    Lines of other threads may be caught too, so ``is_noise`` must know what it is looking for. Blocks must not overlap
    in time across threads.

    Args:
        is_noise: tells from a line, stripped, whether it is kept back.

    Yields:
        A list, filled when the block ends, with the lines that were kept back.
    """
    messages: list[str] = []
    if sys.stderr is not None:
        sys.stderr.flush()
    with tempfile.TemporaryFile() as caught:
        stderr = os.dup(2)
        os.dup2(caught.fileno(), 2)
        try:
            yield messages
        finally:
            if sys.stderr is not None:
                sys.stderr.flush()
            os.dup2(stderr, 2)
            caught.seek(0)
            for line in caught:
                text = line.decode(errors="replace").strip()
                if is_noise(text):
                    messages.append(text)
                elif text:
                    os.write(stderr, line)
            os.close(stderr)
