"""A .tflite classifier of 16 kB that answers as it was told to, made without TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from fer_convert.embed import embed_card
from fer_edge.contract.card import ModelCard, Quantization, TensorCard
from fer_edge.contract.labels import LABELS
from fer_edge.contract.preprocess import FER2013_INPUT

_LOGIT_SCALE = 0.1
_WEIGHT_SCALE = 0.001


def write_tiny_model(
    path: Path,
    favourite: str = "happy",
    *,
    name: str = "tiny",
    logit: float = 5.0,
    labels: Sequence[str] = LABELS,
    uncertain_below: float = 0.0,
) -> Path:
    """Write an int8 model that answers ``favourite`` for every face, with a card; return ``path``.

    Args:
        path: where to.
        favourite: the label that gets ``logit``; the others get 0.
        name: on the card.
        logit: 5 gives a probability of 0.96.
        labels: in the order of the output.
        uncertain_below: on the card.
    """
    shape = (1, *FER2013_INPUT.shape)
    pixels = int(np.prod(shape))
    bias = np.where([label == favourite for label in labels], logit / _WEIGHT_SCALE, 0).astype(np.int32)
    buffers = [b"", np.zeros((len(labels), pixels), np.int8).tobytes(), bias.tobytes()]
    types = schema.TensorType
    tensors = [
        _tensor("input", shape, types.INT8, 0, 1.0, -128),
        _tensor("weights", (len(labels), pixels), types.INT8, 1, _WEIGHT_SCALE, 0),
        _tensor("bias", (len(labels),), types.INT32, 2, _WEIGHT_SCALE, 0),
        _tensor("logits", (1, len(labels)), types.INT8, 0, _LOGIT_SCALE, 0),
        _tensor("output", (1, len(labels)), types.INT8, 0, 1 / 256, -128),
    ]
    dense = _operator(0, [0, 1, 2], [3], schema.BuiltinOptions.FullyConnectedOptions, schema.FullyConnectedOptionsT())
    softmax_options: Any = schema.SoftmaxOptionsT()
    softmax_options.beta = 1.0
    softmax = _operator(1, [3], [4], schema.BuiltinOptions.SoftmaxOptions, softmax_options)
    codes = [_code(schema.BuiltinOperator.FULLY_CONNECTED, 4), _code(schema.BuiltinOperator.SOFTMAX, 2)]
    card = ModelCard(
        name=name,
        version="1",
        network="tiny",
        labels=tuple(labels),
        input=FER2013_INPUT,
        quantization=Quantization(
            recipe="int8",
            input=TensorCard("int8", shape, 1.0, -128),
            output=TensorCard("int8", (1, len(labels)), 1 / 256, -128),
        ),
        uncertain_below=uncertain_below,
    )
    partial = path.with_suffix(".partial")
    partial.write_bytes(embed_card(_pack(tensors, [dense, softmax], codes, buffers), card))
    partial.replace(path)
    return path


def _pack(tensors: list[Any], operators: list[Any], codes: list[Any], contents: list[bytes]) -> bytes:
    graph: Any = schema.SubGraphT()
    graph.tensors, graph.operators, graph.inputs, graph.outputs = tensors, operators, [0], [len(tensors) - 1]
    model: Any = schema.ModelT()
    model.version, model.subgraphs, model.operatorCodes, model.buffers = 3, [graph], codes, []
    for content in contents:
        buffer: Any = schema.BufferT()
        buffer.data = np.frombuffer(content, np.uint8) if content else None
        model.buffers.append(buffer)
    builder = flatbuffers.Builder(1 << 15)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _tensor(name: str, shape: Sequence[int], kind: int, buffer: int, scale: float, zero_point: int) -> Any:
    tensor: Any = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), kind, buffer
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [zero_point]
    return tensor


def _operator(code: int, inputs: list[int], outputs: list[int], options_type: int, options: Any) -> Any:
    operator: Any = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = code, inputs, outputs
    operator.builtinOptionsType, operator.builtinOptions = options_type, options
    return operator


def _code(operator: int, version: int) -> Any:
    code: Any = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = operator
    code.version = version
    return code
