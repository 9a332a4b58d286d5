"""The graph in a .tflite file, read from a file that nobody vouches for.

Every table, vector and string of TensorFlow's ``schema.fbs`` that a TFLite runtime follows on its way to the first
inference is bounds-checked here: how much of that a runtime does by itself depends on its version. What the operators
mean is held against :mod:`fer_edge.contract.operators`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract.flatbuffer import DamagedError, Span, Table
from fer_edge.errors import ModelError

IDENTIFIER: Final = b"TFL3"

# Of the largest networks of this size class (EfficientNet-B0, MobileNetV3) a quarter or less of each.
MAX_TENSORS: Final = 4096
MAX_OPERATORS: Final = 2048
MAX_BUFFERS: Final = 8192
MAX_OPERANDS: Final = 64
MAX_RANK: Final = 6
MAX_ELEMENTS: Final = 2**26
"""Of one tensor: VGG16's largest convolution has 2.4 million weights."""
MAX_CHANNELS: Final = 16_384
"""Scales of one tensor."""

ITEM_BITS: Final[dict[int, int]] = {
    0: 32,  # FLOAT32
    1: 16,  # FLOAT16
    2: 32,  # INT32
    3: 8,  # UINT8
    4: 64,  # INT64
    6: 8,  # BOOL
    7: 16,  # INT16
    9: 8,  # INT8
    17: 4,  # INT4
}
"""TensorType -> bits of an element; files with other types (strings, variants, resources) are refused."""

FLOAT32, FLOAT16, INT32, UINT8, INT64, BOOL, INT16, INT8, INT4 = ITEM_BITS

ZERO_POINTS: Final = {UINT8: (0, 255), INT8: (-128, 127), INT16: (-32768, 32767), INT4: (-8, 7)}
SCALES: Final = (1e-20, 1e12)
"""Scales outside of this, NaN among them, make the kernels' fixed-point arithmetic abort the process."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor."""

    shape: tuple[int, ...]
    """Each at least 1; () for a scalar."""
    dtype: int
    """TensorType of the schema."""
    scales: NDArray[np.float32]
    """(0,), (1,) or (channels,)."""
    zero_points: NDArray[np.int64]
    axis: int
    """Dimension along which the scales are, if there are several."""
    constant: Span | None
    """Where its value stands in the file; None for one that is computed."""

    @property
    def elements(self) -> int:
        """Product of the shape."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator, in the order of execution."""

    code: int
    """BuiltinOperator of the schema."""
    version: int
    inputs: tuple[int, ...]
    """Indices of tensors; -1 for one left out."""
    outputs: tuple[int, ...]
    options_type: int
    options: Table | None


@dataclass(frozen=True, slots=True)
class Graph:
    """What a .tflite file computes."""

    data: bytes
    tensors: Sequence[Tensor]
    operators: Sequence[Operator]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_graph(data: bytes, where: str) -> Graph:
    """Read the graph and check the whole structure of the file.

    Args:
        data: the file.
        where: what to call it in an error.

    Raises:
        ModelError: if it is not a TFLite file, or any part of its structure is impossible.
    """
    if data[4:8] != IDENTIFIER:
        raise ModelError(f"{where}: not a TFLite model (it lacks the identifier TFL3)")
    try:
        return _graph(data)
    except DamagedError as error:
        raise ModelError(f"{where}: a damaged or hostile TFLite file ({error}); get it anew") from error


def _graph(data: bytes) -> Graph:
    model = Table.root(data, "Model", 8)
    if model.u32(0) != 3:
        raise DamagedError(f"schema version {model.u32(0)} instead of 3")
    model.string(3)  # description
    codes = [_operator_code(code) for code in model.tables(1, "OperatorCode", 4, MAX_OPERATORS)]
    buffers = [_buffer(buffer) for buffer in model.tables(4, "Buffer", 3, MAX_BUFFERS)]
    if not buffers or buffers[0] is not None:
        raise DamagedError("buffer 0 is not the empty one")
    subgraphs = model.tables(2, "SubGraph", 6, 1)
    if len(subgraphs) != 1:
        raise DamagedError("it has no graph")
    subgraph = subgraphs[0]
    subgraph.string(4)  # name
    tensors = [_tensor(tensor, buffers) for tensor in subgraph.tables(0, "Tensor", 10, MAX_TENSORS)]
    operators = [
        _operator(operator, codes, len(tensors)) for operator in subgraph.tables(3, "Operator", 14, MAX_OPERATORS)
    ]
    inputs = _indices(subgraph.numbers(1, "<i4", MAX_OPERANDS), 0, len(tensors), "the graph's inputs")
    outputs = _indices(subgraph.numbers(2, "<i4", MAX_OPERANDS), 0, len(tensors), "the graph's outputs")
    _check_metadata(model, len(buffers), len(tensors))
    return Graph(data, tensors, operators, inputs, outputs)


def _operator_code(code: Table) -> tuple[int, int]:
    if code.string(1):
        raise DamagedError(f"custom operator {code.string(1)[:40].decode(errors='replace')!r}")
    # Two fields for one number: the older one holds a byte, and the larger of the two counts.
    return max(int(code.scalar(0, "b")), code.i32(3)), code.i32(2, 1)


def _buffer(buffer: Table) -> Span | None:
    """Return where the bytes stand; an empty buffer counts as none, as in the runtimes."""
    if buffer.scalar(1, "Q") or buffer.scalar(2, "Q"):
        raise DamagedError("a buffer outside the FlatBuffer")
    span = buffer.vector(0)
    return span if span is not None and span.size else None


def _tensor(tensor: Table, buffers: Sequence[Span | None]) -> Tensor:
    sizes = tensor.numbers(0, "<i4", MAX_RANK)
    shape = tuple(int(size) for size in sizes)
    if any(size < 1 for size in shape) or math.prod(shape) > MAX_ELEMENTS:
        raise DamagedError(f"a tensor of shape {shape}")
    signature = tuple(int(size) for size in tensor.numbers(7, "<i4", MAX_RANK))
    if signature and (
        len(signature) != len(shape) or any(s not in (-1, n) for s, n in zip(signature, shape, strict=True))
    ):
        raise DamagedError(f"a tensor of shape {shape} with the signature {signature}")
    dtype = int(tensor.scalar(1, "b"))
    if dtype not in ITEM_BITS:
        raise DamagedError(f"a tensor of type {dtype}")
    tensor.string(3)  # name
    if tensor.u8(5) or tensor.has(6) or tensor.has(9):
        raise DamagedError("a variable, sparse or variant tensor")
    index = tensor.u32(2)
    if index >= len(buffers):
        raise DamagedError(f"a tensor's buffer {index} of {len(buffers)}")
    constant = buffers[index]
    needed = (math.prod(shape) * ITEM_BITS[dtype] + 7) // 8
    if constant is not None and constant.size != needed:
        raise DamagedError(f"a tensor of {needed} bytes with {constant.size} bytes of content")
    if constant is not None and constant.start % max(1, ITEM_BITS[dtype] // 8):
        raise DamagedError("a tensor's content is not aligned")
    scales, zero_points, axis = _quantization(tensor.table(4, "QuantizationParameters", 7), shape, dtype)
    return Tensor(shape, dtype, scales, zero_points, axis, constant)


def _quantization(
    table: Table | None, shape: tuple[int, ...], dtype: int
) -> tuple[NDArray[np.float32], NDArray[np.int64], int]:
    if table is None:
        return np.empty(0, np.float32), np.empty(0, np.int64), 0
    table.numbers(0, "<f4", MAX_CHANNELS)  # min and max: documentation, which the runtimes copy
    table.numbers(1, "<f4", MAX_CHANNELS)
    if table.u8(4) or table.has(5):
        raise DamagedError("a quantization of a custom kind")
    scales = table.numbers(2, "<f4", MAX_CHANNELS)
    zero_points = table.numbers(3, "<i8", MAX_CHANNELS)
    dimension = table.i32(6)
    if len(zero_points) != len(scales):
        raise DamagedError(f"{len(scales)} scales and {len(zero_points)} zero points")
    if not len(scales):
        return scales, zero_points, dimension
    # Not `scales < low`: NaN compares false with everything.
    if not ((scales >= SCALES[0]) & (scales <= SCALES[1])).all():
        raise DamagedError("a scale that is not a reasonable positive number")
    if not 0 <= dimension < max(1, len(shape)):
        raise DamagedError(f"quantized along dimension {dimension} of {len(shape)}")
    channels = shape[dimension] if shape else 1
    if len(scales) > 1 and len(scales) != channels:
        raise DamagedError(f"{len(scales)} scales for {channels} channels")
    low, high = ZERO_POINTS.get(dtype, (0, 0))
    if int(zero_points.min()) < low or int(zero_points.max()) > high:
        raise DamagedError("a zero point outside its type")
    return scales, zero_points, dimension


def _operator(operator: Table, codes: Sequence[tuple[int, int]], tensors: int) -> Operator:
    index = operator.u32(0)
    if index >= len(codes):
        raise DamagedError(f"operator code {index} of {len(codes)}")
    custom = operator.vector(5)
    if (custom is not None and custom.size) or any(operator.has(number) for number in (7, 9, 10, 11, 12)):
        raise DamagedError("an operator with custom options or state")
    operator.numbers(8, "<i4", 0)  # intermediates: of recurrent operators only
    return Operator(
        code=codes[index][0],
        version=codes[index][1],
        inputs=_indices(operator.numbers(1, "<i4", MAX_OPERANDS), -1, tensors, "an operator's inputs"),
        outputs=_indices(operator.numbers(2, "<i4", MAX_OPERANDS), 0, tensors, "an operator's outputs"),
        options_type=operator.u8(3),
        options=operator.table(4, "options"),
    )


def _indices(values: NDArray[Any], lowest: int, count: int, what: str) -> tuple[int, ...]:
    if len(values) and not (int(values.min()) >= lowest and int(values.max()) < count):
        raise DamagedError(f"{what} name a tensor that is not there")
    return tuple(values.tolist())


def _check_metadata(model: Table, buffers: int, tensors: int) -> None:
    _indices(model.numbers(5, "<i4", MAX_BUFFERS), 0, buffers, "the metadata buffers")
    for entry in model.tables(6, "Metadata", 2, MAX_OPERANDS):
        entry.string(0)
        if entry.u32(1) >= buffers:
            raise DamagedError(f"metadata in buffer {entry.u32(1)} of {buffers}")
    for signature in model.tables(7, "SignatureDef", 5, MAX_OPERANDS):
        signature.string(2)
        if signature.u32(4) or signature.has(3):
            raise DamagedError("a signature of another graph")
        for number in (0, 1):
            for name in signature.tables(number, "TensorMap", 2, MAX_OPERANDS):
                name.string(0)
                if name.u32(1) >= tensors:
                    raise DamagedError("a signature names a tensor that is not there")
