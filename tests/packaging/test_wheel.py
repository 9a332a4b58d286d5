"""The built wheel, in an environment that has nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command: list[str | Path] = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", out, ROOT]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    (path,) = out.glob("fer_edge-*.whl")
    return path


def test_the_wheel_holds_the_three_rooms_and_their_data(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for name in (
        "fer_edge/py.typed",
        "fer_edge/data/haarcascade_frontalface_default.xml",
        "fer_edge/data/astronaut.jpg",
        "fer_edge/data/default.toml",
        "fer_edge/data/models/default.int8.tflite",
        "fer_train/recipes/vgg_lite.toml",
        "fer_convert/py.typed",
    ):
        assert name in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"fer_edge", "fer_convert", "fer_train"}
    assert wheel.stat().st_size < 10_000_000


@pytest.mark.timeout(600)
def test_the_demo_runs_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "empty", with_pip=True)
    python = tmp_path / "empty" / "bin" / "python"
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    subprocess.run([python, "-m", "pip", "install", "--quiet", wheel], check=True, env=environment)
    listed = subprocess.run([python, "-m", "pip", "list", "--format=json"], capture_output=True, text=True, check=True)
    installed = {entry["name"].lower() for entry in json.loads(listed.stdout)}
    assert not installed & {"tensorflow", "keras", "torch", "matplotlib", "pandas"}
    command: list[str | Path] = [tmp_path / "empty" / "bin" / "fer-edge", "demo", "--json"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["faces"] > 0
