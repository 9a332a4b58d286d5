"""The shape that each allowed operator gives, worked out as the TFLite kernels do.

Whatever would make a kernel divide by zero, read beyond an operand or give more than it states is refused on the way.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from fer_edge.contract.flatbuffer import DamagedError
from fer_edge.contract.graph import (
    FLOAT16,
    FLOAT32,
    INT4,
    INT8,
    INT16,
    INT32,
    INT64,
    UINT8,
    Graph,
    Operator,
    Tensor,
)

Shape = tuple[int, ...]

MAX_WINDOW: Final = 512
"""Of strides, dilations and pooling windows: an input has at most 512 pixels a side."""
RESCALING: Final = (2.0**-32, 2.0**8)
WEIGHTS: Final = {
    FLOAT32: frozenset({FLOAT32, FLOAT16, INT8, UINT8, INT4}),
    INT8: frozenset({INT8, INT4}),
    UINT8: frozenset({UINT8}),
    INT16: frozenset({INT8}),
}
"""Type of the activations -> types of the weights that go with it."""
BIASES: Final = {
    FLOAT32: frozenset({FLOAT32}),
    INT8: frozenset({INT32}),
    UINT8: frozenset({INT32}),
    INT16: frozenset({INT32, INT64}),
}


class Node:
    """An operator with its tensors at hand; what its rule asks about."""

    def __init__(self, graph: Graph, operator: Operator) -> None:
        self._graph = graph
        self.options = operator.options
        self.inputs: list[Tensor | None] = [None if i < 0 else graph.tensors[i] for i in operator.inputs]
        self.outputs = [graph.tensors[i] for i in operator.outputs]

    def tensor(self, number: int) -> Tensor:
        """Input ``number``, which must be there."""
        tensor = self.inputs[number] if number < len(self.inputs) else None
        if tensor is None:
            raise DamagedError(f"input {number} is left out")
        return tensor

    def optional(self, number: int) -> Tensor | None:
        """Input ``number``, or None."""
        return self.inputs[number] if number < len(self.inputs) else None

    def shape(self, number: int, rank: int | None = None) -> Shape:
        """Shape of an input.

        Raises:
            DamagedError: if it has not ``rank`` dimensions.
        """
        shape = self.tensor(number).shape
        if rank is not None and len(shape) != rank:
            raise DamagedError(f"input {number} has the shape {shape}; {rank} dimensions are needed")
        return shape

    def integers(self, number: int) -> list[int]:
        """Return the values of an input that must be a constant of int32 or int64."""
        tensor = self.tensor(number)
        if tensor.constant is None or tensor.dtype not in (INT32, INT64) or tensor.elements > 64:
            raise DamagedError(f"input {number} is no short list of constant integers")
        kind = "<i4" if tensor.dtype == INT32 else "<i8"
        values: list[int] = np.frombuffer(
            self._graph.data, np.dtype(kind), tensor.elements, tensor.constant.start
        ).tolist()
        return values

    def i32(self, field: int, default: int = 0) -> int:
        """An option."""
        return default if self.options is None else self.options.i32(field, default)

    def byte(self, field: int) -> int:
        """An option."""
        return 0 if self.options is None else self.options.u8(field)

    def floating(self, field: int) -> float:
        """An option."""
        return 0.0 if self.options is None else float(self.options.scalar(field, "f"))

    def window(self, field: int, default: int = 0) -> int:
        """Return an option that is a stride, a dilation or a side of a window: at least 1."""
        value = self.i32(field, default)
        if not 1 <= value <= MAX_WINDOW:
            raise DamagedError(f"a stride, dilation or window of {value}")
        return value


def _slide(node: Node, image: Shape, kernel: tuple[int, int], dilation: tuple[int, int] = (1, 1)) -> tuple[int, int]:
    """Rows and columns that a window comes to; padding and strides stand in fields 0 to 2 of all three kinds."""
    padding = node.byte(0)
    if padding not in (0, 1):
        raise DamagedError(f"padding of kind {padding}")
    steps = []
    for size, side, far, stride in zip(image, kernel, dilation, (node.window(2), node.window(1)), strict=True):
        reach = 0 if padding == 0 else (side - 1) * far  # 0: SAME, 1: VALID
        if size <= reach:
            raise DamagedError(f"a window of {reach + 1} in {size} pixels")
        steps.append(-(-(size - reach) // stride))
    return steps[0], steps[1]


def _weighted(node: Node, channels: int, axis: int) -> None:
    """Check the types of weights and bias, input 1 and 2."""
    activation, weights, bias = node.tensor(0).dtype, node.tensor(1), node.optional(2)
    if activation not in WEIGHTS or weights.dtype not in WEIGHTS[activation]:
        raise DamagedError(f"weights of type {weights.dtype} on activations of type {activation}")
    if len(weights.scales) > 1 and (weights.axis != axis or len(weights.scales) != channels):
        raise DamagedError("weights that are quantized along another axis than their channels")
    _check_rescaling(node)
    if bias is not None and (bias.dtype not in BIASES[activation] or bias.elements != channels):
        raise DamagedError(f"a bias of {bias.elements} for {channels} channels")


def _check_rescaling(node: Node) -> None:
    """Hold the factor from products to outputs within what XNNPACK can represent (its limits are 2^-32 and 2^8).

    Beyond them it fails to set itself up, and LiteRT 2.3 then may free memory twice.
    """
    taken, weights, given = (
        tensor.scales.astype(np.float64) for tensor in (node.tensor(0), node.tensor(1), node.outputs[0])
    )
    if not len(taken) or not len(weights) or not len(given):
        return  # of float type
    factors = taken[0] * weights / given[0]
    if not (factors.min() >= RESCALING[0] and factors.max() < RESCALING[1]):
        raise DamagedError("scales of input, weights and output that do not fit together")


def conv_2d(node: Node) -> Shape:
    """CONV_2D, in groups too."""
    batch, *image, depth = node.shape(0, 4)
    channels, *kernel, taken = node.shape(1, 4)
    if depth % taken or channels % (depth // taken):
        raise DamagedError(f"{depth} channels of input for kernels of {taken}")
    node.tensor(2)
    _weighted(node, channels, axis=0)
    dilation = node.window(5, 1), node.window(4, 1)
    return batch, *_slide(node, tuple(image), (kernel[0], kernel[1]), dilation), channels


def depthwise_conv_2d(node: Node) -> Shape:
    """DEPTHWISE_CONV_2D."""
    batch, *image, depth = node.shape(0, 4)
    one, *kernel, channels = node.shape(1, 4)
    if one != 1 or channels != depth * node.i32(3):
        raise DamagedError(f"{depth} channels of input for {channels} kernels, {node.i32(3)} each")
    node.tensor(2)  # the integer kernel reads the bias without looking whether there is one
    _weighted(node, channels, axis=3)
    dilation = node.window(6, 1), node.window(5, 1)
    return batch, *_slide(node, tuple(image), (kernel[0], kernel[1]), dilation), channels


def pool_2d(node: Node) -> Shape:
    """AVERAGE_POOL_2D and MAX_POOL_2D."""
    batch, *image, depth = node.shape(0, 4)
    return batch, *_slide(node, tuple(image), (node.window(4), node.window(3))), depth


def fully_connected(node: Node) -> Shape:
    """FULLY_CONNECTED."""
    shape, (units, width) = node.shape(0), node.shape(1, 2)
    if node.byte(1):
        raise DamagedError("weights in a shuffled format")
    if not shape or math.prod(shape) % width:
        raise DamagedError(f"input of the shape {shape} for weights of {width}")
    _weighted(node, units, axis=0)
    if node.byte(2):  # keep_num_dims
        if shape[-1] != width:
            raise DamagedError(f"input of the shape {shape} for weights of {width}")
        return *shape[:-1], units
    return math.prod(shape) // width, units


def unchanged(node: Node) -> Shape:
    """Operators on one tensor, value by value."""
    return node.shape(0)


def softmax(node: Node) -> Shape:
    """SOFTMAX."""
    beta = node.floating(0)
    if not 1e-3 <= beta <= 1e3 or not node.shape(0):
        raise DamagedError(f"beta of {beta}")
    return node.shape(0)


def broadcast(node: Node) -> Shape:
    """Operators on two tensors, value by value, with NumPy's broadcasting."""
    first, second = node.shape(0), node.shape(1)
    rank = max(len(first), len(second))
    a, b = (1,) * (rank - len(first)) + first, (1,) * (rank - len(second)) + second
    if any(m != n and 1 not in (m, n) for m, n in zip(a, b, strict=True)):
        raise DamagedError(f"shapes {first} and {second} that do not fit together")
    return tuple(max(m, n) for m, n in zip(a, b, strict=True))


def add(node: Node) -> Shape:
    """ADD and SUB."""
    scales = [float(tensor.scales[0]) for tensor in (*node.inputs, *node.outputs) if tensor and len(tensor.scales)]
    # The kernel's fixed-point arithmetic shifts the inputs by 20 bits (15 for int16) and aborts if the rest is no
    # fraction.
    if len(scales) == 3 and 2 * max(scales[:2]) >= 2**15 * scales[2]:
        raise DamagedError("a sum whose scale is far finer than its terms'")
    return broadcast(node)


def prelu(node: Node) -> Shape:
    """PRELU."""
    if broadcast(node) != node.shape(0):
        raise DamagedError("slopes that do not fit the input")
    return node.shape(0)


def reduce(node: Node) -> Shape:
    """MEAN and SUM."""
    shape = node.shape(0)
    axes = {_axis(value, len(shape)) for value in node.integers(1)}
    if node.byte(0):  # keep_dims
        return tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)


def reshape(node: Node) -> Shape:
    """RESHAPE."""
    elements, wanted = node.tensor(0).elements, None
    if node.optional(1) is not None:
        wanted = node.integers(1)
        if len(node.shape(1)) != 1:
            raise DamagedError("a new shape that is no list")
    elif node.options is not None:
        wanted = [int(size) for size in node.options.numbers(0, "<i4", 8)]
    if wanted is None or wanted.count(-1) > 1 or any(size < 1 and size != -1 for size in wanted):
        raise DamagedError(f"a new shape of {wanted}")
    known = math.prod(size for size in wanted if size != -1)
    if elements % known:
        raise DamagedError(f"a new shape of {wanted} for {elements} values")
    return tuple(elements // known if size == -1 else size for size in wanted)


def squeeze(node: Node) -> Shape:
    """SQUEEZE."""
    shape = node.shape(0)
    listed = [] if node.options is None else node.options.numbers(0, "<i4", 8).tolist()
    axes = {_axis(int(value), len(shape)) for value in listed} or {a for a, size in enumerate(shape) if size == 1}
    if any(shape[axis] != 1 for axis in axes):
        raise DamagedError("a dimension that is not 1 left out")
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)


def concatenate(node: Node) -> Shape:
    """CONCATENATION."""
    shapes = [node.shape(number) for number in range(len(node.inputs))]
    axis = _axis(node.i32(0), len(shapes[0]))
    rest = {shape[:axis] + shape[axis + 1 :] for shape in shapes}
    if len(rest) != 1 or len({len(shape) for shape in shapes}) != 1 or node.byte(1):
        raise DamagedError(f"shapes {shapes} that do not fit together")
    if len({node.tensor(number).dtype for number in range(len(shapes))}) != 1:
        raise DamagedError("parts of different types")
    return *shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :]


def pad(node: Node) -> Shape:
    """PAD."""
    shape = node.shape(0)
    if node.shape(1) != (len(shape), 2) or len(shape) > 5:
        raise DamagedError(f"padding of the shape {node.shape(1)} for {shape}")
    values = node.integers(1)
    if any(not 0 <= value <= MAX_WINDOW for value in values):
        raise DamagedError(f"padding by {values}")
    return tuple(size + values[2 * axis] + values[2 * axis + 1] for axis, size in enumerate(shape))


def transpose(node: Node) -> Shape:
    """TRANSPOSE."""
    shape, order = node.shape(0), node.integers(1)
    if sorted(order) != list(range(len(shape))):
        raise DamagedError(f"dimensions in the order {order}")
    return tuple(shape[axis] for axis in order)


def resize(node: Node) -> Shape:
    """RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR."""
    batch, _, _, depth = node.shape(0, 4)
    size = node.integers(1)
    if node.tensor(1).dtype != INT32 or node.shape(1) != (2,) or any(not 1 <= side <= MAX_WINDOW for side in size):
        raise DamagedError(f"resized to {size}")
    return batch, size[0], size[1], depth


def _axis(value: int, rank: int) -> int:
    if not -rank <= value < rank:
        raise DamagedError(f"dimension {value} of {rank}")
    return value % rank
