"""Plots as inline SVG whose colours follow the page's light or dark scheme (which pictures of a plot cannot)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import ArrayLike, NDArray

_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 10, 38
"""Margins in SVG units for tick labels and axis names."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a plot."""

    name: str
    x: ArrayLike
    y: ArrayLike
    colour: int
    """Index in the page's palette."""
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """A dot with a word beside it."""

    x: float
    y: float
    text: str
    colour: int


def line_plot(
    curves: Sequence[Curve],
    x_name: str,
    y_name: str,
    *,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    marks: Sequence[Mark] = (),
    diagonal: bool = False,
    size: tuple[int, int] = (520, 300),
    legend: bool = True,
) -> str:
    """Return curves over common axes; ranges default to what the curves span.

    Args:
        curves: one or more, at least one with a point.
        x_name: of the axis, with its unit.
        y_name: of the axis, with its unit; stands above it.
        x_range: (lowest, highest) shown.
        y_range: (lowest, highest) shown.
        marks: single points that deserve a word.
        diagonal: draw y = x as a reference.
        size: width and height in SVG units, which are pixels where the page has the room.
        legend: name the curves above the plot.
    """
    width, height = size
    x_low, x_high = x_range or _span([curve.x for curve in curves])
    y_low, y_high = y_range or _with_headroom(_span([curve.y for curve in curves]))

    def at(x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        across = (np.asarray(x, np.float64) - x_low) / ((x_high - x_low) or 1.0)
        up = (np.asarray(y, np.float64) - y_low) / ((y_high - y_low) or 1.0)
        return _LEFT + across * (width - _LEFT - _RIGHT), height - _BOTTOM - up * (height - _TOP - _BOTTOM)

    parts = []
    for tick in ticks(y_low, y_high, max(2, height // 60)):
        _, y = at(x_low, tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{width - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_number(tick)}</text>')
    for tick in ticks(x_low, x_high, max(2, width // 90)):
        x, _ = at(tick, y_low)
        parts.append(f'<text x="{x:.1f}" y="{height - _BOTTOM + 17}" text-anchor="middle">{_number(tick)}</text>')
    base = height - _BOTTOM
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{width - _RIGHT}" y1="{base}" y2="{base}"/>')
    parts.append(f'<text x="{width - _RIGHT}" y="{height - 4}" text-anchor="end">{escape(x_name)}</text>')
    if diagonal:
        x, y = at([max(x_low, y_low), min(x_high, y_high)], [max(x_low, y_low), min(x_high, y_high)])
        parts.append(f'<path class="reference" d="{_path(x, y)}"/>')
    for curve in curves:
        dashed = " dashed" if curve.dashed else ""
        path = _path(*at(curve.x, curve.y))
        parts.append(f'<path class="curve{dashed}" style="stroke:var(--c{curve.colour % 8})" d="{path}"/>')
    for mark in marks:
        x, y = at(mark.x, mark.y)
        late = x > width * 0.7
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" style="fill:var(--c{mark.colour % 8})"/>')
        parts.append(
            f'<text class="value" x="{x + (-8 if late else 8):.1f}" y="{y + 20:.1f}" '
            f'text-anchor="{"end" if late else "start"}">{escape(mark.text)}</text>'
        )
    names = "; ".join(curve.name for curve in curves)
    svg = _svg(width, height, f"{y_name} over {x_name}: {names}", parts)
    shown = [(curve.name, curve.colour, curve.dashed) for curve in curves] if legend else []
    return f"{legend_of(shown, y_name)}{svg}"


def bar_plot(
    labels: Sequence[str],
    groups: Sequence[tuple[str, ArrayLike]],
    *,
    form: str = "{:,.0f}",
    highest: float | None = None,
    width: int = 520,
) -> str:
    """Return horizontal bars with their values: for each label one bar a group.

    Args:
        labels: names on the left.
        groups: (name, values >= 0 of each label) of each group; colours go by their order.
        form: how to write a value.
        highest: value of a bar of full length; None for the largest.
        width: in SVG units.
    """
    values = [np.asarray(each, np.float64) for _, each in groups]
    full = highest or max(float(each.max(initial=0.0)) for each in values) or 1.0
    bar = 15 if len(groups) == 1 else 11
    row = bar * len(groups) + 12
    left, right = 76, 96
    parts = []
    for i, label in enumerate(labels):
        top = i * row + 6
        parts.append(
            f'<text x="{left - 10}" y="{top + bar * len(groups) / 2 + 4}" text-anchor="end">{escape(label)}</text>'
        )
        for j, each in enumerate(values):
            length = (width - left - right) * float(each[i]) / full
            y = top + j * bar
            parts.append(
                f'<rect x="{left}" y="{y}" width="{max(length, 1):.1f}" height="{bar - 2}" rx="2.5" '
                f'style="fill:var(--c{j % 8})"/>'
                f'<text class="value" x="{left + length + 7:.1f}" y="{y + bar / 2 + 3:.1f}">'
                f"{escape(form.format(each[i]))}</text>"
            )
    svg = _svg(width, len(labels) * row + 4, ", ".join(name for name, _ in groups), parts)
    shown = [(name, i, False) for i, (name, _) in enumerate(groups)] if len(groups) > 1 else []
    return f"{legend_of(shown, box=True)}{svg}"


def confusion_table(matrix: NDArray[np.int64], labels: Sequence[str]) -> str:
    """Return a confusion matrix (row = truth, column = prediction) as a table shaded by the share of its row."""
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    head = "".join(f"<th>{escape(label)}</th>" for label in labels)
    rows = []
    for i, label in enumerate(labels):
        cells = "".join(
            f'<td class="{"full " if share[i, j] > 0.68 else ""}{"hit" if i == j else ""}" '
            f'style="--share:{share[i, j]:.3f}">{share[i, j]:.0%}<small>{matrix[i, j]:,}</small></td>'
            for j in range(len(labels))
        )
        rows.append(f"<tr><th>{escape(label)}</th>{cells}</tr>")
    caption = "<caption>Rows are the truth, columns what the model said; shares are of the row.</caption>"
    return (
        f'<div class="scroll"><table class="matrix">{caption}<thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def legend_of(entries: Sequence[tuple[str, int, bool]], title: str = "", *, box: bool = False) -> str:
    """Return a legend of (name, colour, dashed) entries after a title; empty for nothing."""
    if not (entries or title):
        return ""
    first = f"<span>{escape(title)}</span>" if title else ""
    rest = "".join(
        f'<span><i class="{"box" if box else "dashed" if dashed else ""}" style="--colour:var(--c{colour % 8})"></i>'
        f"{escape(name)}</span>"
        for name, colour, dashed in entries
    )
    return f'<div class="legend">{first}{rest}</div>'


def ticks(low: float, high: float, about: int) -> list[float]:
    """Return round numbers (1, 2 or 5 times a power of ten apart) from ``low`` to ``high``."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def _span(series: Sequence[ArrayLike]) -> tuple[float, float]:
    """The range of all series, a little widened if they are flat."""
    values = np.concatenate([np.asarray(one, np.float64).ravel() for one in series])
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _with_headroom(span: tuple[float, float]) -> tuple[float, float]:
    low, high = span
    return low - 0.04 * (high - low), high + 0.04 * (high - low)


def _path(x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    """An SVG path through the finite points."""
    points = [f"{a:.1f} {b:.1f}" for a, b in zip(np.atleast_1d(x), np.atleast_1d(y), strict=True) if np.isfinite(a + b)]
    return "M" + "L".join(points) if points else ""


def _svg(width: int, height: int, name: str, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(name)}">{"".join(parts)}</svg>'


def _number(value: float) -> str:
    return f"{value:,.10g}"
