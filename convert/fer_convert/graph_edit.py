"""A .tflite graph whose constants can be read and replaced, and its bytes again.

The converter has folded batch normalization and fused activations by then, so that what is done here (equalization,
bias correction) knows three kinds of layers and no framework.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

ALIGNMENT: Final = 16
"""Of constants in the file, as schema.fbs asks for (``force_align``); the generated Python writer does not do it."""

Float32Array = NDArray[np.float32]

_NAMES = {number: name for name, number in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
_ACTIVATIONS = {number: name for name, number in vars(schema.ActivationFunctionType).items() if name[0] != "_"}
_DTYPES: Final = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.INT32: np.int32,
    schema.TensorType.INT8: np.int8,
    schema.TensorType.INT64: np.int64,
}
_QUANTIZED: Final = (schema.TensorType.INT8, schema.TensorType.INT4)

OUTPUT_AXIS: Final = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}
"""Operators with weights -> axis of the weights along which their output channels lie."""


class _AlignedBuffer(schema.BufferT):
    """A buffer that is written as the schema asks for: the integer kernels read int64 biases in place."""

    def Pack(self, builder: Any) -> Any:  # noqa: N802
        data = None
        if self.data is not None:
            content = np.ascontiguousarray(self.data, np.uint8).tobytes()
            builder.StartVector(1, len(content), ALIGNMENT)
            builder.head = builder.Head() - len(content)
            builder.Bytes[builder.Head() : builder.Head() + len(content)] = content
            data = builder.EndVector()
        schema.BufferStart(builder)
        if data is not None:
            schema.BufferAddData(builder, data)
        return schema.BufferEnd(builder)


def unpack(data: bytes) -> Any:
    """Return the model of a .tflite file as the generated classes hold it, all constants inside.

    The quantizer leaves constants behind the FlatBuffer, where the runtime finds them by offset; the verifier accepts
    no such files, and nothing of this project's size needs them.
    """
    model: Any = schema.ModelT.InitFromPackedBuf(data, 0)
    for number, buffer in enumerate(model.buffers):
        content = buffer.data
        if buffer.offset > 1:
            content = np.frombuffer(data, np.uint8, buffer.size, buffer.offset)
        model.buffers[number] = aligned_buffer(content)
    return model


def aligned_buffer(content: NDArray[np.uint8] | None = None) -> Any:
    """Return a buffer of the generated classes that will be written aligned."""
    buffer = _AlignedBuffer()
    buffer.data = content if content is not None and len(content) else None
    return buffer


def pack(model: Any) -> bytes:
    """Return the bytes of a model that :func:`unpack` gave."""
    size = sum(0 if buffer.data is None else len(buffer.data) + ALIGNMENT for buffer in model.buffers)
    builder = flatbuffers.Builder(size + 65536)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


@dataclass(frozen=True, slots=True)
class Layer:
    """An operator with weights."""

    kind: str
    """A key of :data:`OUTPUT_AXIS`."""
    name: str
    """Of its output tensor."""
    input: int
    weights: int
    bias: int | None
    output: int
    """Numbers of tensors."""
    activation: str
    """Fused: ``NONE``, ``RELU`` or ``RELU6`` among others."""

    @property
    def label(self) -> str:
        """A short name for people: the part of the tensor's name that the network's author gave to the layer."""
        return short_name(self.name)


class EditableGraph:
    """The single graph of a .tflite file, for reading and replacing its constants.

    Attributes:
        model: the file as the generated classes hold it.
    """

    def __init__(self, data: bytes) -> None:
        """Read ``data``, a .tflite file that this project's converter made."""
        self.model = unpack(data)
        (self._graph,) = self.model.subgraphs
        codes = self.model.operatorCodes
        self._kinds = [
            _NAMES[max(codes[o.opcodeIndex].builtinCode, codes[o.opcodeIndex].deprecatedBuiltinCode)]
            for o in self._graph.operators
        ]

    def to_bytes(self) -> bytes:
        """Return the file."""
        return pack(self.model)

    def operators(self) -> Iterator[tuple[str, Any]]:
        """Yield (kind, operator as the generated classes hold it) in the order of execution."""
        yield from zip(self._kinds, self._graph.operators, strict=True)

    def layers(self) -> list[Layer]:
        """Return the operators whose weights are constants, in the order of execution."""
        found = []
        for kind, operator in self.operators():
            if kind not in OUTPUT_AXIS or not self.is_constant(int(operator.inputs[1])):
                continue
            bias = int(operator.inputs[2]) if len(operator.inputs) > 2 and operator.inputs[2] >= 0 else None
            output = int(operator.outputs[0])
            activation = _ACTIVATIONS[operator.builtinOptions.fusedActivationFunction]
            name, first, weights = self.name(output), int(operator.inputs[0]), int(operator.inputs[1])
            found.append(Layer(kind, name, first, weights, bias, output, activation))
        return found

    def name(self, tensor: int) -> str:
        """Name of a tensor."""
        name = self._graph.tensors[tensor].name
        return name.decode() if isinstance(name, bytes) else str(name)

    def rank(self, tensor: int) -> int:
        """Number of a tensor's dimensions."""
        shape = self._graph.tensors[tensor].shape
        return 0 if shape is None else len(shape)

    def tensor_names(self) -> dict[str, int]:
        """Names of all tensors -> their numbers."""
        return {self.name(number): number for number in range(len(self._graph.tensors))}

    def consumers(self, tensor: int) -> list[tuple[str, Any]]:
        """Return the operators that take ``tensor``; a graph's output counts as taken by an operator ``OUTPUT``."""
        found = [(kind, operator) for kind, operator in self.operators() if tensor in list(operator.inputs)]
        return found + [("OUTPUT", None)] * (tensor in list(self._graph.outputs))

    def is_constant(self, tensor: int) -> bool:
        """Whether a tensor's value stands in the file."""
        return self.model.buffers[self._graph.tensors[tensor].buffer].data is not None

    def constant(self, tensor: int) -> NDArray[Any]:
        """Return a copy of the value of a constant, in its shape, dequantized if it is int8 or int4 with scales."""
        entry = self._graph.tensors[tensor]
        content = np.ascontiguousarray(self.model.buffers[entry.buffer].data, np.uint8)
        if entry.type == schema.TensorType.INT4:  # two in a byte, the lower half first
            content = np.stack([content << 4, content & 0xF0], axis=-1).ravel()[: int(np.prod(entry.shape))]
            values = content.view(np.int8).reshape(tuple(entry.shape)) >> 4
        else:
            values = content.view(_DTYPES[entry.type]).reshape(tuple(entry.shape)).copy()
        quantization = entry.quantization
        if entry.type not in _QUANTIZED or quantization is None or quantization.scale is None:
            return values
        shape = [1] * values.ndim
        if len(quantization.scale) > 1:
            shape[quantization.quantizedDimension] = -1
        scale = np.asarray(quantization.scale, np.float32).reshape(shape)
        zero_point = np.asarray(quantization.zeroPoint, np.float32).reshape(shape)
        return np.asarray(scale * (values.astype(np.float32) - zero_point), np.float32)

    def replace(self, tensor: int, values: Float32Array) -> None:
        """Replace the value of a float32 constant; tensors that share its buffer keep theirs."""
        entry = self._graph.tensors[tensor]
        if entry.type != schema.TensorType.FLOAT32 or tuple(entry.shape) != values.shape:
            raise ValueError(f"{self.name(tensor)}: not a float32 constant of the shape {values.shape}")
        content = np.frombuffer(np.ascontiguousarray(values, np.float32).tobytes(), np.uint8)
        if sum(other.buffer == entry.buffer for other in self._graph.tensors) > 1:
            self.model.buffers.append(aligned_buffer())
            entry.buffer = len(self.model.buffers) - 1
        self.model.buffers[entry.buffer].data = content


def short_name(tensor: str) -> str:
    """Return the layer's own name from a tensor's: ``a/b/conv1_1/Relu;a/b/bn_1/add`` becomes ``conv1``.

    The converter joins the names of all that it fused with semicolons and puts the model's name before each; Keras adds
    ``_1`` where a model is called within another one. The convolution or matrix product names the layer best.
    """
    parts = tensor.split(";")
    weighted = [p for p in parts if p.rsplit("/", 1)[-1].rstrip("0123456789_") in _WEIGHTED]
    pieces = (weighted or parts)[0].split("/")
    name = pieces[-2] if len(pieces) > 1 else pieces[-1]
    return name.removesuffix("_1")


_WEIGHTED: Final = ("convolution", "depthwise", "MatMul", "BiasAdd")
