"""Drawing what was seen onto a picture: for the annotated image and video, the window and the web dashboard.

Everything is sized by the picture, so that it reads the same at 320x240 and at 4K, and every colour stands on a dark
or light ground of its own, so that it reads on any picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.contract.labels import UNCERTAIN
from fer_edge.contract.preprocess import Box, UInt8Array
from fer_edge.frames import Face, Observation
from fer_edge.outputs.lettering import draw_text, text_width

Colour: TypeAlias = tuple[int, int, int]
"""(blue, green, red), each 0 to 255."""

EXPRESSION_COLOURS: Final[dict[str, str]] = {
    "angry": "#D55E00",
    "disgust": "#009E73",
    "fear": "#CC79A7",
    "happy": "#F0E442",
    "sad": "#0072B2",
    "surprise": "#E69F00",
    "neutral": "#56B4E9",
    UNCERTAIN: "#BBBBBB",
}
"""#RRGGBB of each expression: the palette of Okabe and Ito (2008, "Color Universal Design"), which people with any of
the common colour-vision deficiencies can tell apart."""

INK: Final[Colour] = (26, 20, 18)
PAPER: Final[Colour] = (248, 248, 248)
PANEL_OPACITY: Final = 0.72

FRACTION_BITS: Final = 4
"""OpenCV draws at 1/16 of a pixel when it is given coordinates as fixed-point numbers: curves come out smooth."""


def expression_colour(label: str) -> Colour:
    """Return the colour of an expression; a label that the palette does not know gets one of its colours for good."""
    known = EXPRESSION_COLOURS.get(label) or list(EXPRESSION_COLOURS.values())[sum(label.encode()) % 7]
    return int(known[5:7], 16), int(known[3:5], 16), int(known[1:3], 16)


def draw_overlay(image: UInt8Array, observation: Observation) -> UInt8Array:
    """Return a copy of ``image`` with a box, the expression and its score on every face.

    A face that is large enough gets a panel with a bar for each expression beside it.

    Args:
        image: (H, W, 3) uint8 BGR or (H, W) uint8 grey; left as it is.
        observation: what was seen in it; boxes in pixels of ``image``.

    Returns:
        (H, W, 3) uint8 BGR, C-contiguous.
    """
    canvas = np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else np.array(image, order="C")
    sizes = _Sizes.of(canvas)
    # Large (near) faces choose the places of their labels first.
    faces = sorted(observation.faces, key=lambda face: -face.box[2] * face.box[3])
    for face in faces:
        _draw_box(canvas, face, sizes)
    panels: list[Box] = []
    for face in faces:
        _draw_panel(canvas, face, [other.box for other in faces if other is not face], panels, sizes)
    taken: list[Box] = []
    for face in faces:
        _draw_tag(canvas, face, taken, sizes)
    return canvas


@dataclass(frozen=True, slots=True)
class _Sizes:
    """Lengths in pixels that follow from the size of the picture."""

    capital: int
    """Height of the tag's capital letters."""
    small: int
    """Height of the panel's capital letters."""
    line: int
    """Width of a box's outline."""
    pad: int
    """Space around text."""

    @classmethod
    def of(cls, image: UInt8Array) -> _Sizes:
        """Measure by the geometric mean of the sides: a strip is neither a large nor a small picture."""
        side = math.sqrt(image.shape[0] * image.shape[1])
        capital = max(8, round(side * 0.021))
        return cls(
            capital=capital,
            small=max(7, round(capital * 0.8)),
            line=max(1, round(side * 0.0036)),
            pad=max(4, round(capital * 0.7)),
        )


def _draw_box(canvas: UInt8Array, face: Face, sizes: _Sizes) -> None:
    """Outline a face; the dark edge on both sides of the line keeps it visible on a ground of its own colour."""
    x, y, w, h = face.box
    outline = _rounded(x, y, w, h, radius=0.1 * min(w, h))
    edge = max(1, sizes.line // 2)
    for colour, width in ((INK, sizes.line + 2 * edge), (expression_colour(face.expression), sizes.line)):
        cv2.polylines(canvas, [outline], True, colour, width, cv2.LINE_AA, FRACTION_BITS)


def _draw_tag(canvas: UInt8Array, face: Face, taken: list[Box], sizes: _Sizes) -> None:
    """Write expression and score above the box; below or inside of it where there is no room above.

    Args:
        canvas: drawn upon.
        face: whose tag it is.
        taken: places of the tags drawn so far; this one's is added.
        sizes: lengths for the picture; the tag of a small face is smaller, so that it does not hide its neighbours.
    """
    x, y, w, h = face.box
    rows, cols = canvas.shape[:2]
    capital = max(8, round(0.55 * sizes.capital), min(sizes.capital, round(0.16 * w)))
    pad = max(3, round(0.65 * capital))
    name, score = face.expression, f"{100 * face.score:.0f}%"
    score_at = pad + text_width(name, capital) + capital // 2
    width = score_at + text_width(score, capital) + pad
    height = capital + 2 * pad
    gap = 2 * sizes.line
    left = _within(x - sizes.line, cols - width)
    tops = (y - height - gap, y + h + gap, y + gap)
    places = [(left, top, width, height) for top in tops if 0 <= top <= rows - height]
    free = [place for place in places if not any(_overlap(place, other) for other in taken)]
    place = (free or places or [(left, _within(y + gap, rows - height), width, height)])[0]
    taken.append(place)
    left, top = place[:2]
    colour = expression_colour(face.expression)
    _fill(canvas, _rounded(left, top, width, height, radius=0.28 * height), colour)
    text = _readable_on(colour)
    draw_text(canvas, name, left + pad, top + pad, capital, text)
    draw_text(canvas, score, left + score_at, top + pad, capital, text)


def _draw_panel(canvas: UInt8Array, face: Face, others: list[Box], panels: list[Box], sizes: _Sizes) -> None:
    """Draw a bar for each expression beside a face, if the face is large enough and there is room.

    Args:
        canvas: drawn upon.
        face: whose panel it is.
        others: boxes of the other faces, which a panel must not cover.
        panels: places of the panels drawn so far; this one's is added.
        sizes: lengths for the picture.
    """
    if not face.probabilities:
        return
    step = round(sizes.small * 2.1)
    names = max(text_width(label, sizes.small) for label in face.probabilities)
    bar = 5 * sizes.small
    width = 2 * sizes.pad + names + sizes.pad + bar
    height = 2 * sizes.pad + step * len(face.probabilities) - (step - sizes.small)
    if face.box[3] < 0.75 * height:
        return
    place = _beside(face.box, width, height, 2 * sizes.line + sizes.pad // 2, canvas.shape, [*others, *panels])
    if place is None:
        return
    left, top = place
    panels.append((left, top, width, height))
    _shade(canvas, (left, top, width, height), radius=0.8 * sizes.pad)
    for row, (label, probability) in enumerate(face.probabilities.items()):
        y = top + sizes.pad + row * step
        draw_text(canvas, label, left + sizes.pad, y, sizes.small, PAPER)
        x = left + 2 * sizes.pad + names
        _fill(canvas, _rounded(x, y, bar, sizes.small, radius=0.5 * sizes.small), (96, 92, 90))
        length = bar * min(max(probability, 0.0), 1.0)
        if length >= 1:
            colour = expression_colour(label)
            _fill(canvas, _rounded(x, y, max(length, sizes.small), sizes.small, radius=0.5 * sizes.small), colour)


def _beside(
    box: Box, width: int, height: int, gap: int, shape: tuple[int, ...], others: list[Box]
) -> tuple[int, int] | None:
    """Return (left, top) of a panel to the right or left of ``box``; None if there is no room beside the others."""
    x, y, w, _ = box
    top = _within(y, shape[0] - height)
    if height > shape[0]:
        return None
    for left in (x + w + gap, x - gap - width):
        inside = left >= 0 and left + width <= shape[1]
        if inside and not any(_overlap((left, top, width, height), other) for other in others):
            return left, top
    return None


def _overlap(one: Box, other: Box) -> bool:
    return (
        one[0] < other[0] + other[2]
        and other[0] < one[0] + one[2]
        and one[1] < other[1] + other[3]
        and other[1] < one[1] + one[3]
    )


def _rounded(x: float, y: float, w: float, h: float, radius: float) -> NDArray[np.int32]:
    """Return the outline of a rectangle with rounded corners, (n, 1, 2) fixed-point (see :data:`FRACTION_BITS`)."""
    radius = max(0.0, min(radius, w / 2, h / 2))
    quarter = np.linspace(0.0, math.pi / 2, 9)
    left, top, right, bottom = x + radius, y + radius, x + w - radius, y + h - radius
    corners = []
    for turn, centre in enumerate(((right, bottom), (left, bottom), (left, top), (right, top))):
        angle = quarter + turn * math.pi / 2
        corners.append(np.array(centre) + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1))
    return np.rint(np.concatenate(corners)[:, None, :] * (1 << FRACTION_BITS)).astype(np.int32)


def _fill(canvas: UInt8Array, outline: NDArray[np.int32], colour: Colour) -> None:
    cv2.fillConvexPoly(canvas, outline, colour, cv2.LINE_AA, FRACTION_BITS)


def _shade(canvas: UInt8Array, box: Box, radius: float) -> None:
    """Lay a dark, translucent panel over ``box``, which must lie within the canvas."""
    x, y, w, h = box
    ground = canvas[y : y + h, x : x + w]
    panel = ground.copy()
    _fill(panel, _rounded(0, 0, w - 1, h - 1, radius), INK)
    cv2.addWeighted(panel, PANEL_OPACITY, ground, 1 - PANEL_OPACITY, 0, dst=ground)


def _readable_on(ground: Colour) -> Colour:
    """Return dark or light ink, whichever contrasts more by WCAG 2.1's relative luminance."""
    linear = [(c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4) for c in (v / 255 for v in ground)]
    luminance = 0.0722 * linear[0] + 0.7152 * linear[1] + 0.2126 * linear[2]
    # (L + 0.05) / 0.05 against dark, 1.05 / (L + 0.05) against light: equal at L = 0.179.
    return INK if luminance > 0.179 else PAPER


def _within(value: int, most: int) -> int:
    return max(0, min(value, most))
