"""How long each operator takes, though LiteRT's Python interpreter has no profiler and XNNPACK runs a graph as one.

The graph is cut after each operator, and every cut is timed as a network of its own: what one more operator adds is its
time. The delegate packs, fuses and runs a cut graph as it does the whole one, so that the sum of the parts is the time
of the whole; only an operator that XNNPACK would have fused into its neighbour stands alone at the end of its cut.
"""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_convert.graph_edit import aligned_buffer, pack, unpack
from fer_edge.contract.interpreter import bare_interpreter

WARM: Final = 3
"""Invocations before those that count: XNNPACK packs weights in the first, and the caches hold another cut."""
CALLS: Final = 8
ROUNDS: Final = 5
"""Cuts take turns, in an order drawn for each round, so that a drift of the machine does not fall on some of them."""


def operator_times(
    data: bytes, stored: NDArray[Any], threads: int = 1, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Return the milliseconds that each operator adds, in the order of execution.

    Args:
        data: a .tflite file.
        stored: what its input tensor holds.
        threads: of the interpreter.
        clock: seconds.

    Returns:
        One figure an operator; what lies under the noise comes out as 0.
    """
    model = unpack(data)
    ends = range(1, len(model.subgraphs[0].operators) + 1)
    times: dict[int, list[float]] = {end: [] for end in ends}
    rng = random.Random(0)
    for _ in range(ROUNDS):
        for end in rng.sample(ends, len(ends)):
            # Loaded anew for each round: all of them together would not fit into a small board's memory.
            interpreter = bare_interpreter(cut_graph(model, end), threads)
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], stored)
            for _ in range(WARM):
                interpreter.invoke()
            for _ in range(CALLS):
                begun = clock()
                interpreter.invoke()
                times[end].append(1e3 * (clock() - begun))
    return added([float(np.median(times[end])) for end in ends])


def added(until: Sequence[float]) -> list[float]:
    """Turn the time until the end of each operator into what each one adds, never less than nothing."""
    reached = np.maximum.accumulate(np.asarray(until, np.float64))
    return [float(part) for part in np.diff(reached, prepend=0.0)]


def cut_graph(model: Any, end: int) -> bytes:
    """Return the graph of ``model`` (from :func:`unpack`) with its first ``end`` operators alone, as a .tflite file.

    What later operators would take is an output of it: nothing in it is dead. It holds the constants that it needs.
    """
    (whole,) = model.subgraphs
    operators, rest = whole.operators[:end], whole.operators[end:]
    wanted = {int(tensor) for operator in rest for tensor in operator.inputs} | {int(t) for t in whole.outputs}
    graph, cut = copy.copy(whole), copy.copy(model)
    graph.operators = operators
    graph.outputs = [int(t) for operator in operators for t in operator.outputs if int(t) in wanted]
    read = {whole.tensors[int(t)].buffer for operator in operators for t in operator.inputs if t >= 0}
    cut.subgraphs = [graph]
    cut.buffers = [one if number in read else aligned_buffer() for number, one in enumerate(model.buffers)]
    cut.signatureDefs = cut.metadata = cut.metadataBuffer = None  # they speak of the whole
    return pack(cut)
