"""Feeding images to Keras, the same batches on every backend and after every resume."""

from __future__ import annotations

import math
from typing import Final

import keras
import numpy as np
from numpy.typing import NDArray

from fer_edge.contract.preprocess import InputSpec, UInt8Array, batch_input
from fer_train.augment import DRAWS, Augmentation, augment, mixed_images, mixup_shares
from fer_train.distillation import Teachers
from fer_train.recipe import Recipe
from fer_train.training_data import TrainingData
from fer_train.workers import ALONE, Workers

MIXUP_STREAM: Final = 1
"""Tells the random numbers of mixup from those of the changes."""

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
        part = self._sharers.part_of(len(self._rows(index)))
        rows, others = self._rows(index)[part], self._rows(self._next(index))[part]
        share = self._shares(index)[part, None]
        targets = share * data.targets[rows] + (1 - share) * data.targets[others]
        shown = self._shown(index, part, recipe.augmentation)
        if self._teachers is not None:
            with self._sharers.outside():
                targets = np.concatenate([targets, self._taught(self._teachers, index, part, shown)], axis=1)
        batch = (batch_input(shown, recipe.input).astype(np.float32), targets)
        if data.weights is None:
            return batch
        return (*batch, share[:, 0] * data.weights[rows] + (1 - share[:, 0]) * data.weights[others])

    def _taught(self, teachers: Teachers, index: int, part: slice, shown: UInt8Array) -> NDArray[np.float32]:
        """Return the teachers' answers (n, classes) to a batch whose images the student is shown."""
        recipe, share = self._recipe, self._shares(index)[part, None]
        if recipe.distillation.view == "original":
            own = teachers.answers(self._rows(index)[part], None)
            return share * own + (1 - share) * teachers.answers(self._rows(self._next(index))[part], None)
        if recipe.distillation.view == "warped":
            shown = self._shown(index, part, recipe.augmentation.crop_alone())
        if recipe.distillation.views:
            first = index * recipe.batch_size
            return teachers.answers_to_view(self._view, slice(first + part.start, first + part.stop), shown)
        return teachers.answers(self._rows(index)[part], shown)

    def _rows(self, index: int) -> NDArray[np.int64]:
        """Return which Training images batch ``index`` is made of."""
        return self._order[index * self._recipe.batch_size : (index + 1) * self._recipe.batch_size]

    def _next(self, index: int) -> int:
        """Return the batch whose images are mixed into those of batch ``index``: any other would do."""
        return (index + 1) % len(self)

    def _shares(self, index: int) -> NDArray[np.float32]:
        """Return the share (n,) that each image of batch ``index`` has in what is shown; 1 without mixup."""
        rng = np.random.default_rng((self._recipe.seed, self._view, index, MIXUP_STREAM))
        return mixup_shares(self._recipe.augmentation.mixup, len(self._rows(index)), rng)

    def _shown(self, index: int, part: slice, settings: Augmentation) -> UInt8Array:
        """Return images (n, H, W) of batch ``index``: changed by ``settings``, and mixed if the recipe says so."""
        changed = self._changed(index, part, settings)
        if not self._recipe.augmentation.mixup:
            return changed
        return mixed_images(changed, self._changed(self._next(index), part, settings), self._shares(index)[part])

    def _changed(self, index: int, part: slice, settings: Augmentation) -> UInt8Array:
        """Return images (n, H, W) of a part of batch ``index``: the same draws whatever the settings."""
        bits = np.random.PCG64((self._recipe.seed, self._view, index))
        bits.advance(part.start * DRAWS)
        rng = np.random.Generator(bits)
        return np.stack([augment(self._data.pixels[row], settings, rng) for row in self._rows(index)[part]])


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
