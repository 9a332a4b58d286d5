"""From a Keras model to the bytes of a TFLite file.

TensorFlow's converter makes the float graph; ai-edge-quantizer makes integers of it by ranges that are measured here.
Why not TFLiteConverter's own quantizer: ``convert/README.md`` has the figures.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from fer_convert.activations import Ranges
from fer_convert.dead_channels import revive
from fer_convert.graph_edit import EditableGraph, Layer, pack, unpack
from fer_convert.recipe import ConversionRecipe
from fer_edge.contract.native_log import native_messages
from fer_edge.errors import FerEdgeError, ModelError

_BITS = {"int4": 4, "int8": 8, "int16": 16}
_LARGEST = {"int4": 7, "int8": 127}


def load_keras(path: Path) -> Any:
    """Load a ``.keras`` file, whatever backend saved it, on TensorFlow, which conversion needs.

    Raises:
        ModelError: if it cannot be read.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        raise FerEdgeError("conversion needs Keras on TensorFlow: unset KERAS_BACKEND, or set it to tensorflow")
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{path}: not a readable .keras model ({reason}); train it with `fer-edge train`") from error


def float_graph(model: Any) -> bytes:
    """Convert a Keras model to a float32 .tflite file: batch normalization folded, activations fused.

    Args:
        model: Keras model on the TensorFlow backend, (N, height, width, channels) pixels -> (N, labels) probabilities.

    Returns:
        The file, without a card. Its batch is fixed at one, which lets the delegate plan its memory once.
    """
    import keras
    import tensorflow as tf

    pixels = keras.Input(batch_shape=(1, *model.input_shape[1:]), name="pixels")
    with _silence():
        converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(pixels, model(pixels), name=model.name))
        packed: bytes = converter.convert()
    return _with_int16_sums(packed)


def quantize(
    graph: bytes,
    recipe: ConversionRecipe,
    ranges: Ranges | None = None,
    sensitive: Collection[str] = (),
    only: str | None = None,
) -> bytes:
    """Quantize a float graph by a recipe.

    Args:
        graph: from :func:`float_graph`.
        recipe: how; its preparation is not done here.
        ranges: of every activation, for a recipe that is calibrated.
        sensitive: names of layers (of their output tensors) that are left in the recipe's higher precision.
        only: quantize this layer alone and leave all else in float32: what a sweep does.

    Returns:
        The file, without a card.

    Raises:
        ModelError: if the quantizer cannot do it.
    """
    if recipe.weights == "float32":
        return graph
    from ai_edge_quantizer import quantizer

    editable = EditableGraph(graph)
    if ranges and recipe.calibrated and revive(editable, ranges, recipe.activations, _LARGEST[recipe.weights]):
        graph = editable.to_bytes()
    layers = {layer.name: layer for layer in editable.layers()}
    with _silence():
        tool = quantizer.Quantizer(graph)
        if only is None:
            _configure(tool, recipe)
        else:
            _configure_layer(tool, layers[only], recipe.activations)
        for name in sensitive:
            _configure_layer(tool, layers[name], recipe.sensitive.precision)
        try:
            result = tool.quantize(_as_statistics(graph, ranges) if ranges else None, enable_progress_report=False)
        except (ValueError, KeyError, RuntimeError, NotImplementedError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"recipe {recipe.name}: the quantizer cannot convert this network ({reason})") from error
    # Packed anew, because the quantizer leaves constants behind the FlatBuffer.
    return pack(unpack(bytes(result.quantized_model)))


def _configure(tool: Any, recipe: ConversionRecipe) -> None:
    """Say to ai-edge-quantizer what ``recipe`` says."""
    from ai_edge_quantizer import algorithm_manager, qtyping

    names, algorithms = qtyping.TFLOperationName, algorithm_manager.AlgorithmName
    if recipe.weights == "float16":
        weights = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
        config = qtyping.OpQuantizationConfig(
            weight_tensor_config=weights, compute_precision=qtyping.ComputePrecision.FLOAT, explicit_dequantize=True
        )
        tool.update_quantization_recipe(".*", names.ALL_SUPPORTED, config, algorithms.FLOAT_CASTING)
    elif recipe.activations == "dynamic":
        tool.add_dynamic_config(".*", names.ALL_SUPPORTED, _BITS[recipe.weights])
    else:
        tool.add_static_config(".*", names.ALL_SUPPORTED, _BITS[recipe.activations], _BITS[recipe.weights])
    if recipe.activations == "int16":
        # No runtime of this project feeds int16; the file quantizes its own input.
        for end in (names.INPUT, names.OUTPUT):
            tool.update_quantization_recipe(".*", end, algorithm_key=algorithms.NO_QUANTIZE)


def _configure_layer(tool: Any, layer: Layer, precision: str) -> None:
    from ai_edge_quantizer import algorithm_manager, qtyping

    scope, kind = f"^{re.escape(layer.name)}", qtyping.TFLOperationName(layer.kind)
    if precision == "float32":
        tool.update_quantization_recipe(scope, kind, algorithm_key=algorithm_manager.AlgorithmName.NO_QUANTIZE)
    else:
        tool.add_static_config(scope, kind, _BITS[precision], 8)


def _as_statistics(graph: bytes, ranges: Ranges) -> dict[str, dict[str, Any]]:
    """Return ranges in the quantizer's own form: arrays of the tensor's rank."""
    editable = EditableGraph(graph)
    statistics = {}
    for name, number in editable.tensor_names().items():
        if name in ranges:
            shape = (1,) * editable.rank(number)
            low, high = (np.full(shape, value, np.float32) for value in ranges[name])
            statistics[name] = {"min": low, "max": high}
    return statistics


def _with_int16_sums(data: bytes) -> bytes:
    """Say of each sum that its scales are no powers of two, as the schema's default has it.

    The quantizer leaves that option alone, and with int16 activations the kernel would refuse the scales.
    """
    model = unpack(data)
    for operator in model.subgraphs[0].operators:
        if operator.builtinOptionsType in (schema.BuiltinOptions.AddOptions, schema.BuiltinOptions.SubOptions):
            operator.builtinOptions.potScaleInt16 = False
    return pack(model)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep back what converter and quantizer print: their errors come as exceptions."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with native_messages(bool), contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
