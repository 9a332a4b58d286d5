"""Channels whose weights are all but zero, which integers cannot carry.

Batch normalization leaves them where training has switched a filter off: folded into the convolution, its weights are
of the size 1e-12, and what the channel gives is its bias alone. In MobileNet's ImageNet weights a quarter of the first
convolution's channels are such. The scale of a channel's int32 bias is that of its weights times the input's, so that a
bias of 1 overflows there; and XNNPACK refuses a factor from products to outputs that is so small.

One weight of such a channel is therefore raised to where both fit, which moves what it gives by less than a thousandth
of what an int8 output can show. TFLiteConverter does the like to the scale itself.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from fer_convert.activations import Ranges
from fer_convert.graph_edit import OUTPUT_AXIS, EditableGraph, Float32Array, Layer

BIAS_LIMIT: Final = 2.0**30
"""Largest integer that a bias may become: half of what int32 holds."""
FACTOR_LIMIT: Final = 2.0**-30
"""Least factor from products to outputs; XNNPACK takes 2^-32 and more."""
_LEVELS: Final = {"int8": 255.0, "int16": 65535.0}


def revive(graph: EditableGraph, ranges: Ranges, activations: str, weight_levels: int) -> int:
    """Raise a weight in each dead channel of a float graph, in place.

    Args:
        graph: the float graph.
        ranges: of its activations.
        activations: ``int8`` or ``int16``.
        weight_levels: largest integer of a weight: 127 for int8, 7 for int4.

    Returns:
        How many channels were dead.
    """
    count = 0
    for layer in graph.layers():
        least = weight_levels * _least_scales(graph, layer, ranges, _LEVELS[activations])
        weights = graph.constant(layer.weights)
        # (channels, others): one row for each output channel.
        rows = np.moveaxis(weights, OUTPUT_AXIS[layer.kind], 0)
        shape, rows = rows.shape, rows.reshape(len(rows), -1).copy()
        dead = np.flatnonzero(np.abs(rows).max(axis=1) < least)
        if not len(dead):
            continue
        largest = np.abs(rows[dead]).argmax(axis=1)
        rows[dead, largest] = np.where(rows[dead, largest] < 0, -least[dead], least[dead])
        graph.replace(layer.weights, np.moveaxis(rows.reshape(shape), 0, OUTPUT_AXIS[layer.kind]).astype(np.float32))
        count += len(dead)
    return count


def _least_scales(graph: EditableGraph, layer: Layer, ranges: Ranges, levels: float) -> Float32Array:
    """Return (channels,): the least scale of the weights with which bias and factor can be represented."""
    taken, given = (_scale(ranges[name], levels) for name in (graph.name(layer.input), layer.name))
    channels = graph.constant(layer.weights).shape[OUTPUT_AXIS[layer.kind]]
    bias = np.zeros(channels) if layer.bias is None else np.abs(graph.constant(layer.bias))
    return np.asarray(np.maximum(bias / (BIAS_LIMIT * taken), FACTOR_LIMIT * given / taken), np.float32)


def _scale(limits: tuple[float, float], levels: float) -> float:
    low, high = min(limits[0], 0.0), max(limits[1], 0.0)
    return max(high - low, 1e-12) / levels
