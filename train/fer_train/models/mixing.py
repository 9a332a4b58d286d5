"""The mean of a model's weights before and after it was trained further.

Wortsman et al. 2022, "Robust fine-tuning of zero-shot models" (arXiv:2109.01903): both lie in one valley of the loss,
and a point between them is often better than either, on images unlike those of the training as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from fer_edge.contract.preprocess import UInt8Array
from fer_edge.errors import UsageError
from fer_train.models import deeper_start, load_network
from fer_train.recipe import Recipe


def load_start(recipe: Recipe, images: UInt8Array) -> list[NDArray[np.float32]] | None:
    """Return the weights of the finished model that ``recipe`` goes on from; None if it keeps no share of it.

    Args:
        recipe: whose ``pretrained`` and ``start_share`` count.
        images: (n, height, width, channels) uint8, those that the training started by; see
            :func:`fer_train.models.load_pretrained`.

    Raises:
        UsageError: if the recipe keeps a share of its start, but does not start from a finished model of its labels.
        DataError: if that model cannot be read.
    """
    if not recipe.start_share:
        return None
    if not recipe.pretrained.endswith((".keras", ".tflite")):
        raise UsageError(
            f"the recipe keeps a share of {recipe.start_share:g} of the model it starts from (start_share): "
            "name a finished model.keras or a .tflite file with --weights"
        )
    if (start := deeper_start(recipe.model, recipe.pretrained)) is not None:
        raise UsageError(
            f"{recipe.pretrained}: is a {start[0]}, which {recipe.model} can start from but has no mean with; "
            "set start_share to 0"
        )
    saved = load_network(recipe.model, recipe.pretrained, recipe.input.shape, recipe.network, images)
    if saved.output_shape[-1] != len(recipe.classes):
        raise UsageError(
            f"{recipe.pretrained}: tells {saved.output_shape[-1]} expressions apart and the recipe "
            f"{len(recipe.classes)}, so they have no mean; set start_share to 0"
        )
    return [np.array(keras.ops.convert_to_numpy(weight.value), np.float32) for weight in saved.weights]


def mixed(
    weights: Sequence[NDArray[Any]], start: Sequence[NDArray[Any]] | None, share: float
) -> list[NDArray[np.float32]]:
    """Return ``share`` times ``start`` plus the rest of ``weights``, array by array; without a start, the weights."""
    if start is None:
        return [np.asarray(w, np.float32) for w in weights]
    return [np.asarray(share * s + (1.0 - share) * w, np.float32) for s, w in zip(start, weights, strict=True)]
