"""Models are found by name: in the package, in the folder that a variable names, on the device, in the source tree."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fer_edge import model_store
from fer_edge.errors import UsageError
from fer_edge.model_store import MODEL_DIR_VARIABLE, PACKAGE_FOLDER, find_model, named_models

DEFAULT = PACKAGE_FOLDER / "default.int8.tflite"


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Empty folders in the places of the real ones."""
    made = {name: tmp_path / name for name in ("variable", "device", "checkout/models")}
    for folder in made.values():
        folder.mkdir(parents=True)
    monkeypatch.setenv(MODEL_DIR_VARIABLE, str(made["variable"]))
    monkeypatch.setattr(model_store, "DEVICE_FOLDER", made["device"])
    monkeypatch.setattr(model_store, "CHECKOUT_FOLDER", made["checkout/models"])
    return made


def test_each_folder_is_looked_in_and_the_first_of_a_name_counts(folders: dict[str, Path]) -> None:
    for place, name in (("variable", "a"), ("device", "a"), ("device", "b"), ("variable", "default")):
        shutil.copyfile(DEFAULT, folders[place] / f"{name}.int8.tflite")
    assert find_model("default") == DEFAULT
    assert find_model("a") == folders["variable"] / "a.int8.tflite"
    assert find_model("b") == folders["device"] / "b.int8.tflite"
    assert [model.name for model in named_models()] == ["default", "a", "b"]


def test_models_beside_an_installed_package_are_not_the_family(folders: dict[str, Path]) -> None:
    models = folders["checkout/models"]
    shutil.copyfile(DEFAULT, models / "tiny.int8.tflite")
    with pytest.raises(UsageError, match="there is no model 'tiny'"):
        find_model("tiny")
    (models.parent / "pyproject.toml").touch()
    assert find_model("tiny") == models / "tiny.int8.tflite"


def test_files_under_way_are_no_models(folders: dict[str, Path]) -> None:
    (folders["device"] / ".a.int8.tflite").touch()
    (folders["device"] / "notes.txt").touch()
    assert [model.name for model in named_models()] == ["default"]


def test_a_folder_that_cannot_be_listed_is_passed_over(folders: dict[str, Path]) -> None:
    # Not by its permissions: the tests may run as root, who reads everything.
    folders["device"].rmdir()
    folders["device"].touch()
    assert [model.name for model in named_models()] == ["default"]


def test_a_name_that_is_nearly_right_is_suggested(folders: dict[str, Path]) -> None:
    del folders
    with pytest.raises(UsageError, match="did you mean 'default'"):
        find_model("defualt")
