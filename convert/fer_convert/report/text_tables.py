"""The tables as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import msgspec

from fer_convert.report.columns import columns, flat, sources
from fer_convert.report.documents import ReportDocument
from fer_convert.report.evidence import Model
from fer_convert.report.standing import MachineTable, Row
from fer_edge import __version__


def markdown(tables: Sequence[MachineTable], plot: str | None = None) -> str:
    """Return all tables as GitHub's Markdown, with the plot above them if there is a link to it."""
    parts = [] if plot is None else [f"![accuracy against latency]({_link(plot)})"]
    for table in tables:
        parts += [f"**{_plain(table.title)}**", _markdown_table(table)]
        parts += [_plain(note) for note in table.notes]
    parts.append(_commands(tables))
    return "\n\n".join(parts) + "\n"


def _markdown_table(table: MachineTable) -> str:
    shown = columns(table)
    lines = [[column.head for column in shown], ["---:" if column.numeric else "---" for column in shown]]
    for n, row in enumerate(table.rows):
        cells = [_plain(column.cells[n].text) for column in shown]
        # What to deploy is read at a glance.
        lines.append([f"**{cell}**" if row.standing == "front" and i == 1 else cell for i, cell in enumerate(cells)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _commands(tables: Sequence[MachineTable]) -> str:
    """Return the commands that printed the numbers, each once, with the documents that it left."""
    told: dict[str, dict[str, None]] = {}
    for table in tables:
        for row in table.rows:
            for source in sources(row).values():
                told.setdefault(source.command, {})[" ".join(source.file.split())] = None
    # A line that began with backticks would end the fence.
    lines = [f"{' '.join(command.split()).lstrip('`')}  # {', '.join(names)}" for command, names in told.items()]
    return "\n".join(["Measured by", "", "```sh", *lines, "```"])


def csv_text(tables: Sequence[MachineTable]) -> str:
    """Return one line a machine and model, with numbers unrounded; a column that a machine lacks is empty."""
    rows = [flat(row, table) for table in tables for row in table.rows]
    names = list(dict.fromkeys(name for row in rows for name in row))
    # Threads come in the order of their number whichever machine was first; memory and standing come last.
    last = ["peak_rss_mb", "pareto", "dominated_by", "left_out_because"]
    threads = sorted((name for name in names if name.startswith("threads_")), key=lambda n: int(n.split("_")[1]))
    names = [name for name in names if name not in (*last, *threads)] + threads + last
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows([{name: _guarded(value) for name, value in row.items()} for row in rows])
    return text.getvalue()


def json_text(models: Sequence[Model], tables: Sequence[MachineTable]) -> str:
    """Return the document that ``--against`` and a later report read."""
    document = ReportDocument(
        fer_edge=__version__,
        models=tuple(models),
        tables=[
            {
                "machine": None if table.machine is None else table.machine.name,
                "split": table.split,
                "threads": table.threads or None,
                "notes": table.notes,
                "rows": [_json_row(row, table) for row in table.rows],
            }
            for table in tables
        ],
    )
    return msgspec.json.format(msgspec.json.encode(document)).decode() + "\n"


def _json_row(row: Row, table: MachineTable) -> dict[str, Any]:
    values = flat(row, table)
    return values | {
        "dominated_by": list(row.dominated_by),
        "dominated": None if row.standing == "left out" else row.standing == "dominated",
        "sources": sources(row),
    }


def _plain(text: str) -> str:
    """Keep text from being read as Markdown or HTML."""
    text = " ".join(text.split())
    for character in "\\`*_[]<>|":
        text = text.replace(character, f"\\{character}")
    return text


def _link(path: str) -> str:
    return f"<{path}>" if " " in path or "(" in path else path


def _guarded(value: Any) -> Any:
    """Keep a spreadsheet from reading a name as a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
