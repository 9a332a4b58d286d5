"""The doctor as a whole: every check in order, as a table and as JSON, in a process of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rich.console import Console

from fer_edge.doctor import Check, examine, failed
from fer_edge.doctor.report import document, print_table, summary
from tests.edge.camera_server import mjpeg_server
from tests.edge.tiny_model import write_tiny_model

NAMES = [
    "python",
    "architecture",
    "operating system",
    "board",
    "power",
    "temperature",
    "disk",
    "clock",
    "service",
    "configuration",
    "numpy",
    "opencv",
    "face detector",
    "model",
    "devices",
]


def doctor(tmp_path: Path, config: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "config.toml"
    file.write_text(config)
    env = {name: value for name, value in os.environ.items() if not name.startswith("FER_EDGE_")}
    env |= {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "COLUMNS": "100"}
    return subprocess.run(
        [sys.executable, "-m", "fer_edge", "doctor", "--config", str(file), *arguments],
        capture_output=True,
        text=True,
        env=env,
        cwd=tmp_path,
        timeout=240,
    )


def with_model(tmp_path: Path, more: str = "") -> str:
    return f"[model]\nname = '{write_tiny_model(tmp_path / 'm.tflite')}'\n{more}"


def by_name(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in json.loads(done.stdout)["checks"]}


def test_as_json(tmp_path: Path) -> None:
    done = doctor(tmp_path, with_model(tmp_path), "--json")
    report = json.loads(done.stdout)
    assert [check["name"] for check in report["checks"]][: len(NAMES)] == NAMES
    assert report["checks"][len(NAMES) :], "cameras are missing"
    assert all(set(check) == {"name", "status", "found", "advice"} for check in report["checks"])
    for check in report["checks"]:
        assert check["found"]
        assert "Traceback" not in check["found"]
        assert bool(check["advice"]) or check["status"] in ("ok", "skip"), check
    assert report["ok"] is not any(check["status"] == "fail" for check in report["checks"])
    assert done.returncode == (0 if report["ok"] else 1)
    found = by_name(done)
    for name in ("python", "architecture", "configuration", "numpy", "opencv", "face detector", "model"):
        assert found[name]["status"] == "ok", found[name]
    if not list(Path("/dev").glob("video*")):
        assert found["cameras"]["status"] == "warn"


def test_as_a_table(tmp_path: Path) -> None:
    done = doctor(tmp_path, with_model(tmp_path))
    lines = done.stdout.splitlines()
    for name in NAMES:
        assert any(line[6:].startswith(name) for line in lines), name
    assert lines[-1].startswith("fer-edge can")
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stdout


def test_a_bad_configuration_and_its_model_fail_but_the_rest_is_done(tmp_path: Path) -> None:
    done = doctor(tmp_path, "[model]\nnam = 'x'\n", "--json")
    found = by_name(done)
    assert done.returncode == 1
    assert found["configuration"]["status"] == "fail"
    assert "did you mean model.name?" in found["configuration"]["found"]
    assert found["face detector"]["status"] == "ok"


def test_the_configured_source_is_tried_and_its_password_kept(tmp_path: Path) -> None:
    with mjpeg_server() as address:
        spec = f"{address}/private".replace("http://", "http://me:secret@")
        done = doctor(tmp_path, with_model(tmp_path, f"[source]\nspec = '{spec}'\n"), "--json")
    name = next(name for name in by_name(done) if name.startswith("source "))
    assert by_name(done)[name]["status"] == "ok", by_name(done)[name]
    assert "320x240" in by_name(done)[name]["found"]
    assert "secret" not in done.stdout + done.stderr


def test_a_configured_source_that_is_missing_fails(tmp_path: Path) -> None:
    done = doctor(tmp_path, with_model(tmp_path, f"[source]\nspec = '{tmp_path}/gone.mp4'\n"), "--json")
    name = next(name for name in by_name(done) if name.startswith("source "))
    assert by_name(done)[name]["status"] == "fail"
    assert done.returncode == 1


def test_a_hanging_source_is_named_without_its_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    file = tmp_path / "config.toml"
    with socket.create_server(("127.0.0.1", 0)) as mute:  # connects, and never says a word
        port = mute.getsockname()[1]
        file.write_text(f"[source]\nspec = 'http://me:secret@127.0.0.1:{port}/'\nread_timeout_s = 600\n")
        checks = list(examine(file, camera_limit_s=4.0))
    check = next(check for check in checks if check.name.startswith("source "))
    assert check.name == f"source http://***@127.0.0.1:{port}/"
    assert (check.status, check.found) == ("fail", "no answer within 4 s: something hangs")
    assert "secret" not in str(checks)


def test_cameras_are_left_to_a_service_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    (root / "run/systemd/system").mkdir(parents=True)
    programs = tmp_path / "bin"
    programs.mkdir()
    systemctl = programs / "systemctl"
    systemctl.write_text(
        "#!/bin/sh\nfor line in LoadState=loaded ActiveState=active SubState=running NRestarts=0\n"
        'do echo "$line"; done\n'
    )
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    picture = tmp_path / "p.png"
    cv2.imwrite(str(picture), np.full((64, 64, 3), 90, np.uint8))
    file = tmp_path / "config.toml"
    file.write_text(f"[source]\nspec = '{picture}'\n")
    checks = {check.name: check for check in examine(file, root=root)}
    assert checks["service"].status == "ok"
    assert checks["cameras"].status == "skip"
    assert "systemctl stop" in checks["cameras"].advice
    assert not any(name.startswith("source") for name in checks)


CHECKS = [
    Check("python", "ok", "3.13.5"),
    Check("devices", "fail", "maria may not use /dev/video0 [group video]", "run  sudo usermod -aG video maria"),
    Check("clock", "warn", "not synchronised " * 12, "x" * 300),
    Check("service", "skip", "not installed"),
]


def test_commands_are_never_wrapped_and_brackets_are_kept() -> None:
    stream = StringIO()
    print_table(CHECKS, Console(file=stream, width=60))
    lines = stream.getvalue().splitlines()
    assert "devices: run  sudo usermod -aG video maria" in lines
    assert f"clock: {'x' * 300}" in lines
    assert "[group video]" in stream.getvalue()


def test_the_summary_and_the_document_agree() -> None:
    assert failed(CHECKS)
    assert summary(CHECKS) == "fer-edge cannot run as it should: 1 of 4 checks failed, 1 warned."
    assert document(CHECKS)["ok"] is False
    assert summary(CHECKS[2:]) == "fer-edge can run; 1 of 2 checks warned."
    assert document(CHECKS[2:])["ok"] is True
    assert summary(CHECKS[:1]) == "fer-edge can run; all is well."
