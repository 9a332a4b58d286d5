"""``aggregate`` and ``aggregate:PATH``: counts by expression per interval, and nothing about a single face.

One line of JSON an interval::

    {"time": 1767225600.0, "interval_s": 60.0, "frames": 1795, "frames_with_face": 1630, "faces_at_once": 2,
     "expressions": {"happy": 812, "neutral": 790, "uncertain": 28}}

``expressions`` counts faces in frames: a face that smiles for two seconds at 30 frames/s adds 60 to ``happy``. Ids,
boxes and probabilities are not kept, so that no line can be tied to a person. An interval during which the run was
stopped and started again has two lines with the same ``time``: add them up.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from fer_edge.contract.preprocess import UInt8Array
from fer_edge.frames import Observation
from fer_edge.outputs.base import Record
from fer_edge.outputs.jsonl import json_lines, line
from fer_edge.outputs.settings import AggregateSettings, LogSettings
from fer_edge.status import RuntimeStatus


@dataclass(slots=True)
class _Counts:
    """What one interval holds."""

    frames: int = 0
    frames_with_face: int = 0
    faces_at_once: int = 0
    expressions: Counter[str] = field(default_factory=Counter)

    def add(self, observation: Observation) -> None:
        self.frames += 1
        self.frames_with_face += bool(observation.faces)
        self.faces_at_once = max(self.faces_at_once, len(observation.faces))
        self.expressions.update(face.expression for face in observation.faces)


class AggregateOutput:
    """Counts by expression per interval."""

    wants_image = False
    lossless = True

    def __init__(self, path: Path | None, settings: AggregateSettings, files: LogSettings) -> None:
        """Name the file; None is standard output."""
        self.name = "aggregate" if path is None else f"aggregate:{path}"
        self._interval_s = settings.interval_s
        self._lines = json_lines(path, files)
        self._interval: int | None = None
        self._counts = _Counts()

    def open(self) -> None:
        """Open the file or stdout; see :class:`JsonlOutput` for what is raised."""
        self._lines.open()

    def write(self, observation: Observation, image: UInt8Array | None) -> None:  # noqa: ARG002
        """Count one result; the first one of a new interval writes the line of the last."""
        interval = math.floor(observation.time / self._interval_s)
        if self._interval is not None and interval != self._interval:
            self._write_line()
        self._interval = interval
        self._counts.add(observation)

    def status(self, status: RuntimeStatus) -> None:  # noqa: ARG002
        """Write what was held back long enough."""
        self._lines.flush_if_due()

    def close(self) -> None:
        """Write the line of the interval that has begun, and close the file."""
        try:
            if self._interval is not None:
                self._write_line()
        finally:
            self._lines.close()

    def _write_line(self) -> None:
        assert self._interval is not None
        document: Record = {
            "time": self._interval * self._interval_s,
            "interval_s": self._interval_s,
            "frames": self._counts.frames,
            "frames_with_face": self._counts.frames_with_face,
            "faces_at_once": self._counts.faces_at_once,
            "expressions": dict(sorted(self._counts.expressions.items())),
        }
        # Cleared first: a line that cannot be written is lost, not counted twice.
        self._interval = None
        self._counts = _Counts()
        self._lines.add(line(document))
