"""Faces to classify where FER2013 is not at hand: the one portrait that comes with fer-edge, distorted at random."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.contract.labels import LABELS
from fer_edge.sources.scene import FRAMES, draw
from tests.service.wheelhouse import REPOSITORY

_FACE: Final = (178, 67, 92)
"""(x, y, side) of the face in the portrait, in pixels, as the frontal cascade finds it."""
_SIDE: Final = 48


def portrait() -> NDArray[np.uint8]:
    """(512, 512, 3) uint8 BGR."""
    return np.asarray(cv2.imread(str(REPOSITORY / "edge" / "fer_edge" / "data" / "astronaut.jpg")), np.uint8)


def write_crops(path: Path, count: int, seed: int = 2013) -> Path:
    """Write ``count`` distorted crops of the face as an .npz in FER2013's form, all of them PrivateTest.

    A smooth random displacement bends mouth and brows, so that a network gives all kinds of answers, close calls
    among them. The labels go round and mean nothing.
    """
    rng = np.random.default_rng(seed)
    grey = np.asarray(cv2.cvtColor(portrait(), cv2.COLOR_BGR2GRAY), np.uint8)
    pixels = np.stack([_crop(grey, rng) for _ in range(count)])
    emotion = np.arange(count, dtype=np.int64) % len(LABELS)
    np.savez(path, pixels=pixels, emotion=emotion, usage=np.full(count, "PrivateTest"))
    return path


def write_scenes(folder: Path, count: int) -> Path:
    """Write ``count`` frames of the demo's scene as PNG files: the same pixels for every machine."""
    folder.mkdir()
    for index in range(0, FRAMES, FRAMES // count):
        assert cv2.imwrite(str(folder / f"{index:03d}.png"), draw(portrait(), index))
    return folder


def _crop(grey: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw one crop, (48, 48) uint8."""
    x, y, side = _FACE
    middle, scale = np.array([x + side / 2, y + side / 2]) + rng.normal(0, 3, 2), side / _SIDE * rng.uniform(0.9, 1.15)
    turn = np.radians(rng.normal(0, 8))
    grid = (np.stack(np.meshgrid(np.arange(_SIDE), np.arange(_SIDE)), -1) - (_SIDE - 1) / 2) * scale
    grid = grid @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]).T + middle
    bend = cv2.resize(rng.normal(0, 5.0, (6, 6, 2)), (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC)
    where = (grid + bend).astype(np.float32)
    face = cv2.remap(grey, where[..., 0], where[..., 1], cv2.INTER_LINEAR).astype(np.float64)
    face = face[:, ::-1] if rng.random() < 0.5 else face
    face = 255 * (face / 255) ** rng.uniform(0.6, 1.6) * rng.uniform(0.6, 1.2) + rng.normal(0, 4, face.shape)
    return np.clip(face, 0, 255).astype(np.uint8)
