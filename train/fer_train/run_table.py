"""The networks in one Markdown table: what was published of each, and what it reaches by the official protocol."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fer_edge.contract.command_line import without_folders
from fer_train.run_measures import Measured, RunMeasures
from fer_train.run_record import Run
from fer_train.run_sections import duration

_NONE: Final = "–"  # noqa: RUF001 - a dash is what tables have
_HEAD: Final = (
    "run",
    "published",
    "PublicTest",
    "PrivateTest (95 %)",
    "Training",
    "parameters",
    "MMAC",
    "epochs",
    "time",
)


@dataclass(frozen=True, slots=True)
class Published:
    """A figure that others report for a network."""

    accuracy: float
    source: str


PUBLISHED: Final[Mapping[str, Published]] = {
    "cnn5": Published(0.8139, "a public project; its weights were trained on the test images"),
    "deep_cnn": Published(
        0.6862, "a public project of a deep CNN, whose layers it is not known to share; with these, another has 65.6 %"
    ),
    "mini_xception": Published(0.66, "Arriaga et al. 2017"),
    "mobilenet": Published(0.676, "a public model zoo, float; 55.5 % in int8"),
    "shallow_cnn": Published(0.611, "a public project of a shallow CNN; with these layers, another has 56.3 %"),
    "vgg16": Published(0.727, "Pramerdorfer and Kampel 2016: a VGG for 48 pixels, eight crops"),
    "vgg3": Published(0.565, "a public project"),
}
"""Network -> what is reported of it on FER2013's seven labels. Splits, and what chose the epoch, differ or are not
told: that is why the networks are trained anew here."""

PUBLISHED_FOUR: Final[Mapping[str, Published]] = {
    "mobilenet": Published(0.6736, "a public project, four labels"),
}
"""The same for networks that tell apart happy, sad, surprise and neutral."""


@dataclass(slots=True)
class NetworksTable:
    """The table in parts: each a dictionary from the name of a run to its line."""

    rows: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    commands: dict[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """Return it as Markdown."""
        parts = ["\n".join([_line(_HEAD), _line(["---"] * len(_HEAD)), *self.rows.values()])]
        if self.notes:
            parts.append("\n".join(self.notes.values()))
        if self.commands:
            parts.append("```sh\n" + "\n".join(self.commands.values()) + "\n```")
        return "\n\n".join(parts) + "\n"

    def updated(self, later: NetworksTable) -> NetworksTable:
        """Return this table with the runs of ``later``, in its place where a run is in both."""
        merged = NetworksTable()
        for mine, theirs, both in zip(self._parts(), later._parts(), merged._parts(), strict=True):
            both |= {name: line for name, line in mine.items() if name in theirs or name not in later.rows} | theirs
        return merged

    def _parts(self) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
        return self.rows, self.notes, self.commands


def networks_table(runs: Sequence[Run], measures: Sequence[RunMeasures]) -> NetworksTable:
    """Return a table of runs, one a row, and a line on each published figure and each command.

    Args:
        runs: finished runs, in the order of the rows.
        measures: of the same runs, on PublicTest and perhaps PrivateTest; empty to go by the runs' own records.
    """
    table = NetworksTable()
    for index, run in enumerate(runs):
        reported = published(run)
        table.rows[run.name] = _line(_row(run, measures[index] if measures else None, reported))
        notes = [] if reported is None else [f"{100 * reported.accuracy:.1f} % is reported by {reported.source}."]
        if not run.official:
            notes.append("Trained on copies of test images on purpose; its figures are no result.")
        if notes:
            table.notes[run.name] = f"- `{run.name}`: {' '.join(notes)}"
        if run.record.command:
            table.commands[run.name] = without_folders(run.record.command)
    return table


def read_networks_table(text: str) -> NetworksTable:
    """Return the table that :meth:`NetworksTable.text` wrote; lines of other kinds are left out."""
    table = NetworksTable()
    for line in text.splitlines():
        if (row := re.match(r"\| `([^`]+)`", line)) is not None:
            table.rows[row[1]] = line
        elif (note := re.match(r"- `([^`]+)`: ", line)) is not None:
            table.notes[note[1]] = line
        elif (command := re.search(r"^fer-edge train .*--out[ =](\S+)", line)) is not None:
            table.commands[command[1]] = line
    return table


def published(run: Run) -> Published | None:
    """Return what others report of the run's network on the same labels."""
    known = {7: PUBLISHED, 4: PUBLISHED_FOUR}.get(len(run.record.labels), {})
    return known.get(str(run.record.recipe.get("model", "")))


def _row(run: Run, measures: RunMeasures | None, reported: Published | None) -> list[str]:
    record = run.record
    measured = {one.split: one for one in measures.by_split} if measures else {}
    apart = "" if run.official else ", leak"
    apart += "" if len(record.labels) == 7 else f", {len(record.labels)} labels"
    macs = record.multiply_accumulates
    return [
        f"`{run.name}`{apart}",
        f"{100 * reported.accuracy:.1f} %" if reported else _NONE,
        _accuracy(record.figures, measured, "PublicTest"),
        _accuracy(record.figures, measured, "PrivateTest"),
        _accuracy(record.figures, measured, "Training"),
        f"{record.parameters / 1e6:.2f} M",
        _NONE if macs is None else f"{macs / 1e6:.0f}" if macs >= 1e7 else f"{macs / 1e6:.1f}",
        f"{record.chosen_epoch} of {record.epochs}",
        duration(record.seconds),
    ]


def _accuracy(recorded: Mapping[str, Any], measured: Mapping[str, Measured], split: str) -> str:
    if split in measured:
        one = measured[split]
        text = f"{100 * one.figures.accuracy:.2f} %"
        low, high = one.intervals["accuracy"]
        return f"**{text}** ({100 * low:.1f} to {100 * high:.1f})" if split == "PrivateTest" else text
    return f"{100 * recorded[split].accuracy:.2f} %" if split in recorded else _NONE


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
