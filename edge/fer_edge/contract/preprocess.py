"""How a face becomes the tensor that a network sees: the one preprocessing of all three rooms.

Training, calibration, evaluation and the runtime call :func:`face_input` (or :func:`image_input`, which is the same
function for an image that already is a face crop). Nothing is scaled here: a network takes pixels of 0 to 255, and
scaling to [-1, 1] or mean subtraction is a layer of its graph.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

UInt8Array: TypeAlias = NDArray[np.uint8]
Box: TypeAlias = tuple[int, int, int, int]
"""(x, y, width, height) in pixels; x and y are those of the upper left corner and may lie outside the image."""


class InputSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Geometry and colour of a network's input; part of the model card."""

    height: Annotated[int, msgspec.Meta(ge=16, le=512)] = 48
    width: Annotated[int, msgspec.Meta(ge=16, le=512)] = 48
    channels: Literal[1, 3] = 1
    """3 repeats the grey channel for networks whose pretrained stem takes colour."""
    colour: Literal["grey"] = "grey"
    """Grey by ITU-R BT.601 (0.299 R + 0.587 G + 0.114 B), which is what the Y plane of a camera holds too."""
    interpolation: Literal["area"] = "area"
    """OpenCV's INTER_AREA: averages when it shrinks, so that a large face is not aliased."""
    margin: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.0
    """How much the square around a detected face is widened, as a fraction of its side (0.1: 5 % on each side)."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return self.height, self.width, self.channels


FER2013_INPUT = InputSpec()
"""The data set's own geometry: 48x48 grey."""


def to_grey(image: UInt8Array) -> UInt8Array:
    """Return ``image`` as (H, W) uint8 grey.

    Args:
        image: (H, W) or (H, W, 1) grey, (H, W, 3) BGR or (H, W, 4) BGRA, uint8.

    Raises:
        ValueError: for any other shape or dtype.
    """
    if image.dtype != np.uint8:
        raise ValueError(f"an image must be uint8, not {image.dtype}")
    if image.ndim == 2:
        return image
    if image.ndim == 3 and image.shape[2] == 1:
        return image[:, :, 0]
    if image.ndim == 3 and image.shape[2] == 3:
        return _uint8(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
    if image.ndim == 3 and image.shape[2] == 4:
        return _uint8(cv2.cvtColor(image, cv2.COLOR_BGRA2GRAY))
    raise ValueError(f"an image must be (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), not {image.shape}")


def square(box: Box, margin: float) -> Box:
    """Return the square around the centre of ``box`` whose side is the longer side times ``1 + margin``."""
    x, y, w, h = box
    if w <= 0 or h <= 0:
        raise ValueError(f"a box must have a positive width and height, not {w}x{h}")
    side = max(1, round(max(w, h) * (1.0 + margin)))
    return round(x + (w - side) / 2), round(y + (h - side) / 2), side, side


def crop(grey: UInt8Array, box: Box) -> UInt8Array:
    """Cut ``box`` out of a (H, W) image; what lies outside the image repeats its nearest edge pixel.

    Repeating the edge (rather than clipping the box or padding with black) keeps the face's proportions and adds no
    contour that no training image has.

    Raises:
        ValueError: if the box does not touch the image at all.
    """
    x, y, w, h = box
    rows, cols = grey.shape
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + w, cols), min(y + h, rows)
    if x0 >= x1 or y0 >= y1:
        raise ValueError(f"box {box} lies outside the {cols}x{rows} image")
    inside = grey[y0:y1, x0:x1]
    if (x0, y0, x1, y1) == (x, y, x + w, y + h):
        return inside
    return _uint8(cv2.copyMakeBorder(inside, y0 - y, y + h - y1, x0 - x, x + w - x1, cv2.BORDER_REPLICATE))


def image_input(image: UInt8Array, spec: InputSpec) -> UInt8Array:
    """Turn an image that already is a face crop into a network's input.

    Args:
        image: the crop, as for :func:`to_grey`.
        spec: the geometry that the model card asks for.

    Returns:
        (height, width, channels) uint8, a new array.
    """
    grey = to_grey(image)
    if grey.shape != (spec.height, spec.width):
        grey = _uint8(cv2.resize(grey, (spec.width, spec.height), interpolation=cv2.INTER_AREA))
    return np.repeat(grey[:, :, None], spec.channels, axis=2)


def batch_input(images: UInt8Array, spec: InputSpec) -> UInt8Array:
    """Apply :func:`image_input` to each of (n, H, W[, C]) uint8 face crops.

    Returns:
        (n, height, width, channels) uint8, a new array.
    """
    batch = np.empty((len(images), *spec.shape), np.uint8)
    for row, image in zip(batch, images, strict=True):
        row[:] = image_input(image, spec)
    return batch


def face_input(image: UInt8Array, box: Box, spec: InputSpec) -> UInt8Array:
    """Turn a detected face into a network's input: grey, square crop with margin, INTER_AREA resize.

    Args:
        image: the whole picture, as for :func:`to_grey`. Give the grey image where there is one: the conversion of a
            whole frame for each face is the dearest step.
        box: the detector's box in pixels of ``image``.
        spec: the geometry that the model card asks for.

    Returns:
        (height, width, channels) uint8, a new array.
    """
    return image_input(crop(to_grey(image), square(box, spec.margin)), spec)


def _uint8(image: object) -> UInt8Array:
    """Narrow OpenCV's loose return type; the function called keeps uint8."""
    assert isinstance(image, np.ndarray)
    return image
