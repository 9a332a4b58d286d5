"""A drawing as SVG, written by hand: no library, so that it works on a board with the base install."""

from __future__ import annotations

from html import escape
from typing import Final

from fer_convert.report.drawing import COLOURS, Disc, Drawing, Line, Pen, Shape, Words

_FONT: Final = "system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans','Liberation Sans','DejaVu Sans',sans-serif"


def svg(drawing: Drawing, *, standalone: bool = True, css_class: str = "") -> str:
    """Return the drawing as SVG.

    Args:
        drawing: what to write.
        standalone: with its own paper and colours, for a file of its own; otherwise for a page that holds
            :func:`stylesheet` and has paper of that colour.
        css_class: further class of the element.
    """
    width, height = _number(drawing.width), _number(drawing.height)
    names = f"fer-plot {css_class}".strip()
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="{names}" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" font-family="{_FONT}">'
    )
    parts = [head, f"<title>{escape(drawing.title)}</title>", f"<desc>{escape(drawing.description)}</desc>"]
    if standalone:
        parts += [f"<style>{stylesheet()}</style>", f'<rect class="f-paper" width="{width}" height="{height}" rx="8"/>']
    parts += [_element(shape) for shape in drawing.shapes]
    return "\n".join([*parts, "</svg>"]) + "\n"


def stylesheet() -> str:
    """Return the colours as classes, for light paper and for dark.

    A picture in a page cannot know the page's ground; so it follows what the viewer prefers, its paper with its ink.
    """
    light = "".join(_classes(name, colours[0]) for name, colours in COLOURS.items())
    dark = "".join(_classes(name, colours[1]) for name, colours in COLOURS.items())
    return f"{light}@media (prefers-color-scheme:dark){{{dark}}}"


def _classes(name: str, colour: str) -> str:
    return f".fer-plot .s-{name}{{stroke:{colour}}}.fer-plot .f-{name}{{fill:{colour}}}"


def _element(shape: Shape) -> str:
    match shape:
        case Line(points, pen):
            path = "M" + "L".join(f"{_number(x)} {_number(y)}" for x, y in points)
            return f'<path d="{path}" {_pen(pen)}/>'
        case Disc(x, y, radius, pen, title):
            head = f'<circle cx="{_number(x)}" cy="{_number(y)}" r="{_number(radius)}" {_pen(pen)}'
            return f"{head}><title>{escape(title)}</title></circle>" if title else f"{head}/>"
        case Words():
            return _words(shape)


def _words(words: Words) -> str:
    x, y = _number(words.x), _number(words.y)
    more = f' transform="rotate(-90 {x} {y})"' if words.upward else ""
    more += f' text-anchor="{words.anchor}"' if words.anchor != "start" else ""
    more += ' font-weight="650"' if words.bold else ""
    names = f"f-{words.colour}"
    if words.halo:
        names += " s-paper"
        more += ' stroke-width="3" stroke-linejoin="round" paint-order="stroke"'
    size = _number(words.size)
    return f'<text class="{names}" x="{x}" y="{y}" font-size="{size}"{more}>{escape(words.text)}</text>'


def _pen(pen: Pen) -> str:
    classes = [f"s-{pen.stroke}"] if pen.stroke else []
    classes += [f"f-{pen.fill}"] if pen.fill else []
    parts = [f'class="{" ".join(classes)}"'] if classes else []
    parts += [] if pen.fill else ['fill="none"']
    parts += [f'stroke-width="{_number(pen.width)}" stroke-linejoin="round"'] if pen.stroke else []
    parts += ['stroke-dasharray="3 3"'] if pen.dashed else []
    parts += [f'fill-opacity="{pen.fill_opacity:g}"'] if pen.fill and pen.fill_opacity != 1 else []
    parts += [f'opacity="{pen.opacity:g}"'] if pen.opacity != 1 else []
    return " ".join(parts)


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
