"""Evaluation by LiteRT alone, with a tiny model whose every answer is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_edge.cli import main
from fer_edge.contract.labels import LABELS
from fer_train.evaluation import evaluate_model
from tests.edge.tiny_model import write_tiny_model
from tests.train.synthetic_fer2013 import SyntheticFer2013
from tests.train.test_fer2013_ferplus import HEADER, rows_of

pytestmark = pytest.mark.filterwarnings("ignore::fer_train.fer2013.Fer2013Warning")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SyntheticFer2013:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return SyntheticFer2013.generate(per_class=(40, 4, 4))


def document(*arguments: object, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["evaluate", *map(str, arguments), "--json"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_everything_that_can_be_asked_for(
    data: SyntheticFer2013, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    happy, sad = (write_tiny_model(tmp_path / f"{name}.tflite", name) for name in ("happy", "sad"))
    source = data.write_npz(tmp_path / "fer2013.npz")
    result = document(happy, "--data", source, "--flip", "--against", sad, capsys=capsys)
    assert result["split"] == "PrivateTest"
    assert result["truth"] == "FER2013"
    assert result["accuracy"] == pytest.approx(1 / 7)
    low, high = result["intervals_95"]["accuracy"]
    assert low < 1 / 7 < high
    assert result["average_precision"]["happy"] == pytest.approx(1 / 7)
    assert result["flip_average"]["accuracy"] == pytest.approx(1 / 7)
    assert result["temperature"] is None
    assert result["ece_before_temperature"] is None
    assert result["against"] == str(sad)
    assert result["paired"]["only_ours"] == result["paired"]["only_other"] == 4
    assert result["paired"]["p_value"] == 1.0
    assert result["paired"]["gain_low"] < 0 < result["paired"]["gain_high"]


def test_an_ensemble_is_the_mean_of_all_its_members(
    data: SyntheticFer2013, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    happy, sad = (write_tiny_model(tmp_path / f"{name}.tflite", name) for name in ("happy", "sad"))
    source = data.write_npz(tmp_path / "fer2013.npz")
    arguments = (happy, "--data", source, "--ensemble", sad, "--ensemble", sad)
    result = document(*arguments, capsys=capsys)
    happy_id, sad_id = LABELS.index("happy"), LABELS.index("sad")
    most, least = evaluate_model(happy, source, "PrivateTest").predictions.probabilities[0, [happy_id, sad_id]]
    expected = -np.log([(most + 2 * least) / 3, (2 * most + least) / 3, *[least] * 5]).mean()
    assert result["ensemble"] == [str(sad), str(sad)]
    assert result["ensemble_average"]["nll"] == pytest.approx(expected, rel=1e-5)
    assert result["ensemble_average"]["nll"] < result["nll"] - 0.2  # the classes both know are 2 of 7
    # These models say the same of a mirror image.
    assert document(*arguments, "--flip", capsys=capsys)["ensemble_average"] == result["ensemble_average"]
    monkeypatch.setenv("COLUMNS", "400")
    assert main(["evaluate", *map(str, arguments), "--flip"]) == 0
    said = capsys.readouterr().out
    assert f"averaged with {sad}, {sad}, each with the mirror image (ensemble): accuracy 14.29%" in said


def test_ferplus_labels_are_another_truth(
    data: SyntheticFer2013, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = rows_of(data.as_data())
    private = np.flatnonzero(data.splits == 2)
    for row in private[:6]:  # all happy
        rows[row] = "PrivateTest,fer.png,0,10,0,0,0,0,0,0,0,0\n"
    for row in private[6:9]:  # no face: left out
        rows[row] = "PrivateTest,fer.png,0,0,0,0,0,0,0,0,0,10\n"
    votes = tmp_path / "fer2013new.csv"
    votes.write_text(HEADER + "".join(rows))
    model, source = write_tiny_model(tmp_path / "happy.tflite"), data.write_npz(tmp_path / "fer2013.npz")
    result = document(model, "--data", source, "--labels", f"ferplus={votes}", capsys=capsys)
    rest = data.labels[private[9:]]
    assert result["n"] == len(private) - 3
    assert result["per_class"]["happy"]["support"] == 6 + int((rest == LABELS.index("happy")).sum())
    assert result["accuracy"] == pytest.approx(result["per_class"]["happy"]["support"] / result["n"])
    # Nobody who joins documents by split may take these for figures on FER2013's labels.
    assert result["split"] == "PrivateTest (FER+ labels)"
    assert result["truth"] == "FER+ majority"


def test_a_model_of_fewer_labels_is_measured_on_those(data: SyntheticFer2013, tmp_path: Path) -> None:
    labels = ("sad", "happy", "neutral")
    model = write_tiny_model(tmp_path / "three.tflite", "sad", labels=labels)
    result = evaluate_model(model, data.write_npz(tmp_path / "fer2013.npz"), "PrivateTest")
    assert result.figures.n == 12
    assert result.labels == ("happy", "sad", "neutral")
    assert result.figures.accuracy == pytest.approx(1 / 3)
    assert result.figures.per_class["sad"].recall == 1.0
    assert result.to_builtins()["split"] == "PrivateTest (3 labels)"


def test_what_does_not_fit_is_one_line(
    data: SyntheticFer2013, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = data.write_npz(tmp_path / "fer2013.npz")
    model = write_tiny_model(tmp_path / "happy.tflite")
    three = write_tiny_model(tmp_path / "three.tflite", "sad", labels=("sad", "happy", "neutral"))
    cats = write_tiny_model(tmp_path / "cats.tflite", "sad", labels=("sad", "cat"))
    for arguments, said, code in (
        ([model, "--labels", "affectnet=x"], "write ferplus=FILE", 2),
        ([model, "--labels", f"ferplus={tmp_path / 'absent'}"], "absent: cannot be read", 1),
        ([model, "--against", three], "compare models of the same labels", 2),
        ([model, "--ensemble", three], "compare models of the same labels", 2),
        ([model, "--against", "defualt"], "did you mean 'default'", 2),
        ([cats], "its labels cat are none of FER2013's", 78),
    ):
        assert main(["evaluate", *map(str, arguments), "--data", str(source)]) == code
        complaint = capsys.readouterr().err
        assert said in complaint
        assert complaint.count("\n") == 1


def test_the_tables_say_what_was_asked(
    data: SyntheticFer2013, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "220")
    model, source = write_tiny_model(tmp_path / "happy.tflite"), data.write_npz(tmp_path / "fer2013.npz")
    assert main(["evaluate", str(model), "--data", str(source), "--flip", "--against", str(model)]) == 0
    said = capsys.readouterr().out
    assert "accuracy 14.29% (95 %: " in said
    assert "averaged with the mirror image (TTA): accuracy 14.29%" in said
    assert "+0.00 points (95 %: +0.00 to +0.00)" in said
    assert "McNemar exact p = 1" in said
