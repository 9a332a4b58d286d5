"""The models in ``models/``: whole, described, found by name, and no more than a repository should hold."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from fer_edge.contract.tflite_file import read_model_file
from fer_edge.contract.verify import verify_model
from fer_edge.model_store import PACKAGE_FOLDER, find_model

FOLDER = Path(__file__).parents[2] / "models"
FILES = [PACKAGE_FOLDER / "default.int8.tflite", *sorted(FOLDER.glob("*.tflite"))]


def test_the_checksums_are_those_of_the_files() -> None:
    listed = dict(line.split("  ")[::-1] for line in (FOLDER / "SHA256SUMS").read_text().splitlines())
    assert listed == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in FILES[1:]}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_model_of_the_family(path: Path) -> None:
    """Its page tells of this very file, and no gate of its conversion was overridden."""
    name = path.name.split(".")[0]
    assert find_model(name) == path
    file = read_model_file(path)
    verify_model(file.data, str(path))
    assert file.card.name == name
    assert file.card.figures["PrivateTest"].n == 3589
    assert not file.card.quantization.failed_gates
    page = (FOLDER / f"{name}.md").read_text()
    assert file.sha256 in page
    assert f"({name}.md)" in (FOLDER / "README.md").read_text()


def test_all_models_together_are_no_burden() -> None:
    assert sum(path.stat().st_size for path in FILES) < 25e6
