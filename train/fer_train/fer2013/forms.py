"""Recognising the form of FER2013 that a path holds, by what is in it rather than by its name."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from fer_edge.errors import DataError
from fer_train.fer2013.archives import ZIP_MAGICS, damage_named, decompressed, is_tar, open_member
from fer_train.fer2013.arrays import read_arrays
from fer_train.fer2013.dataset import ImageTable
from fer_train.fer2013.images import MAX_IMAGE_BYTES
from fer_train.fer2013.progress import progress
from fer_train.fer2013.table import MAX_LINE_BYTES, find_columns, read_table
from fer_train.fer2013.tree import TreeImage, find_images, list_tree, read_images

_FORMS: Final = "the challenge's CSV (plain, .gz, .xz, .zip), the folder tree train/<label>/, or an .npz"
_SUFFIXES: Final = frozenset({".csv", ".gz", ".npz", ".xz", ".zip"})
"""Of the files in a folder that are looked at; a file that is named itself may be called anything."""


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


@dataclass(frozen=True)
class FolderTree:
    """Kaggle's folder tree."""

    path: Path
    images: Sequence[TreeImage]
    cached: bool = True

    def digest(self) -> str:
        """Return the SHA-256 over each file's name, size and contents, in the order of the names."""
        sha256 = hashlib.sha256()
        names = sorted(image.name for image in self.images)
        with progress(f"Looking at {self.path.name}", len(names)) as done:
            for index, name in enumerate(names):
                done(index)
                data = self._read_image(name)
                sha256.update(f"{name}\0{len(data)}\0".encode(errors="surrogateescape"))
                sha256.update(data)
        return sha256.hexdigest()

    def read(self) -> ImageTable:
        """Decode the images."""
        with progress(f"Reading {self.path.name}", len(self.images)) as done:
            return read_images(self.images, self._read_image, str(self.path), done)

    def _read_image(self, name: str) -> bytes:
        path = self.path / name
        with damage_named(str(path)), path.open("rb") as stream:
            return stream.read(MAX_IMAGE_BYTES + 1)


@dataclass(frozen=True)
class ZippedTree:
    """Kaggle's folder tree in a zip archive."""

    path: Path
    images: Sequence[TreeImage]
    cached: bool = True

    def digest(self) -> str:
        """Return the SHA-256 of the archive."""
        return file_digest(self.path)

    def read(self) -> ImageTable:
        """Decode the images; nothing is unpacked to disk."""
        with (
            damage_named(str(self.path)),
            zipfile.ZipFile(self.path) as archive,
            progress(f"Reading {self.path.name}", len(self.images)) as done,
        ):

            def read_image(name: str) -> bytes:
                with damage_named(f"{self.path}/{name}"), open_member(archive, archive.getinfo(name)) as stream:
                    return stream.read(MAX_IMAGE_BYTES + 1)

            return read_images(self.images, read_image, str(self.path), done)


def recognise(path: Path) -> Form:
    """Return the form of FER2013 that ``path`` holds.

    Raises:
        DataError: if it holds none, or a folder holds several.
    """
    with damage_named(str(path)):
        if path.is_dir():
            form = _recognise_folder(path)
        elif path.is_file():
            form = _recognise_file(path)
        else:
            raise DataError(f"{path}: there is no such file or folder; name {_FORMS}")
    if form is None:
        raise DataError(f"{path}: this is not FER2013; name {_FORMS}")
    return form


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with damage_named(str(path)), path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _recognise_folder(path: Path) -> Form | None:
    """Look for exactly one data set in a folder; if it holds none, in the folders right inside it."""
    inner = sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    faults: list[DataError] = []
    for folders in ([path], inner):
        forms = [form for folder in folders for form in _forms_in(folder, faults)]
        if len(forms) > 1:
            raise DataError(f"{path}: holds several data sets ({', '.join(str(f.path) for f in forms)}); name one")
        if forms:
            return forms[0]
    if faults:
        raise faults[0]
    return None


def _forms_in(folder: Path, faults: list[DataError]) -> Iterator[Form]:
    """Yield the data sets right in a folder: the tree that it is, and its files.

    A damaged file does not hide a whole one beside it: what is wrong is put in ``faults``.
    """
    try:
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in _SUFFIXES and file.is_file())
    except PermissionError:  # such as lost+found
        return
    for recognise_one, path in ((_recognise_tree, folder), *((_recognise_file, file) for file in files)):
        try:
            form = recognise_one(path)
        except DataError as fault:
            faults.append(fault)
        else:
            if form is not None:
                yield form


def _recognise_tree(folder: Path) -> Form | None:
    with damage_named(str(folder)):
        images = find_images(list_tree(folder), str(folder))
    return FolderTree(folder, images) if images else None


def _recognise_file(path: Path) -> Form | None:
    with damage_named(str(path)), path.open("rb") as raw:
        start = raw.read(4)
        raw.seek(0)
        if not start:
            raise DataError(f"{path}: the file is empty; fetch it again")
        if start in ZIP_MAGICS:
            return _recognise_zip(path, raw)
        if _is_table(decompressed(raw)):
            return TableFile(path)
        if is_tar(raw):
            raise DataError(f"{path}: this is a tar archive; unpack it ( tar xf {path.name} ) and name what was in it")
    return None


def _recognise_zip(path: Path, raw: BinaryIO) -> Form | None:
    with zipfile.ZipFile(raw) as archive:
        members = {member.filename: member for member in archive.infolist() if not member.is_dir()}
        if any(name.endswith(".npy") for name in members):
            return ArraysFile(path)
        tables = []
        for name, member in members.items():
            if name.lower().endswith(".csv"):
                with open_member(archive, member) as stream:
                    if _is_table(stream):
                        tables.append(name)
    images = find_images(members, str(path))
    if len(tables) + bool(images) > 1:
        found = [*tables, "a folder tree"] if images else tables
        raise DataError(f"{path}: holds several data sets ({', '.join(found)}); unpack it and name one")
    if images:
        return ZippedTree(path, images)
    return TableFile(path, tables[0]) if tables else None


def _is_table(stream: BinaryIO) -> bool:
    return find_columns(stream.readline(MAX_LINE_BYTES)) is not None
