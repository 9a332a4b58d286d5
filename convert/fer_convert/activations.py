"""What the activations of a float graph look like on the calibration images, and the ranges that follow from it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fer_convert.graph_edit import EditableGraph
from fer_convert.recipe import CalibrationPlan
from fer_edge.contract.interpreter import find_runtime
from fer_edge.contract.native_log import native_messages
from fer_edge.contract.preprocess import UInt8Array

BINS: Final = 2048
"""Of a histogram: eight for each of the 256 levels of int8."""
CLIPS: Final = np.linspace(0.2, 1.0, 81)
"""Parts of the whole range that ``mse`` tries."""

Ranges: TypeAlias = Mapping[str, tuple[float, float]]
"""Name of a tensor -> (least, greatest) value that must be represented."""


@dataclass(frozen=True, slots=True)
class Activation:
    """One tensor over all calibration images."""

    low: float
    high: float
    channel_peak: NDArray[np.float32]
    """(channels,) greatest magnitude in each channel."""
    channel_mean: NDArray[np.float64]
    """(channels,) mean of each channel."""
    histogram: NDArray[np.int64]
    """(BINS,) counts over ``low`` to ``high``; empty if it was not asked for."""


def measure(graph: bytes, images: UInt8Array, histograms: bool = False) -> dict[str, Activation]:
    """Run a float graph over images and describe every tensor that it computes, its input included.

    Args:
        graph: a float32 .tflite file with a batch of one.
        images: (n, height, width, channels) uint8, n >= 1.
        histograms: whether to count values too, which takes a second run.

    Returns:
        Name of a tensor -> what it held.
    """
    runner = _Runner(graph)
    low: dict[str, float] = {}
    high: dict[str, float] = {}
    peak: dict[str, NDArray[np.float32]] = {}
    total: dict[str, NDArray[np.float64]] = {}
    for image in images:
        for name, values in runner.run(image):
            flat = values.reshape(-1, values.shape[-1])
            low[name] = min(low.get(name, np.inf), float(values.min()))
            high[name] = max(high.get(name, -np.inf), float(values.max()))
            peak[name] = np.maximum(peak.get(name, 0.0), np.abs(flat).max(axis=0))
            total[name] = total.get(name, 0.0) + flat.mean(axis=0, dtype=np.float64)
    counts = {name: np.zeros(BINS if histograms else 0, np.int64) for name in low}
    for image in images if histograms else ():
        for name, values in runner.run(image):
            width = max(high[name] - low[name], 1e-30)
            bins = ((values.ravel() - low[name]) * (BINS / width)).astype(np.int64)
            counts[name] += np.bincount(np.clip(bins, 0, BINS - 1), minlength=BINS)
    return {
        name: Activation(low[name], high[name], peak[name], total[name] / len(images), counts[name]) for name in low
    }


def choose_ranges(
    graph: bytes, activations: Mapping[str, Activation], plan: CalibrationPlan
) -> dict[str, tuple[float, float]]:
    """Choose the range of each activation by ``plan``.

    What stands before the first layer with weights (scaling) follows from the pixels, which are 0 to 255 whatever the
    calibration images hold: it keeps its whole range, so that quantizing a pixel loses nothing.

    Args:
        graph: the float graph, a .tflite file.
        activations: of that graph; with histograms unless the plan is ``minmax``.
        plan: how to choose.
    """
    ranges = {name: _range(one, plan) for name, one in activations.items()}
    editable = EditableGraph(graph)
    runner, names = _Runner(graph), editable.tensor_names()
    learned = _computed_after(editable, editable.layers()[0].input)
    black, white = (runner.run(np.full(runner.input_shape, value, np.uint8)) for value in (0, 255))
    for (name, least), (_, most) in zip(black, white, strict=True):
        if names[name] not in learned:
            ranges[name] = (float(min(least.min(), most.min())), float(max(least.max(), most.max())))
    return ranges


def _computed_after(graph: EditableGraph, tensor: int) -> set[int]:
    """Return the tensors that are computed, directly or not, from ``tensor``."""
    reached = {tensor}
    for _, operator in graph.operators():
        if reached.intersection(int(tensor) for tensor in operator.inputs):
            reached.update(int(output) for output in operator.outputs)
    return reached - {tensor}


def _range(activation: Activation, plan: CalibrationPlan) -> tuple[float, float]:
    low, high = activation.low, activation.high
    if plan.ranges == "minmax" or not activation.histogram.any() or high <= low:
        return low, high
    return _percentile(activation, plan.percentile) if plan.ranges == "percentile" else _least_error(activation)


def _percentile(activation: Activation, percentile: float) -> tuple[float, float]:
    """Leave out ``100 - percentile`` percent of the values at each end; zero always lies within."""
    edges = np.linspace(activation.low, activation.high, BINS + 1)
    below = np.cumsum(activation.histogram) / activation.histogram.sum()
    share = percentile / 100.0
    high = edges[1 + int(np.searchsorted(below, share))] if share < 1.0 else activation.high
    low = edges[int(np.searchsorted(below, 1.0 - share, side="right"))] if activation.low < 0.0 else activation.low
    return min(float(low), 0.0), max(float(high), 0.0)


def _least_error(activation: Activation) -> tuple[float, float]:
    """Shrink the range to where the squared error of clipping and of rounding to 256 levels is least together."""
    edges = np.linspace(activation.low, activation.high, BINS + 1)
    centres, counts = (edges[:-1] + edges[1:]) / 2, activation.histogram
    best, chosen = np.inf, (activation.low, activation.high)
    for clip in CLIPS:
        low, high = min(activation.low * float(clip), 0.0), max(activation.high * float(clip), 0.0)
        step = (high - low) / 255.0
        outside = centres - np.clip(centres, low, high)
        # Rounding is uniform over a step (Bennett 1948): a twelfth of its square for each value that is not clipped.
        error = float((counts * np.where(outside == 0.0, step**2 / 12.0, outside**2)).sum())
        if error < best:
            best, chosen = error, (low, high)
    return chosen


class _Runner:
    """An interpreter that keeps the value of every tensor."""

    def __init__(self, graph: bytes) -> None:
        with native_messages(lambda line: line.startswith("INFO: Created TensorFlow Lite")), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "for debugging only": it costs memory, which is what it is for
            self._interpreter: Any = find_runtime().interpreter(
                model_content=graph, num_threads=1, experimental_preserve_all_tensors=True
            )
            self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]
        self.input_shape: tuple[int, ...] = tuple(int(n) for n in self._input["shape"][1:])
        editable = EditableGraph(graph)
        computed = {int(output) for _, operator in editable.operators() for output in operator.outputs}
        self._tensors = {editable.name(t): t for t in sorted(computed | {int(self._input["index"])})}

    def run(self, image: UInt8Array) -> list[tuple[str, NDArray[np.float32]]]:
        """Return name and value of each tensor for one (height, width, channels) uint8 image."""
        self._interpreter.set_tensor(self._input["index"], image[None].astype(np.float32))
        self._interpreter.invoke()
        return [(name, self._interpreter.get_tensor(tensor)) for name, tensor in self._tensors.items()]
