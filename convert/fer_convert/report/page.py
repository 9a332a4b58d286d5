"""The report as one HTML page that holds all it needs: nothing is fetched, and it sorts without a library."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from typing import Final

from fer_convert.report.columns import Cell, Column, columns, digits, percent, sources
from fer_convert.report.evidence import Source
from fer_convert.report.plot import NARROW, WIDE, pareto_plot
from fer_convert.report.standing import MachineTable, Row
from fer_convert.report.svg import stylesheet, svg

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""The browser itself keeps the promise that nothing is fetched."""


def html_page(tables: Sequence[MachineTable]) -> str:
    """Return the page.

    Args:
        tables: of :func:`fer_convert.report.standing.tabulate`.
    """
    style = (files(__package__) / "page.css").read_text(encoding="utf-8") + stylesheet()
    script = (files(__package__) / "page.js").read_text(encoding="utf-8")
    title = "Which model to deploy"
    lead = (
        "Accuracy belongs to a file and may be measured anywhere; latency belongs to a file on a machine. The two are "
        "joined by the checksum of the file, and every machine stands alone."
    )
    rows = list({row.model.sha256: row for table in tables for row in table.rows}.values())
    body = [
        *(_machine(table, tables) for table in tables),
        _recalls(tables, rows),
        _provenance(rows, tables),
        _machines(tables),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f'<header><h1>{title}</h1><p class="lead">{lead}</p></header>\n<main>\n'
        + "\n".join(part for part in body if part)
        + f"\n</main>\n<script>\n{script}</script>\n</body>\n</html>\n"
    )


def _machine(table: MachineTable, among: Sequence[MachineTable]) -> str:
    if table.machine is None:
        return _section(
            table.title, "Their accuracy is known; no benchmark of them is part of this report.", _table(table)
        )
    machine = table.machine
    threads = f"{table.threads} thread{'s' * (table.threads != 1)}"
    note = f"{machine.os}, {machine.runtime}. The front is drawn from {table.split} accuracy and p50 with {threads}."
    warnings = "".join(
        f'<p class="{"warning" if text.startswith(("INVALID", "EMULATED")) else "note"}">{escape(text)}</p>'
        for text in table.notes
    )
    return _section(machine.hardware, note, warnings, _tiles(table), _plots(table, among), _table(table), _costs(table))


def _section(title: str, note: str, *parts: str) -> str:
    explained = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{explained}{''.join(parts)}</section>"


def _tiles(table: MachineTable) -> str:
    """Return the ends of the front: the models that most people look for."""
    front = table.front
    if not front:
        return ""
    named = [("most accurate", front[-1]), ("fastest", front[0])]
    sized = [row for row in front if row.model.bytes is not None]
    if sized:
        named.append(("smallest on the front", min(sized, key=lambda row: row.model.bytes or 0)))
    tiles = "".join(f"<div><dt>{what}</dt><dd>{escape(row.name)}{_told(row, table)}</dd></div>" for what, row in named)
    return f'<dl class="tiles">{tiles}</dl>'


def _told(row: Row, table: MachineTable) -> str:
    latency, accuracy = row.latency(table.threads), row.accuracies[table.split]
    parts = [f"{percent(accuracy.accuracy)} %"]
    parts += [f"{digits(latency.p50)} ms"] if latency is not None else []
    parts += [f"{digits(row.model.bytes / 1e6)} MB"] if row.model.bytes is not None else []
    return f"<small>{' · '.join(parts)}</small>"


def _plots(table: MachineTable, among: Sequence[MachineTable]) -> str:
    wide, narrow = (pareto_plot([table], width, headed=False, among=among) for width in (WIDE, NARROW))
    if wide is None or narrow is None:
        return ""
    drawn = svg(wide, standalone=False, css_class="wide"), svg(narrow, standalone=False, css_class="narrow")
    return f'<div class="plot">{"".join(drawn)}</div>'


def _table(table: MachineTable) -> str:
    shown = columns(table)
    heads = "".join(_head(column, stays=column.head == "model") for column in shown)
    rows = []
    for n, row in enumerate(table.rows):
        kind = {"front": ' class="front"', "left out": ' class="out"'}.get(row.standing, "")
        rows.append(f"<tr{kind}>{''.join(_cell(column, column.cells[n]) for column in shown)}</tr>")
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(table.title)}"><table class="sortable">'
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _head(column: Column, stays: bool) -> str:
    names = " ".join(name for name, wanted in (("text", not column.numeric), ("stay", stays)) if wanted)
    kind = "number" if column.numeric else "text"
    title = f' title="{escape(column.title)}"' if column.title else ""
    return f'<th scope="col" class="{names}" data-kind="{kind}"{title}><button>{_unbroken(column.head)}</button></th>'


def _unbroken(head: str) -> str:
    """Keep a unit with its figure."""
    return escape(head).replace(" %", "\N{NO-BREAK SPACE}%").replace(" ms", "\N{NO-BREAK SPACE}ms")


def _cell(column: Column, cell: Cell) -> str:
    more = f' data-sort="{escape(str(cell.sort))}"' if cell.sort is not None else ""
    more += f' title="{escape(cell.title)}"' if cell.title else ""
    if column.head == "model":
        return f'<th scope="row" class="stay"{more}>{escape(cell.text)}</th>'
    # The interval is told more softly than the figure.
    figure, bracket, rest = cell.text.partition(" (") if column.numeric else (cell.text, "", "")
    text = escape(figure) + (f" <small>({escape(rest)}</small>" if bracket else "")
    return f"<td{'' if column.numeric else ' class=text'}{more}>{text}</td>"


def _costs(table: MachineTable) -> str:
    """Return start, tails and stages, with the fewest threads."""
    rows = [(row, row.first, row.measurement) for row in table.rows]
    stages = list(dict.fromkeys(name for _, _, m in rows if m is not None for name in m.stages_ms))
    longest = max((sum(m.stages_ms.values()) for _, _, m in rows if m is not None), default=0.0)
    sustained = any(m is not None and m.sustained_slowdown is not None for _, _, m in rows)
    heads = ["cold start ms", "first ms", "p50 ms (95 %)", "p90", "p99", "max"]
    heads += ["after minutes without a pause"] if sustained else []
    heads += ["demo scene, ms a frame", "stages"] if stages else []
    lines = []
    for row, one, measurement in rows:
        if one is None or measurement is None:
            continue
        slowdown = measurement.sustained_slowdown
        cells = [
            "" if one.cold_start_ms is None else f"{one.cold_start_ms:.0f}",
            "" if one.first_inference_ms is None else digits(one.first_inference_ms),
            f"{digits(one.p50)} <small>({digits(one.p50_low)} to {digits(one.p50_high)})</small>",
            *(digits(value) for value in (one.p90, one.p99, one.max)),
        ]
        cells += ["" if slowdown is None else f"{slowdown:.2f} times the time"] if sustained else []
        cells += _stages(measurement.stages_ms, stages, longest) if stages else []
        lines.append(_plain_row(row.name, cells))
    keys = "".join(f'<span><i class="key s{n % 6}"></i>{escape(name)}</span>' for n, name in enumerate(stages))
    legend = f'<div class="keys">{keys}</div>' if keys else ""
    return f"<h3>Start, tails and stages</h3>{_plain_table(['model', *heads], lines)}{legend}"


def _stages(stages_ms: dict[str, float], names: Sequence[str], longest: float) -> list[str]:
    if not stages_ms or not longest:
        return ["", ""]
    parts = "".join(
        f'<i class="s{n % 6}" style="width:{100 * stages_ms.get(name, 0.0) / longest:.2f}%" '
        f'title="{escape(name)}: {digits(stages_ms.get(name, 0.0))} ms"></i>'
        for n, name in enumerate(names)
    )
    return [digits(sum(stages_ms.values())), f'<div class="bar">{parts}</div>']


def _recalls(tables: Sequence[MachineTable], rows: Sequence[Row]) -> str:
    split = tables[0].split if tables else ""
    measured = [(row, row.accuracies[split].recall) for row in rows if split in row.accuracies]
    labels = list(dict.fromkeys(label for _, recall in measured for label in recall))
    if not labels:
        return ""
    lines = [
        _plain_row(
            row.name,
            [f"{100 * recall[label]:.1f}" if label in recall else "" for label in labels],
            [recall.get(label) for label in labels],
        )
        for row, recall in measured
    ]
    note = f"Percent of the images of an expression that are recognised, on {split}."
    return _section("Recall by expression", note, _plain_table(["model", *labels], lines))


def _plain_table(heads: Sequence[str], rows: Iterable[str]) -> str:
    head = "".join(
        f'<th scope="col" class="plain{" stay text" if n == 0 else ""}">{escape(name)}</th>'
        for n, name in enumerate(heads)
    )
    body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return f'<div class="scroll" tabindex="0"><table>{body}</table></div>'


def _plain_row(name: str, cells: Sequence[str], heat: Sequence[float | None] = ()) -> str:
    """Return a row; ``cells`` are HTML."""
    shares = [*heat, *[None] * (len(cells) - len(heat))]
    told = "".join(
        f"<td>{cell}</td>" if share is None else f'<td class="heat" style="--share:{share:.3f}">{cell}</td>'
        for cell, share in zip(cells, shares, strict=True)
    )
    return f'<tr><th scope="row" class="stay">{escape(name)}</th>{told}</tr>'


def _provenance(rows: Sequence[Row], tables: Sequence[MachineTable]) -> str:
    parts = []
    for row in rows:
        model = row.model
        facts = [("SHA-256", f"<code>{model.sha256}</code>")]
        facts += [("network", escape(model.network))] if model.network else []
        facts += [("input", escape(" x ".join(map(str, model.input))))] if model.input else []
        facts += [(what, _command(source)) for what, source in _all_sources(row, tables).items()]
        parts.append(f"<details><summary>{escape(row.name)}</summary>{_pairs(facts)}</details>")
    note = (
        "The command that printed each number. One that its document did not record was put together from the settings "
        "in it."
    )
    return _section("Where the numbers come from", note, *parts)


def _all_sources(row: Row, tables: Sequence[MachineTable]) -> dict[str, Source]:
    found = {what: source for what, source in sources(row).items() if what.startswith("accuracy")}
    for table in tables:
        for other in table.rows:
            if other.model.sha256 == row.model.sha256 and other.measurement is not None and table.machine is not None:
                found[f"latency, memory on {table.machine.hardware}"] = other.measurement.source
    return found


def _command(source: Source) -> str:
    how = "" if source.recorded else ", put together"
    return f"<code>{escape(source.command)}</code> <small>({escape(source.file)}{how})</small>"


def _machines(tables: Sequence[MachineTable]) -> str:
    parts = []
    for table in tables:
        if (machine := table.machine) is None:
            continue
        runs = sorted({row.measurement.started for row in table.rows if row.measurement})
        governors = sorted(
            {row.measurement.governor for row in table.rows if row.measurement and row.measurement.governor}
        )
        facts = [
            ("board", machine.board or "none told"),
            ("processor", f"{machine.cpu}, {machine.architecture}, {machine.cores} cores"),
            ("memory", f"{machine.memory_mb:,} MB"),
            ("system", f"{machine.os}, kernel {machine.kernel}"),
            ("runtime", f"{machine.runtime}, Python {machine.python}, NumPy {machine.numpy}"),
            ("governor", ", ".join(governors) or "not told"),
            ("measured", ", ".join(runs)),
        ]
        body = _pairs((name, escape(value)) for name, value in facts)
        parts.append(f"<details><summary>{escape(machine.name)}</summary>{body}</details>")
    return _section("Machines", "", *parts) if parts else ""


def _pairs(facts: Iterable[tuple[str, str]]) -> str:
    """Return names (plain text) with values (HTML)."""
    rows = "".join(f"<div><dt>{escape(name)}</dt><dd>{value}</dd></div>" for name, value in facts)
    return f'<dl class="pairs">{rows}</dl>'
