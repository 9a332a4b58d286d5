"""``csv:PATH``: one row a face, for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fer_edge.contract.preprocess import UInt8Array
from fer_edge.errors import OutputError
from fer_edge.frames import Observation
from fer_edge.outputs.base import record
from fer_edge.outputs.log_file import LogFile
from fer_edge.outputs.settings import LogSettings
from fer_edge.status import RuntimeStatus

COLUMNS = ("frame", "time", "age_ms", "id", "x", "y", "width", "height", "expression", "score")


class CsvOutput:
    """One row a face: the columns of :data:`COLUMNS`, then the probability of each label."""

    wants_image = False
    lossless = True

    def __init__(self, path: Path, labels: Sequence[str], settings: LogSettings) -> None:
        """Name the file and its last columns, the model's labels."""
        self.name = f"csv:{path}"
        self._labels = tuple(labels)
        self._columns = (*COLUMNS, *(f"p_{label}" for label in labels))
        what = "CSV file with the columns of this model"
        self._file = LogFile(path, settings, is_line=self._is_row, header=_row(self._columns), what=what)

    def open(self) -> None:
        """Open the file for appending; see :meth:`LogFile.open` for what is raised."""
        self._file.open()

    def write(self, observation: Observation, image: UInt8Array | None) -> None:  # noqa: ARG002
        """Take the faces of one result, a row each.

        Raises:
            OutputError: if the file cannot be written, or has columns for another model's labels.
        """
        document = record(observation)
        head = [document["frame"], document["time"], document["age_ms"]]
        for face in document["faces"]:
            if tuple(face["probabilities"]) != self._labels:
                raise OutputError(f"{self.name}: the model has other labels now; start again with another file")
            score = [face["expression"], face["score"]]
            self._file.add(_row([*head, face["id"], *face["box"], *score, *face["probabilities"].values()]))

    def status(self, status: RuntimeStatus) -> None:  # noqa: ARG002
        """Write what was held back long enough."""
        self._file.flush_if_due()

    def close(self) -> None:
        """Write what was held back and close the file."""
        self._file.close()

    def _is_row(self, line: bytes) -> bool:
        # Without its line feed a row's last number may be cut short and still be a number.
        if not line.endswith(b"\n") or b"\0" in line:
            return False
        rows = list(csv.reader([line.decode("utf-8", "replace")]))
        return len(rows) == 1 and len(rows[0]) == len(self._columns)


def _row(values: Sequence[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().encode()
