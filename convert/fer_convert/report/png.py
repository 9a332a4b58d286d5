"""A drawing as PNG, by matplotlib: the one part of a report that the base install cannot write."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from fer_convert.report.drawing import COLOURS, Disc, Drawing, Line, Words
from fer_edge.errors import MissingExtraError

_DPI: Final = 100
"""Pixels of a drawing an inch; it fixes how large a point is."""
_SCALE: Final = 2
"""Pixels of the picture a pixel of the drawing."""


def can_write_png() -> bool:
    """Whether matplotlib is installed."""
    try:
        import matplotlib  # noqa: F401, ICN001
    except ModuleNotFoundError:
        return False
    return True


def write_png(drawing: Drawing, path: Path) -> None:
    """Write the drawing on light paper.

    Args:
        drawing: what to write.
        path: of the file; written in place, so name a temporary one.

    Raises:
        MissingExtraError: without matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("report --plot FILE.png", "train", error.name or "matplotlib") from error
    figure = Figure(figsize=(drawing.width / _DPI, drawing.height / _DPI), dpi=_DPI, facecolor=_colour("paper"))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_xlim(0, drawing.width)
    axes.set_ylim(drawing.height, 0)
    for order, shape in enumerate(drawing.shapes):
        _draw(axes, shape, order)
    # Without a date or a version in it the same figures give the same file.
    figure.savefig(path, format="png", dpi=_DPI * _SCALE, metadata={"Software": None})


def _draw(axes: Any, shape: Line | Disc | Words, order: int) -> None:
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Circle
    from matplotlib.patheffects import withStroke

    points = 72 / _DPI
    match shape:
        case Line(line, pen):
            x, y = zip(*line, strict=True)
            style = (0, (3, 3)) if pen.dashed else "-"
            colour = to_rgba(_colour(pen.stroke or "ink"), pen.opacity)
            axes.plot(x, y, color=colour, linewidth=pen.width * points, linestyle=style, zorder=order)
        case Disc(x, y, radius, pen):
            fill = to_rgba(_colour(pen.fill), pen.fill_opacity * pen.opacity) if pen.fill else "none"
            edge = to_rgba(_colour(pen.stroke), pen.opacity) if pen.stroke else "none"
            style = (0, (3, 3)) if pen.dashed else "-"
            axes.add_patch(
                Circle((x, y), radius, fc=fill, ec=edge, linewidth=pen.width * points, linestyle=style, zorder=order)
            )
        case Words():
            words = axes.text(
                shape.x,
                shape.y,
                shape.text.replace("$", r"\$"),  # or matplotlib takes it for mathematics
                fontsize=shape.size * points,
                color=_colour(shape.colour),
                ha={"start": "left", "middle": "center", "end": "right"}[shape.anchor],
                va="baseline",
                fontweight="bold" if shape.bold else "normal",
                rotation=90 if shape.upward else 0,
                rotation_mode="anchor",
                zorder=order,
            )
            if shape.halo:
                words.set_path_effects([withStroke(linewidth=3 * points, foreground=_colour("paper"))])


def _colour(name: str) -> str:
    return COLOURS[name][0]
