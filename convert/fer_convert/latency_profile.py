"""What a graph is made of, operator by operator.

LiteRT measures the time of each operator in its C++ tools only (``benchmark_model --enable_op_profiling``); its Python
interpreter offers no profiler, and XNNPACK runs most of a graph as one node. So what is told here is what each operator
has to do: its multiplications, which is what the time of a convolution follows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fer_edge.contract.graph import Graph
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


def _operator(graph: Graph, number: int) -> dict[str, Any]:
    operator = graph.operators[number]
    return {
        "operator": RULES[operator.code].name,
        "output": list(graph.tensors[operator.outputs[0]].shape),
        "multiplications": check_operator(graph, operator),
    }
