"""A world in which faces are bright squares, a detector that finds them, and a clock that counts work.

The detector is a real one: it looks at the pixels it is given, at the sizes it is asked for, and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from fer_edge.contract.preprocess import Box, UInt8Array
from fer_edge.vision.base import Detection

SIZE = (640, 480)


@dataclass
class WorkClock:
    """Seconds that pass only when a detector works."""

    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


@dataclass
class SquareDetector:
    """Finds bright squares on a dark ground; counts what it is asked to do."""

    clock: WorkClock = field(default_factory=WorkClock)
    seconds_per_window: float = 0.0
    strength: float = 4.0
    """The score of a white square; greyer ones have less."""
    calls: int = 0
    pixels: int = 0
    name: str = "square"
    window: int = 24

    def detect(self, grey: UInt8Array, *, min_size: int, max_size: int | None, scale_factor: float) -> list[Detection]:
        assert scale_factor > 1.0
        self.calls += 1
        self.pixels += grey.size
        self.clock.seconds += self.seconds_per_window * self._windows(grey.shape, min_size, max_size, scale_factor)
        bright = (grey > 90).astype(np.uint8)
        found: list[Detection] = []
        for x, y, w, h, area in cv2.connectedComponentsWithStats(bright)[2][1:].tolist():
            whole = x > 0 and y > 0 and x + w < grey.shape[1] and y + h < grey.shape[0]
            is_square = 0.8 < w / h < 1.25 and area > 0.8 * w * h
            # A window detector takes the nearest of its sizes, so the limits are not sharp.
            fits = w >= 0.93 * min_size and (max_size is None or w <= 1.07 * max_size)
            if whole and is_square and fits:
                found.append(Detection((x, y, w, h), self.strength * float(grey[y : y + h, x : x + w].max()) / 255))
        return found

    def _windows(self, shape: tuple[int, ...], min_size: int, max_size: int | None, scale_factor: float) -> float:
        """Return how often OpenCV would look through its window, which is what its time is proportional to."""
        count, side = 0.0, float(self.window)
        while side <= min(*shape, max_size or max(shape)):
            if side >= min_size:
                step = side / self.window * (1 if side >= 2 * self.window else 2)
                count += ((shape[0] - side) / step + 1) * ((shape[1] - side) / step + 1)
            side *= scale_factor
        return count


def world(*squares: Box, size: tuple[int, int] = SIZE, brightness: int = 255) -> UInt8Array:
    """Return a (H, W) uint8 picture with bright squares."""
    picture = np.full((size[1], size[0]), 20, np.uint8)
    for x, y, w, h in squares:
        picture[max(y, 0) : max(y + h, 0), max(x, 0) : max(x + w, 0)] = brightness
    return picture
