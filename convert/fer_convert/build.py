"""A recipe applied: preparation of the float graph, ranges, the sweep for sensitive layers, and the integers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fer_convert import sensitivity
from fer_convert.activations import choose_ranges, measure
from fer_convert.bias_correction import correct_biases
from fer_convert.equalize import equalize, without_relu6
from fer_convert.quantize import quantize
from fer_convert.recipe import ConversionRecipe
from fer_edge.contract.preprocess import UInt8Array
from fer_edge.errors import FerEdgeError


@dataclass(frozen=True, slots=True)
class Built:
    """What a recipe made of a float graph."""

    data: bytes
    """The .tflite file, without a card."""
    sweep: tuple[sensitivity.Sensitivity, ...] = ()
    """Of all layers, if the recipe leaves sensitive ones in a higher precision."""
    sensitive: tuple[str, ...] = ()
    """Short names of these."""


def build(
    graph: bytes,
    recipe: ConversionRecipe,
    images: UInt8Array | None,
    progress: Callable[[str], None] = lambda _step: None,
) -> Built:
    """Apply ``recipe`` to a float graph.

    Args:
        graph: from :func:`fer_convert.quantize.float_graph`.
        recipe: how.
        images: (n, height, width, channels) uint8 for a recipe that needs them.
        progress: told what is done next.

    Raises:
        ModelError: if the network cannot be converted like that.
    """
    if not recipe.needs_images:
        return Built(quantize(graph, recipe))
    if images is None or not len(images):
        raise FerEdgeError(f"the recipe {recipe.name} needs calibration images: give --data FER2013")
    graph = prepare(graph, recipe, images, progress)
    if not recipe.calibrated:
        return Built(quantize(graph, recipe))
    ranges = _ranges(graph, recipe, images, progress)
    found = sweep(graph, recipe, images, progress) if recipe.sensitive.layers else []
    chosen = sensitivity.most_sensitive(found, recipe.sensitive.layers)
    data = quantize(graph, recipe, ranges, sensitive=[one.tensor for one in chosen])
    return Built(data, tuple(found), tuple(one.layer for one in chosen))


def prepare(graph: bytes, recipe: ConversionRecipe, images: UInt8Array, progress: Callable[[str], None]) -> bytes:
    """Return the float graph equalized and with corrected biases, as far as the recipe says so."""
    plan = recipe.preparation
    if plan.equalization != "none":
        progress(f"equalizing {plan.equalization}")
        if plan.relu6 == "relu":
            graph = without_relu6(graph)
        graph = equalize(graph, plan.equalization, measure(graph, images))
    if plan.bias_correction:
        progress("correcting biases")
        ranges = _ranges(graph, recipe, images, progress) if recipe.calibrated else None
        graph = correct_biases(graph, quantize(graph, recipe, ranges), measure(graph, images))
    return graph


def sweep(
    graph: bytes, recipe: ConversionRecipe, images: UInt8Array, progress: Callable[[str], None]
) -> list[sensitivity.Sensitivity]:
    """Return the sensitivity of each layer of a prepared float graph."""
    ranges = _ranges(graph, recipe, images, progress)
    return sensitivity.sweep(
        graph,
        ranges,
        recipe,
        images[: sensitivity.IMAGES],
        lambda done, total: progress(f"quantizing one layer at a time: {done} of {total}"),
    )


def _ranges(
    graph: bytes, recipe: ConversionRecipe, images: UInt8Array, progress: Callable[[str], None]
) -> dict[str, tuple[float, float]]:
    progress(f"measuring activations on {len(images)} images")
    activations = measure(graph, images, histograms=recipe.calibration.ranges != "minmax")
    return choose_ranges(graph, activations, recipe.calibration)
