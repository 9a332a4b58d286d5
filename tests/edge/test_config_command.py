"""``fer-edge config`` as people run it: in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest


def fer_edge(
    *arguments: str | Path, env: dict[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("FER_EDGE_", "XDG_CONFIG"))}
    clean["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    return subprocess.run(
        [sys.executable, "-m", "fer_edge", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=clean | {"HOME": "/nonexistent"} | (env or {}),
        cwd=cwd,
        timeout=120,
    )


def test_default_prints_a_file_that_check_calls_good(tmp_path: Path) -> None:
    printed = fer_edge("config", "default")
    assert printed.returncode == 0
    file = tmp_path / "config.toml"
    file.write_text(printed.stdout, encoding="utf-8")
    checked = fer_edge("config", "check", file)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, f"{file}: good\n", "")


def test_check_lists_every_fault_on_a_line_and_exits_78(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[source]\nwidht = 3\nfps = 0\n[outputs.web]\njpeg_quality = 101\n")
    done = fer_edge("config", "check", file, env={"FER_EDGE_LOG__LEVEL": "loud"})
    assert done.returncode == 78
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"fer-edge: error: {file}:2: source.widht: unknown key; did you mean source.width?",
        f"fer-edge: error: {file}:3: source.fps: found 0; it must be a number from 0.1 to 1000, or left out",
        f"fer-edge: error: {file}:5: outputs.web.jpeg_quality: found 101; it must be an integer from 1 to 100",
        'fer-edge: error: FER_EDGE_LOG__LEVEL: log.level: found "loud"; '
        'it must be one of "debug", "info", "warning", "error"',
    ]


@pytest.mark.parametrize(("text", "usable"), [("[log]\nlevel = 'debug'\n", True), ("[log\n", False), (None, False)])
def test_check_as_json_is_one_document_whatever_is_wrong(tmp_path: Path, text: str | None, usable: bool) -> None:
    file = tmp_path / "config.toml"
    if text is not None:
        file.write_text(text)
    done = fer_edge("config", "check", "--json", file)
    document = json.loads(done.stdout)
    assert (document["file"], document["usable"]) == (str(file), usable)
    assert bool(document["faults"]) is not usable
    assert done.returncode == (0 if usable else 78)
    assert done.stderr == ""


def test_show_tells_where_each_value_comes_from(tmp_path: Path) -> None:
    home = tmp_path / "home"
    file = home / ".config" / "fer-edge" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text('[source]\nspec = "rtsp://me:geheim@cam/"\n')
    env = {"HOME": str(home), "FER_EDGE_SOURCE__FPS": "12"}
    text = fer_edge("config", "show", "--changed", env=env)
    assert text.returncode == 0
    assert tomllib.loads(text.stdout) == {"source": {"spec": "rtsp://***@cam/", "fps": 12.0}}
    assert f"# {file}:2" in text.stdout
    document = json.loads(fer_edge("config", "show", "--json", env=env).stdout)
    assert document["file"] == str(file)
    assert document["values"]["source.fps"] == {
        "value": 12.0,
        "origin": "environment",
        "place": "FER_EDGE_SOURCE__FPS",
    }
    assert document["values"]["log.level"]["origin"] == "default"


def test_show_of_a_bad_file_is_one_line_and_78(tmp_path: Path) -> None:
    done = fer_edge("config", "show", "--config", tmp_path / "none.toml")
    assert done.returncode == 78
    assert done.stdout == ""
    assert done.stderr.startswith("fer-edge: error: ")
    assert done.stderr.count("\n") == 1


def test_schema_is_json() -> None:
    document = json.loads(fer_edge("config", "schema").stdout)
    assert document["$defs"]["WebSection"]["properties"]["port"]["default"] == 8787
