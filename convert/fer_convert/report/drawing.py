"""A drawing as a list of shapes, so that SVG and PNG show the same: all in pixels, y downwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

COLOURS: Final[dict[str, tuple[str, str]]] = {
    "paper": ("#ffffff", "#181b1e"),
    "ink": ("#15171a", "#f1f2f3"),
    "ink-2": ("#52575e", "#a8aeb6"),
    "grid": ("#e6e4df", "#2a2e33"),
    "blue": ("#0072b2", "#3d9bd6"),
    "vermillion": ("#d55e00", "#e8762c"),
    "green": ("#009e73", "#1fb58a"),
    "sky": ("#56b4e9", "#7cc6f0"),
    "purple": ("#cc79a7", "#d88fb8"),
    "orange": ("#e69f00", "#f0b12e"),
    "grey": ("#7f858c", "#8d949c"),
}
"""Name -> (on light paper, on dark paper). The hues are Okabe and Ito's (2008), which people with any of the common
kinds of colour blindness tell apart; on dark paper they are a little lighter. Their yellow is left out: on white it is
lost."""

Anchor = Literal["start", "middle", "end"]


@dataclass(frozen=True, slots=True)
class Pen:
    """How a shape is drawn; colours are names of :data:`COLOURS`."""

    stroke: str | None = None
    width: float = 1.0
    dashed: bool = False
    fill: str | None = None
    fill_opacity: float = 1.0
    opacity: float = 1.0


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points, not closed."""

    points: tuple[tuple[float, float], ...]
    pen: Pen


@dataclass(frozen=True, slots=True)
class Disc:
    """A circle; its title is shown when it is pointed at."""

    x: float
    y: float
    radius: float
    pen: Pen
    title: str = ""


@dataclass(frozen=True, slots=True)
class Words:
    """A line of text; (x, y) is its anchor on the base line."""

    x: float
    y: float
    text: str
    size: float
    colour: str = "ink"
    anchor: Anchor = "start"
    bold: bool = False
    upward: bool = False
    """Turned by 90 degrees, to be read from below."""
    halo: bool = False
    """With a rim of paper, which keeps it legible where it crosses a line."""


Shape = Line | Disc | Words


@dataclass(frozen=True, slots=True)
class Drawing:
    """Shapes on paper."""

    width: float
    height: float
    shapes: tuple[Shape, ...]
    title: str
    description: str


def text_width(text: str, size: float, bold: bool = False) -> float:
    """Return the width of a line of text in pixels.

    The advances are DejaVu Sans's, which is wider than most: in another typeface the text takes less room, not more.
    """
    return sum(_ADVANCES.get(character, 0.64) for character in text) * size * (1.09 if bold else 1.0)


def wrapped(text: str, size: float, width: float, bold: bool = False) -> list[str]:
    """Break text at blanks into lines of at most ``width`` pixels, as far as its words allow."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size, bold) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


_ADVANCES: Final = (
    dict.fromkeys("ABCDEFGHKNOPQRTUVXYZ&", 0.72)
    | dict.fromkeys("MW%@mw", 0.92)
    | dict.fromkeys("abdeghnopqu0123456789+=<>#~", 0.636)
    | dict.fromkeys("ckvxyzsL$?", 0.6)
    | dict.fromkeys('fIJrt-()[]{}/\\"*', 0.41)
    | dict.fromkeys(" .,:;'!|ijl", 0.32)
    | {"_": 0.5, "S": 0.64}
)
