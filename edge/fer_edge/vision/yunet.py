"""YuNet, a small network that finds faces at any angle, through OpenCV; the user supplies its file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2
import numpy as np

from fer_edge.contract.preprocess import UInt8Array
from fer_edge.errors import ModelError
from fer_edge.vision.base import Detection

_TRUSTED: Final = 0.7
_REPORTED: Final = 0.4
_OVERLAP: Final = 0.3
_MOST_FACES: Final = 500
_WINDOW: Final = 24


class YuNetDetector:
    """YuNet (Wu, Peng and Yu, "YuNet: A tiny millisecond-level face detector", 2023) in ``cv2.FaceDetectorYN``.

    Its file, ``face_detection_yunet_2023mar.onnx`` of 227 KB under the MIT licence, is in OpenCV's model zoo. The
    network sees all sizes at once, so ``scale_factor`` has no effect here.

    Args:
        model: path of the .onnx file.

    Raises:
        ModelError: if the file is missing or not a YuNet.
    """

    def __init__(self, model: Path) -> None:
        if not model.is_file():
            raise ModelError(f"{model}: no such file; name YuNet's .onnx file, or take the detector haar")
        try:
            self._network = cv2.FaceDetectorYN.create(
                str(model), "", (64, 64), score_threshold=_REPORTED, nms_threshold=_OVERLAP, top_k=_MOST_FACES
            )
            self.detect(np.zeros((64, 64), np.uint8), min_size=1, max_size=None, scale_factor=1.2)
        except cv2.error as error:
            reason = str(error.err or error).strip().splitlines()[0]
            raise ModelError(
                f"{model}: OpenCV {cv2.__version__} cannot use it as a YuNet face detector ({reason}); "
                "name another file, or take the detector haar"
            ) from error

    @property
    def name(self) -> str:
        """``yunet``."""
        return "yunet"

    @property
    def window(self) -> int:
        """24 pixels: the network sees smaller faces too, but nothing on them."""
        return _WINDOW

    def detect(self, grey: UInt8Array, *, min_size: int, max_size: int | None, scale_factor: float) -> list[Detection]:
        """Find faces; see :class:`fer_edge.vision.base.Detector`.

        The evidence is the odds of the network's score against those of 0.7, so that there is room above its
        threshold: 0.7 makes 1.0, 0.8 makes 1.7, 0.9 makes 3.9. Boxes are made square around their centre, with the mean
        of their sides, because that is the shape of a Haar box, and the classifier was trained on such.
        """
        del scale_factor
        colour = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
        self._network.setInputSize((grey.shape[1], grey.shape[0]))
        rows = self._network.detect(colour)[1]
        found: list[Detection] = []
        for x, y, w, h, *_, score in [] if rows is None else rows.tolist():
            side = (w + h) / 2
            if side >= min_size and (max_size is None or side <= max_size):
                box = round(x + (w - side) / 2), round(y + (h - side) / 2), round(side), round(side)
                found.append(Detection(box, _odds(score) / _odds(_TRUSTED)))
        return found


def _odds(probability: float) -> float:
    return probability / (1.0 - min(probability, 0.999))
