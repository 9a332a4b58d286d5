"""Writing one annotated picture."""

from __future__ import annotations

from pathlib import Path

import cv2

from fer_edge.contract.files import write_bytes
from fer_edge.contract.preprocess import UInt8Array
from fer_edge.frames import Observation
from fer_edge.outputs.overlay import draw_overlay


def write_annotated(path: Path, image: UInt8Array, observation: Observation) -> None:
    """Write ``image`` with what was seen in it as PNG, atomically.

    Args:
        path: where to.
        image: (H, W, 3) uint8 BGR or (H, W) uint8 grey; left as it is.
        observation: boxes in pixels of ``image``.

    Raises:
        OutputError: if it cannot be written.
    """
    _, encoded = cv2.imencode(".png", draw_overlay(image, observation))
    write_bytes(path, encoded.tobytes())
