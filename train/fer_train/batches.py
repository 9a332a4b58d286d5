"""Feeding images to Keras, the same batches on every backend and after every resume."""

from __future__ import annotations

import math

import keras
import numpy as np
from numpy.typing import NDArray

from fer_edge.contract.preprocess import InputSpec, UInt8Array, batch_input, image_input
from fer_train.augment import Augmentation, augment


class TrainingBatches(keras.utils.PyDataset):
    """One epoch of shuffled, augmented batches.

    Order and augmentation are functions of (seed, epoch, position) alone, so an epoch that is run again after a crash
    is the same epoch.
    """

    def __init__(
        self,
        images: UInt8Array,
        targets: NDArray[np.float32],
        spec: InputSpec,
        augmentation: Augmentation,
        batch_size: int,
        seed: int,
        epoch: int,
    ) -> None:
        """Take (N, H, W) uint8 ``images`` and (N, classes) float32 ``targets``; the last short batch is dropped."""
        super().__init__()
        self._images, self._targets, self._spec, self._augmentation = images, targets, spec, augmentation
        self._batch_size, self._seed, self._epoch = batch_size, seed, epoch
        self._order = np.random.default_rng((seed, epoch)).permutation(len(images))

    def __len__(self) -> int:
        """Batches in the epoch."""
        return max(1, len(self._images) // self._batch_size)

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return (pixels (n, height, width, channels) float32 0 to 255, targets (n, classes) float32)."""
        rows = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        rng = np.random.default_rng((self._seed, self._epoch, index))
        pixels = np.stack([image_input(augment(self._images[r], self._augmentation, rng), self._spec) for r in rows])
        return pixels.astype(np.float32), self._targets[rows]


def predict(model: keras.Model, images: UInt8Array, spec: InputSpec, batch_size: int = 256) -> NDArray[np.float32]:
    """Return the model's outputs (N, classes) float32 for (N, H, W) uint8 face crops."""
    outputs = [
        np.asarray(
            keras.ops.convert_to_numpy(
                model.predict_on_batch(
                    batch_input(images[i * batch_size : (i + 1) * batch_size], spec).astype(np.float32)
                )
            ),
            np.float32,
        )
        for i in range(math.ceil(len(images) / batch_size))
    ]
    return np.concatenate(outputs)
