"""What a search varies: keys of the recipe and where to look for each, as data (TOML)."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from fer_edge.errors import ConfigError, UsageError
from fer_train.recipe import Recipe, with_changes

Number = int | float


class Dimension(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One table of a search space: a range from ``low`` to ``high``, or ``choices``."""

    low: Number | None = None
    high: Number | None = None
    log: bool = False
    """Spread evenly over the logarithm."""
    step: Number | None = None
    choices: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        if self.choices:
            if (self.low, self.high, self.log, self.step) != (None, None, False, None):
                raise ValueError("has choices, and low, high, log or step besides; keep one")
            return
        if self.low is None or self.high is None or self.low >= self.high:
            raise ValueError("needs low and a larger high, or choices")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("with log, low must be above 0 and there is no step")
        if self.step is not None and self.step <= 0:
            raise ValueError("step must be above 0")

    def suggest(self, trial: Any, key: str) -> Any:
        """Return the value that an Optuna ``trial`` gives the recipe's ``key``."""
        if self.choices:
            # Optuna's categories are scalars; as JSON a list is one.
            written = [msgspec.json.encode(choice).decode() for choice in self.choices]
            return msgspec.json.decode(trial.suggest_categorical(key, written))
        if isinstance(self.low, int) and isinstance(self.high, int) and isinstance(self.step or 1, int):
            return trial.suggest_int(key, self.low, self.high, step=self.step or 1, log=self.log)
        return trial.suggest_float(key, self.low, self.high, step=self.step, log=self.log)


Space = Mapping[str, Dimension]
"""Key of the recipe, dotted through its tables -> where to look."""


def load_space(path: Path | None) -> Space:
    """Read a search space; without a path, the one that comes with fer-edge.

    Raises:
        UsageError: if there is no such file.
        ConfigError: if it is not a valid search space.
    """
    source = path or files("fer_train") / "spaces" / "default.toml"
    try:
        space = msgspec.toml.decode(source.read_bytes(), type=dict[str, Dimension])
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); name a .toml file with --space") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path or 'default space'}: not a valid search space: {error}") from error
    if not space:
        raise ConfigError(f"{path}: varies nothing; name at least one key of the recipe")
    return space


def with_values(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """Return ``recipe`` with the value of each dotted key replaced.

    Raises:
        UsageError: if the recipe has no such key, or cannot have that value.
    """
    tree = msgspec.to_builtins(recipe)
    for key, value in values.items():
        *tables, name = key.split(".")
        place: Any = tree
        try:
            for table in tables:
                place = place[int(table)] if isinstance(place, list | tuple) else place[table]
            known = name in place if isinstance(place, dict) else False
        except (KeyError, IndexError, ValueError, TypeError):
            known = False
        if not known:
            raise UsageError(
                f"the search space varies {key}, which the recipe does not have; write it into one of them"
            )
        place[name] = value
    return with_changes(recipe, **tree)
