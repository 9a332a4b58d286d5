"""From faces in a picture to probabilities of expressions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract.card import ModelCard
from fer_edge.contract.interpreter import LoadedModel, load_model
from fer_edge.contract.preprocess import Box, UInt8Array, face_input


class ExpressionClassifier:
    """A model, with the preprocessing that its card asks for; not safe to share between threads."""

    def __init__(self, model: LoadedModel) -> None:
        """Take a loaded model and run it once, so that the first face does not pay for the warm-up."""
        self.model = model
        self.model.invoke(np.zeros((1, *model.card.input.shape), np.uint8))

    @classmethod
    def load(cls, path: Path, threads: int = 1) -> ExpressionClassifier:
        """Load a .tflite file.

        Raises:
            ModelError: if the file is not in order.
        """
        return cls(load_model(path, threads))

    @property
    def card(self) -> ModelCard:
        """What the model says about itself."""
        return self.model.card

    @property
    def sha256(self) -> str:
        """Of the model file."""
        return self.model.file.sha256

    def classify(self, grey: UInt8Array, boxes: Sequence[Box]) -> NDArray[np.float32]:
        """Classify each face.

        Args:
            grey: (H, W) uint8, the whole picture.
            boxes: detected faces in pixels of ``grey``.

        Returns:
            (len(boxes), labels) float32 probabilities, in the order of the card's labels.
        """
        if not boxes:
            return np.empty((0, len(self.card.labels)), np.float32)
        return self.model.invoke(np.stack([face_input(grey, box, self.card.input) for box in boxes]))
