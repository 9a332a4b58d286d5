"""Conversion recipes as data: every key shown and commented, and bad ones refused in one line."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fer_convert.recipe import FORMATS, load_recipe, recipe_names
from fer_edge.errors import ConfigError, UsageError


def text_of(name: str) -> str:
    return (files("fer_convert") / "recipes" / f"{name}.toml").read_text()


@pytest.mark.parametrize("name", recipe_names())
def test_every_key_of_a_bundled_recipe_is_spelled_out_and_commented(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    shown: dict[str, Any] = {key: value for key, value in msgspec.to_builtins(recipe).items() if key != "name"}
    assert shown == tomllib.loads(text_of(name)), "a default that the file does not show"
    lines = text_of(name).splitlines()
    for number, line in enumerate(lines):
        if "=" in line and not line.startswith("#"):
            assert lines[number - 1].startswith("#"), f"{name}:{number + 1}: {line} has no comment"


def test_a_file_of_ones_own_is_called_like_the_file(tmp_path: Path) -> None:
    path = tmp_path / "int8_mine.toml"
    path.write_text(text_of("int8").replace("images = 700", "images = 70"))
    recipe = load_recipe(str(path))
    assert (recipe.name, recipe.calibration.images) == ("int8_mine", 70)
    path.write_text('name = "int8"\n' + text_of("int8"))
    with pytest.raises(ConfigError, match="leave the key out"):
        load_recipe(str(path))


@pytest.mark.parametrize(
    "name", ["quick", "int88", "int8_", "Int8", "int8_Mine", "int8_16x8", "int8_wi4_mine", "float32"]
)
def test_a_name_that_does_not_tell_the_format_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.toml"
    path.write_text(text_of("int8"))
    with pytest.raises(ConfigError, match="int8 or int8_VARIANT, in small letters"):
        load_recipe(str(path))


def test_each_format_has_its_name(tmp_path: Path) -> None:
    for (weights, activations), name in FORMATS.items():
        path = tmp_path / f"{name}_mine.toml"
        path.write_text(f'summary = "mine"\nweights = "{weights}"\nactivations = "{activations}"\n')
        assert load_recipe(str(path)).name == f"{name}_mine"


def test_an_unknown_recipe_has_a_suggestion() -> None:
    with pytest.raises(UsageError, match="did you mean 'int8'"):
        load_recipe("int88")
    with pytest.raises(UsageError, match=r"choose one of dynamic_wi8, .*or name a \.toml file"):
        load_recipe("quick")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('weights = "int8"', 'weights = "int7"'),
        ('activations = "int8"', 'activations = "float32"'),
        ('activations = "int8"', 'activations = "dynamic"\n[sensitive]\nlayers = 1\n#'),
        ("images = 700", "images = 0"),
        ('ranges = "minmax"', 'ranges = "middle"'),
        ("min_agreement = 0.97", "min_agreement = 97"),
        ("seed = 2013", "sead = 2013"),
        ("summary", "é"),
    ],
)
def test_a_bad_recipe_file_is_one_line(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "mine.toml"
    original = text_of("int8")
    assert old in original
    path.write_text(original.replace(old, new, 1), encoding="latin-1")
    with pytest.raises(ConfigError, match="not a valid conversion recipe") as raised:
        load_recipe(str(path))
    assert "\n" not in str(raised.value)
