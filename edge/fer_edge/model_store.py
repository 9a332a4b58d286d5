"""Finding a model by name: the ones that come with fer-edge, or any .tflite file by its path."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from fer_edge.contract.tflite_file import ModelFile, read_model_file
from fer_edge.errors import UsageError

MODEL_DIR_VARIABLE: Final = "FER_EDGE_MODELS"
"""Environment variable that names a further folder of models."""

PACKAGE_FOLDER: Final = Path(str(files("fer_edge"))) / "data" / "models"
"""Of the models that come with the package."""

DEVICE_FOLDER: Final = Path("/var/lib/fer-edge/models")
"""Where the first-boot bundle puts models, and anybody else may, on a machine with the service."""

CHECKOUT_FOLDER: Final = Path(__file__).parents[2] / "models"
"""``models/`` of the source tree: the rest of the family, which is too large for the package."""


@dataclass(frozen=True, slots=True)
class NamedModel:
    """A model that can be asked for by name."""

    name: str
    path: Path


def named_models() -> list[NamedModel]:
    """Return the bundled models, then those in ``$FER_EDGE_MODELS``, on the device and in the source tree.

    A model's name is what stands before the first dot in its file's name: ``default`` for ``default.int8.tflite``. Of
    two of one name the first one counts, and only that is returned.
    """
    found: dict[str, NamedModel] = {}
    for folder in _folders():
        for path in _models_in(folder):
            name = path.name.split(".")[0]
            found.setdefault(name, NamedModel(name, path))
    return list(found.values())


def _folders() -> list[Path]:
    extra = os.environ.get(MODEL_DIR_VARIABLE)
    in_source_tree = (CHECKOUT_FOLDER.parent / "pyproject.toml").is_file()
    others = [DEVICE_FOLDER, *([CHECKOUT_FOLDER] if in_source_tree else [])]
    return [PACKAGE_FOLDER, *([Path(extra)] if extra else []), *others]


def _models_in(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".tflite" and not path.name.startswith("."))
    except OSError:  # it is not there, or is the service's own and not this user's to read
        return []


def named_model(name: str) -> Path | None:
    """Return the path of the model called ``name``; None if there is none."""
    return next((model.path for model in named_models() if model.name == name), None)


def find_model(name: str) -> Path:
    """Return the path of a model given by name or path.

    Raises:
        UsageError: if there is neither a model of that name nor such a file.
    """
    named = named_model(name)
    if named is not None:
        return named
    path = Path(name)
    if path.is_file():
        return path
    names = [model.name for model in named_models()]
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"name a .tflite file or one of: {', '.join(names) or 'none'}"
    raise UsageError(f"there is no model {name!r}: {hint}")


def readable_models() -> list[tuple[NamedModel, ModelFile]]:
    """Return each named model with its verified file.

    Raises:
        ModelError: if one of them is damaged.
    """
    return [(model, read_model_file(model.path)) for model in named_models()]
