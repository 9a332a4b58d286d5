"""Reading and checking the card of a .tflite file without loading the model.

A .tflite file is a FlatBuffer (https://flatbuffers.dev/internals) of the table ``Model`` in TensorFlow's
``schema.fbs``. Its field ``metadata`` lists (name, buffer index) pairs and its field ``buffers`` the bytes; the card is
one of them. The file is untrusted: each offset is checked against the file's length before it is followed, nothing is
copied but the card, and nothing else is interpreted.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fer_edge.contract.card import CARD_NAME, NO_CHECKSUM, ModelCard, decode_card
from fer_edge.errors import ModelError

MAX_BYTES: Final = 256 * 1024 * 1024
"""Larger files are refused unread; the largest network of this project, VGG16 in float32, takes 60 MB."""
MAX_CARD_BYTES: Final = 256 * 1024
MAX_ENTRIES: Final = 100_000
"""Longest vector of buffers or metadata that is walked."""

_IDENTIFIER = b"TFL3"
_MODEL_BUFFERS, _MODEL_METADATA = 4, 6  # field numbers in schema.fbs: table Model
_METADATA_NAME, _METADATA_BUFFER = 0, 1  # table Metadata
_BUFFER_DATA = 0  # table Buffer


class _DamagedError(Exception):
    """An offset leads outside the file, or a structure has an impossible size."""


@dataclass(frozen=True, slots=True)
class Span:
    """Where some bytes stand in a file."""

    start: int
    size: int


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A .tflite file whose card is valid and whose checksum is right."""

    path: Path
    data: bytes
    sha256: str
    """Of the file as it is."""
    card: ModelCard


def read_model_file(path: Path) -> ModelFile:
    """Read a .tflite file, find its card and verify its checksum.

    Raises:
        ModelError: if the file is missing, too large, not a TFLite file, without a card, or altered.
    """
    data = read_bounded(path)
    span = find_metadata(data, CARD_NAME, str(path))
    if span is None:
        raise ModelError(
            f"{path}: a TFLite model without a fer-edge model card, so its labels and input are unknown; "
            "convert it with `fer-edge convert`"
        )
    if span.size > MAX_CARD_BYTES:
        raise ModelError(f"{path}: its model card has {span.size} bytes; at most {MAX_CARD_BYTES} are accepted")
    card = decode_card(data[span.start : span.start + span.size], str(path))
    if checksum_of(data, span, card.checksum) != card.checksum:
        raise ModelError(
            f"{path}: its checksum does not fit its contents: the file is damaged or was altered; get it anew"
        )
    return ModelFile(path, data, hashlib.sha256(data).hexdigest(), card)


def read_bounded(path: Path) -> bytes:
    """Read a file of at most :data:`MAX_BYTES`.

    Raises:
        ModelError: if it cannot be read or is larger.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be read ({error.strerror}); name a .tflite file or a bundled model"
        ) from error
    if len(data) > MAX_BYTES:
        raise ModelError(f"{path}: larger than {MAX_BYTES // 2**20} MiB, the most that is accepted for a model")
    return data


def find_metadata(data: bytes, name: str, where: str) -> Span | None:
    """Return where the metadata entry called ``name`` stands, or None if the model has none of that name.

    Raises:
        ModelError: if ``data`` is not a TFLite file or is damaged.
    """
    if data[4:8] != _IDENTIFIER:
        raise ModelError(f"{where}: not a TFLite model (it lacks the identifier TFL3)")
    try:
        model = _Table(data, _u32(data, 0))
        buffers = model.vector(_MODEL_BUFFERS)
        for entry in model.vector(_MODEL_METADATA):
            metadata = _Table(data, entry)
            if metadata.string(_METADATA_NAME) != name.encode():
                continue
            index = metadata.u32(_METADATA_BUFFER)
            if index >= len(buffers):
                raise _DamagedError
            return _Table(data, buffers[index]).byte_vector(_BUFFER_DATA)
    except _DamagedError as error:
        raise ModelError(f"{where}: a damaged TFLite file (an offset leads outside it); get it anew") from error
    return None


def checksum_of(data: bytes, card: Span, stated: str) -> str:
    """SHA-256 of the file with the checksum that its card states replaced by zeros.

    Args:
        data: the whole file.
        card: where the card stands.
        stated: the checksum in the card. It must stand in it exactly once, or the sum is of no use and "" is returned.
    """
    text = data[card.start : card.start + card.size]
    if text.count(stated.encode()) != 1:
        return ""
    at = card.start + text.index(stated.encode())
    digest = hashlib.sha256(memoryview(data)[:at])
    digest.update(NO_CHECKSUM.encode())
    digest.update(memoryview(data)[at + len(NO_CHECKSUM) :])
    return digest.hexdigest()


class _Table:
    """A FlatBuffers table at ``position``, each access checked."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data, self._position = data, position
        (back,) = _unpack("<i", data, position)
        self._vtable = position - back
        (self._vtable_size,) = _unpack("<H", data, self._vtable)

    def _field(self, number: int) -> int | None:
        """Position of a field's value, or None if it is absent."""
        slot = 4 + 2 * number
        if slot + 2 > self._vtable_size:
            return None
        (offset,) = _unpack("<H", self._data, self._vtable + slot)
        return self._position + offset if offset else None

    def u32(self, number: int) -> int:
        """Unsigned scalar; absent means 0."""
        at = self._field(number)
        return 0 if at is None else _u32(self._data, at)

    def byte_vector(self, number: int) -> Span | None:
        """Where a vector of bytes stands; None if absent."""
        at = self._field(number)
        if at is None:
            return None
        start = at + _u32(self._data, at)
        size = _u32(self._data, start)
        if start + 4 + size > len(self._data):
            raise _DamagedError
        return Span(start + 4, size)

    def string(self, number: int) -> bytes:
        """Bytes of a string; absent means empty."""
        span = self.byte_vector(number)
        return b"" if span is None else self._data[span.start : span.start + min(span.size, 256)]

    def vector(self, number: int) -> list[int]:
        """Positions of the tables in a vector of offsets; absent means empty."""
        at = self._field(number)
        if at is None:
            return []
        start = at + _u32(self._data, at)
        count = _u32(self._data, start)
        if count > MAX_ENTRIES or start + 4 + 4 * count > len(self._data):
            raise _DamagedError
        slots = range(start + 4, start + 4 + 4 * count, 4)
        return [slot + _u32(self._data, slot) for slot in slots]


def _u32(data: bytes, position: int) -> int:
    (value,) = _unpack("<I", data, position)
    return int(value)


def _unpack(form: str, data: bytes, position: int) -> tuple[int, ...]:
    if position < 0 or position + struct.calcsize(form) > len(data):
        raise _DamagedError
    return struct.unpack_from(form, data, position)
