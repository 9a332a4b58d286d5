"""Opening files that may be compressed, with every way in which an archive is damaged told as a DataError."""

from __future__ import annotations

import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final

from fer_edge.errors import DataError

GZIP_MAGIC: Final = b"\x1f\x8b"
XZ_MAGIC: Final = b"\xfd7zXZ\x00"
ZIP_MAGICS: Final = (b"PK\x03\x04", b"PK\x05\x06")


_BUFFER_BYTES: Final = 1 << 18


@contextmanager
def damage_named(name: str) -> Iterator[None]:
    """Turn whatever reading a file or an archive raises into a DataError that starts with ``name``."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, lzma.LZMAError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{name}: the archive is damaged or cut short ({error}); fetch it again") from error
    except NotImplementedError as error:
        raise DataError(f"{name}: the archive cannot be read ({error}); unpack it first") from error
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror or error})") from error


def decompressed(raw: BinaryIO) -> BinaryIO:
    """Return a stream of ``raw``'s bytes, decompressed if they are gzip or xz; ``raw`` must be at its start."""
    magic = raw.read(len(XZ_MAGIC))
    raw.seek(0)
    if magic.startswith(GZIP_MAGIC):
        return gzip.GzipFile(fileobj=raw)  # type: ignore[return-value]
    if magic == XZ_MAGIC:
        return lzma.LZMAFile(raw)  # type: ignore[return-value]
    return raw


def is_tar(raw: BinaryIO) -> bool:
    """Return whether ``raw`` is a tar archive (POSIX.1 ustar), compressed or not."""
    raw.seek(0)
    return decompressed(raw).read(512)[257:262] == b"ustar"


def open_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> BinaryIO:
    """Open a file of a zip archive.

    Raises:
        NotImplementedError: if it is encrypted or compressed in a way that Python does not know.
    """
    if member.flag_bits & 0x1:
        raise NotImplementedError(f"{member.filename} is encrypted")
    # ZipExtFile reads lines an octet at a time where it has none buffered: a large buffer is twice as fast.
    return io.BufferedReader(archive.open(member), _BUFFER_BYTES)  # type: ignore[type-var]
