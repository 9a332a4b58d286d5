"""Feeding images to Keras, the same batches on every backend and after every resume."""

from __future__ import annotations

import math

import keras
import numpy as np
from numpy.typing import NDArray

from fer_edge.contract.preprocess import InputSpec, UInt8Array, batch_input
from fer_train.augment import DRAWS, Augmentation, augment
from fer_train.distillation import Teachers
from fer_train.recipe import Recipe
from fer_train.training_data import TrainingData
from fer_train.workers import ALONE, Workers

Batch = tuple[NDArray[np.float32], ...]
"""Pixels (n, height, width, channels) of 0 to 255, targets (n, columns), and loss weights (n,) if there are any."""


class TrainingBatches(keras.utils.PyDataset):
    """One epoch of shuffled, augmented batches.

    Order and augmentation are functions of (seed, epoch, position) alone, so an epoch that is run again after a crash
    is the same epoch; where a recipe repeats its views, of (seed, view, position).
    """

    def __init__(
        self,
        data: TrainingData,
        recipe: Recipe,
        epoch: int,
        teachers: Teachers | None = None,
        workers: Workers = ALONE,
    ) -> None:
        """Prepare epoch ``epoch`` (from 0) of ``data``; the last short batch is dropped.

        With ``teachers``, their answers follow the targets as further columns. Of several ``workers``, each gets its
        part of each batch.
        """
        super().__init__()
        self._data, self._recipe, self._teachers = data, recipe, teachers
        views = recipe.distillation.views if teachers is not None else 0
        self._view = epoch % views if views else epoch
        self._sharers = workers  # Keras' class has a _workers of its own
        rng = np.random.default_rng((recipe.seed, self._view))
        n = len(data.pixels)
        self._order = rng.permutation(n) if data.chance is None else rng.choice(n, n, p=data.chance)

    def __len__(self) -> int:
        """Batches in the epoch."""
        return max(1, len(self._data.pixels) // self._recipe.batch_size)

    def __getitem__(self, index: int) -> Batch:
        """Return one batch."""
        recipe, data = self._recipe, self._data
        first = index * recipe.batch_size
        rows = self._order[first : first + recipe.batch_size]
        part = self._sharers.part_of(len(rows))
        rows = rows[part]
        changed = self._changed(rows, recipe.augmentation, index, part.start)
        targets = data.targets[rows]
        if self._teachers is not None:
            shown = changed
            if recipe.distillation.view == "warped":
                shown = self._changed(rows, recipe.augmentation.crop_alone(), index, part.start)
            with self._sharers.outside():
                if recipe.distillation.view == "original":
                    taught = self._teachers.answers(rows, None)
                elif recipe.distillation.views:
                    places = slice(first + part.start, first + part.start + len(rows))
                    taught = self._teachers.answers_to_view(self._view, places, shown)
                else:
                    taught = self._teachers.answers(rows, shown)
            targets = np.concatenate([targets, taught], axis=1)
        batch = (batch_input(changed, recipe.input).astype(np.float32), targets)
        return batch if data.weights is None else (*batch, data.weights[rows])

    def _changed(self, rows: NDArray[np.int64], settings: Augmentation, index: int, start: int) -> UInt8Array:
        """Return images (n, H, W) of batch ``index`` from place ``start`` on: the same draws whatever the settings."""
        bits = np.random.PCG64((self._recipe.seed, self._view, index))
        bits.advance(start * DRAWS)
        rng = np.random.Generator(bits)
        return np.stack([augment(self._data.pixels[row], settings, rng) for row in rows])


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
