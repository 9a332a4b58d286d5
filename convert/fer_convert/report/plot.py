"""The plot of accuracy against latency: a panel for each machine, never two machines in one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from fer_convert.report.axes import linear_ticks, log_ticks
from fer_convert.report.columns import digits, interval, percent
from fer_convert.report.drawing import Disc, Drawing, Line, Pen, Shape, Words, text_width, wrapped
from fer_convert.report.evidence import Accuracy, Latency
from fer_convert.report.placement import Box, Point, Wording, place_labels
from fer_convert.report.standing import MachineTable, Row

WIDE: Final = 900.0
NARROW: Final = 340.0
"""Widths in pixels: of the plot in a document, and of the one that a page shows on a telephone."""

_LEFT, _RIGHT, _AXIS = 66.0, 18.0, 46.0
_LINE: Final = 17.0
_CROWD: Final = 12
"""Bubbles in a panel from which on not all can be called by name."""
_UNKNOWN_RADIUS: Final = 5.0
_LEAST_RADIUS: Final = 3.0

_RECIPE_COLOURS: Final = {
    "int8": "vermillion",
    "float32": "blue",
    "float16": "sky",
    "dynamic_wi8": "green",
    "int8_16x8": "purple",
}
_FURTHER_COLOURS: Final = ("orange", "purple")
_NO_COLOUR: Final = "grey"
"""Of files that tell no recipe, and of recipes when colours have run out."""


@dataclass(frozen=True, slots=True)
class _Marked:
    """A row that can be drawn, and its place in pixels."""

    row: Row
    number: int
    latency: Latency
    accuracy: Accuracy
    x: float
    y: float
    radius: float


@dataclass(frozen=True, slots=True)
class _Entry:
    """A mark of the legend."""

    pen: Pen
    text: str
    radius: float = 5.5


_STANDINGS: Final = {
    "front": _Entry(Pen("ink", 1.4, fill="grey", fill_opacity=0.9), "on the Pareto front"),
    "dominated": _Entry(Pen("ink-2", 1.6, fill="ink-2", fill_opacity=0.14), "dominated"),
    "left out": _Entry(Pen("grey", 1.4, dashed=True), "left out of the front"),
}


@dataclass(frozen=True, slots=True)
class _Scale:
    """From milliseconds and shares to pixels; latency is logarithmic."""

    frame: Box
    fastest: float
    slowest: float
    lowest: float
    highest: float

    def x(self, milliseconds: float) -> float:
        share = math.log(milliseconds / self.fastest) / math.log(self.slowest / self.fastest)
        return self.frame.left + share * (self.frame.right - self.frame.left)

    def y(self, accuracy: float) -> float:
        share = (accuracy - self.lowest) / (self.highest - self.lowest)
        return self.frame.bottom - share * (self.frame.bottom - self.frame.top)


def pareto_plot(
    tables: Sequence[MachineTable],
    width: float = WIDE,
    *,
    headed: bool = True,
    among: Sequence[MachineTable] | None = None,
) -> Drawing | None:
    """Draw one panel below the other for the machines on which a model has both latency and accuracy.

    A machine on which nothing counts, because it is emulated or was throttled throughout, has no panel.

    Args:
        tables: of :func:`fer_convert.report.standing.tabulate`.
        width: pixels.
        headed: with the machine above its panel.
        among: all tables of the report, if this is one of several plots that share colours and sizes.

    Returns:
        The drawing, or None if there is nothing to draw.
    """
    tables = [table for table in tables if table.front]
    if not tables:
        return None
    rows = [row for table in tables for row in table.rows if _drawable(row, table)]
    every = [row for table in among or tables for row in table.rows if _drawable(row, table)]
    colours = _colours(every)
    largest = max((row.model.bytes or 0 for row in every), default=0)
    shapes: list[Shape] = []
    top = 0.0
    for table in tables:
        heading, top = _heading(table, width, top) if headed else ([], 12.0)
        shapes += heading
        panel, top = _panel(table, width, top, colours, largest)
        shapes += panel
    legend, bottom = _legend(rows, colours, largest, width, top + 4)
    told = "; ".join(f"{table.title}: {', '.join(row.name for row in table.front) or 'none'}" for table in tables)
    return Drawing(
        width,
        bottom + 10,
        (*shapes, *legend),
        "Accuracy against latency",
        f"Accuracy on {tables[0].split} against the median latency of an invocation. On the Pareto front: {told}",
    )


def _drawable(row: Row, table: MachineTable) -> bool:
    return row.latency(table.threads) is not None and table.split in row.accuracies


def _panel(
    table: MachineTable, width: float, top: float, colours: dict[str | None, str], largest: int
) -> tuple[list[Shape], float]:
    height = 380.0 if width >= WIDE else 330.0
    frame = Box(_LEFT, top, width - _RIGHT, top + height)
    found = [(row, n) for n, row in enumerate(table.rows, 1) if _drawable(row, table)]
    figures = [(row, n, row.latency(table.threads), row.accuracies[table.split]) for row, n in found]
    pairs = [(row, n, latency, accuracy) for row, n, latency, accuracy in figures if latency is not None]
    scale = _scale(frame, [latency for _, _, latency, _ in pairs], [accuracy for *_, accuracy in pairs])
    reach = width / 40
    marks = [
        _Marked(
            row, n, latency, accuracy, scale.x(latency.p50), scale.y(accuracy.accuracy), _radius(row, largest, reach)
        )
        for row, n, latency, accuracy in pairs
    ]
    shapes = _axes(table, scale, width)
    front = [mark for mark in marks if mark.row.standing == "front"]
    steps = _staircase(front, frame)
    if steps:
        shapes.append(Line(steps, Pen("ink-2", 1.6, opacity=0.75)))
    for mark in marks:
        shapes += _whiskers(mark, scale, colours)
    # Small bubbles lie on large ones, those that count on those that do not.
    for mark in sorted(marks, key=lambda m: (m.row.standing == "front", -m.radius)):
        shapes.append(_bubble(mark, colours))
    shapes += _labels(marks, steps, scale, colours)
    return shapes, frame.bottom + _AXIS + 10


def _heading(table: MachineTable, width: float, top: float) -> tuple[list[Shape], float]:
    assert table.machine is not None
    machine, room = table.machine, width - 20 - _RIGHT
    threads = f"{table.threads} thread{'s' * (table.threads != 1)}"
    head = wrapped(machine.hardware, 15, room, bold=True)
    under = wrapped(f"{machine.os}, {machine.runtime}; p50 of one invocation, {threads}", 12, room)
    shapes: list[Shape] = []
    for line in head:
        top += 20
        shapes.append(Words(20, top + 6, line, 15, bold=True))
    for line in under:
        top += 17
        shapes.append(Words(20, top + 6, line, 12, "ink-2"))
    return shapes, top + 22


def _scale(frame: Box, latencies: Sequence[Latency], accuracies: Sequence[Accuracy]) -> _Scale:
    """Take in all whiskers and leave a margin for bubbles and labels."""
    low, high = min(one.p50_low for one in latencies), max(one.p50_high for one in latencies)
    low, high = min(low, *(one.p50 for one in latencies)), max(high, *(one.p50 for one in latencies))
    margin = max(0.14 * math.log(high / low), 0.12)
    bottom, top = min(one.interval[0] for one in accuracies), max(one.interval[1] for one in accuracies)
    space = max(0.12 * (top - bottom), 0.004)
    return _Scale(
        frame,
        low * math.exp(-margin),
        high * math.exp(margin),
        bottom - space,
        top + space,
    )


def _axes(table: MachineTable, scale: _Scale, width: float) -> list[Shape]:
    frame, few = scale.frame, width < WIDE
    shapes: list[Shape] = []
    for tick in log_ticks(scale.fastest, scale.slowest, 5 if few else 9):
        x = scale.x(tick)
        shapes.append(Line(((x, frame.top), (x, frame.bottom)), Pen("grid")))
        shapes.append(Words(x, frame.bottom + 17, f"{tick:g}", 12, "ink-2", "middle"))
    for tick in linear_ticks(100 * scale.lowest, 100 * scale.highest, 7):
        y = scale.y(tick / 100)
        shapes.append(Line(((frame.left, y), (frame.right, y)), Pen("grid")))
        shapes.append(Words(frame.left - 7, y + 4, f"{tick:g}", 12, "ink-2", "end"))
    middle = (frame.left + frame.right) / 2
    shapes.append(Words(middle, frame.bottom + 37, "latency, ms (logarithmic)", 12.5, "ink-2", "middle"))
    shapes.append(
        Words(17, (frame.top + frame.bottom) / 2, f"{table.split} accuracy, %", 12.5, "ink-2", "middle", upward=True)
    )
    return shapes


def _staircase(front: Sequence[_Marked], frame: Box) -> tuple[tuple[float, float], ...]:
    """Return the border of what the front dominates: from the bottom up through its points, and on to the right."""
    if not front:
        return ()
    ordered = sorted(front, key=lambda mark: (mark.x, -mark.y))
    points = [(ordered[0].x, frame.bottom), (ordered[0].x, ordered[0].y)]
    for mark in ordered[1:]:
        points += [(mark.x, points[-1][1]), (mark.x, mark.y)]
    return (*points, (frame.right, points[-1][1]))


def _whiskers(mark: _Marked, scale: _Scale, colours: dict[str | None, str]) -> list[Shape]:
    low, high = mark.accuracy.interval
    pen = Pen(_colour(mark.row, colours), 1.2, opacity=0.9 if mark.row.standing == "front" else 0.5)
    across = ((scale.x(mark.latency.p50_low), mark.y), (scale.x(mark.latency.p50_high), mark.y))
    return [Line(((mark.x, scale.y(low)), (mark.x, scale.y(high))), pen), Line(across, pen)]


def _bubble(mark: _Marked, colours: dict[str | None, str]) -> Disc:
    row = mark.row
    size = "" if row.model.bytes is None else f", {digits(row.model.bytes / 1e6)} MB"
    place = {"front": "on the front", "dominated": f"dominated by {', '.join(row.dominated_by)}"}.get(
        row.standing, f"left out: {row.because}"
    )
    title = (
        f"{row.name}: {percent(mark.accuracy.accuracy)} % ({interval(mark.accuracy)}), {digits(mark.latency.p50)} ms "
        f"({digits(mark.latency.p50_low)} to {digits(mark.latency.p50_high)}){size}; {place}"
    )
    return Disc(mark.x, mark.y, mark.radius, _mark_pen(row, _colour(row, colours)), title)


def _mark_pen(row: Row, colour: str) -> Pen:
    if row.standing == "front":
        return Pen("ink", 1.4, fill=colour, fill_opacity=0.9)
    if row.standing == "dominated":
        return Pen(colour, 1.6, fill=colour, fill_opacity=0.14)
    return Pen("grey", 1.4, dashed=True, fill="grey", fill_opacity=0.06)


def _labels(
    marks: Sequence[_Marked], steps: Sequence[tuple[float, float]], scale: _Scale, colours: dict[str | None, str]
) -> list[Shape]:
    # What is on the front is labelled first, then what is most accurate.
    order = sorted(marks, key=lambda mark: (mark.row.standing != "front", -mark.accuracy.accuracy))
    roomy = scale.frame.right - scale.frame.left > WIDE / 2
    crowded = len(marks) > (_CROWD if roomy else _CROWD / 2)
    points = [
        Point(
            mark.x,
            mark.y,
            mark.radius,
            _texts(mark, crowded, 80.0 if roomy else 26.0),
            12.5 if front else 11.5,
            bold=front,
        )
        for mark in order
        for front in (mark.row.standing == "front",)
    ]
    lines = [_thin(a, b) for a, b in pairwise(steps)]
    for mark in marks:
        low, high = mark.accuracy.interval
        lines.append(_thin((mark.x, scale.y(low)), (mark.x, scale.y(high))))
        lines.append(_thin((scale.x(mark.latency.p50_low), mark.y), (scale.x(mark.latency.p50_high), mark.y)))
    frame = scale.frame
    inside = Box(frame.left + 3, frame.top + 3, frame.right - 3, frame.bottom - 3)
    shapes: list[Shape] = []
    for mark, point, label in zip(order, points, place_labels(points, lines, inside), strict=True):
        if label is None:
            continue
        if label.leader is not None:
            shapes.append(Line(label.leader, Pen(_colour(mark.row, colours), 0.9, opacity=0.8)))
        base = label.box.bottom - 0.28 * point.size
        colour = "ink" if point.bold else "ink-2"
        shapes.append(Words(label.box.left + 2, base, label.text, point.size, colour, bold=point.bold, halo=True))
    return shapes


def _texts(mark: _Marked, crowded: bool, farthest: float) -> tuple[Wording, ...]:
    reason = mark.row.because
    name = f"{mark.row.name} ({reason})" if reason in ("INVALID", "emulated") else mark.row.name
    number = f"#{mark.number}"
    if mark.row.standing == "front":
        return Wording(name, farthest), Wording(number)
    if not crowded:
        return Wording(name, 26.0), Wording(number)
    # Where many bubbles crowd, those off the front have their names only if there is room right beside them.
    return Wording(name, 9.0, crossing=False), Wording(number, 9.0, crossing=False), Wording(number, 16.0)


def _thin(a: tuple[float, float], b: tuple[float, float]) -> Box:
    return Box(min(a[0], b[0]) - 1, min(a[1], b[1]) - 1, max(a[0], b[0]) + 1, max(a[1], b[1]) + 1)


def _radius(row: Row, largest: int, reach: float) -> float:
    if not row.model.bytes or not largest:
        return _UNKNOWN_RADIUS
    return max(_LEAST_RADIUS, reach * math.sqrt(row.model.bytes / largest))


def _colours(rows: Sequence[Row]) -> dict[str | None, str]:
    """Give each recipe a colour; the well-known ones always have the same."""
    recipes = sorted({row.model.recipe for row in rows if row.model.recipe})
    free = [colour for colour in _FURTHER_COLOURS if colour not in {_RECIPE_COLOURS.get(name) for name in recipes}]
    chosen: dict[str | None, str] = {}
    for recipe in recipes:
        chosen[recipe] = _RECIPE_COLOURS.get(recipe) or (free.pop(0) if free else _NO_COLOUR)
    return chosen


def _colour(row: Row, colours: dict[str | None, str]) -> str:
    return colours.get(row.model.recipe, _NO_COLOUR) if row.standing != "left out" else "grey"


def _legend(
    rows: Sequence[Row],
    colours: dict[str | None, str],
    largest: int,
    width: float,
    top: float,
) -> tuple[list[Shape], float]:
    entries: list[_Entry] = [
        _Entry(Pen(colour, 1.4, fill=colour, fill_opacity=0.9), recipe)
        for recipe, colour in colours.items()
        if recipe is not None
    ]
    if any(row.model.recipe is None for row in rows):
        entries.append(_Entry(Pen(_NO_COLOUR, 1.4, fill=_NO_COLOUR, fill_opacity=0.9), "no recipe told"))
    standings = {row.standing for row in rows}
    lines = [entries, [entry for standing, entry in _STANDINGS.items() if standing in standings]]
    if largest:
        reach = width / 40
        lines.append(
            [
                _Entry(
                    Pen("ink-2", 1.2),
                    f"{size / 1e6:g} MB",
                    max(_LEAST_RADIUS, reach * math.sqrt(size / largest)),
                )
                for size in _round_sizes(largest)
            ]
        )
    shapes: list[Shape] = []
    for line in lines:
        more, top = _flow(line, width, top)
        shapes += more
    told = "The area of a bubble is the size of the file; whiskers are 95 % intervals; #n is a row of the table."
    for text in wrapped(told, 11.5, width - 20 - _RIGHT):
        top += 15
        shapes.append(Words(20, top, text, 11.5, "ink-2"))
    return shapes, top


def _flow(entries: Sequence[_Entry], width: float, top: float) -> tuple[list[Shape], float]:
    """Set marks with their words side by side, and go on below where a line is full."""
    shapes: list[Shape] = []
    x, step = 20.0, max(_LINE, *(2 * entry.radius + 5 for entry in entries)) if entries else 0.0
    middle = top + step / 2
    for entry in entries:
        needed = 2 * entry.radius + 6 + text_width(entry.text, 12) + 16
        if x > 20 and x + needed > width - _RIGHT:
            x, middle = 20.0, middle + step
        shapes.append(Disc(x + entry.radius, middle, entry.radius, entry.pen))
        shapes.append(Words(x + 2 * entry.radius + 6, middle + 4, entry.text, 12, "ink-2"))
        x += needed
    return shapes, middle + step / 2


def _round_sizes(largest: int) -> list[float]:
    """Return up to three round numbers of bytes, the last of them near ``largest``."""
    every = [step * 10.0**power for power in range(3, 12) for step in (1, 2, 5)]
    return [size for size in every if size <= largest][::-1][::2][:3][::-1]
