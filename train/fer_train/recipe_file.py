"""Writing a recipe as a complete TOML file, every key with its comment.

The comments are those of the recipes that come with fer-edge: they are the one place where keys are explained.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from fer_edge.contract.files import write_text
from fer_train.recipe import Recipe


def write_recipe(recipe: Recipe, path: Path, title: str) -> None:
    """Write ``recipe`` to ``path``; each line of ``title`` becomes a comment at the top.

    Raises:
        OutputError: if it cannot be written.
    """
    write_text(path, recipe_text(recipe, title))


def recipe_text(recipe: Recipe, title: str) -> str:
    """Return the TOML of ``recipe``, complete, so that a later default cannot change what it means."""
    tree = msgspec.to_builtins(recipe)
    explained = comments()
    plain = {key: value for key, value in tree.items() if not _is_table(value)}
    lines = [*(f"# {line}" for line in title.splitlines()), "", *_keys(plain, "", explained)]
    for name, value in tree.items():
        if isinstance(value, dict):
            lines += ["", f"[{name}]", *_keys(value, f"{name}.", explained)]
        elif _is_table(value):
            for entry in value:
                lines += ["", f"[[{name}]]", *_keys(entry, f"{name}.", explained)]
    return "\n".join(lines) + "\n"


def comments() -> dict[str, str]:
    """Return what the bundled recipes say above each key, by the key dotted through its tables."""
    found: dict[str, str] = {}
    for entry in sorted((files("fer_train") / "recipes").iterdir(), key=lambda entry: entry.name):
        if not entry.name.endswith(".toml"):
            continue
        table, above = "", ""
        for line in entry.read_text(encoding="utf-8").splitlines():
            if line.startswith("["):
                table = line.strip("[] ") + "."
            elif line.startswith("#"):
                above = line
            elif "=" in line and above:
                found.setdefault(table + line.split("=")[0].strip(), above)
                above = ""
    return found


def _keys(values: Mapping[str, Any], prefix: str, explained: Mapping[str, str]) -> Iterator[str]:
    for key, value in values.items():
        yield explained.get(prefix + key, f"# Option {key} of the network.")
        yield f"{key} = {_toml(value)}"


def _toml(value: Any) -> str:
    """Return a scalar, or a list of them, as TOML, which writes these as JSON does."""
    return json.dumps(value, ensure_ascii=False)


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list | tuple) and bool(value) and isinstance(value[0], dict))
