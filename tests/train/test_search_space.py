"""Search spaces and recipe files: data in, data out."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import msgspec
import pytest

from fer_edge.errors import ConfigError, UsageError
from fer_train.recipe import load_recipe
from fer_train.recipe_file import comments, recipe_text, write_recipe
from fer_train.search_space import load_space, with_values

RECIPES = sorted(Path(entry.name).stem for entry in (files("fer_train") / "recipes").iterdir() if "toml" in entry.name)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_survives_being_written(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    write_recipe(recipe, tmp_path / "mine.toml", "mine\nand yours")
    assert load_recipe(str(tmp_path / "mine.toml")) == recipe
    lines = (tmp_path / "mine.toml").read_text().splitlines()
    assert lines[:2] == ["# mine", "# and yours"]
    for number, line in enumerate(lines):
        if "=" in line and not line.startswith("#"):
            assert lines[number - 1].startswith("# ")
            assert "Option" not in lines[number - 1], f"{line} is explained by no bundled recipe"


def test_strings_and_unknown_options_are_written_as_toml() -> None:
    recipe = msgspec.structs.replace(load_recipe("vgg_lite"), pretrained='C:\\w "1"\né', network={"new": [1, 2.5]})
    text = recipe_text(recipe, "t")
    assert msgspec.toml.decode(text)["pretrained"] == 'C:\\w "1"\né'
    assert "# Option new of the network.\nnew = [1, 2.5]" in text
    assert comments()["optimizer.momentum"] == "# Momentum of SGD."


def test_values_go_where_their_keys_say() -> None:
    before = load_recipe("vgg16")
    recipe = with_values(
        before, {"stages.1.learning_rate": 0.5, "network.dense": 64, "batch_size": 8, "input.margin": 0.2}
    )
    assert recipe.stages[1].learning_rate == 0.5
    assert recipe.stages[0] == before.stages[0]
    assert (recipe.network["dense"], recipe.batch_size, recipe.input.margin) == (64, 8, 0.2)


@pytest.mark.parametrize("key", ["speed", "optimizer.speed", "stages.7.epochs", "stages.x", "batch_size.low", "a.b"])
def test_a_key_that_the_recipe_lacks_is_named(key: str) -> None:
    with pytest.raises(UsageError, match=key):
        with_values(load_recipe("vgg_lite"), {key: 1})


def test_a_value_that_the_recipe_refuses_is_one_line() -> None:
    with pytest.raises(UsageError, match="batch_size") as raised:
        with_values(load_recipe("vgg_lite"), {"batch_size": -1})
    assert "\n" not in str(raised.value)


def test_the_space_that_comes_along_fits_the_default_recipe() -> None:
    recipe = load_recipe("default")
    space = load_space(None)
    for key, dimension in space.items():
        for value in dimension.choices or (dimension.low, dimension.high):
            with_values(recipe, {key: value})


@pytest.mark.parametrize(
    "text",
    [
        *("", "[a]", "[a]\nlow = 1", "[a]\nlow = 2\nhigh = 1", "[a]\nlow = 0\nhigh = 1\nlog = true", "a = 1", "=", "é"),
        *("[a]\nchoices = [1]\nlow = 0", "[a]\nlow = 1\nhigh = 2\nstep = 0", "[a]\nlow = 1\nhigh = 2\nfast = true"),
    ],
)
def test_a_bad_space_is_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match=r"space\.toml") as raised:
        load_space(path)
    assert "\n" not in str(raised.value)


def test_a_space_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load_space(tmp_path / "space.toml")
