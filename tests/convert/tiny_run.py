"""A tiny network, really trained and converted."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fer_convert.convert import Converted

TINY_FILE = Path(__file__).parents[1] / "train" / "tiny.toml"


def trained(data_path: Path, out: Path, **changes: object) -> Path:
    """Train by ``tiny.toml``; return ``model.keras``."""
    from fer_train.recipe import load_recipe, with_changes
    from fer_train.run import RunFiles, train

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = train(with_changes(load_recipe(str(TINY_FILE)), **changes), RunFiles(data_path, out))
    assert path is not None
    return path


def converted(path: Path, data_path: Path, out: Path, recipe: str) -> Converted:
    """Convert by a bundled recipe, as ``tiny``."""
    from fer_convert.convert import convert
    from fer_convert.recipe import load_recipe

    return convert(path, data_path, load_recipe(recipe), out, name="tiny")
