"""Many small face crops on one picture, each with a line of text under it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np

from fer_edge.contract.preprocess import UInt8Array

_TILE: Final = 96
_CAPTION: Final = 16
_GAP: Final = 6
_GROUND: Final = 246
_INK: Final = 40


def contact_sheet(groups: Sequence[Sequence[tuple[UInt8Array, str]]], width: int = 12) -> UInt8Array:
    """Lay out groups of crops that belong together, a wider gap between groups.

    Args:
        groups: (crop, caption) pairs; a crop is (H, W) uint8 grey, a caption ASCII of at most some 14 characters.
        width: tiles in a row; a group that does not fit starts on the next one.

    Returns:
        (height, width) uint8 grey.
    """
    places: list[tuple[int, int, UInt8Array, str]] = []
    across, row, used = 0, 0, 0
    limit = width * (_TILE + _GAP)
    for group in groups:
        length = len(group) * _TILE + 2 * _GAP
        if across and across + length > limit:
            across, row = 0, row + 1
        for crop, caption in group:
            if across + _TILE > limit:
                across, row = 0, row + 1
            places.append((row, across, crop, caption))
            across += _TILE + (1 if len(group) > 1 else _GAP)
            used = max(used, across)
        across += _GAP
    rows = row + 1 if places else 0
    sheet = np.full((rows * (_TILE + _CAPTION + _GAP) + _GAP, max(used, 1) + 2 * _GAP), _GROUND, np.uint8)
    for row, across, crop, caption in places:
        top, left = _GAP + row * (_TILE + _CAPTION + _GAP), _GAP + across
        sheet[top : top + _TILE, left : left + _TILE] = enlarged(crop, _TILE)
        place = (left + 1, top + _TILE + 12)
        cv2.putText(sheet, caption, place, cv2.FONT_HERSHEY_SIMPLEX, 0.35, _INK, 1, cv2.LINE_AA)
    return sheet


def enlarged(image: UInt8Array, side: int) -> UInt8Array:
    """Return a (H, W) or (H, W, 3) image at (side, side), smoothly interpolated."""
    resized = cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)
    assert isinstance(resized, np.ndarray)
    return resized.astype(np.uint8, copy=False)
