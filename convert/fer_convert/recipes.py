"""Conversion recipes: how a float model becomes a TFLite file, as data.

The recipe's name stands in the file's name and in its card. Its grammar: the number format, and for formats in which
weights and activations differ both of them (``dynamic_wi8``: int8 weights, activations quantized on the fly).
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Final

from fer_edge.errors import UsageError


@dataclass(frozen=True, slots=True)
class ConversionRecipe:
    """One way to convert, and what the result must keep to."""

    name: str
    summary: str
    calibrated: bool
    """Ranges of activations are measured on Training images; both ends of the file are then int8."""
    quantized_weights: bool
    float16: bool = False
    allowed_types: frozenset[str] | None = None
    """Tensor types that may occur in the file; None for any."""
    max_drop_points: float = 0.0
    """Most that accuracy on PublicTest may fall under the float model's, in percentage points, on the same images."""
    min_agreement: float = 1.0
    """Least share of PublicTest on which the most probable label is the float model's."""


RECIPES: Final[dict[str, ConversionRecipe]] = {
    recipe.name: recipe
    for recipe in (
        ConversionRecipe(
            name="int8",
            summary="full-integer: int8 weights per channel, int8 activations, int8 in and out",
            calibrated=True,
            quantized_weights=True,
            allowed_types=frozenset({"int8", "int32"}),
            max_drop_points=0.5,
            min_agreement=0.97,
        ),
        ConversionRecipe(
            name="dynamic_wi8",
            summary="int8 weights per channel, activations quantized on the fly, float32 in and out",
            calibrated=False,
            quantized_weights=True,
            max_drop_points=0.5,
            min_agreement=0.97,
        ),
        ConversionRecipe(
            name="float16",
            summary="float16 weights, float32 arithmetic",
            calibrated=False,
            quantized_weights=True,
            float16=True,
            max_drop_points=0.1,
            min_agreement=0.995,
        ),
        ConversionRecipe(
            name="float32",
            summary="nothing quantized: the reference",
            calibrated=False,
            quantized_weights=False,
            max_drop_points=0.05,
            min_agreement=0.999,
        ),
    )
}


def find_recipe(name: str) -> ConversionRecipe:
    """Return the recipe called ``name``.

    Raises:
        UsageError: if there is none.
    """
    if name in RECIPES:
        return RECIPES[name]
    close = difflib.get_close_matches(name, RECIPES, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"choose one of {', '.join(RECIPES)}"
    raise UsageError(f"there is no conversion recipe {name!r}: {hint}")
