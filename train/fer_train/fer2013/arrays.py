"""FER2013 as NumPy arrays: an .npz of ``pixels``, ``emotion`` and ``usage``; the cache has the same form."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from tokenize import TokenError
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract.labels import LABELS
from fer_edge.contract.preprocess import UInt8Array
from fer_edge.errors import DataError
from fer_train.fer2013.archives import damage_named, open_member
from fer_train.fer2013.dataset import MAX_IMAGES, PIXELS, SIDE, SPLITS, ImageTable

MAX_ARRAY_BYTES: Final = 1 << 30
"""Of one array: holds MAX_IMAGES images, and FER2013 with 64-bit pixels."""

_KEYS: Final = ("pixels", "emotion", "usage")


def read_arrays(path: Path) -> ImageTable:
    """Read ``pixels`` (N, 48, 48), ``emotion`` (N,) and ``usage`` (N,) strings; pickled objects are refused.

    Raises:
        DataError: naming the array, and the row counted from 0, that is not FER2013's.
    """
    with damage_named(str(path)), zipfile.ZipFile(path) as archive:
        arrays = {key: _read_array(archive, path, key) for key in _KEYS}
        noted = "notes.npy" in archive.namelist()
        notes = tuple(map(str, _read_array(archive, path, "notes").ravel())) if noted else ()
    pixels, emotion, usage = (arrays[key] for key in _KEYS)
    if pixels.shape[1:] not in ((SIDE, SIDE), (SIDE, SIDE, 1), (PIXELS,)):
        raise DataError(f"{path}: pixels is {pixels.shape} where FER2013 has (N, {SIDE}, {SIDE})")
    n = len(pixels)
    if emotion.shape != (n,) or usage.shape != (n,):
        raise DataError(
            f"{path}: {n} images, but emotion is {emotion.shape} and usage {usage.shape}; each needs ({n},)"
        )
    if n > MAX_IMAGES:
        raise DataError(f"{path}: {n:,} images where FER2013 has 35,887; name another data set")
    return ImageTable(
        pixels=_in_range(path, "pixels", pixels.reshape(n, SIDE, SIDE), 255),
        labels=_in_range(path, "emotion", emotion, len(LABELS) - 1),
        splits=_split_ids(path, usage),
        notes=notes,
    )


def _read_array(archive: zipfile.ZipFile, path: Path, key: str) -> NDArray[Any]:
    """Read one array after its header has been found harmless."""
    try:
        member = archive.getinfo(f"{key}.npy")
    except KeyError:
        raise DataError(f"{path}: has no array {key!r}; it must hold {', '.join(_KEYS)}") from None
    try:
        with open_member(archive, member) as stream:
            version = np.lib.format.read_magic(stream)
            read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            if version not in read_header:
                raise ValueError(f"has version {version} of the .npy format")
            shape, _, dtype = read_header[version](stream)
        if dtype.hasobject or dtype.kind not in "uiUS":
            raise ValueError(f"holds {dtype}, not integers or strings")
        size = math.prod(shape) * dtype.itemsize
        if size > MAX_ARRAY_BYTES:
            raise ValueError(f"would take {size:,} bytes, more than FER2013 does")
        if size > member.file_size:
            raise ValueError("is cut short")
        # Not open_member's BufferedReader: NumPy 1.24, Bookworm's, takes each of these for a file with a descriptor.
        with archive.open(member) as stream:
            array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    except (ValueError, TokenError) as error:
        raise DataError(f"{path}: the array {key!r} cannot be used ({error}); make the file again") from error
    return array


def _in_range(path: Path, key: str, values: NDArray[Any], highest: int) -> UInt8Array:
    """Return ``values`` as uint8 after checking that each is a whole number of 0 to ``highest``."""
    if values.dtype.kind not in "ui":
        raise DataError(f"{path}: the array {key!r} holds {values.dtype} where FER2013 has whole numbers")
    if values.size and (values.max() > highest or values.min() < 0):
        row, *inside = np.argwhere((values < 0) | (values > highest))[0]
        found = values[(row, *inside)]
        raise DataError(f"{path}, row {row}: {key} {found} is outside 0 to {highest}; correct or drop the row")
    return values.astype(np.uint8, copy=False)


def _split_ids(path: Path, usage: NDArray[Any]) -> UInt8Array:
    if usage.dtype.kind not in "US":
        raise DataError(f"{path}: the array 'usage' holds {usage.dtype} where FER2013 has {', '.join(SPLITS)}")
    known = np.array(SPLITS, dtype=usage.dtype.kind)
    equal = usage[:, None] == known
    if not equal.any(axis=1).all():
        row = int(np.argmin(equal.any(axis=1)))
        found = ascii(str(usage[row]))[:40]
        raise DataError(
            f"{path}, row {row}: usage {found} where FER2013 has {', '.join(SPLITS)}; correct or drop the row"
        )
    indices: UInt8Array = equal.argmax(axis=1).astype(np.uint8)
    return indices
