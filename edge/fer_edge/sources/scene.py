"""``demo``: a moving scene around the one real face that comes with fer-edge, for machines without a camera.

The face is Eileen Collins on NASA's public-domain portrait (see ``data/ASTRONAUT-LICENSE.txt``). A virtual camera
wanders over it, zooms, tilts, loses light and adds noise; for a while a second visitor, mirrored, stands beside her.
"""

from __future__ import annotations

import math
import time
from importlib.resources import files
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from fer_edge.contract.preprocess import UInt8Array
from fer_edge.frames import Frame
from fer_edge.sources.base import SourceSettings, orient
from fer_edge.sources.files import Pacer
from fer_edge.sources.image import read_image

FPS: Final = 25.0
FRAMES: Final = 150
"""Six seconds; the movement is periodic, so that a loop has no jump."""
SIZE: Final = (640, 480)
"""(width, height) in pixels."""
_FACE: Final = (224.0, 116.0)
"""(x, y) of the middle of the face in the portrait, in pixels."""


class DemoScene:
    """The scene as a finite source; ``loop`` makes it endless, ``realtime`` paces it at 25 frames/s."""

    name = "demo"
    live = False

    def __init__(self, settings: SourceSettings) -> None:
        self._settings = settings
        self._portrait: UInt8Array | None = None
        self._next = 0
        self._pacer = Pacer()

    @property
    def nominal_fps(self) -> float | None:
        """25."""
        return FPS

    @property
    def waiting(self) -> bool:
        """See :class:`~fer_edge.sources.base.Paced`."""
        return self._pacer.waiting

    def open(self) -> None:
        """Load the portrait.

        Raises:
            SourceError: if the installation lacks it.
        """
        if self._portrait is None:
            self._portrait = read_image(Path(str(files("fer_edge") / "data" / "astronaut.jpg")))
            self._next, self._pacer = 0, Pacer()

    def read(self) -> Frame | None:
        """Draw the next frame; None after the last one."""
        if self._portrait is None or (self._next >= FRAMES and not self._settings.loop):
            return None
        index, self._next = self._next, self._next + 1
        if self._settings.realtime:
            self._pacer.wait_until(index / FPS)
        image = orient(draw(self._portrait, index), self._settings.rotation, self._settings.flip)
        return Frame(index, image, captured_at=time.monotonic(), time=index / FPS)

    def close(self) -> None:
        """Let go of the portrait and end a wait."""
        self._portrait = None
        self._pacer.stop()


def draw(portrait: UInt8Array, index: int) -> UInt8Array:
    """Return frame ``index`` of the scene: (480, 640, 3) uint8 BGR, the same whenever it is drawn."""
    width, height = SIZE
    turn = 2 * math.pi * index / FRAMES
    gain = 0.8 + 0.2 * math.cos(3 * turn)
    if math.cos(turn) < -0.5:  # the middle third: two visitors
        left = _view(portrait, (width // 2, height), turn, zoom=1.35, tilt_deg=4.0)
        right = _view(portrait[:, ::-1], (width // 2, height), -2 * turn, zoom=1.6, tilt_deg=6.0, mirrored=True)
        image = np.hstack([left, right])
    else:
        image = _view(portrait, SIZE, turn, zoom=1.9 - 0.5 * math.cos(turn), tilt_deg=8.0)
    noise = np.random.default_rng(index % FRAMES).normal(0.0, 3.0, image.shape[:2])
    return np.clip(image * gain + noise[:, :, None], 0, 255).astype(np.uint8)


def _view(
    portrait: UInt8Array, size: tuple[int, int], turn: float, *, zoom: float, tilt_deg: float, mirrored: bool = False
) -> UInt8Array:
    """Look at the portrait: (height, width, 3) uint8 BGR."""
    width, height = size
    middle = portrait.shape[1] - 1 - _FACE[0] if mirrored else _FACE[0]
    centre = (middle + 22 * math.sin(2 * turn), _FACE[1] + 24 + 16 * math.sin(turn))
    matrix = cv2.getRotationMatrix2D(centre, tilt_deg * math.sin(turn), zoom)
    matrix[:, 2] += np.array([width / 2 - centre[0], height / 2 - centre[1]])
    view = cv2.warpAffine(portrait, matrix, size, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(view, np.uint8)
