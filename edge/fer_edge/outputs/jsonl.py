"""``jsonl`` and ``jsonl:PATH``: one line of JSON a frame, to stdout or to a file."""

from __future__ import annotations

import select
import sys
from pathlib import Path
from typing import Any

import msgspec

from fer_edge.contract.preprocess import UInt8Array
from fer_edge.errors import OutputError
from fer_edge.frames import Observation
from fer_edge.outputs.base import OutputClosed, Record, record
from fer_edge.outputs.log_file import LogFile
from fer_edge.outputs.settings import LogSettings
from fer_edge.status import RuntimeStatus


def line(document: Record) -> bytes:
    """Return ``document`` as one line of JSON in UTF-8, line feed included; NaN becomes null."""
    return msgspec.json.encode(document) + b"\n"


class StdoutLines:
    """Lines to standard output, each as soon as it is there."""

    def __init__(self) -> None:
        self._stream: Any = None
        self._rest = b""

    def open(self) -> None:
        """Find standard output.

        Raises:
            OutputError: if the process has none.
        """
        if sys.stdout is None:
            raise OutputError("stdout: closed; name a file instead: jsonl:PATH")
        sys.stdout.flush()
        # Unbuffered: a buffer that cannot be emptied (broken pipe, full disk) would fail again at interpreter exit.
        binary = sys.stdout.buffer
        self._stream = getattr(binary, "raw", binary)

    def add(self, line: bytes) -> None:
        """Write one line.

        Raises:
            OutputClosed: if the reader has gone.
            OutputError: if it cannot be written; what is left of the line comes first next time, so that none is torn.
        """
        data = self._rest + line
        sent = 0
        try:
            while sent < len(data):
                written = self._stream.write(data[sent:])
                if written is None:  # somebody made the terminal or pipe non-blocking
                    select.select([], [self._stream], [])
                else:
                    sent += written
        except BrokenPipeError as error:
            raise OutputClosed("stdout: the reader has gone") from error
        except OSError as error:
            begun = sent > 0 or self._rest
            self._rest = data[sent : data.index(b"\n", max(sent - 1, 0)) + 1] if begun else b""
            raise OutputError(f"stdout: cannot be written ({error.strerror}); free some space") from error
        self._rest = b""

    def flush_if_due(self) -> None:
        """Do nothing: nothing is held back."""

    def close(self) -> None:
        """Let go of standard output, which stays open for others."""
        self._stream = None


def is_json_object(text: bytes) -> bool:
    """Return whether ``text`` is one whole JSON object."""
    if not text.startswith(b"{"):
        return False
    try:
        msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        return False
    return True


def json_lines(path: Path | None, settings: LogSettings) -> LogFile | StdoutLines:
    """Return where lines of JSON go: the file at ``path``, or standard output for None."""
    if path is None:
        return StdoutLines()
    return LogFile(path, settings, is_line=is_json_object, what="JSON Lines file")


class JsonlOutput:
    """One line a frame: ``{"frame", "time", "age_ms", "faces": [...], "timing_ms": {...}}``.

    A file is appended to, in batches of ``flush_interval_s``; a power cut costs the last batch at most, beside what the
    kernel itself held back.
    """

    wants_image = False
    lossless = True

    def __init__(self, path: Path | None, settings: LogSettings) -> None:
        """Name the file; None is standard output."""
        self.name = "jsonl" if path is None else f"jsonl:{path}"
        self._lines = json_lines(path, settings)

    def open(self) -> None:
        """Open the file or stdout; see :meth:`LogFile.open` and :meth:`StdoutLines.open` for what is raised."""
        self._lines.open()

    def write(self, observation: Observation, image: UInt8Array | None) -> None:  # noqa: ARG002
        """Take one result as a line."""
        self._lines.add(line(record(observation)))

    def status(self, status: RuntimeStatus) -> None:  # noqa: ARG002
        """Write what was held back long enough."""
        self._lines.flush_if_due()

    def close(self) -> None:
        """Write what was held back and close the file."""
        self._lines.close()
