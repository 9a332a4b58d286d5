"""Conversion recipes: how a float model becomes a TFLite file and what it must keep of it, as data.

A recipe is a TOML file; its name is the file's, and stands in the converted file's name and in its card. The grammar of
the names: ``FORMAT[_VARIANT]``, where FORMAT is

- ``float32``, ``float16``: the number format of everything, or of the weights alone where arithmetic stays float32;
- ``int8``: weights and activations are integers of 8 bits;
- ``int8_16x8``: 16 bits of activation by 8 bits of weight;
- ``dynamic_wi8``, ``dynamic_wi4``: integer weights; activations are quantized on the fly, each picture by its range;
- ``int8_wi4``: 8 bits of activation by 4 bits of weight;

and VARIANT names what is done besides (``int8_mixed``, ``int8_equalized``, ``int8_percentile``). A file whose name does
not tell its format is refused.
"""

from __future__ import annotations

import difflib
import re
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from fer_edge.errors import ConfigError, UsageError

NonNegative = Annotated[float, msgspec.Meta(ge=0.0)]
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Count = Annotated[int, msgspec.Meta(ge=0)]

FORMATS: Final = {
    ("float32", "float32"): "float32",
    ("float16", "float32"): "float16",
    ("int8", "int8"): "int8",
    ("int8", "int16"): "int8_16x8",
    ("int8", "dynamic"): "dynamic_wi8",
    ("int4", "dynamic"): "dynamic_wi4",
    ("int4", "int8"): "int8_wi4",
}
"""(weights, activations) -> what a recipe's name begins with."""


class CalibrationPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ``[calibration]`` table: where the ranges of the activations come from."""

    images: Annotated[int, msgspec.Meta(ge=1, le=20_000)] = 700
    """Images of the Training split, equally many of each class as far as they go."""
    seed: Count = 2013
    """Of the choice of images."""
    ranges: Literal["minmax", "percentile", "mse"] = "minmax"
    """How a range is taken: everything seen, all but the outermost tails, or the range of the least squared error."""
    percentile: Annotated[float, msgspec.Meta(gt=50.0, le=100.0)] = 99.99
    """For ``percentile``: the share of values, in percent, that lies within each end."""


class Preparation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ``[preparation]`` table: what is done to the float graph so that integers fit it better."""

    equalization: Literal["none", "weights", "activations"] = "none"
    """Even out the channels between two layers, by the ranges of their weights or of the activations between them."""
    relu6: Literal["keep", "relu"] = "keep"
    """Equalization of a ReLU6: only channels that stay below 6, or all of them by making it a ReLU."""
    bias_correction: bool = False
    """Take out of the biases what the rounding of the weights adds on average."""


class Sensitive(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ``[sensitive]`` table: the layers that lose most are left in a higher precision."""

    layers: Count = 0
    """How many, by a sweep over all layers; 0 for none, and no sweep."""
    precision: Literal["float32", "int16"] = "float32"
    """Of these layers; int16 means activations, of which XNNPACK knows nothing: slow."""


class Gates(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ``[gates]`` table: what the file must keep of the float model on PublicTest, image by image."""

    max_drop_points: NonNegative = 0.0
    """Most that accuracy may fall, in percentage points."""
    max_macro_f1_drop_points: NonNegative = 0.0
    """Most that macro-F1 may fall, in points of 0 to 100."""
    max_recall_drop_points: NonNegative = 0.0
    """Most that the recall of any one class may fall, in percentage points."""
    min_agreement: Share = 1.0
    """Least share of images with the same most probable label."""
    integer: bool = False
    """Whether every operator must work on integers (but for quantizing at the ends)."""
    min_delegated: Share = 0.0
    """Least share of the multiplications that XNNPACK runs; the rest falls back to slow reference kernels."""
    max_megabytes: NonNegative = 0.0
    """Largest file in MB of 10^6 bytes; 0 for any."""


class ConversionRecipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One way to convert, and what the result must keep to."""

    summary: str
    """What it is, in a line."""
    weights: Literal["float32", "float16", "int8", "int4"]
    """Number format of the weights; integers have one scale for each output channel."""
    activations: Literal["float32", "dynamic", "int8", "int16"]
    """Number format of the activations; ``dynamic``: float32, quantized on the fly inside each layer."""
    calibration: CalibrationPlan = CalibrationPlan()
    preparation: Preparation = Preparation()
    sensitive: Sensitive = Sensitive()
    gates: Gates = Gates()
    name: str = ""
    """Of the file; not a key in it."""

    def __post_init__(self) -> None:
        integer = self.weights in ("int8", "int4")
        if (self.weights, self.activations) not in FORMATS:
            raise ValueError(f"weights of {self.weights} do not go with activations of {self.activations}")
        if not self.calibrated and self.sensitive.layers:
            raise ValueError("sensitive layers are for calibrated recipes (activations of int8 or int16)")
        if not integer and self.preparation.bias_correction:
            raise ValueError("bias_correction is for integer weights")

    @property
    def calibrated(self) -> bool:
        """Whether ranges of activations are measured on Training images."""
        return self.activations in ("int8", "int16")

    @property
    def needs_images(self) -> bool:
        """Whether anything of it is measured on Training images."""
        return self.calibrated or self.preparation != Preparation()


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with fer-edge."""
    folder = files("fer_convert") / "recipes"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_recipe(name: str) -> ConversionRecipe:
    """Return the recipe called ``name`` that comes with fer-edge, or the one in the TOML file ``name``.

    Raises:
        UsageError: if there is no such recipe or file.
        ConfigError: if the file is not a valid recipe.
    """
    known = recipe_names()
    if name in known:
        return _parse((files("fer_convert") / "recipes" / f"{name}.toml").read_bytes(), name, f"recipe {name}")
    path = Path(name)
    if path.suffix == ".toml" and path.is_file():
        return _parse(path.read_bytes(), path.stem, name)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"choose one of {', '.join(known)}, or name a .toml file"
    raise UsageError(f"there is no conversion recipe {name!r}: {hint}")


def _parse(data: bytes, name: str, where: str) -> ConversionRecipe:
    try:
        recipe = msgspec.toml.decode(data, type=ConversionRecipe)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where}: not a valid conversion recipe: {error}") from error
    if recipe.name not in ("", name):
        raise ConfigError(f"{where}: names itself {recipe.name!r}; a recipe's name is its file's: leave the key out")
    wanted = FORMATS[recipe.weights, recipe.activations]
    if not re.fullmatch(rf"{wanted}(_[a-z0-9]+)*", name) or _format_of(name) != wanted:
        raise ConfigError(
            f"{where}: weights of {recipe.weights} with activations of {recipe.activations} make a recipe {wanted} or "
            f"{wanted}_VARIANT, in small letters, not {name!r}: rename the file"
        )
    return msgspec.structs.replace(recipe, name=name)


def _format_of(name: str) -> str | None:
    """Return the longest format that a name begins with: ``int8_16x8_mixed`` is no ``int8``."""
    return max((one for one in FORMATS.values() if name == one or name.startswith(f"{one}_")), key=len, default=None)
