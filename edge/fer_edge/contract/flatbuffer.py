"""Reading a FlatBuffer that nobody vouches for: each offset is checked before it is followed.

The format: https://flatbuffers.dev/internals. A table starts with the distance back to its vtable, which lists where
in the table each field stands; vectors, strings and sub-tables stand elsewhere and are reached by forward offsets.
The generated readers (C++ and Python) follow whatever they find, so a hostile file makes them read outside the file.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MAX_ENTRIES: Final = 100_000
"""Longest vector that is walked, unless the caller sets a tighter limit."""


class DamagedError(Exception):
    """An offset leads outside the file, or a structure is impossible; the message says which."""


@dataclass(frozen=True, slots=True)
class Span:
    """Where some bytes stand in a file."""

    start: int
    size: int


class Table:
    """A table at ``position``, each access checked.

    Args:
        data: the whole file.
        position: of the table.
        name: what the schema calls it; for error messages.
        fields: number of fields that are known; a file that sets a later one is refused, because what it refers to
            would reach the interpreter unchecked. None: not checked.

    Raises:
        DamagedError: if the table or its vtable does not lie in the file.
    """

    __slots__ = ("_data", "_name", "_position", "_size", "_vtable", "_vtable_size")

    def __init__(self, data: bytes, position: int, name: str = "table", fields: int | None = None) -> None:
        self._data, self._position, self._name = data, position, name
        self._vtable = position - self._read("<i", position)
        self._vtable_size = self._read("<H", self._vtable)
        self._size = self._read("<H", self._vtable + 2)
        inside = self._vtable + self._vtable_size <= len(data) and position + self._size <= len(data)
        if self._vtable_size < 4 or self._vtable_size % 2 or self._size < 4 or not inside:
            raise DamagedError(f"{name} does not lie in the file")
        if fields is not None and any(self._slot(number) for number in range(fields, (self._vtable_size - 4) // 2)):
            raise DamagedError(f"{name} has a field of a later schema")

    @classmethod
    def root(cls, data: bytes, name: str, fields: int | None = None) -> Table:
        """Return the table that the file begins with."""
        if len(data) < 8:
            raise DamagedError("the file ends in its header")
        return cls(data, int(struct.unpack_from("<I", data)[0]), name, fields)

    def has(self, number: int) -> bool:
        """Whether a field is set."""
        return self._slot(number) != 0

    def scalar(self, number: int, form: str, default: float = 0) -> Any:
        """Return a number; ``default`` (the schema's) if the field is absent.

        Args:
            number: of the field in the schema.
            form: of the number, as for ``struct`` without the byte order.
            default: the schema's default.
        """
        at = self._field(number, struct.calcsize("<" + form))
        return default if at is None else self._read("<" + form, at)

    def u32(self, number: int) -> int:
        """Unsigned number; absent means 0."""
        return int(self.scalar(number, "I"))

    def i32(self, number: int, default: int = 0) -> int:
        """Signed number."""
        return int(self.scalar(number, "i", default))

    def u8(self, number: int) -> int:
        """Unsigned byte; absent means 0."""
        return int(self.scalar(number, "B"))

    def vector(self, number: int, item: int = 1, limit: int | None = None) -> Span | None:
        """Return where a vector's items stand; None if it is absent.

        Args:
            number: of the field.
            item: bytes of an item.
            limit: most items accepted; None for as many as the file holds.

        Raises:
            DamagedError: if it does not lie in the file, is not aligned, or has more than ``limit`` items.
        """
        at = self._field(number, 4)
        if at is None:
            return None
        start = at + self._read("<I", at)
        count = self._read("<I", start)
        if start + 4 + item * count > len(self._data):
            raise DamagedError(f"{self._name}: field {number} does not lie in the file")
        if limit is not None and count > limit:
            raise DamagedError(f"{self._name}: field {number} has {count} entries; at most {limit} are accepted")
        if (start + 4) % item:
            raise DamagedError(f"{self._name}: field {number} is not aligned")
        return Span(start + 4, item * count)

    def numbers(self, number: int, dtype: str, limit: int = MAX_ENTRIES) -> NDArray[Any]:
        """Return a vector of numbers without copying; absent means empty.

        Args:
            number: of the field.
            dtype: little-endian dtype of NumPy, such as ``<i4``.
            limit: most entries accepted.
        """
        kind = np.dtype(dtype)
        span = self.vector(number, kind.itemsize, limit)
        if span is None:
            return np.empty(0, kind)
        return np.frombuffer(self._data, kind, span.size // kind.itemsize, span.start)

    def string(self, number: int) -> bytes:
        """Bytes of a string; absent means empty. It must end in a NUL, because C++ reads it up to there."""
        span = self.vector(number)
        if span is None:
            return b""
        if self._data[span.start + span.size : span.start + span.size + 1] != b"\0":
            raise DamagedError(f"{self._name}: field {number} is a string without an end")
        return self._data[span.start : span.start + span.size]

    def table(self, number: int, name: str, fields: int | None = None) -> Table | None:
        """Return a sub-table; None if it is absent."""
        at = self._field(number, 4)
        return None if at is None else Table(self._data, at + self._read("<I", at), name, fields)

    def tables(self, number: int, name: str, fields: int | None = None, limit: int = MAX_ENTRIES) -> list[Table]:
        """Return the tables of a vector; absent means none."""
        return [Table(self._data, at, name, fields) for at in self.positions(number, limit)]

    def positions(self, number: int, limit: int = MAX_ENTRIES) -> list[int]:
        """Return where the tables of a vector stand, unchecked as yet; absent means none."""
        offsets = self.numbers(number, "<u4", limit)
        if not len(offsets):
            return []
        span = self.vector(number, 4)
        assert span is not None
        targets: list[int] = (offsets.astype(np.int64) + np.arange(span.start, span.start + span.size, 4)).tolist()
        return targets

    def _slot(self, number: int) -> int:
        """Distance of a field from the table's start; 0 if it is absent."""
        slot = 4 + 2 * number
        return 0 if slot + 2 > self._vtable_size else self._read("<H", self._vtable + slot)

    def _field(self, number: int, size: int) -> int | None:
        """Position of a field's value, or None if it is absent."""
        offset = self._slot(number)
        if not offset:
            return None
        if offset < 4 or offset + size > self._size:
            raise DamagedError(f"{self._name}: field {number} does not lie in its table")
        return self._position + offset

    def _read(self, form: str, position: int) -> int:
        size = struct.calcsize(form)
        if position < 0 or position + size > len(self._data):
            raise DamagedError(f"{self._name} does not lie in the file")
        if position % size:
            raise DamagedError(f"{self._name} is not aligned")
        (value,) = struct.unpack_from(form, self._data, position)
        return value  # type: ignore[no-any-return]
