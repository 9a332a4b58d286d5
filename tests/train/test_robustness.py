"""Changes are what they are called; the commands measure and write with the shipped model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fer_edge.cli import main
from fer_train.robustness import LIMITS, SWEEPS, blurred, exposed, rotated, scaled, shifted_down, shifted_right
from tests.train.synthetic_fer2013 import SyntheticFer2013

pytestmark = pytest.mark.filterwarnings("ignore::fer_train.fer2013.Fer2013Warning")


@pytest.fixture
def dot() -> np.ndarray:
    image = np.full((48, 48), 50, np.uint8)
    image[22:26, 10:14] = 200
    return image


def middle(image: np.ndarray) -> tuple[float, float]:
    rows, columns = np.nonzero(image > 100)
    return float(rows.mean()), float(columns.mean())


def test_the_neutral_amount_of_each_change_changes_nothing(dot: np.ndarray) -> None:
    for name, (change, neutral, amounts) in SWEEPS.items():
        assert np.array_equal(change(dot, neutral), dot), name
        low, high = LIMITS[name]
        assert low <= neutral <= high
        assert low in amounts or low == neutral
        assert high in amounts


def test_each_change_is_what_it_is_called(dot: np.ndarray) -> None:
    row, column = middle(dot)
    assert middle(shifted_right(dot, 0.125)) == (row, column + 6)
    assert middle(shifted_down(dot, 0.125)) == (row + 6, column)
    assert middle(scaled(dot, 0.5))[1] > column + 5
    assert middle(rotated(dot, 90.0))[0] > row + 8, "anticlockwise, the left comes to the bottom"
    assert exposed(dot, 1.2).max() == 240
    assert exposed(dot, 2.0).max() == 255
    assert blurred(dot, 1.5).max() < 200


def test_the_command_measures_the_shipped_model(
    synthetic_fer2013: SyntheticFer2013, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="needs the train extra")
    data = synthetic_fer2013.write_npz(tmp_path / "fer2013.npz")
    command = ["robustness", "default", "--data", str(data), "--limit", "10", "--plot", str(tmp_path / "plot.svg")]
    assert main([*command, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)["default"]
    assert result["n"] == 10
    assert len(result["cells"]) == sum(len(amounts) for _, _, amounts in SWEEPS.values())
    worst = max(cell["drop_points"] for cell in result["cells"] if cell["within_limits"])
    assert result["worst_drop_points"] == worst
    assert (tmp_path / "plot.svg").read_text().startswith("<?xml")
    assert main(command) == 0
    assert "largest drop" in " ".join(capsys.readouterr().out.split())
    assert main([*command[:4], "--split", "Test"]) == 2


def test_the_card_says_what_was_measured(synthetic_fer2013: SyntheticFer2013, tmp_path: Path) -> None:
    data = synthetic_fer2013.write_npz(tmp_path / "fer2013.npz")
    out = tmp_path / "default.md"
    assert main(["card", "default", "--data", str(data), "--out", str(out)]) == 0
    text = out.read_text()
    for heading in (
        "What it is for",
        "Accuracy",
        "Expression by expression",
        "Other crops",
        "How it was made",
        "Limits",
    ):
        assert f"## {heading}" in text
    assert "| disgust |" in text
    assert "fer-edge card default" in text
    assert main(["card", str(data), "--data", str(data), "--out", str(out)]) == 2
