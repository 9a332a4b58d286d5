"""Where the labels of a plot go: beside their points, and never on one another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fer_convert.report.drawing import text_width

_ANGLES: Final = tuple(
    math.radians(a) for a in (0, 180, 90, 270, 45, 315, 135, 225, 20, 340, 160, 200, 65, 115, 245, 295)
)
_GAPS: Final = (4.0, 9.0, 16.0, 26.0, 40.0, 58.0, 80.0)
"""Pixels between the edge of a bubble and its label."""
_PLACES: Final = sorted((0.5 * gap + 0.3 * rank, gap, angle) for gap in _GAPS for rank, angle in enumerate(_ANGLES))
"""(cost, gap, angle) of each place, the best first; beside a point is better than aslant of it."""
_PASSES: Final = 3
_HEIGHT: Final = 1.15
"""Height of a line of text over the size of its letters."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Box) -> float:
        """Shared area."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return width * height if width > 0 and height > 0 else 0.0

    def within(self, other: Box) -> bool:
        """Whether this lies in ``other``."""
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.top >= other.top
            and self.bottom <= other.bottom
        )


@dataclass(frozen=True, slots=True)
class Wording:
    """A text that a label may have, and how far from its point it may stand."""

    text: str
    farthest: float = 80.0
    """Pixels between the edge of the bubble and the label."""
    crossing: bool = True
    """Whether it may lie across a line."""


@dataclass(frozen=True, slots=True)
class Point:
    """A bubble to be labelled."""

    x: float
    y: float
    radius: float
    texts: tuple[Wording, ...]
    """What to write, from the best to the shortest."""
    size: float
    bold: bool = False

    @property
    def box(self) -> Box:
        """Around the bubble."""
        return Box(self.x - self.radius, self.y - self.radius, self.x + self.radius, self.y + self.radius)


@dataclass(frozen=True, slots=True)
class Label:
    """A text in its place."""

    text: str
    box: Box
    leader: tuple[tuple[float, float], tuple[float, float]] | None
    """A line from the edge of the bubble, where the label stands apart from it."""


def place_labels(points: Sequence[Point], lines: Sequence[Box], frame: Box) -> list[Label | None]:
    """Place a label for each point, so that no label lies on another, on a foreign bubble or out of the frame.

    Each label in turn takes the cheapest of up to 112 places around its point, where crossing a line costs a little and
    distance costs less; a few passes let the early ones make way. A label without any free place is given in its next
    shorter text, and left out if that finds none either.

    Args:
        points: the most important first.
        lines: thin boxes that labels should rather not cross.
        frame: what the labels stay in.
    """
    placed: list[Label | None] = [None] * len(points)
    for _ in range(_PASSES):
        for n, point in enumerate(points):
            others = [label.box for m, label in enumerate(placed) if m != n and label is not None]
            bubbles = [other.box for m, other in enumerate(points) if m != n]
            found = (_best(point, wording, others, bubbles, lines, frame) for wording in point.texts)
            placed[n] = next((label for label in found if label is not None), None)
    return placed


def _best(
    point: Point, wording: Wording, labels: Sequence[Box], bubbles: Sequence[Box], lines: Sequence[Box], frame: Box
) -> Label | None:
    best, cheapest = None, math.inf
    width, height = text_width(wording.text, point.size, point.bold) + 4, point.size * _HEIGHT
    for base, gap, angle in _PLACES:
        if base >= cheapest:
            break
        if gap > wording.farthest:
            continue
        box = _box(point, width, height, gap, angle)
        if not box.within(frame) or any(box.overlap(other) for other in labels):
            continue
        # A quarter of the box is corner that a bubble does not fill.
        if any(box.overlap(bubble) > 0.1 * (bubble.right - bubble.left) ** 2 for bubble in bubbles):
            continue
        if box.overlap(point.box) > 0.1 * width * height:
            continue
        crossed = sum(box.overlap(line) > 0 for line in lines)
        if crossed and not wording.crossing:
            continue
        cost = base + 8 * crossed + 0.1 * sum(box.overlap(bubble) for bubble in bubbles)
        if cost < cheapest:
            best, cheapest = Label(wording.text, box, _leader(point, box, gap)), cost
    return best


def _box(point: Point, width: float, height: float, gap: float, angle: float) -> Box:
    """Return the box that touches a circle around the point, on the side that ``angle`` tells."""
    reach = point.radius + gap
    x, y = point.x + reach * math.cos(angle), point.y - reach * math.sin(angle)
    # The box hangs on the circle by the side that faces the point: by its middle straight above, by its end beside it.
    left = x - width / 2 + width / 2 * math.cos(angle)
    top = y - height / 2 - height / 2 * math.sin(angle)
    return Box(left, top, left + width, top + height)


def _leader(point: Point, box: Box, gap: float) -> tuple[tuple[float, float], tuple[float, float]] | None:
    if gap < 12:
        return None
    x = min(max(point.x, box.left), box.right)
    y = min(max(point.y, box.top), box.bottom)
    away = math.hypot(x - point.x, y - point.y)
    if away <= point.radius + 6:
        return None
    share = point.radius / away
    return (point.x + share * (x - point.x), point.y + share * (y - point.y)), (x, y)
