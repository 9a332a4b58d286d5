"""Putting a model card into a .tflite file, and looking at what a file is made of."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import msgspec
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from fer_convert.graph_edit import aligned_buffer, pack, unpack
from fer_edge.contract.card import CARD_NAME, NO_CHECKSUM, ModelCard, encode_card
from fer_edge.contract.tflite_file import checksum_of, find_metadata

_TYPE_NAMES = {number: name.lower() for name, number in vars(schema.TensorType).items() if not name.startswith("_")}


def embed_card(data: bytes, card: ModelCard) -> bytes:
    """Return the .tflite file ``data`` with ``card`` as its metadata and the checksum filled in.

    Args:
        data: a .tflite file; a card that it holds already is replaced.
        card: the card; its checksum is ignored.
    """
    model = unpack(data)
    buffer = _card_buffer(model)
    buffer.data = np.frombuffer(encode_card(msgspec.structs.replace(card, checksum=NO_CHECKSUM)), np.uint8)
    packed = bytearray(pack(model))
    span = find_metadata(bytes(packed), CARD_NAME, "the converted model")
    assert span is not None
    at = packed.index(NO_CHECKSUM.encode(), span.start)
    checksum = checksum_of(bytes(packed), span, NO_CHECKSUM)
    packed[at : at + len(checksum)] = checksum.encode()
    return bytes(packed)


def _card_buffer(model: Any) -> Any:
    """Return the buffer of the model's card, made if there is none yet."""
    model.metadata = model.metadata or []
    for entry in model.metadata:
        if entry.name in (CARD_NAME, CARD_NAME.encode()):
            return model.buffers[entry.buffer]
    buffer = aligned_buffer()
    model.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = CARD_NAME, len(model.buffers) - 1
    model.metadata.append(entry)
    return buffer


def tensor_types(data: bytes) -> Counter[str]:
    """Count the tensors of a .tflite file by type: ``{"int8": 20, "int32": 9}``."""
    model: Any = schema.ModelT.InitFromPackedBuf(data, 0)
    return Counter(_TYPE_NAMES[tensor.type] for graph in model.subgraphs for tensor in graph.tensors)


def is_per_channel(data: bytes) -> bool:
    """Whether every convolution kernel of a .tflite file has a scale for each output channel."""
    model: Any = schema.ModelT.InitFromPackedBuf(data, 0)
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    convolutions = (schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.DEPTHWISE_CONV_2D)
    kernels = [
        graph.tensors[operator.inputs[1]]
        for graph in model.subgraphs
        for operator in graph.operators
        if codes[operator.opcodeIndex] in convolutions
    ]
    return all(
        kernel.quantization is not None and kernel.quantization.scale is not None and len(kernel.quantization.scale) > 1
        for kernel in kernels
        if max(kernel.shape) > 1
    )


def sha256(data: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()
