"""What of a file XNNPACK runs, and what is left to the runtime's own kernels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from fer_edge.contract.graph import Graph
from fer_edge.contract.interpreter import bare_interpreter
from fer_edge.contract.operators import RULES, check_operator
from fer_edge.contract.verify import verify_model

CONVERSIONS: Final = frozenset({"QUANTIZE", "DEQUANTIZE"})
_INTEGERS: Final = frozenset({2, 3, 4, 7, 9, 17})
"""TensorType: INT32, UINT8, INT64, INT16, INT8, INT4."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a file is made of, whatever it answers."""

    megabytes: float
    """Of 10^6 bytes."""
    operators: int
    float_operators: tuple[str, ...]
    """Operators that compute with floating point; quantizing and dequantizing is not counted."""
    delegated_operators: tuple[int, int] | None
    """(operators that XNNPACK runs, all operators); None if the runtime does not tell."""
    delegated: float | None
    """Share of the multiplications that XNNPACK runs."""


def inspect(data: bytes) -> FileFacts:
    """Say what a .tflite file is made of.

    Raises:
        ModelError: if it is not a graph that the runtime would run.
    """
    graph = verify_model(data, "the converted model")
    delegated = delegated_operators(data)
    work = [check_operator(graph, operator) for operator in graph.operators]
    share = None
    if delegated is not None:
        share = sum(work[number] for number in delegated) / max(1, sum(work))
    return FileFacts(
        megabytes=round(len(data) / 1e6, 3),
        operators=len(graph.operators),
        float_operators=tuple(_float_operators(graph)),
        delegated_operators=None if delegated is None else (len(delegated), len(graph.operators)),
        delegated=None if share is None else round(share, 4),
    )


def delegated_operators(data: bytes) -> set[int] | None:
    """Return the numbers of the operators that a delegate runs; None if the runtime does not tell.

    LiteRT lists a delegate as one more operator, with what it takes and gives: it runs all that lies between.
    """
    interpreter: Any = bare_interpreter(data)
    listing = getattr(interpreter, "_get_ops_details", None)
    if listing is None:
        return None
    operators = listing()
    own = [o for o in operators if o["op_name"] != "DELEGATE"]
    maker = {int(output): number for number, o in enumerate(own) for output in o["outputs"]}
    found: set[int] = set()
    for delegate in (o for o in operators if o["op_name"] == "DELEGATE"):
        taken = {int(tensor) for tensor in delegate["inputs"]}
        open_ends = [int(tensor) for tensor in delegate["outputs"]]
        while open_ends:
            tensor = open_ends.pop()
            if tensor in taken or maker.get(tensor) is None or maker[tensor] in found:
                continue
            found.add(maker[tensor])
            open_ends += _tensors(own[maker[tensor]]["inputs"])
    return found


def _tensors(numbers: Iterable[Any]) -> list[int]:
    return [int(number) for number in numbers if number >= 0]


def _float_operators(graph: Graph) -> Iterable[str]:
    for operator in graph.operators:
        name = RULES[operator.code].name
        tensors = [graph.tensors[i] for i in (*operator.inputs, *operator.outputs) if i >= 0]
        if name not in CONVERSIONS and any(tensor.dtype not in _INTEGERS for tensor in tensors):
            yield name
