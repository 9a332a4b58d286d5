"""Bias correction: rounding the weights shifts what a layer gives on average; the bias takes the shift out again.

Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction" (arXiv:1906.04721), section
4.2: with e the error of the weights, the mean output moves by e * E[x]. They derive E[x] from batch normalization; here
it is measured on the calibration images. Borders, where a kernel sees padding, are taken as the inside.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fer_convert.activations import Activation
from fer_convert.graph_edit import EditableGraph, Layer


def correct_biases(data: bytes, quantized: bytes, activations: Mapping[str, Activation]) -> bytes:
    """Return the float graph ``data`` with biases that make up for the weights of ``quantized``.

    Args:
        data: a float32 .tflite file.
        quantized: the same graph with integer weights.
        activations: of the float graph, its input included.
    """
    graph, rounded = EditableGraph(data), EditableGraph(quantized)
    names = rounded.tensor_names()
    for layer in graph.layers():
        weights = names.get(graph.name(layer.weights))
        if layer.bias is None or weights is None:
            continue
        error = rounded.constant(weights).astype(np.float64) - graph.constant(layer.weights)
        shift = mean_shift(error, layer, activations[graph.name(layer.input)].channel_mean)
        graph.replace(layer.bias, (graph.constant(layer.bias) - shift).astype(np.float32))
    return graph.to_bytes()


def mean_shift(error: NDArray[np.float64], layer: Layer, mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (output channels,): how far an error of the weights moves the mean of each output channel.

    Args:
        error: in the shape of the layer's weights.
        layer: the layer.
        mean: (input channels,) of its input.
    """
    if layer.kind == "DEPTHWISE_CONV_2D":
        repeats = error.shape[-1] // len(mean)
        return np.asarray(error.sum(axis=(0, 1, 2)) * np.repeat(mean, repeats))
    if layer.kind == "FULLY_CONNECTED":
        return np.asarray(error.reshape(len(error), -1, len(mean)).sum(axis=1) @ mean)
    return np.asarray(error.sum(axis=(1, 2)) @ mean[: error.shape[-1]])
