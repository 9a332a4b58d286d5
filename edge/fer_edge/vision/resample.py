"""Resizing a grey image for a detector."""

from __future__ import annotations

import cv2
import numpy as np

from fer_edge.contract.preprocess import UInt8Array


def resized(image: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    """Return ``image``, (H, W) uint8, as (height, width) uint8 for ``size`` = (width, height), in pixels.

    Down to half the width linear interpolation misses no pixel and is several times faster than averaging; below that
    pixels are averaged, so that nothing is aliased. An image that has the size already is returned as it is.
    """
    if size == (image.shape[1], image.shape[0]):
        return image
    method = cv2.INTER_LINEAR if image.shape[1] < 2 * size[0] else cv2.INTER_AREA
    return np.asarray(cv2.resize(image, size, interpolation=method), np.uint8)
