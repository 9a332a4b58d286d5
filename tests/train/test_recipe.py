from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path

import msgspec
import pytest

from fer_edge.errors import ConfigError, UsageError
from fer_train.recipe import Recipe, load_recipe, with_changes
from fer_train.recipe_file import comments

RECIPES = sorted(Path(str(files("fer_train") / "recipes")).glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_key_of_a_bundled_recipe_is_spelled_out_and_commented(path: Path) -> None:
    recipe = load_recipe(path.stem)
    written = tomllib.loads(path.read_text())
    assert msgspec.json.decode(msgspec.json.encode(recipe)) == written, "a default that the file does not show"
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines):
        if "=" in line and not line.startswith("#"):
            assert lines[number - 1].startswith("#"), f"{path.name}:{number + 1}: {line} has no comment"


def test_an_unknown_recipe_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="vgg_lite"):
        load_recipe("vgg_light")


@pytest.mark.parametrize(
    "text", ["model = 3", 'model = "x"\nepochs = 0', 'model = "x"\nepochs = 1\nspeed = 2', "=", "é="]
)
def test_a_bad_recipe_file_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match="not a valid training recipe") as raised:
        load_recipe(str(path))
    assert "\n" not in str(raised.value)


def test_changes_are_validated() -> None:
    recipe = load_recipe("vgg_lite")
    assert with_changes(recipe, epochs=3, seed=None).epochs == 3
    assert isinstance(with_changes(recipe, epochs=3), Recipe)
    with pytest.raises(UsageError, match="epochs"):
        with_changes(recipe, epochs=-1)


def test_the_readme_explains_every_key_and_names_every_recipe() -> None:
    readme = (Path(__file__).parents[2] / "train" / "README.md").read_text(encoding="utf-8")
    keys = [key.rpartition(".")[2] for key in comments() if not key.startswith("network.")]
    assert len(keys) > 40
    missing = [name for name in (*keys, *(path.stem for path in RECIPES)) if f"`{name}`" not in readme]
    assert not missing
