"""Which operators a model may use, and what each of them must look like.

A list of what is allowed, not of what is forbidden: the builtin operators that the converters make of the networks of
this project, and of common image classifiers (MobileNet 1 to 3, EfficientNet, ResNet, VGG). For each of them the
number of operands, their types and the output's shape are worked out here as the kernels do, and must agree with
what the file states: a kernel that divides by a stride of 0, or an output far larger than stated, never comes to run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from fer_edge.contract import operator_shapes as shapes
from fer_edge.contract.flatbuffer import DamagedError, Table
from fer_edge.contract.graph import FLOAT16, FLOAT32, INT4, INT8, INT16, UINT8, Graph, Operator, Tensor
from fer_edge.contract.operator_shapes import Node, Shape

MAX_VERSION: Final = 32
ACTIVATIONS: Final = frozenset({FLOAT32, INT8, UINT8, INT16})
QUANTIZED: Final = frozenset({INT8, UINT8, INT16, INT4})

OPTIONS: Final[dict[int, str]] = {
    0: "",  # none
    1: "biibiib",  # Conv2DOptions
    2: "biiibii",  # DepthwiseConv2DOptions
    5: "biiiib",  # Pool2DOptions
    8: "bb??b",  # FullyConnectedOptions
    9: "f",  # SoftmaxOptions
    10: "ib",  # ConcatenationOptions
    11: "b?",  # AddOptions
    15: "ii??",  # ResizeBilinearOptions
    17: "v",  # ReshapeOptions
    21: "b",  # MulOptions
    22: "",  # PadOptions
    26: "",  # TransposeOptions
    27: "?",  # ReducerOptions
    28: "b?",  # SubOptions
    29: "b",  # DivOptions
    30: "v",  # SqueezeOptions
    38: "",  # DequantizeOptions
    39: "",  # MaximumMinimumOptions
    74: "??",  # ResizeNearestNeighborOptions
    75: "f",  # LeakyReluOptions
    89: "",  # QuantizeOptions
    91: "",  # HardSwishOptions
    116: "?",  # GeluOptions
}
"""BuiltinOptions -> type of each field, as for ``struct``; ``v``: a vector of int32."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What an operator must look like."""

    name: str
    operands: Sequence[int]
    """Numbers of inputs that it may have."""
    options: frozenset[int]
    shape: Callable[[Node], Shape]
    """Shape of its output; raises DamagedError."""
    alike: int = 1
    """How many of the first inputs have the output's type."""
    types: frozenset[int] = ACTIVATIONS
    """Of the output."""
    optional: int | None = None
    """Number of the input that may be left out by an index of -1; XNNPACK follows that index for any other."""
    moves: bool = False
    """It moves values without changing them, so that its output must be quantized as its inputs."""


_FLOAT = frozenset({FLOAT32})

RULES: Final[dict[int, Rule]] = {
    0: Rule("ADD", (2,), frozenset({11}), shapes.add, alike=2),
    1: Rule("AVERAGE_POOL_2D", (1,), frozenset({5}), shapes.pool_2d, moves=True),
    2: Rule("CONCATENATION", range(1, 33), frozenset({10}), shapes.concatenate, moves=True),
    3: Rule("CONV_2D", (3,), frozenset({1}), shapes.conv_2d),
    4: Rule("DEPTHWISE_CONV_2D", (3,), frozenset({2}), shapes.depthwise_conv_2d),
    6: Rule("DEQUANTIZE", (1,), frozenset({0, 38}), shapes.unchanged, alike=0, types=_FLOAT),
    9: Rule("FULLY_CONNECTED", (2, 3), frozenset({8}), shapes.fully_connected, optional=2),
    14: Rule("LOGISTIC", (1,), frozenset({0}), shapes.unchanged),
    17: Rule("MAX_POOL_2D", (1,), frozenset({5}), shapes.pool_2d, moves=True),
    18: Rule("MUL", (2,), frozenset({21}), shapes.broadcast, alike=2),
    19: Rule("RELU", (1,), frozenset({0}), shapes.unchanged),
    21: Rule("RELU6", (1,), frozenset({0}), shapes.unchanged),
    22: Rule("RESHAPE", (1, 2), frozenset({0, 17}), shapes.reshape, moves=True),
    23: Rule("RESIZE_BILINEAR", (2,), frozenset({15}), shapes.resize, moves=True),
    25: Rule("SOFTMAX", (1,), frozenset({9}), shapes.softmax),
    28: Rule("TANH", (1,), frozenset({0}), shapes.unchanged),
    34: Rule("PAD", (2,), frozenset({0, 22}), shapes.pad, moves=True),
    39: Rule("TRANSPOSE", (2,), frozenset({0, 26}), shapes.transpose, moves=True),
    40: Rule("MEAN", (2,), frozenset({27}), shapes.reduce),
    41: Rule("SUB", (2,), frozenset({28}), shapes.add, alike=2),
    42: Rule("DIV", (2,), frozenset({29}), shapes.broadcast, alike=2, types=_FLOAT),
    43: Rule("SQUEEZE", (1,), frozenset({30}), shapes.squeeze, moves=True),
    54: Rule("PRELU", (2,), frozenset({0}), shapes.prelu, alike=2),
    55: Rule("MAXIMUM", (2,), frozenset({0, 39}), shapes.broadcast, alike=2),
    57: Rule("MINIMUM", (2,), frozenset({0, 39}), shapes.broadcast, alike=2),
    74: Rule("SUM", (2,), frozenset({27}), shapes.reduce, types=_FLOAT),
    97: Rule("RESIZE_NEAREST_NEIGHBOR", (2,), frozenset({74}), shapes.resize, moves=True),
    98: Rule("LEAKY_RELU", (1,), frozenset({75}), shapes.unchanged),
    111: Rule("ELU", (1,), frozenset({0}), shapes.unchanged),
    114: Rule("QUANTIZE", (1,), frozenset({0, 89}), shapes.unchanged, alike=0, types=frozenset({INT8, UINT8, INT16})),
    117: Rule("HARD_SWISH", (1,), frozenset({0, 91}), shapes.unchanged),
    150: Rule("GELU", (1,), frozenset({116}), shapes.unchanged),
}
"""BuiltinOperator -> its rule; operators that are not here are refused."""


def check_operator(graph: Graph, operator: Operator) -> int:
    """Hold an operator against its rule.

    Returns:
        Multiplications that it takes, at most.

    Raises:
        DamagedError: if it is not allowed, or anything about it is not as it must be.
    """
    rule = RULES.get(operator.code)
    if rule is None:
        raise DamagedError(f"operator {operator.code} is not one that classifiers need")
    try:
        return _check(Node(graph, operator), operator, rule)
    except DamagedError as error:
        raise DamagedError(f"{rule.name}: {error}") from error


def _check(node: Node, operator: Operator, rule: Rule) -> int:
    if len(operator.inputs) not in rule.operands or len(operator.outputs) != 1:
        raise DamagedError(f"{len(operator.inputs)} inputs and {len(operator.outputs)} outputs")
    if any(index < 0 and number != rule.optional for number, index in enumerate(operator.inputs)):
        raise DamagedError(f"operands {operator.inputs}, one of them left out")
    if not 1 <= operator.version <= MAX_VERSION or operator.options_type not in rule.options:
        raise DamagedError(f"version {operator.version} with options of type {operator.options_type}")
    _check_options(operator.options, OPTIONS[operator.options_type])
    output = node.outputs[0]
    if output.dtype not in rule.types or any(node.tensor(n).dtype != output.dtype for n in range(rule.alike)):
        raise DamagedError("operands whose types do not fit together")
    if not rule.alike and node.tensor(0).dtype not in {*ACTIVATIONS, FLOAT16}:
        raise DamagedError(f"an input of type {node.tensor(0).dtype}")
    for tensor in (*node.inputs, output):
        if tensor is not None and tensor.dtype in QUANTIZED and not len(tensor.scales):
            raise DamagedError("a quantized tensor without a scale")
        if tensor is not None and tensor.constant is None and len(tensor.scales) > 1:
            raise DamagedError("activations with more than one scale")
    if rule.moves and output.dtype in QUANTIZED:
        _check_moved(node, output)
    shape = rule.shape(node)
    if shape != output.shape:
        raise DamagedError(f"an output of the shape {output.shape} where {shape} comes out")
    weights = node.optional(1)
    if weights is None or rule.shape not in _HEAVY:
        return output.elements
    # The kernel of a depthwise convolution is (1, height, width, channels), and each output sees one channel of it.
    seen = weights.shape[1:3] if rule.shape is shapes.depthwise_conv_2d else weights.shape[1:]
    return output.elements * math.prod(seen)


def _check_moved(node: Node, output: Tensor) -> None:
    for tensor in node.inputs:
        if tensor is None or tensor.dtype != output.dtype:
            continue  # a list of sizes or axes
        same = np.array_equal(tensor.scales, output.scales) and np.array_equal(tensor.zero_points, output.zero_points)
        if not same:
            raise DamagedError("an output that is quantized otherwise than the input")


_HEAVY: Final = (shapes.conv_2d, shapes.depthwise_conv_2d, shapes.fully_connected)


def _check_options(options: Table | None, forms: str) -> None:
    """Read every field once: whatever does not lie in the file raises."""
    if options is None:
        return
    if any(options.has(number) for number in range(len(forms), 16)):
        raise DamagedError("options of a later schema")
    for number, form in enumerate(forms):
        value = len(options.numbers(number, "<i4", 8)) if form == "v" else options.scalar(number, form)
        if form == "f" and not math.isfinite(value):
            raise DamagedError("an option that is no number")
        # FusedActivationFunction and the other enumerations: NONE, RELU, RELU_N1_TO_1, RELU6, TANH, SIGN_BIT
        if form == "b" and not 0 <= value <= 5:
            raise DamagedError(f"an option of {value}")
