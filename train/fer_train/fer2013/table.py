"""FER2013 as a table of text: ``emotion,pixels,Usage``, a line an image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Final

import numpy as np

from fer_edge.contract.labels import LABELS
from fer_edge.errors import DataError
from fer_train.fer2013.dataset import MAX_IMAGES, PIXELS, SIDE, SPLITS, ImageTable

MAX_LINE_BYTES: Final = 1 << 16
"""Seven times the longest line of FER2013; longer means that the file is no table, or a decompression bomb."""

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_COLUMNS: Final = (b"emotion", b"pixels", b"usage")
_LABEL_IDS: Final = {str(i).encode(): i for i in range(len(LABELS))}
_SPLIT_IDS: Final = {name.encode(): i for i, name in enumerate(SPLITS)}
_LINES_BETWEEN_REPORTS: Final = 256


@dataclass(frozen=True)
class Columns:
    """Where the three columns are: the challenge and Kaggle's ``icml_face_data.csv`` order them differently."""

    emotion: int
    pixels: int
    usage: int
    count: int


def find_columns(header: bytes) -> Columns | None:
    """Return where FER2013's columns are in a header line, or None if it is not FER2013's header."""
    names = [_field(name).lower() for name in header.removeprefix(_BYTE_ORDER_MARK).split(b",")]
    if any(names.count(column) != 1 for column in _COLUMNS):
        return None
    emotion, pixels, usage = (names.index(column) for column in _COLUMNS)
    return Columns(emotion, pixels, usage, len(names))


def read_table(stream: BinaryIO, name: str, report: Callable[[], None]) -> ImageTable:
    """Read a whole table.

    Args:
        stream: its bytes, already decompressed.
        name: what messages call it.
        report: called now and then, to move a progress bar.

    Raises:
        DataError: naming the 1-based line, for whatever is not a row of FER2013.
    """
    header = stream.readline(MAX_LINE_BYTES)
    columns = find_columns(header)
    if columns is None:
        raise DataError(f"{name}, line 1: the header must name the columns emotion, pixels and Usage")
    pixels, labels, splits = bytearray(), bytearray(), bytearray()
    number = 1
    while line := stream.readline(MAX_LINE_BYTES):
        number += 1
        if number % _LINES_BETWEEN_REPORTS == 0:
            report()
        try:
            if len(line) == MAX_LINE_BYTES:
                raise ValueError(f"is longer than {MAX_LINE_BYTES:,} bytes; this is not FER2013's table")
            if number > MAX_IMAGES:
                raise ValueError(f"follows {MAX_IMAGES:,} others; FER2013 has 35,887 images")
            if line.isspace():
                continue
            label, image, split = _parse_row(line, columns)
        except ValueError as error:
            raise DataError(f"{name}, line {number}: {error}") from None
        pixels += image
        labels.append(label)
        splits.append(split)
    return ImageTable(
        pixels=np.frombuffer(pixels, np.uint8).reshape(-1, SIDE, SIDE),
        labels=np.frombuffer(labels, np.uint8),
        splits=np.frombuffer(splits, np.uint8),
    )


def _parse_row(line: bytes, columns: Columns) -> tuple[int, bytes, int]:
    """Return (label id, 2304 bytes of pixels, split index); raise ValueError saying what is wrong."""
    fields = line.split(b",")
    if len(fields) != columns.count:
        cut = "; the line is cut short" if len(fields) < columns.count else ""
        raise ValueError(f"{len(fields)} columns where the header names {columns.count}{cut}: fetch the file again")
    emotion, usage = _field(fields[columns.emotion]), _field(fields[columns.usage])
    label, split = _LABEL_IDS.get(emotion), _SPLIT_IDS.get(usage)
    if label is None:
        raise ValueError(f"emotion {_show(emotion)} where FER2013 has 0 to {len(LABELS) - 1}; correct or drop the row")
    if split is None:
        raise ValueError(f"Usage {_show(usage)} where FER2013 has {', '.join(SPLITS)}; correct or drop the row")
    text = _field(fields[columns.pixels])
    image = _decode_pixels(text)
    return label, _examine_pixels(text) if image is None else image, split


def _decode_pixels(text: bytes) -> bytes | None:
    """Turn well-formed pixels (2304 numbers of 1 to 3 digits, single spaces) into bytes; None for anything else.

    All digits of a row are decoded at once: five times faster than ``int`` by ``int``.
    """
    padded = np.frombuffer(b"   " + text + b" ", np.uint8)
    digits = padded - np.uint8(ord("0"))  # a space wraps around to 240
    spaces = padded == ord(" ")
    ends = np.flatnonzero(spaces)[2:]
    if len(ends) != PIXELS + 1 or not (spaces | (digits < 10)).all():
        return None
    lengths, ends = np.diff(ends) - 1, ends[1:]
    if lengths.min() < 1 or lengths.max() > 3:
        return None
    values = digits[ends - 1].astype(np.uint16)
    values += np.where(lengths > 1, digits[ends - 2], 0) * np.uint16(10)
    values += np.where(lengths > 2, digits[ends - 3], 0) * np.uint16(100)
    return values.astype(np.uint8).tobytes() if values.max() <= 255 else None


def _examine_pixels(text: bytes) -> bytes:
    """Decode pixels slowly, tolerating other spacing and leading zeros, or raise ValueError saying what is wrong."""
    tokens = text.split()
    if len(tokens) != PIXELS:
        raise ValueError(f"{len(tokens):,} pixels where an image has {PIXELS:,}; the row is damaged: fetch it again")
    for index, token in enumerate(tokens):
        if not token.removeprefix(b"-").isdigit():
            raise ValueError(f"pixel {index} is {_show(token)}, not a whole number; the row is damaged: fetch it again")
        if len(token.lstrip(b"0")) > 3 or not 0 <= int(token) <= 255:
            raise ValueError(f"pixel {index} is {_show(token)}, outside 0 to 255; the row is damaged: fetch it again")
    return bytes(map(int, tokens))


def _field(text: bytes) -> bytes:
    return text.strip().strip(b'"').strip()


def _show(text: bytes) -> str:
    """Quote a field for a message: on one line, and short."""
    shown = ascii(text.decode("utf-8", "replace"))
    return shown if len(shown) <= 40 else f"{shown[:36]}...'"
