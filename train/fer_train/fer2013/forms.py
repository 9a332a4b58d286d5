"""Recognising the form of FER2013 that a path holds, by what is in it rather than by its name."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from fer_edge.errors import DataError

from fer_train.fer2013.archives import ZIP_MAGICS, damage_named, decompressed, open_member
from fer_train.fer2013.arrays import read_arrays
from fer_train.fer2013.dataset import ImageTable
from fer_train.fer2013.progress import progress
from fer_train.fer2013.table import MAX_LINE_BYTES, find_columns, read_table

_WHAT_IT_MAY_BE: Final = "the challenge's CSV (plain, .gz, .xz, .zip), the folder tree train/<label>/, or an .npz"


class Form(Protocol):
    """A source of FER2013 in one of its forms."""

    @property
    def path(self) -> Path:
        """The file or folder."""
        ...

    @property
    def cached(self) -> bool:
        """Whether reading it takes so long that a cache is worth its place."""
        ...

    def digest(self) -> str:
        """Return the SHA-256 of its contents, in hexadecimal."""
        ...

    def read(self) -> ImageTable:
        """Read all of it.

        Raises:
            DataError: naming the file and the line, row or image that is at fault.
        """
        ...


@dataclass(frozen=True)
class TableFile:
    """The challenge's CSV, perhaps compressed, perhaps in a zip archive."""

    path: Path
    member: str | None = None
    """The table's name in a zip archive."""
    cached: bool = True

    def digest(self) -> str:
        """Return the SHA-256 of the file, as it is (compressed)."""
        return file_digest(self.path)

    def read(self) -> ImageTable:
        """Read the table line by line; the whole text is never in memory."""
        name = str(self.path) if self.member is None else f"{self.path}: {self.member}"
        with (
            damage_named(name),
            self.path.open("rb") as raw,
            progress(f"Reading {self.path.name}", self.path.stat().st_size) as done,
        ):

            def report() -> None:
                done(raw.tell())

            if self.member is None:
                return read_table(decompressed(raw), name, report)
            with zipfile.ZipFile(raw) as archive, open_member(archive, archive.getinfo(self.member)) as stream:
                return read_table(stream, name, report)


@dataclass(frozen=True)
class ArraysFile:
    """An .npz of pixels, emotion and usage."""

    path: Path
    cached: bool = False

    def digest(self) -> str:
        """Return the SHA-256 of the file."""
        return file_digest(self.path)

    def read(self) -> ImageTable:
        """Read the arrays."""
        return read_arrays(self.path)


def recognise(path: Path) -> Form:
    """Return the form of FER2013 that ``path`` holds.

    Raises:
        DataError: if it holds none, or a folder holds several.
    """
    if not path.exists():
        raise DataError(f"{path}: does not exist; name {_WHAT_IT_MAY_BE}")
    form = _recognise_file(path)
    if form is None:
        raise DataError(f"{path}: this is not FER2013; name {_WHAT_IT_MAY_BE}")
    return form


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with damage_named(str(path)), path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _recognise_file(path: Path) -> Form | None:
    with damage_named(str(path)), path.open("rb") as raw:
        start = raw.read(4)
        raw.seek(0)
        if not start:
            raise DataError(f"{path}: the file is empty; fetch it again")
        if start in ZIP_MAGICS:
            return _recognise_zip(path, raw)
        return TableFile(path) if _is_table(decompressed(raw)) else None


def _recognise_zip(path: Path, raw: BinaryIO) -> Form | None:
    with zipfile.ZipFile(raw) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        if any(member.filename.endswith(".npy") for member in members):
            return ArraysFile(path)
        tables = []
        for member in members:
            if member.filename.lower().endswith(".csv"):
                with open_member(archive, member) as stream:
                    if _is_table(stream):
                        tables.append(member.filename)
    if len(tables) > 1:
        raise DataError(f"{path}: holds several tables ({', '.join(tables)}); unpack it and name one")
    return TableFile(path, tables[0]) if tables else None


def _is_table(stream: BinaryIO) -> bool:
    return find_columns(stream.readline(MAX_LINE_BYTES)) is not None
