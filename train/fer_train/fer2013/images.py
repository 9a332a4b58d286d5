"""Decoding one PNG or JPEG of a folder tree, strictly: OpenCV returns half an image for half a file."""

from __future__ import annotations

import struct
import zlib
from typing import Final

import cv2
import numpy as np

from fer_edge.contract.preprocess import UInt8Array, to_grey
from fer_train.fer2013.dataset import SIDE

MAX_IMAGE_BYTES: Final = 1 << 16
"""Of one file: six times what 48x48 colour pixels take uncompressed."""

_PNG_MAGIC: Final = b"\x89PNG\r\n\x1a\n"
_JPEG_MAGIC: Final = b"\xff\xd8\xff"
_JPEG_END: Final = b"\xff\xd9"
_START_OF_FRAME: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG markers whose segment states the image's size (ITU-T T.81, table B.1)."""


def decode_image(data: bytes) -> UInt8Array:
    """Return a PNG or JPEG as (48, 48) uint8 grey.

    The size is read from the header first, so that no file makes OpenCV allocate more than it should.
    Every damaged byte of a PNG is found by its checksums. A JPEG has none: one that is cut short or has a broken header
    is refused, but altered pixels inside it can only be seen by looking.

    Raises:
        ValueError: saying what is wrong with it, in words that follow the file's name.
    """
    if not data:
        raise ValueError("is empty")
    if len(data) > MAX_IMAGE_BYTES:
        raise ValueError(f"has more than {MAX_IMAGE_BYTES:,} bytes, far too many for {SIDE}x{SIDE} pixels")
    try:
        width, height = _size(data)
    except (struct.error, IndexError):
        raise ValueError("is cut short") from None
    if (width, height) != (SIDE, SIDE):
        raise ValueError(f"is {width}x{height} where FER2013 has {SIDE}x{SIDE}")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None:
        raise ValueError("is damaged")
    if image.dtype != np.uint8:
        raise ValueError(f"has {8 * image.dtype.itemsize} bits a channel where FER2013 has 8")
    return to_grey(np.asarray(image, np.uint8))


def _size(data: bytes) -> tuple[int, int]:
    """Return (width, height) of a PNG or JPEG that is complete as far as its structure tells."""
    if data.startswith(_PNG_MAGIC):
        return _png_size(data)
    if data.startswith(_JPEG_MAGIC):
        return _jpeg_size(data)
    raise ValueError("is neither PNG nor JPEG")


def _png_size(data: bytes) -> tuple[int, int]:
    """Walk the chunks (PNG specification, section 5) to the last one, checking each checksum."""
    position, kind = len(_PNG_MAGIC), b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, position)
        (checksum,) = struct.unpack_from(">I", data, position + 8 + length)
        if zlib.crc32(data[position + 4 : position + 8 + length]) != checksum:
            raise ValueError("is damaged (a checksum is wrong)")
        position += 12 + length
    width, height = struct.unpack_from(">II", data, len(_PNG_MAGIC) + 8)
    return width, height


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Walk the segments (ITU-T T.81, annex B) to the frame header."""
    if _JPEG_END not in data[-16:]:
        raise ValueError("is cut short")
    position = 2
    while True:
        if data[position] != 0xFF:
            raise ValueError("is damaged (a marker is missing)")
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
        elif marker in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", data, position + 5)
            return width, height
        else:
            position += 2 + struct.unpack_from(">H", data, position + 2)[0]
