"""A .tflite file of 6 kB with the operators of a small residual network, made without TensorFlow; easy to spoil."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from fer_convert.embed import embed_card
from fer_edge.contract.card import ModelCard, Quantization, TensorCard
from fer_edge.contract.labels import LABELS
from fer_edge.contract.preprocess import InputSpec

SIDE = 16
INPUT = InputSpec(SIDE, SIDE, 1)

_OP, _KIND, _TYPE = schema.BuiltinOperator, schema.BuiltinOptions, schema.TensorType
_VERSIONS = {
    _OP.CONV_2D: 3,
    _OP.DEPTHWISE_CONV_2D: 3,
    _OP.ADD: 2,
    _OP.PAD: 2,
    _OP.MAX_POOL_2D: 2,
    _OP.CONCATENATION: 2,
    _OP.MUL: 2,
    _OP.MEAN: 2,
    _OP.FULLY_CONNECTED: 4,
    _OP.SOFTMAX: 2,
}
"""First version of each operator that has int8."""


class SmallGraph:
    """The graph as the generated classes hold it (``model``), with names for what a test wants to change."""

    def __init__(self, dtype: str = "int8") -> None:
        """Build it: convolution, depthwise convolution, sum, pad, pool, reshape, dense and softmax among others."""
        self.integer = dtype == "int8"
        self.model: Any = schema.ModelT()
        self.graph: Any = schema.SubGraphT()
        self.graph.name, self.graph.tensors, self.graph.operators = "main", [], []
        self.model.version, self.model.description = 3, "small graph"
        self.model.subgraphs, self.model.operatorCodes, self.model.buffers = [self.graph], [], [schema.BufferT()]
        self.operators: dict[str, Any] = {}
        self._rng = np.random.default_rng(7)
        pixels = self._activation("pixels", (1, SIDE, SIDE, 1), 1.0, -128)
        x = self._activation("conv", (1, 8, 8, 4))
        self._add(
            "conv", _OP.CONV_2D, [pixels, *self._kernel("conv", (4, 3, 3, 1), 0)], x, schema.Conv2DOptionsT, _window(2)
        )
        y = self._activation("depthwise", (1, 8, 8, 4))
        depthwise = schema.DepthwiseConv2DOptionsT
        kernel = self._kernel("depthwise", (1, 3, 3, 4), 3)
        self._add("depthwise", _OP.DEPTHWISE_CONV_2D, [x, *kernel], y, depthwise, _window(1, depthMultiplier=1))
        z = self._activation("sum", (1, 8, 8, 4))
        self._add("sum", _OP.ADD, [x, y], z, schema.AddOptionsT, {"fusedActivationFunction": 1})
        padded = self._activation("padded", (1, 10, 10, 4))
        padding = self._constant("padding", np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32), _TYPE.INT32)
        self._add("pad", _OP.PAD, [z, padding], padded, schema.PadOptionsT, {})
        pooled = self._activation("pooled", (1, 5, 5, 4))
        pool = _window(2, filterWidth=2, filterHeight=2)
        self._add("pool", _OP.MAX_POOL_2D, [padded], pooled, schema.Pool2DOptionsT, pool)
        both = self._activation("both", (1, 5, 5, 8))
        self._add("concatenate", _OP.CONCATENATION, [pooled, pooled], both, schema.ConcatenationOptionsT, {"axis": 3})
        scaled = self._activation("scaled", (1, 5, 5, 8))
        factor = self._weights("factor", (8,), None)
        self._add("mul", _OP.MUL, [both, factor], scaled, schema.MulOptionsT, {})
        mean = self._activation("mean", (1, 8))
        axes = self._constant("axes", np.array([1, 2], np.int32), _TYPE.INT32)
        self._add("mean", _OP.MEAN, [scaled, axes], mean, schema.ReducerOptionsT, {"keepDims": False})
        flat = self._activation("flat", (1, 8))
        shape = self._constant("shape", np.array([-1, 8], np.int32), _TYPE.INT32)
        self._add("reshape", _OP.RESHAPE, [mean, shape], flat, schema.ReshapeOptionsT, {"newShape": [-1, 8]})
        logits = self._activation("logits", (1, len(LABELS)))
        dense = [flat, *self._kernel("dense", (len(LABELS), 8), 0)]
        self._add("dense", _OP.FULLY_CONNECTED, dense, logits, schema.FullyConnectedOptionsT, {})
        output = self._activation("output", (1, len(LABELS)), 1 / 256, -128)
        self._add("softmax", _OP.SOFTMAX, [logits], output, schema.SoftmaxOptionsT, {"beta": 1.0})
        self.graph.inputs, self.graph.outputs = [pixels], [output]

    def tensor(self, name: str) -> Any:
        """Return the tensor called ``name``."""
        return next(tensor for tensor in self.graph.tensors if tensor.name == name)

    def content(self, name: str) -> Any:
        """Return the buffer of the tensor called ``name``."""
        return self.model.buffers[self.tensor(name).buffer]

    def bytes(self) -> bytes:
        """Pack it, without a card."""
        builder = flatbuffers.Builder(1 << 14)
        builder.Finish(self.model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    def write(self, path: Path) -> Path:
        """Write it with a card and a right checksum."""
        path.write_bytes(embed_card(self.bytes(), self.card()))
        return path

    def card(self) -> ModelCard:
        """Return the card that fits it as it was built."""
        scales = ((1.0, -128), (1 / 256, -128)) if self.integer else ((0.0, 0), (0.0, 0))
        dtype: Literal["int8", "float32"] = "int8" if self.integer else "float32"
        first, last = (
            TensorCard(dtype, shape, scale, zero)
            for shape, (scale, zero) in zip(((1, *INPUT.shape), (1, len(LABELS))), scales, strict=True)
        )
        quantization = Quantization(dtype, first, last)
        return ModelCard(
            name="small", version="1", network="small", labels=LABELS, input=INPUT, quantization=quantization
        )

    def _activation(self, name: str, shape: Sequence[int], scale: float = 0.05, zero: int = 0) -> int:
        kind = _TYPE.INT8 if self.integer else _TYPE.FLOAT32
        return self._tensor(name, shape, kind, 0, [scale] if self.integer else [], zero)

    def _kernel(self, name: str, shape: tuple[int, ...], axis: int) -> list[int]:
        """Weights quantized by channel, and a bias."""
        bias = np.zeros(shape[axis], np.int32 if self.integer else np.float32)
        kind = _TYPE.INT32 if self.integer else _TYPE.FLOAT32
        return [
            self._weights(f"{name}-weights", shape, axis),
            self._constant(f"{name}-bias", bias, kind, [0.001] * shape[axis] if self.integer else []),
        ]

    def _weights(self, name: str, shape: tuple[int, ...], axis: int | None) -> int:
        if not self.integer:
            return self._constant(name, self._rng.normal(size=shape).astype(np.float32), _TYPE.FLOAT32)
        values = self._rng.integers(-127, 128, shape).astype(np.int8)
        scales = [0.02] * (1 if axis is None else shape[axis])
        return self._constant(name, values, _TYPE.INT8, scales, axis or 0)

    def _constant(self, name: str, values: Any, kind: int, scales: Sequence[float] = (), axis: int = 0) -> int:
        buffer: Any = schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        return self._tensor(name, values.shape, kind, len(self.model.buffers) - 1, scales, 0, axis)

    def _tensor(
        self,
        name: str,
        shape: Sequence[int],
        kind: int,
        buffer: int,
        scales: Sequence[float],
        zero: int,
        axis: int = 0,
    ) -> int:
        tensor: Any = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), kind, buffer
        tensor.quantization = schema.QuantizationParametersT()
        if scales:
            tensor.quantization.scale, tensor.quantization.zeroPoint = list(scales), [zero] * len(scales)
            tensor.quantization.quantizedDimension = axis
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def _add(
        self, name: str, code: int, inputs: list[int], output: int, options: Callable[[], Any], values: dict[str, Any]
    ) -> None:
        entry: Any = schema.OperatorCodeT()
        entry.builtinCode, entry.deprecatedBuiltinCode, entry.version = (
            code,
            min(code, 127),
            _VERSIONS.get(code, 1) if self.integer else 1,
        )
        self.model.operatorCodes.append(entry)
        operator: Any = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = len(self.model.operatorCodes) - 1, inputs, [output]
        operator.builtinOptions = options()
        operator.builtinOptionsType = getattr(_KIND, type(operator.builtinOptions).__name__.removesuffix("T"))
        for key, value in values.items():
            setattr(operator.builtinOptions, key, value)
        self.graph.operators.append(operator)
        self.operators[name] = operator


def _window(stride: int, **more: int) -> dict[str, int]:
    return {"padding": 0, "strideW": stride, "strideH": stride, **more}
