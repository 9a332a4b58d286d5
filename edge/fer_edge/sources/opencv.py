"""The parts of cv2 that several sources share: quiet errors, captures and decoded pictures.

OpenCV and the libraries in it write to stderr on their own. Bad input must give one line, which is ours, so that
noise is switched off here; ``OPENCV_LOG_LEVEL`` or ``OPENCV_FFMPEG_LOGLEVEL`` in the environment brings it back.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from fer_edge.contract.native_log import native_messages, silence_opencv
from fer_edge.contract.preprocess import UInt8Array

_WRAPPER_NOISE = ("imdecode_(", "imread_(")
"""How the lines begin with which OpenCV 4.6 announces an exception that it swallows."""
_CODEC_NOISE = ("libpng ", "Corrupt JPEG", "Premature end", "JPEG ", "Invalid ", "Unsupported ", "Bogus ", "Warning: ")
"""How the lines begin that libpng and libjpeg write to file descriptor 2."""


def open_capture(target: str, backend: int, parameters: Sequence[int] = ()) -> cv2.VideoCapture | None:
    """Open ``target`` with one backend of OpenCV; None if it cannot.

    Args:
        target: a path, device or address.
        backend: such as ``cv2.CAP_FFMPEG``.
        parameters: alternating ``cv2.CAP_PROP_*`` and values that take effect on opening.
    """
    silence_opencv()
    try:
        capture = cv2.VideoCapture(target, backend, list(parameters))
    except cv2.error:
        return None
    if capture.isOpened():
        return capture
    capture.release()
    return None


def read_capture(capture: cv2.VideoCapture) -> UInt8Array | None:
    """Return the next picture as (H, W, 3) uint8 BGR (or (H, W) grey); None if there is none."""
    try:
        ok, image = capture.read()
    except cv2.error:
        return None
    if not ok or image is None or image.size == 0:
        return None
    return np.asarray(image, np.uint8)


def decode_image(data: bytes) -> tuple[UInt8Array | None, str]:
    """Decode a compressed picture, its EXIF orientation applied.

    Returns:
        (H, W, 3) uint8 BGR or None, and what the decoder complained of ("" if of nothing).
    """
    silence_opencv()
    if not data:
        return None, "it is empty"
    if data.startswith(b"\xff\xd8") and not _jpeg_is_whole(data):
        # OpenCV 4.6 makes the missing part up and calls it a success.
        return None, "it ends too early"
    # libpng and libjpeg write to file descriptor 2 itself, where OpenCV's log level does not reach.
    with native_messages(_is_codec_noise) as noise:
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        except cv2.error as error:  # such as a picture beyond OpenCV's pixel limit
            return None, (error.err or "").strip()
    messages = [line for line in noise if line.startswith(_CODEC_NOISE)]
    complaint = messages[-1] if messages else ""
    return (None if image is None else np.asarray(image, np.uint8)), complaint


def _jpeg_is_whole(data: bytes) -> bool:
    """Whether an end-of-image marker follows the start of the scan.

    The marker FF D9 cannot occur within entropy-coded data, where FF is followed by 00 (ITU-T T.81, B.1.1.5); a
    thumbnail in the header has one of its own, so the headers are skipped.
    """
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == 0xDA:  # start of scan
            return data.find(b"\xff\xd9", at) >= 0
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return False


def _is_codec_noise(line: str) -> bool:
    return line.startswith((*_CODEC_NOISE, *_WRAPPER_NOISE))
