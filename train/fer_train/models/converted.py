"""Going on from a ``.tflite`` file: the weights of a converted network, back in the network that it was made of.

A finished run's ``model.keras`` is large and stays where it was trained; what ships is the int8 file. Its weights are
the trained ones within half a quantization step, which is a fine place to go on from: another data set, other light,
another teacher.

A converter folds each batch normalization into the convolution before it. Here every normalization starts anew from
what its input is on images of the data set, as in :mod:`fer_train.models.normalized`, but with the scale and shift that
undo that exactly: the network answers as the file does, and its statistics are those that training expects.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
from numpy.typing import NDArray

from fer_edge.contract.graph import FLOAT16, FLOAT32, INT8, INT16, INT32, INT64, Graph, read_graph
from fer_edge.contract.interpreter import load_model
from fer_edge.contract.preprocess import UInt8Array
from fer_edge.errors import DataError
from fer_train.metrics import softmax
from fer_train.models.vgg_lite import EXCITE, SQUEEZE

_CONV_2D, _DEPTHWISE_CONV_2D, _DEQUANTIZE, _FULLY_CONNECTED = 3, 4, 6, 9  # BuiltinOperator of schema.fbs
_DTYPES: Final = {FLOAT32: "<f4", FLOAT16: "<f2", INT32: "<i4", INT64: "<i8", INT16: "<i2", INT8: "<i1"}

LARGEST_DIFFERENCE: Final = 0.1
"""Mean difference of a probability between network and file beyond which they are not the same network; int8 against
float differs by about 0.01."""

_BATCH: Final = 64
_MEND: Final = "name a file of the same network, with the same [network] options in its recipe"

Float32Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FoldedLayer:
    """A convolution or dense layer as a file holds it, dequantized."""

    kernel: Float32Array
    """In Keras' layout: (rows, columns, in, out), depthwise (rows, columns, in, 1), dense (in, out)."""
    bias: Float32Array
    """(out,)"""


def load_converted(network: keras.Model, path: Path, images: UInt8Array) -> None:
    """Fill ``network`` with the weights of a file that was converted from the same network.

    Args:
        network: what to fill, in place; ends in logits. Normalizations must directly follow their convolution.
        path: a .tflite file with a model card. It may be one without the squeeze and excitation that ``network`` has.
        images: (n, height, width, channels) uint8, some of Training as the network gets them: normalizations take
            their statistics from them, and file and network are held against each other on them.

    Raises:
        ModelError: if the file is no model of this project.
        DataError: if it is of another network.
    """
    model = load_model(path)
    folded = folded_layers(read_graph(model.file.data, str(path)))
    ours = [layer for layer in network.layers if _kernel_of(layer) is not None]
    expected = len(ours)
    if len(folded) < expected:
        # These start as one for every filter: a file from before they were there has nothing for them.
        ours = [layer for layer in ours if not layer.name.endswith((SQUEEZE, EXCITE))]
    same_classes = len(model.card.labels) == network.output_shape[-1]
    if len(ours) != len(folded):
        raise DataError(f"{path}: has {len(folded)} layers with weights, this {network.name} {expected}; {_MEND}")
    pixels = images.astype(np.float32)
    for layer, theirs in zip(ours, folded, strict=True):
        if layer is ours[-1] and not same_classes:
            return  # other labels: the last layer stays as it was initialized
        if tuple(_kernel_of(layer).shape) != theirs.kernel.shape:
            raise DataError(
                f"{path}: its weights {theirs.kernel.shape} do not fit {layer.name} of this {network.name}, "
                f"{tuple(_kernel_of(layer).shape)}; {_MEND}"
            )
        _fill(network, layer, theirs, pixels)
    answers = softmax(_predict(network, pixels))
    difference = float(np.abs(answers - model.invoke(images)).mean())
    if not difference <= LARGEST_DIFFERENCE:
        raise DataError(
            f"{path}: its weights fit this {network.name}, but their answers differ by {difference:.2f} on average; "
            f"{_MEND}"
        )


def folded_layers(graph: Graph) -> list[FoldedLayer]:
    """Return the layers with weights of a .tflite graph, in the order of execution.

    Raises:
        DataError: for weights of a type that no network is trained on from (int4).
    """
    stored = {op.outputs[0]: op.inputs[0] for op in graph.operators if op.code == _DEQUANTIZE}
    layers = []
    for op in graph.operators:
        if op.code not in (_CONV_2D, _DEPTHWISE_CONV_2D, _FULLY_CONNECTED):
            continue
        kernel = _constant(graph, stored.get(op.inputs[1], op.inputs[1]))
        if op.code == _CONV_2D:
            kernel = kernel.transpose(1, 2, 3, 0)
        elif op.code == _DEPTHWISE_CONV_2D:
            kernel = kernel[0][..., None]
        else:
            kernel = kernel.T
        outputs = kernel.shape[2] if op.code == _DEPTHWISE_CONV_2D else kernel.shape[-1]
        has_bias = len(op.inputs) > 2 and op.inputs[2] >= 0
        bias = _constant(graph, stored.get(op.inputs[2], op.inputs[2])) if has_bias else np.zeros(outputs, np.float32)
        layers.append(FoldedLayer(np.ascontiguousarray(kernel), bias))
    return layers


def _constant(graph: Graph, index: int) -> Float32Array:
    """Return a constant tensor's real values."""
    tensor = graph.tensors[index]
    if tensor.constant is None or tensor.dtype not in _DTYPES:
        raise DataError(
            "the file holds weights that training cannot go on from (int4, or computed ones); "
            "use one of the recipes float32, float16, dynamic_wi8 or int8"
        )
    raw = np.frombuffer(graph.data, _DTYPES[tensor.dtype], tensor.elements, tensor.constant.start)
    values = raw.reshape(tensor.shape).astype(np.float64)
    if len(tensor.scales):
        along = [1] * len(tensor.shape)
        if len(tensor.scales) > 1:
            along[tensor.axis] = -1
        values = (values - tensor.zero_points.reshape(along)) * tensor.scales.astype(np.float64).reshape(along)
    return values.astype(np.float32)


def _kernel_of(layer: keras.layers.Layer) -> Any:
    """Return the kernel variable of a layer that one operator with weights is made of; None for other layers."""
    if isinstance(layer, keras.layers.DepthwiseConv2D | keras.layers.Conv2D | keras.layers.Dense):
        return layer.kernel
    return None


def _fill(network: keras.Model, layer: keras.layers.Layer, folded: FoldedLayer, pixels: Float32Array) -> None:
    """Give ``layer``, and the normalization behind it if there is one, the weights of its folded form."""
    following = [node.operation for node in layer._outbound_nodes if node.operation in network.layers]
    normalization = following[0] if following else None
    if not isinstance(normalization, keras.layers.BatchNormalization):
        layer.set_weights([folded.kernel, folded.bias] if layer.use_bias else [folded.kernel])
        if not layer.use_bias and np.any(folded.bias):
            raise DataError(f"{layer.name} of this {network.name} has no bias and no normalization behind it; {_MEND}")
        return
    # The length that He et al. 2015 start filters with, as in fer_train.models.normalized.
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    axes = (0, 1) if depthwise else tuple(range(folded.kernel.ndim - 1))
    length = np.sqrt(np.square(folded.kernel.astype(np.float64)).sum(axes, keepdims=True) / 2.0) + 1e-12
    kernel = (folded.kernel / length).astype(np.float32)
    layer.set_weights([kernel, np.zeros_like(folded.bias)] if layer.use_bias else [kernel])
    values = _predict(keras.Model(network.inputs[0], layer.output), pixels)
    axes = tuple(range(values.ndim - 1))
    mean, variance = values.mean(axes, np.float64), values.var(axes, np.float64)
    scale = length.reshape(-1)
    by_name = {
        "gamma": np.sqrt(variance + normalization.epsilon) * scale,
        "beta": mean * scale + folded.bias,
        "moving_mean": mean,
        "moving_variance": variance,
    }
    normalization.set_weights([by_name[weight.name] for weight in normalization.weights])


def _predict(model: keras.Model, pixels: Float32Array) -> Float32Array:
    # Called, not predicted by: each of the many models would be compiled for a few batches.
    parts = [model(pixels[i : i + _BATCH], training=False) for i in range(0, len(pixels), _BATCH)]
    return np.concatenate([np.asarray(keras.ops.convert_to_numpy(part), np.float32) for part in parts])
