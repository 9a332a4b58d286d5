"""A FER2013 made of gratings: small, free of any face, and learnable.

Each class is a texture (a wavelength and a direction) at a random phase, which flips, shifts and small turns leave
what it is: a network that trains on it with the usual augmentation soon tells the classes apart, and one whose labels
were mixed up on the way does not.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from fer_edge.contract.labels import LABELS
from fer_edge.errors import DataError
from fer_train.fer2013 import SIDE, SPLITS, Fer2013, Fer2013Warning, load

GRATINGS: tuple[tuple[int, int] | None, ...] = ((4, 0), (4, 1), (8, 0), (8, 1), (16, 0), (16, 1), None)
"""(wavelength in pixels, axis along which it runs) of each label; None is plain noise."""


@dataclass(frozen=True, eq=False)
class SyntheticFer2013:
    """Images with labels and splits, which can be written in each form in which people have FER2013."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    splits: NDArray[np.uint8]

    @classmethod
    def generate(cls, per_class: tuple[int, int, int] = (16, 4, 4), seed: int = 2013) -> Self:
        """Draw ``per_class`` images of each label for each of SPLITS, split by split as in the challenge's table."""
        rng = np.random.default_rng(seed)
        labels, splits = [], []
        for split, count in enumerate(per_class):
            labels.append(rng.permutation(np.repeat(np.arange(len(LABELS), dtype=np.uint8), count)))
            splits.append(np.full(count * len(LABELS), split, np.uint8))
        label_ids = np.concatenate(labels)
        pixels = np.stack([_draw(int(label), rng) for label in label_ids])
        return cls(pixels, label_ids, np.concatenate(splits))

    def __len__(self) -> int:
        return len(self.pixels)

    def as_data(self) -> Fer2013:
        """What reading it gives, without the warning that it is no official FER2013."""
        rows = np.arange(len(self), dtype=np.int64)
        return Fer2013(self.pixels, self.labels, self.splits, rows, source="synthetic", sha256="0" * 64)

    def table(self) -> str:
        """The challenge's table."""
        rows = [
            f"{label},{' '.join(map(str, image.ravel()))},{SPLITS[split]}\n"
            for image, label, split in zip(self.pixels, self.labels, self.splits, strict=True)
        ]
        return "".join(["emotion,pixels,Usage\n", *rows])

    def write_csv(self, path: Path) -> Path:
        path.write_text(self.table())
        return path

    def write_npz(self, path: Path) -> Path:
        usage = np.array(SPLITS)[self.splits]
        np.savez(path, pixels=self.pixels, emotion=self.labels.astype(np.int64), usage=usage)
        return path

    def write_tree(self, folder: Path) -> Path:
        for row, (image, label, split) in enumerate(zip(self.pixels, self.labels, self.splits, strict=True)):
            path = folder / ("train" if split == 0 else "test") / LABELS[label] / f"{SPLITS[split]}_{row:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), image)
        return folder


def load_quietly(path: Path) -> Fer2013:
    """Load without the cache and without the warning that this is not the official data set."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Fer2013Warning)
        return load(path, cache=False)


def fault_in(path: Path) -> str:
    """Return the message, one line that names ``path``, of the DataError that loading it ends in."""
    with pytest.raises(DataError) as raised:
        load(path, cache=False)
    message = str(raised.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def _draw(label: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw one image, (48, 48) uint8."""
    image = rng.normal(128.0, 12.0, (SIDE, SIDE))
    grating = GRATINGS[label]
    if grating is not None:
        wavelength, axis = grating
        wave = 60.0 * np.sin(2 * np.pi * (np.arange(SIDE) / wavelength + rng.random()))
        image += wave[:, None] if axis == 0 else wave[None, :]
    return np.clip(image, 0, 255).astype(np.uint8)
