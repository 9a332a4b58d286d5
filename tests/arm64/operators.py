"""Where two machines part: what each operator of a model gives, under XNNPACK and under TFLite's own kernels.

A model is cut after each of its operators, and the cuts are run on both machines. The first that gives something else
is where they part, and by how much.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from fer_convert.graph_edit import unpack
from fer_convert.latency_operators import cut_graph

XNNPACK: Final = "AUTO"
OWN: Final = "BUILTIN_WITHOUT_DEFAULT_DELEGATES"
"""Names of LiteRT's OpResolverType."""

PROBE: Final = """
import sys
from pathlib import Path
import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

folder, target = map(Path, sys.argv[1:])
inputs, results = np.load(folder / "inputs.npy"), {}
for cut in sorted(folder.glob("*.tflite")):
    for kernels in ("AUTO", "BUILTIN_WITHOUT_DEFAULT_DELEGATES"):
        interpreter = Interpreter(
            model_path=str(cut), num_threads=1, experimental_op_resolver_type=OpResolverType[kernels]
        )
        interpreter.allocate_tensors()
        outputs = []
        for one in inputs:
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], one[None])
            interpreter.invoke()
            given = [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]
            outputs.append(np.concatenate([tensor.ravel() for tensor in given]))
        results[f"{cut.stem}.{kernels}"] = np.stack(outputs)
np.savez(target, **results)
"""
"""A program for either machine, which needs LiteRT and NumPy alone: PROBE FOLDER RESULT."""


@dataclass(frozen=True)
class Parting:
    """How far two machines agree after each operator."""

    operators: tuple[str, ...]
    largest: tuple[int, ...]
    """The largest difference of a stored integer after each."""

    @classmethod
    def between(cls, here: Mapping[str, NDArray[Any]], there: Mapping[str, NDArray[Any]], kernels: str) -> Self:
        """Compare what :data:`PROBE` wrote on two machines."""
        assert sorted(here) == sorted(there)
        names = [name for name in sorted(here) if name.endswith(f".{kernels}")]
        differences = [np.abs(here[name].astype(np.int64) - there[name].astype(np.int64)) for name in names]
        operators = (name.split("-")[1].removesuffix(f".{kernels}") for name in names)
        return cls(tuple(operators), tuple(int(one.max()) for one in differences))

    def __str__(self) -> str:
        count = len(self.operators)
        if not any(self.largest):
            return f"the same integers after each of {count} operators"
        first = next(n for n, difference in enumerate(self.largest) if difference)
        same = f"the same integers after {first} of {count} operators, other ones from {self.operators[first]} on"
        return f"{same} (by up to {max(self.largest)} steps within, {self.largest[-1]} of 1/256 at the end)"


def write_cuts(model: Path, pixels: NDArray[np.uint8], folder: Path) -> Path:
    """Write ``model``, full-integer with pixels minus 128 for input, cut after each operator, and what it is to take.

    Args:
        model: a .tflite file.
        pixels: (n, 48, 48) uint8.
        folder: is made.
    """
    folder.mkdir()
    whole = unpack(model.read_bytes())
    for end, operator in enumerate(whole.subgraphs[0].operators, start=1):
        name = _BUILTIN[whole.operatorCodes[operator.opcodeIndex].builtinCode]
        (folder / f"{end:03d}-{name}.tflite").write_bytes(cut_graph(whole, end))
    np.save(folder / "inputs.npy", (pixels.astype(np.int16) - 128).astype(np.int8)[..., None])
    return folder


_BUILTIN: Final = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
