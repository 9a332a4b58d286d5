"""Finding a model by name: the ones that come with fer-edge, or any .tflite file by its path."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from fer_edge.contract.tflite_file import ModelFile, read_model_file
from fer_edge.errors import ModelError, UsageError

MODEL_DIR_VARIABLE: Final = "FER_EDGE_MODELS"
"""Environment variable that names a further folder of models."""


@dataclass(frozen=True, slots=True)
class NamedModel:
    """A model that can be asked for by name."""

    name: str
    path: Path


def named_models() -> list[NamedModel]:
    """Return the bundled models, then those in ``$FER_EDGE_MODELS``.

    A model's name is what stands before the first dot in its file's name: ``default`` for ``default.int8.tflite``.
    """
    folders = [Path(str(files("fer_edge") / "data" / "models"))]
    if extra := os.environ.get(MODEL_DIR_VARIABLE):
        folders.append(Path(extra))
    found = (path for folder in folders if folder.is_dir() for path in sorted(folder.glob("*.tflite")))
    return [NamedModel(path.name.split(".")[0], path) for path in found]


def find_model(name: str) -> Path:
    """Return the path of a model given by name or path.

    Raises:
        UsageError: if there is neither a model of that name nor such a file.
    """
    for model in named_models():
        if model.name == name:
            return model.path
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


__all__ = ["MODEL_DIR_VARIABLE", "ModelError", "NamedModel", "find_model", "named_models", "readable_models"]
