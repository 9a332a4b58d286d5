"""Which layers lose most by integers: each is quantized alone, and what the network answers is held against float.

The images are of the calibration set, so that no evaluation has a say in which layers are left in float.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from fer_convert.activations import Ranges
from fer_convert.graph_edit import EditableGraph
from fer_convert.quantize import quantize
from fer_convert.recipe import ConversionRecipe
from fer_edge.contract.files import atomic_write
from fer_edge.contract.interpreter import bare_interpreter
from fer_edge.contract.preprocess import UInt8Array

IMAGES: Final = 210
"""Of the calibration set: the order of the layers is settled long before the last digit of the divergence."""


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What quantizing one layer alone does."""

    layer: str
    """Its short name."""
    tensor: str
    """Name of its output tensor in the float graph."""
    kind: str
    parameters: int
    divergence: float
    """Mean Kullback-Leibler divergence of the answers from the float network's, in nats."""
    agreement: float
    """Share of images with the same most probable label."""


def sweep(
    graph: bytes,
    ranges: Ranges,
    recipe: ConversionRecipe,
    images: UInt8Array,
    on_layer: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[Sensitivity]:
    """Quantize each layer with weights alone and measure.

    Args:
        graph: float32 .tflite file.
        ranges: of its activations.
        recipe: what a layer is quantized to.
        images: (n, height, width, channels) uint8.
        on_layer: told of the layers done, and of all.

    Returns:
        One entry a layer, in the order of execution.
    """
    editable = EditableGraph(graph)
    truth = answers(graph, images)
    layers, found = editable.layers(), []
    for number, layer in enumerate(layers):
        ours = answers(quantize(graph, recipe, ranges, only=layer.name), images)
        bias = 0 if layer.bias is None else editable.constant(layer.bias).size
        found.append(
            Sensitivity(
                layer=layer.label,
                tensor=layer.name,
                kind=layer.kind,
                parameters=int(editable.constant(layer.weights).size + bias),
                divergence=divergence(truth, ours),
                agreement=float((truth.argmax(axis=1) == ours.argmax(axis=1)).mean()),
            )
        )
        on_layer(number + 1, len(layers))
    return found


def most_sensitive(found: Sequence[Sensitivity], count: int) -> list[Sensitivity]:
    """Return the ``count`` layers of the largest divergence, worst first."""
    return sorted(found, key=lambda one: one.divergence, reverse=True)[:count]


def answers(data: bytes, images: UInt8Array) -> NDArray[np.float32]:
    """Return (n, labels) float32: what a .tflite file whose ends are float32 gives for (n, height, width, channels)."""
    interpreter: Any = bare_interpreter(data)
    first, last = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    rows = []
    for image in images:
        interpreter.set_tensor(first["index"], image[None].astype(np.float32))
        interpreter.invoke()
        rows.append(interpreter.get_tensor(last["index"])[0])
    return np.asarray(rows, np.float32)


def divergence(truth: NDArray[np.float32], ours: NDArray[np.float32]) -> float:
    """Mean Kullback-Leibler divergence of (n, labels) probabilities from the true ones, in nats."""
    p, q = (np.clip(x.astype(np.float64), 1e-7, 1.0) for x in (truth, ours))
    return max(0.0, float((p * np.log(p / q)).sum(axis=1).mean()))


def as_table(found: Sequence[Sensitivity]) -> Table:
    """Return the sweep for a terminal, worst first."""
    table = Table(box=None, pad_edge=False)
    for header in ("layer", "kind", "parameters", "divergence (millinats)", "same label"):
        table.add_column(header, justify="left" if header in ("layer", "kind") else "right")
    for one in most_sensitive(found, len(found)):
        table.add_row(one.layer, one.kind, f"{one.parameters:,}", f"{1e3 * one.divergence:.4f}", f"{one.agreement:.1%}")
    return table


def to_builtins(found: Sequence[Sensitivity]) -> list[dict[str, Any]]:
    """Plain form for JSON, in the order of execution."""
    return [asdict(one) for one in found]


def draw(found: Sequence[Sensitivity], path: Path, title: str) -> None:
    """Draw the sweep as SVG: a bar a layer, in the order of execution, on a logarithmic scale."""
    from matplotlib.figure import Figure

    values = [max(1e3 * one.divergence, 1e-6) for one in found]
    worst = {one.tensor for one in most_sensitive(found, max(1, math.ceil(len(found) / 10)))}
    colours = ["#d55e00" if one.tensor in worst else "#0072b2" for one in found]
    figure = Figure(figsize=(7, 1.2 + 0.24 * len(found)), layout="constrained")
    axes = figure.subplots()
    axes.barh(range(len(found)), values, color=colours, log=True)
    axes.set_yticks(range(len(found)), [one.layer for one in found], fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel="divergence of the answers when this layer alone is quantized (millinats)", title=title)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    with atomic_write(path) as partial:
        figure.savefig(partial, format="svg")
