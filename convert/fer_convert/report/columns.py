"""The columns of a report's table: for people as text with a value to sort by, for programs as plain numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fer_convert.report.evidence import Accuracy, Latency, Source
from fer_convert.report.standing import SPLITS, MachineTable, Row

NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Cell:
    """A value for people."""

    text: str
    sort: float | str | None = None
    """What a table is sorted by; None for a value that is missing."""
    title: str = ""
    """What is told when it is pointed at."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column and its cell in each row."""

    head: str
    cells: tuple[Cell, ...]
    numeric: bool = True
    title: str = ""


def columns(table: MachineTable) -> list[Column]:
    """Return the columns of a table for people."""
    rows, split = table.rows, table.split
    every = [
        Column("#", tuple(Cell(str(n), n) for n in range(1, len(rows) + 1)), title="number in the plot"),
        Column("model", tuple(_model(row) for row in rows), numeric=False),
        Column("recipe", tuple(_word(row.model.recipe) for row in rows), numeric=False),
        Column("parameters", tuple(_amount(row.model.parameters, _parameters) for row in rows)),
        Column(
            "MMAC",
            tuple(_amount(row.model.multiplications, lambda n: digits(n / 1e6)) for row in rows),
            title="million multiply-accumulates an inference",
        ),
        Column(
            "MB", tuple(_amount(row.model.bytes, lambda n: digits(n / 1e6)) for row in rows), title="size of the file"
        ),
        *(
            Column(
                f"{name} % (95 %)",
                tuple(_accuracy(row.accuracies.get(name)) for row in rows),
                title=f"accuracy on {name} and its Wilson interval",
            )
            for name in _splits(table)
        ),
        Column(
            "macro F1 %",
            tuple(_share(None if a is None else a.macro_f1, a) for a in _chosen(rows, split)),
            title=f"on {split}",
        ),
        Column("worst recall %", tuple(_worst(a) for a in _chosen(rows, split)), title=f"of a class, on {split}"),
        Column(
            "ECE",
            tuple(
                Cell(NOTHING) if a is None or a.ece is None else Cell(f"{a.ece:.3f}", a.ece, _from(a.source))
                for a in _chosen(rows, split)
            ),
            title=f"expected calibration error, 15 bins, on {split}",
        ),
    ]
    if table.machine is None:
        return every
    for threads in table.all_threads:
        head = f"{threads} thread{'s' * (threads != 1)}: p50 / p95 ms"
        every.append(Column(head, tuple(_latency(row, threads) for row in rows), title="one invocation"))
    every.append(Column("RSS MB", tuple(_memory(row) for row in rows), title="peak of the process, fewest threads"))
    numbers = {row.name: n for n, row in enumerate(rows, 1)}
    title = f"from {split} accuracy and p50 with {table.threads} thread{'s' * (table.threads != 1)}"
    every.insert(3, Column("Pareto", tuple(_standing(row, numbers) for row in rows), numeric=False, title=title))
    return every


def flat(row: Row, table: MachineTable) -> dict[str, Any]:
    """Return a row for programs: the columns of the CSV file, and the head of a row of the JSON document."""
    model, machine = row.model, table.machine
    values: dict[str, Any] = {
        "machine": None if machine is None else machine.name,
        "emulated": None if machine is None else machine.emulated,
        "valid": None if row.measurement is None else row.measurement.valid,
        "measured": None if row.measurement is None else row.measurement.started,
        "model": row.name,
        "name": model.name,
        "recipe": model.recipe,
        "network": model.network,
        "sha256": model.sha256,
        "parameters": model.parameters,
        "mmac": None if model.multiplications is None else model.multiplications / 1e6,
        "bytes": model.bytes,
    }
    for split in _splits(table):
        accuracy = row.accuracies.get(split)
        low, high = (None, None) if accuracy is None else accuracy.interval
        worst = None if accuracy is None else accuracy.worst
        values |= {
            f"{split}_n": accuracy and accuracy.n,
            f"{split}_accuracy": accuracy and accuracy.accuracy,
            f"{split}_accuracy_low": low,
            f"{split}_accuracy_high": high,
            f"{split}_macro_f1": accuracy and accuracy.macro_f1,
            f"{split}_worst_class": worst and worst[0],
            f"{split}_worst_recall": worst and worst[1],
            f"{split}_ece": accuracy and accuracy.ece,
        }
    for threads in table.all_threads:
        latency = row.latency(threads)
        for name in ("p50", "p50_low", "p50_high", "p95"):
            values[f"threads_{threads}_{name}_ms"] = None if latency is None else getattr(latency, name)
    values |= {
        "peak_rss_mb": row.first and row.first.peak_rss_mb,
        "pareto": row.standing,
        "dominated_by": "; ".join(row.dominated_by),
        "left_out_because": row.because,
    }
    return values


def sources(row: Row) -> dict[str, Source]:
    """Return what was measured -> where the figures come from."""
    found = {f"accuracy on {split}": accuracy.source for split, accuracy in row.accuracies.items()}
    if row.measurement is not None:
        found["latency and memory"] = row.measurement.source
    return found


def digits(value: float) -> str:
    """Three digits that matter: 0.0123, 0.123, 1.23, 12.3, 123, 1234."""
    return (
        f"{value:.3g}"
        if value < 0.1
        else f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3}f}"
    )


def percent(share: float) -> str:
    """Two decimals, as 3,589 images give them."""
    return f"{100 * share:.2f}"


def interval(accuracy: Accuracy) -> str:
    """95 % interval in percent."""
    low, high = accuracy.interval
    return f"{100 * low:.1f} to {100 * high:.1f}"


def _splits(table: MachineTable) -> list[str]:
    measured = (split for row in table.rows for split in row.accuracies)
    return list(dict.fromkeys((*SPLITS, table.split, *measured)))


def _chosen(rows: tuple[Row, ...], split: str) -> list[Accuracy | None]:
    return [row.accuracies.get(split) for row in rows]


def _model(row: Row) -> Cell:
    # The recipe has a column of its own.
    recipe = row.model.recipe
    text = row.name.replace(f" {recipe}", "", 1) if recipe else row.name
    return Cell(text, row.name.lower(), f"sha256 {row.model.sha256}")


def _word(text: str | None) -> Cell:
    return Cell(text or NOTHING, text)


def _amount(value: int | None, told: Any) -> Cell:
    return Cell(NOTHING) if value is None else Cell(told(value), value, f"{value:,}")


def _parameters(value: int) -> str:
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{digits(value / size)} {unit}"
    return str(value)


def _accuracy(accuracy: Accuracy | None) -> Cell:
    if accuracy is None:
        return Cell(NOTHING)
    return Cell(
        f"{percent(accuracy.accuracy)} ({interval(accuracy)})",
        accuracy.accuracy,
        f"{accuracy.n:,} images. {_from(accuracy.source)}",
    )


def _share(share: float | None, accuracy: Accuracy | None) -> Cell:
    if share is None or accuracy is None:
        return Cell(NOTHING)
    return Cell(f"{100 * share:.1f}", share, _from(accuracy.source))


def _worst(accuracy: Accuracy | None) -> Cell:
    if accuracy is None or accuracy.worst is None:
        return Cell(NOTHING)
    label, recall = accuracy.worst
    return Cell(f"{100 * recall:.1f} {label}", recall, _from(accuracy.source))


def _latency(row: Row, threads: int) -> Cell:
    one = row.latency(threads)
    if one is None or row.measurement is None:
        return Cell(NOTHING)
    marks = ("" if one.stable else "*") + ("" if row.measurement.valid else " INVALID")
    title = f"p50 {digits(one.p50_low)} to {digits(one.p50_high)} ms (95 %). {_from(row.measurement.source)}"
    return Cell(f"{digits(one.p50)} / {digits(one.p95)}{marks}", one.p50, title)


def _memory(row: Row) -> Cell:
    one: Latency | None = row.first
    return Cell(NOTHING) if one is None else Cell(f"{one.peak_rss_mb:.0f}", one.peak_rss_mb)


def _standing(row: Row, numbers: dict[str, int]) -> Cell:
    if row.standing == "front":
        return Cell("front", "0")
    if row.standing == "dominated":
        # The most accurate of those that dominate it stands last on the front.
        best = numbers[row.dominated_by[-1]]
        return Cell(f"dominated by #{best}", f"1 {best:04}", "; ".join(row.dominated_by))
    return Cell(f"left out: {row.because}", f"2 {row.because}")


def _from(source: Source) -> str:
    return f"{source.command} ({source.file})"
