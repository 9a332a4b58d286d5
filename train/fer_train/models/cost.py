"""What a network costs to run, counted from its layers."""

from __future__ import annotations

import math

import keras


def multiply_accumulates(model: keras.Model) -> int:
    """Return the multiply-accumulates of one inference: convolutions and dense layers, as papers count them."""
    return sum(_of_layer(layer) for layer in model.layers)


def _of_layer(layer: keras.layers.Layer) -> int:
    terms: int
    match layer:
        case keras.layers.DepthwiseConv2D():
            terms = math.prod(layer.kernel_size)
        case keras.layers.Conv2D():
            terms = math.prod(layer.kernel_size) * int(layer.input.shape[-1]) // layer.groups
        case keras.layers.Dense():
            terms = int(layer.input.shape[-1])
        case _:
            return 0
    values: int = math.prod(int(side) for side in layer.output.shape[1:])
    return terms * values
