"""Text on pictures, in a proportional sans-serif.

OpenCV's own lettering (Hershey's stroke fonts of 1967) is hard to read at small sizes, and its FreeType module is in no
wheel. So the characters are package data, rendered once at a large size, and shrunk by area averaging.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from typing import Final, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.contract.preprocess import UInt8Array

Coverage: TypeAlias = NDArray[np.float32]
"""(H, W) float32: how much of each pixel is covered by ink, 0 to 1."""

UNKNOWN: Final = "?"


def text_width(text: str, capital: int) -> int:
    """Return the width of ``text`` in pixels when its capital letters are ``capital`` pixels high."""
    return int(_ink(text, capital).shape[1])


def draw_text(canvas: UInt8Array, text: str, x: int, y: int, capital: int, colour: tuple[int, int, int]) -> None:
    """Draw one line of text onto ``canvas``; what lies outside of it is cut off.

    Args:
        canvas: (H, W, 3) uint8 BGR, drawn upon.
        text: characters outside Latin-1 appear as a question mark.
        x: left edge, in pixels.
        y: upper edge of the capital letters, in pixels.
        capital: height of the capital letters, in pixels.
        colour: (blue, green, red).
    """
    ink = _ink(text, capital)
    y -= _overhang(capital)
    height, width = ink.shape
    rows, cols = canvas.shape[:2]
    y0, y1, x0, x1 = max(y, 0), min(y + height, rows), max(x, 0), min(x + width, cols)
    if y0 >= y1 or x0 >= x1:
        return
    cover = ink[y0 - y : y1 - y, x0 - x : x1 - x, None]
    ground = canvas[y0:y1, x0:x1]
    ground[:] = np.rint(ground * (1 - cover) + np.array(colour, np.float32) * cover)


class _Characters:
    """The characters at the size of the package data."""

    def __init__(self) -> None:
        with (files("fer_edge") / "data" / "lettering.npz").open("rb") as file, np.load(file) as data:
            coverage, starts, advances = data["coverage"], data["starts"], data["advances"]
            self.bleed = int(data["bleed"])
            self.baseline = int(data["baseline"])
            self.capital = int(data["capital"])
            self._cells = {
                chr(code): (coverage[:, starts[i] : starts[i + 1]], float(advances[i]))
                for i, code in enumerate(data["codes"])
            }

    def line(self, text: str) -> Coverage:
        """Return ``text`` set in one line, ``bleed`` pixels of margin on both sides."""
        cells = [self._cells.get(character, self._cells[UNKNOWN]) for character in text]
        height = self._cells[UNKNOWN][0].shape[0]
        set_line = np.zeros((height, int(sum(advance for _, advance in cells)) + 4 * self.bleed), np.float32)
        x = 0.0
        for cell, advance in cells:
            left = round(x)
            part = set_line[:, left : left + cell.shape[1]]
            # Neighbours may reach into each other's cells; the darker ink counts.
            np.maximum(part, cell[:, : part.shape[1]] / np.float32(255), out=part)
            x += advance
        return set_line[:, : round(x) + 2 * self.bleed]


@lru_cache(maxsize=1)
def _characters() -> _Characters:
    return _Characters()


@lru_cache(maxsize=512)
def _ink(text: str, capital: int) -> Coverage:
    """Return ``text`` at its final size; cached, because the same labels come in every frame."""
    characters = _characters()
    large = characters.line(text or " ")[:, characters.bleed : -characters.bleed]
    scale = capital / characters.capital
    size = max(1, round(large.shape[1] * scale)), max(1, round(large.shape[0] * scale))
    small = np.asarray(cv2.resize(large, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR))
    return small.astype(np.float32, copy=False)


def _overhang(capital: int) -> int:
    """Return how far accents reach above the capital letters, in pixels."""
    characters = _characters()
    return round((characters.baseline - characters.capital) * capital / characters.capital)
