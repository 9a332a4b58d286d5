"""The whole room on a FER2013 made here, on whatever backend KERAS_BACKEND names: each command on what the last left.

In one process, so that Keras is imported once; only the conversion, which is TensorFlow's, has one of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from fer_edge.cli import main
from fer_edge.contract.tflite_file import read_model_file
from tests.train.synthetic_fer2013 import SyntheticFer2013
from tests.train.test_fer2013_ferplus import HEADER, rows_of

pytest.importorskip("keras", reason="needs the train extra")
matplotlib = pytest.importorskip("matplotlib", reason="needs the train extra")

from fer_train.recipe import load_recipe, with_changes  # noqa: E402
from fer_train.recipe_file import write_recipe  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::fer_train.fer2013.Fer2013Warning")

TINY_FILE = Path(__file__).with_name("tiny.toml")
SPACE = '["optimizer.learning_rate"]\nlow = 0.02\nhigh = 0.08\nlog = true\n'


def test_from_the_data_set_to_the_deployed_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPLCONFIGDIR", matplotlib.get_cachedir())  # its list of fonts takes seconds to make
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    synthetic = SyntheticFer2013.generate(per_class=(40, 30, 10))
    data = str(synthetic.write_npz(tmp_path / "fer2013.npz"))
    votes = tmp_path / "votes.csv"
    votes.write_text(HEADER + "".join(rows_of(synthetic.as_data())))
    student = with_changes(load_recipe(str(TINY_FILE)), distillation={"weight": 0.5, "temperature": 2.0}, ferplus=0.2)
    write_recipe(student, tmp_path / "student.toml", "what a tiny network learns from another")
    (tmp_path / "space.toml").write_text(SPACE)

    def fer_edge(*words: str) -> str:
        assert main([*words, "--data", data]) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    def fer_edge_json(*words: str) -> Any:
        return json.loads(fer_edge(*words, "--json"))

    found = fer_edge_json("data", "report", "--ferplus", str(votes), "--out", "quality")
    assert found["counts"]["constant"] == 0
    assert (tmp_path / "quality" / "report.html").exists()

    fer_edge("train", "--recipe", str(TINY_FILE), "--dry-run")
    fer_edge("train", "--recipe", str(TINY_FILE), "--out", "teacher")
    fer_edge("train", "--recipe", "student.toml", "--teacher", "teacher", "--ferplus", str(votes), "--out", "student")
    assert len(json.loads((tmp_path / "student" / "training.json").read_text())["teachers_sha256"]) == 1

    study = "--study rate --storage rate.db --space space.toml --out rate --trials 2 --epochs 2"
    fer_edge("search", str(TINY_FILE), *study.split())
    best = load_recipe(str(tmp_path / "rate" / "best.toml"))
    assert 0.02 <= best.optimizer.learning_rate <= 0.08

    result = fer_edge_json("evaluate", "student/model.keras", "--flip", "--against", "teacher/model.keras")
    assert result["accuracy"] > 0.8
    fer_edge("explain", "student/model.keras", "--out", "why", "--mistakes", "2", "--per-class", "1")
    assert "data:image/png" in (tmp_path / "why" / "explain.html").read_text()
    fer_edge("report", "teacher", "student", "--html", "runs.html")
    assert "teacher" in (tmp_path / "runs.html").read_text()

    if find_spec("tensorflow") is None or find_spec("ai_edge_quantizer") is None:
        return  # as on a GPU machine: the rest happens elsewhere
    done = subprocess.run(
        [sys.executable, "-m", "fer_edge", "convert", "student/model.keras", "--data", data, "--out", "models"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
    )
    assert done.returncode == 0, done.stderr
    deployed = done.stdout.strip().splitlines()[-1]
    card = read_model_file(tmp_path / deployed).card
    assert card.quantization.failed_gates == ()
    integers = fer_edge_json("evaluate", deployed)
    assert integers["accuracy"] == pytest.approx(result["accuracy"], abs=0.05)
    ((_, held),) = fer_edge_json("robustness", deployed, "--limit", "20").items()
    assert held["n"] == 20
    fer_edge("explain", deployed, "--out", "why_int8", "--mistakes", "1", "--per-class", "1", "--limit", "20")
    fer_edge("card", deployed, "--out", "CARD.md")
    assert "PrivateTest" in (tmp_path / "CARD.md").read_text()
