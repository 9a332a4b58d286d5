from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from fer_edge.cli import main
from fer_edge.contract import smoke, tflite_file
from fer_edge.contract.labels import LABELS
from fer_edge.contract.smoke import smoke_inference
from fer_edge.errors import ModelError
from tests.contract.small_graph import SmallGraph
from tests.edge.tiny_model import write_tiny_model


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "tiny.tflite", "fear")


@pytest.mark.parametrize("arguments", [["--json", "verify"], ["verify", "--json"]])
def test_a_good_file_is_described(tiny: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main(["models", *arguments, str(tiny)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["valid"] is True
    assert report["bytes"] == tiny.stat().st_size
    assert report["labels"] == list(LABELS)
    assert (report["tensors"], report["operators"]) == (5, 2)
    probabilities = report["smoke"]["probabilities"]
    assert LABELS[probabilities.index(max(probabilities))] == "fear"


def test_people_get_lines(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "verify", str(tiny)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{tiny}: in order\n")
    assert out.isascii()
    assert "checksum    fits" in out


def test_models_still_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json"]) == 0
    assert "models" in json.loads(capsys.readouterr().out)


def refused(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Verify a file that is not in order; return the one line that is said."""
    assert main(["models", "verify", str(path)]) == 78
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_a_damaged_file_is_refused(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.write_bytes(tiny.read_bytes()[:-100])
    assert str(tiny) in refused(tiny, capsys)


def test_a_hostile_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = SmallGraph()
    small.operators["conv"].builtinOptions.strideH = 0
    assert "stride" in refused(small.write(tmp_path / "hostile.tflite"), capsys)


def test_an_oversized_file_is_refused_unread(
    tiny: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with tiny.open("r+b") as file:
        file.truncate(tflite_file.MAX_BYTES + 1)  # sparse: takes no room on the disk
    monkeypatch.setattr(Path, "open", None)
    assert "larger than 256 MiB" in refused(tiny, capsys)


def test_a_pipe_is_no_model(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tflite")
    with pytest.raises(ModelError, match="not a regular file"):
        tflite_file.read_bounded(tmp_path / "pipe.tflite")


def test_a_missing_file_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "verify", str(tmp_path / "none.tflite")]) == 2
    assert "there is no model" in capsys.readouterr().err


def test_the_child_reports_what_it_refuses(tiny: Path) -> None:
    data = bytearray(tiny.read_bytes())
    data[200] ^= 255
    tiny.write_bytes(data)
    with pytest.raises(ModelError, match=r"tiny\.tflite"):
        smoke_inference(tiny)


def test_a_child_that_takes_too_long_is_ended(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoke, "LIMIT_S", 0.01)
    with pytest.raises(ModelError, match="did not end within"):
        smoke_inference(tiny)


def test_a_child_that_crashes_is_told_by_its_signal(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashing = tmp_path / "python"
    crashing.write_text("#!/bin/sh\nkill -SEGV $$\n")
    crashing.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(crashing))
    with pytest.raises(ModelError, match="crashed on it \\(SIGSEGV\\)"):
        smoke_inference(tiny)
