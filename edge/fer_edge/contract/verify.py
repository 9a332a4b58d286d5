"""Deciding whether a TFLite runtime may see a file at all.

The runtimes trust their input. LiteRT 2.3 checks the FlatBuffer's offsets, and still crashes, aborts or frees memory
twice on graphs whose numbers no converter would write: of 4,730 files that differ from a valid one in one word, it
alone died of 16 and hung in one (``benchmarks/README.md``). A .tflite file is data from elsewhere, so it is read here
first, in Python and with every bound checked, and refused unless it is a plain feed-forward classifier of bounded size.
"""

from __future__ import annotations

from typing import Final

from fer_edge.contract.flatbuffer import DamagedError
from fer_edge.contract.graph import ITEM_BITS, Graph, read_graph
from fer_edge.contract.operators import check_operator
from fer_edge.errors import ModelError

MAX_ACTIVATION_BYTES: Final = 256 * 1024 * 1024
"""Of all computed tensors together, were none to share memory: float16 VGG16 takes 70 MB, its weights included."""
MAX_MULTIPLICATIONS: Final = 20_000_000_000
"""Of one inference: VGG16 takes 0.7 billion at 48 pixels and 15 at 224. More would hang a small board for minutes."""


def verify_model(data: bytes, where: str) -> Graph:
    """Check a .tflite file's structure and what its graph would do, without a TFLite runtime.

    Args:
        data: the file.
        where: what to call it in an error.

    Returns:
        Its graph.

    Raises:
        ModelError: if any part of it is not as it must be.
    """
    graph = read_graph(data, where)
    try:
        _check_order(graph)
        multiplications = 0
        for number, operator in enumerate(graph.operators):
            try:
                multiplications += check_operator(graph, operator)
            except DamagedError as error:
                raise DamagedError(f"operator {number}, {error}") from error
        if multiplications > MAX_MULTIPLICATIONS:
            raise DamagedError(f"{multiplications / 1e9:.0f} billion multiplications for one inference")
    except DamagedError as error:
        raise ModelError(f"{where}: a graph that is not run ({error}); convert or get the model anew") from error
    return graph


def _check_order(graph: Graph) -> None:
    """Each value must be there before it is used, and come from one place only."""
    if not graph.inputs or not graph.outputs:
        raise DamagedError("no input or no output")
    known = {index for index, tensor in enumerate(graph.tensors) if tensor.constant is not None}
    if known.intersection(graph.inputs) or len(set(graph.inputs)) != len(graph.inputs):
        raise DamagedError("an input that is a constant, or listed twice")
    known.update(graph.inputs)
    for number, operator in enumerate(graph.operators):
        if any(index not in known for index in operator.inputs if index >= 0):
            raise DamagedError(f"operator {number} takes a tensor that nothing has computed yet")
        if known.intersection(operator.outputs):
            raise DamagedError(f"operator {number} writes to a tensor that has a value already")
        known.update(operator.outputs)
    if not known.issuperset(graph.outputs):
        raise DamagedError("an output that nothing computes")
    computed = (tensor for tensor in graph.tensors if tensor.constant is None)
    total = sum(tensor.elements * ITEM_BITS[tensor.dtype] // 8 for tensor in computed)
    if total > MAX_ACTIVATION_BYTES:
        raise DamagedError(f"{total // 2**20} MiB of activations")
