"""What ``fer-edge run`` shows on a terminal: a table of the faces in view, redrawn in place."""

from __future__ import annotations

import logging
import sys
import time
from typing import Final

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fer_edge.contract.preprocess import UInt8Array
from fer_edge.frames import Face, Observation
from fer_edge.status import RuntimeStatus

REDRAW_EVERY_S: Final = 0.2
"""Faster than this nobody can read."""
_BAR_WIDTH: Final = 20


class LiveTable:
    """An output for people: faces, expressions, rate and latency."""

    name = "table"
    wants_image = False
    lossless = False

    def __init__(self, console: Console | None = None) -> None:
        """Draw on ``console``; None is standard output."""
        self._console = console
        self._live: Live | None = None
        self._observation: Observation | None = None
        self._status: RuntimeStatus | None = None
        self._drawn = 0.0

    def open(self) -> None:
        """Begin to draw."""
        self._live = Live(console=self._console or Console(), auto_refresh=False)
        self._live.start()
        _point_log_at_stderr()  # which now writes above the table, not through it

    def write(self, observation: Observation, image: UInt8Array | None) -> None:  # noqa: ARG002
        """Show a result, unless the last one is too recent."""
        self._observation = observation
        if time.monotonic() - self._drawn >= REDRAW_EVERY_S:
            self._draw()

    def status(self, status: RuntimeStatus) -> None:
        """Show the state of the run."""
        self._status = status
        self._draw()

    def close(self) -> None:
        """Leave the last table standing."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()
            _point_log_at_stderr()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        if self._live is not None:
            self._live.update(Group(self._headline(), self._faces()), refresh=True)

    def _headline(self) -> Text:
        status = self._status
        if status is None:
            return Text("starting")
        age = "" if status.age_ms is None else f", {status.age_ms:.0f} ms old"
        text = Text(f"{status.source}  {status.model}\n")
        text.append(status.state, style="green" if status.state == "running" else "yellow")
        text.append(f"  {status.fps:.1f} frames/s{age}, {status.frames} frames, {status.dropped} dropped")
        if status.detail:
            text.append(f"\n{status.detail}", style="yellow")
        return text

    def _faces(self) -> Table:
        table = Table("face", "expression", "score", "", "place", expand=False)
        for face in () if self._observation is None else self._observation.faces:
            table.add_row(*_row(face))
        return table


def _row(face: Face) -> tuple[str, ...]:
    x, y, w, h = face.box
    bar = "█" * round(face.score * _BAR_WIDTH)
    return str(face.id), face.expression, f"{face.score:.0%}", f"{bar:<{_BAR_WIDTH}}", f"{w}x{h} at {x},{y}"


def _point_log_at_stderr() -> None:
    """Make the log follow ``sys.stderr``, which rich replaces while it draws."""
    for handler in logging.getLogger().handlers:
        if type(handler) is logging.StreamHandler:
            handler.setStream(sys.stderr)
