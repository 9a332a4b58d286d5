"""An append-only file of lines that survives full disks and power cuts, and spares SD cards.

Lines are collected and written in batches. A file is rotated when it is full, by renaming it to ``PATH.1``, the old
``PATH.1`` to ``PATH.2`` and so on. Every line in the file is whole: what a failed write left of a line is cut off
at once, and what a power cut left (part of a line, or the zero bytes that ext4 and f2fs may show in its place) when
the file is next opened.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

from fer_edge.errors import OutputError
from fer_edge.outputs.settings import LogSettings

log = logging.getLogger(__name__)

BATCH_BYTES = 64 * 1024
"""A batch is written when it has grown to this, however young it is: some erase blocks of a card, little memory."""


class LogFile:
    """The file behind ``jsonl:PATH``, ``csv:PATH`` and ``aggregate:PATH``; used from one thread."""

    def __init__(
        self,
        path: Path,
        settings: LogSettings,
        *,
        is_line: Callable[[bytes], bool],
        header: bytes = b"",
        what: str = "file of this kind",
    ) -> None:
        """Name the file; nothing is touched before :meth:`open`.

        Args:
            path: the file; a FIFO or device is written to as it is, without rotation.
            settings: size of a file and of a batch.
            is_line: whether bytes (with the line feed, if it was written) are a whole line of such a file.
            header: what a new file starts with, line feed included; a file that starts otherwise is refused.
            what: how a message calls such a file: "JSON Lines file".
        """
        self.path = path
        self._settings = settings
        self._is_line = is_line
        self._header = header
        self._what = what
        self._descriptor: int | None = None
        self._regular = True
        self._size = 0
        self._batch = bytearray()
        self._batch_since = 0.0

    def open(self) -> None:
        """Open the file for appending; cut off what a power cut left of a line.

        Raises:
            OutputError: if it cannot be written, is not such a file or is being written by another process.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Without O_NONBLOCK opening a FIFO would wait for a reader for ever; regular files ignore the flag.
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC
            mode = self.path.stat().st_mode if self.path.exists() else stat.S_IFREG
            if not stat.S_ISREG(mode):
                flags = flags & ~os.O_RDWR | os.O_WRONLY
            self._descriptor = os.open(self.path, flags, 0o666)
            os.set_blocking(self._descriptor, True)
            self._regular = stat.S_ISREG(mode)
            if self._regular:
                self._lock()
                self._size = os.fstat(self._descriptor).st_size
                self._mend()
            if self._regular and self._size == 0 and self._header:
                self._append(self._header)
        except OSError as error:
            self._release()
            raise self._cannot_write(error) from error

    def add(self, line: bytes) -> None:
        """Take one line, line feed included; it reaches the disk with its batch.

        Raises:
            OutputError: if the batch cannot be written (a full disk). Whole lines that were written stay; the rest of
                the batch is lost.
        """
        now = time.monotonic()
        if not self._batch:
            self._batch_since = now
        self._batch += line
        if len(self._batch) >= BATCH_BYTES or now - self._batch_since >= self._settings.flush_interval_s:
            self.flush()

    def flush_if_due(self) -> None:
        """Write the batch if it is old enough, though no line came.

        Raises:
            OutputError: as for :meth:`add`.
        """
        if self._batch and time.monotonic() - self._batch_since >= self._settings.flush_interval_s:
            self.flush()

    def flush(self) -> None:
        """Write the batch now; rotate first if it would make the file too large.

        Raises:
            OutputError: as for :meth:`add`.
        """
        if not self._batch:
            return
        batch, self._batch = bytes(self._batch), bytearray()
        try:
            limit = self._settings.max_bytes
            if self._regular and limit and self._size > len(self._header) and self._size + len(batch) > limit:
                self._rotate()
            self._append(batch)
        except OSError as error:
            raise self._cannot_write(error) from error

    def close(self) -> None:
        """Write the batch, fsync and close; idempotent.

        Raises:
            OutputError: as for :meth:`add`; the file is closed all the same.
        """
        if self._descriptor is None:
            return
        try:
            self.flush()
            if self._regular:
                os.fsync(self._descriptor)
        except OSError as error:
            raise error if isinstance(error, OutputError) else self._cannot_write(error) from error
        finally:
            self._release()

    def _append(self, data: bytes) -> None:
        """Write all of ``data``; on failure keep its whole lines only."""
        assert self._descriptor is not None
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            whole = data.rfind(b"\n", 0, len(data) - len(rest)) + 1
            if self._regular:
                os.ftruncate(self._descriptor, self._size + whole)
                self._size += whole
            raise
        self._size += len(data)

    def _rotate(self) -> None:
        assert self._descriptor is not None
        os.fsync(self._descriptor)
        keep = self._settings.keep
        for number in range(keep - 1, 0, -1):
            older = self._numbered(number)
            if older.exists():
                older.replace(self._numbered(number + 1))
        if keep:
            self.path.replace(self._numbered(1))
        else:
            self.path.unlink()
        self._release()
        self.open()

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")

    def _lock(self) -> None:
        """Refuse a file that another process writes: the two would rotate it under each other's hands."""
        assert self._descriptor is not None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(f"{self.path}: another process is writing it; name another file") from error
        except OSError as error:  # a network file system without locks
            if error.errno not in {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}:
                raise

    def _mend(self) -> None:
        """Make the file end with a whole line; refuse a file that is something else, and leave that as it is."""
        assert self._descriptor is not None
        end = self._size
        while end:
            start = self._line_start(end)
            line = os.pread(self._descriptor, end - start, start)
            if self._is_line(line) or (start == 0 and line == self._header):
                break
            whole = line.endswith(b"\n") and b"\0" not in line
            if whole or (start == 0 and not self._is_torn_first_line(line)):
                raise self._foreign()
            end = start
        if end and os.pread(self._descriptor, len(self._header), 0) != self._header:
            raise self._foreign()
        if end < self._size:
            log.warning("%s: cut off %d bytes of a torn line at its end", self.path, self._size - end)
            os.ftruncate(self._descriptor, end)
            self._size = end
        if end and os.pread(self._descriptor, 1, end - 1) != b"\n":
            self._append(b"\n")

    def _is_torn_first_line(self, line: bytes) -> bool:
        text = line.rstrip(b"\0")
        return self._header.startswith(text) if self._header else text[:1] in {b"", b"{"}

    def _foreign(self) -> OutputError:
        """Somebody named their notes by mistake."""
        return OutputError(f"{self.path}: exists and is no {self._what} to append to; move it or name another file")

    def _line_start(self, end: int) -> int:
        """Return the offset at which the line that ends at ``end`` (its line feed included) starts."""
        assert self._descriptor is not None
        stop = end - 1  # the line's own line feed does not count
        while stop > 0:
            block = max(0, stop - BATCH_BYTES)
            found = os.pread(self._descriptor, stop - block, block).rfind(b"\n")
            if found >= 0:
                return block + found + 1
            stop = block
        return 0

    def _release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _cannot_write(self, error: OSError) -> OutputError:
        if isinstance(error, OutputError):
            return error
        if error.errno == errno.ENXIO:
            return OutputError(f"{self.path}: nobody reads this FIFO; start its reader first")
        reason = error.strerror or str(error)
        return OutputError(f"{self.path}: cannot be written ({reason}); free some space or name another place")
