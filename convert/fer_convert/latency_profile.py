"""What a graph is made of, operator by operator.

What each has to do, and how much memory lies between them; their times are in :mod:`fer_convert.latency_operators`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fer_edge.contract.graph import ITEM_BITS, Graph, Tensor
from fer_edge.contract.operators import RULES, check_operator
from fer_edge.contract.tflite_file import read_bounded
from fer_edge.contract.verify import verify_model
from fer_edge.errors import ModelError


def operator_profile(path: Path) -> list[dict[str, Any]] | None:
    """Return kind, output shape and multiplications of each operator; None for a graph that can not be verified."""
    try:
        graph = verify_model(read_bounded(path), str(path))
    except ModelError:
        return None
    return [_operator(graph, number) for number in range(len(graph.operators))]


def arena_bytes(path: Path) -> int | None:
    """Return the least arena that the graph can do with; None for one that can not be verified.

    The most bytes of activations that are needed at the same time, operators running in the order of the file. LiteRT
    does not tell the size of its own arena; its planner comes near to this, and XNNPACK has a workspace of its own.
    """
    try:
        graph = verify_model(read_bounded(path), str(path))
    except ModelError:
        return None
    last = dict.fromkeys(graph.inputs, 0)
    born = dict.fromkeys(graph.inputs, 0)
    for number, operator in enumerate(graph.operators):
        for tensor in operator.outputs:
            born[tensor] = last[tensor] = number
        for tensor in operator.inputs:
            if tensor in born:
                last[tensor] = number
    for tensor in graph.outputs:
        last[tensor] = len(graph.operators) - 1
    steps = range(len(graph.operators))
    alive = ([tensor for tensor in born if born[tensor] <= step <= last[tensor]] for step in steps)
    return max((sum(_bytes(graph.tensors[tensor]) for tensor in tensors) for tensors in alive), default=0)


def _bytes(tensor: Tensor) -> int:
    return -(-tensor.elements * ITEM_BITS[tensor.dtype] // 8)


def _operator(graph: Graph, number: int) -> dict[str, Any]:
    operator = graph.operators[number]
    return {
        "operator": RULES[operator.code].name,
        "output": list(graph.tensors[operator.outputs[0]].shape),
        "multiplications": check_operator(graph, operator),
    }
