"""Cross-layer equalization: the same float function with channels that one scale fits better.

After Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction" (arXiv:1906.04721),
section 4.1: a ReLU commutes with a positive factor, so a channel between two layers can be divided by s in the first
one and multiplied by s in the second. They choose s so that the weights of both layers have equal ranges. With a scale
for each output channel, which is what TFLite's kernels have, weights differ less, and the activations (one scale for
all channels) matter more: the method ``activations`` evens these out instead (as Meller et al. 2019, arXiv:1902.01917).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from fer_convert.activations import Activation
from fer_convert.graph_edit import OUTPUT_AXIS, EditableGraph, Float32Array, Layer

TRANSPARENT: Final = ("MAX_POOL_2D", "AVERAGE_POOL_2D", "PAD", "MEAN", "RESHAPE", "RELU")
"""Operators that a positive factor on a channel passes through."""
HEADROOM: Final = 1.25
"""A ReLU6 is kept only in channels that stay this factor below 6 on the calibration images, before and after."""
MAX_FACTOR: Final = 1e3
"""Either way: channels that are all but dead are not blown up."""
SWEEPS: Final = 20
CONVERGED: Final = 1e-3
"""The method ``weights`` goes over the pairs until no factor differs from 1 by more than this, or 20 times."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two layers with nothing but transparent operators between them, and nobody else listening."""

    first: Layer
    second: Layer
    channels: int


def find_pairs(graph: EditableGraph) -> list[Pair]:
    """Return the pairs of layers between which channels can be scaled, in the order of execution."""
    layers = graph.layers()
    by_input = {layer.input: layer for layer in layers}
    pairs = []
    for first in layers:
        if first.activation not in ("NONE", "RELU", "RELU6") or first.bias is None:
            continue
        channels = int(graph.constant(first.bias).size)
        tensor: int | None = first.output
        while tensor is not None:
            consumers = graph.consumers(tensor)
            second = by_input.get(tensor)
            if len(consumers) == 1 and second is not None:
                if _input_view(graph.constant(second.weights), second, channels) is not None:
                    pairs.append(Pair(first, second, channels))
                break
            passes = len(consumers) == 1 and consumers[0][0] in TRANSPARENT
            tensor = int(consumers[0][1].outputs[0]) if passes else None
    return pairs


def without_relu6(data: bytes) -> bytes:
    """Return the float graph with each ReLU6 between two layers made a ReLU, as Nagel et al. do.

    This changes what lies above 6; the gates say whether it matters.
    """
    graph = EditableGraph(data)
    outputs = {pair.first.output for pair in find_pairs(graph) if pair.first.activation == "RELU6"}
    for _, operator in graph.operators():
        if int(operator.outputs[0]) in outputs:
            operator.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.RELU
    return graph.to_bytes()


def equalize(
    data: bytes,
    method: Literal["weights", "activations"],
    activations: Mapping[str, Activation],
) -> bytes:
    """Return the same float graph with its channels evened out.

    Of a ReLU6, only channels that stay well below 6 are changed, so that the function stays what it was.

    Args:
        data: a float32 .tflite file.
        method: what to even out.
        activations: of that graph on the calibration images.
    """
    graph = EditableGraph(data)
    pairs = find_pairs(graph)
    scaled = {pair.first.output: np.ones(pair.channels, np.float32) for pair in pairs}
    for _ in range(SWEEPS if method == "weights" else 1):
        largest = 0.0
        for pair in pairs:
            factor = _factor(graph, pair, method, activations[pair.first.name].channel_peak)
            if pair.first.activation == "RELU6":
                factor = _below_six(factor, scaled[pair.first.output], activations[pair.first.name].channel_peak)
            scaled[pair.first.output] *= factor
            _apply(graph, pair, factor)
            largest = max(largest, float(np.abs(np.log(factor)).max()))
        if largest < CONVERGED:
            break
    return graph.to_bytes()


def _factor(graph: EditableGraph, pair: Pair, method: str, channel_peak: Float32Array) -> Float32Array:
    """Return s for each channel: the first layer is divided by it, the second multiplied."""
    second = _input_view(graph.constant(pair.second.weights), pair.second, pair.channels)
    assert second is not None
    taken = np.abs(second).max(axis=tuple(range(second.ndim - 1)))
    if method == "weights":
        given = _per_channel(np.abs(graph.constant(pair.first.weights)), pair.first)
        factor = np.sqrt(_ratio(given, taken))
    elif pair.second.kind == "DEPTHWISE_CONV_2D":
        # Each of its channels has a scale of its own: the weights fit whatever the activations are.
        factor = _ratio(channel_peak, np.full_like(channel_peak, channel_peak.max()))
    else:
        factor = np.sqrt(_ratio(channel_peak, taken))
        factor = factor / np.exp(np.mean(np.log(factor)))
    return np.asarray(np.clip(factor, 1.0 / MAX_FACTOR, MAX_FACTOR), np.float32)


def _ratio(above: NDArray[Any], below: NDArray[Any]) -> NDArray[Any]:
    """Divide; channels that are dead on either side get 1."""
    alive = (above > 0) & (below > 0)
    return np.where(alive, above / np.where(alive, below, 1.0), 1.0)


def _below_six(factor: Float32Array, scaled: Float32Array, channel_peak: Float32Array) -> Float32Array:
    """Hold a ReLU6's channels where clipping at 6 does nothing: before scaling, and after it."""
    high = channel_peak * HEADROOM
    allowed = np.maximum(factor, high / (6.0 * scaled))
    return np.asarray(np.where(high < 6.0, allowed, 1.0), np.float32)


def _apply(graph: EditableGraph, pair: Pair, factor: Float32Array) -> None:
    first, bias = pair.first, pair.first.bias
    assert bias is not None
    weights = graph.constant(first.weights)
    along_last = np.moveaxis(weights, OUTPUT_AXIS[first.kind], -1) / factor
    graph.replace(first.weights, np.moveaxis(along_last, -1, OUTPUT_AXIS[first.kind]).astype(np.float32))
    graph.replace(bias, (graph.constant(bias) / factor).astype(np.float32))
    weights = graph.constant(pair.second.weights)
    view = _input_view(weights, pair.second, pair.channels)
    assert view is not None
    graph.replace(pair.second.weights, (view * factor).reshape(weights.shape).astype(np.float32))


def _per_channel(weights: Float32Array, layer: Layer) -> Float32Array:
    """Largest value of each output channel."""
    moved = np.moveaxis(weights, OUTPUT_AXIS[layer.kind], -1)
    return np.asarray(moved.max(axis=tuple(range(moved.ndim - 1))), np.float32)


def _input_view(weights: Float32Array, layer: Layer, channels: int) -> Float32Array | None:
    """Return the weights with the input channels as the last axis; None for groups and channel multipliers."""
    if layer.kind == "FULLY_CONNECTED":  # a flattened image has its channels innermost
        return None if weights.shape[1] % channels else weights.reshape(len(weights), -1, channels)
    return weights if weights.shape[-1] == channels else None
