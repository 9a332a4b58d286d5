"""Recipes: everything that decides a training run, as data."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from fer_edge.contract.preprocess import FER2013_INPUT, InputSpec
from fer_edge.errors import ConfigError, UsageError
from fer_train.augment import Augmentation

PositiveInt = Annotated[int, msgspec.Meta(ge=1)]
Fraction = Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)]


class Optimizer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ``[optimizer]`` table: SGD with Nesterov momentum and a cosine schedule with linear warm-up."""

    learning_rate: Annotated[float, msgspec.Meta(gt=0.0)] = 0.06
    """Peak, reached after the warm-up."""
    momentum: Fraction = 0.9
    weight_decay: Fraction = 5e-3
    """Decoupled: each step takes learning rate times this from convolution and dense kernels."""
    warmup_epochs: Annotated[float, msgspec.Meta(ge=0.0)] = 1.0
    final_fraction: Fraction = 0.001
    """Learning rate at the end, as a fraction of the peak."""


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One training run."""

    model: str
    """Name of the network."""
    epochs: PositiveInt
    batch_size: PositiveInt = 96
    seed: Annotated[int, msgspec.Meta(ge=0, lt=2**31)] = 2013
    label_smoothing: Fraction = 0.05
    ferplus: Fraction = 0.0
    """Share of FER+ votes in the targets; needs the file of votes."""
    average_decay: Fraction = 0.999
    """Decay a step of the exponential moving average of the weights, which is what is evaluated and saved."""
    precision: Literal["auto", "float32", "mixed_bfloat16"] = "auto"
    """``auto`` takes bfloat16 where the hardware is known to be faster at it; what is saved is float32 either way."""
    input: InputSpec = FER2013_INPUT
    network: dict[str, Any] = {}
    """Options of the network's own ``build``."""
    optimizer: Optimizer = Optimizer()
    augmentation: Augmentation = Augmentation()


def load_recipe(name: str) -> Recipe:
    """Return the recipe called ``name`` that comes with fer-edge, or the one in the TOML file ``name``.

    Raises:
        UsageError: if there is no such recipe or file.
        ConfigError: if the file is not a valid recipe.
    """
    folder = files("fer_train") / "recipes"
    bundled = {Path(entry.name).stem: entry for entry in folder.iterdir() if entry.name.endswith(".toml")}
    if name in bundled:
        return _parse(bundled[name].read_bytes(), f"recipe {name}")
    path = Path(name)
    if path.suffix != ".toml" or not path.is_file():
        raise UsageError(
            f"there is no recipe {name!r}: choose one of {', '.join(sorted(bundled))}, or name a .toml file"
        )
    return _parse(path.read_bytes(), name)


def with_changes(recipe: Recipe, **changes: Any) -> Recipe:
    """Return ``recipe`` with the given fields replaced and validated; None leaves a field as it is."""
    given = {key: value for key, value in changes.items() if value is not None}
    try:
        return msgspec.convert({**msgspec.to_builtins(recipe), **given}, Recipe)
    except msgspec.ValidationError as error:
        raise UsageError(f"the recipe cannot be changed like that: {error}") from error


def _parse(data: bytes, where: str) -> Recipe:
    try:
        return msgspec.toml.decode(data, type=Recipe)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where}: not a valid training recipe: {error}") from error
