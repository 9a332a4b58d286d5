"""The surface that people and later programs build on."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_edge.contract.labels import LABELS, UNCERTAIN
from fer_edge.model_store import find_model
from fer_edge.sources.base import SourceSettings
from fer_edge.sources.image import read_image
from fer_edge.sources.scene import FRAMES, DemoScene
from tests.e2e.command import complaint, document, fer_edge
from tests.train.synthetic_fer2013 import SyntheticFer2013

ROOT = Path(__file__).parents[2]
FACE = ROOT / "edge" / "fer_edge" / "data" / "astronaut.jpg"
HEAVY = ("keras", "tensorflow", "torch", "jax", "pandas", "matplotlib")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo scene as an MJPEG video."""
    path = tmp_path_factory.mktemp("video") / "scene.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (640, 480))
    source = DemoScene(SourceSettings())
    source.open()
    while (frame := source.read()) is not None:
        writer.write(frame.image)
    writer.release()
    return path


def full_scan(image: np.ndarray) -> bool:
    """Whether a full-scale Haar scan, as everybody does it, finds a face."""
    cascade = cv2.CascadeClassifier(str(FACE.with_name("haarcascade_frontalface_default.xml")))
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return len(cascade.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=5)) > 0


def test_run_finds_a_face_where_a_full_scan_does(video: Path, tmp_path: Path) -> None:
    summary_path = tmp_path / "summary.json"
    result = fer_edge("run", "--source", video, "--output", "jsonl", "--summary", summary_path)
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["frame"] for line in lines] == list(range(FRAMES))
    capture = cv2.VideoCapture(str(video))
    with_face = [full_scan(capture.read()[1]) for _ in range(FRAMES)]
    assert sum(with_face) > 100
    found = sum(bool(line["faces"]) for line, expected in zip(lines, with_face, strict=True) if expected)
    assert found >= 0.95 * sum(with_face)
    for line in lines:
        assert set(line) == {"frame", "time", "age_ms", "faces", "timing_ms"}
        assert set(line["timing_ms"]) == {"detect", "classify", "total"}
        for face in line["faces"]:
            assert set(face) == {"id", "box", "expression", "score", "probabilities"}
            assert face["expression"] in (*LABELS, UNCERTAIN)
            assert list(face["probabilities"]) == list(LABELS)
            assert sum(face["probabilities"].values()) == pytest.approx(1.0, abs=1e-3)
    summary = json.loads(summary_path.read_text())
    assert summary["frames"] == FRAMES
    assert summary["frames_with_face"] == sum(bool(line["faces"]) for line in lines)
    assert {"seconds", "fps", "peak_rss_mb", "runtime"} <= set(summary)


def test_image_gives_one_document_and_annotated_copies(tmp_path: Path) -> None:
    result = document(fer_edge("image", FACE, "--json", "--annotate", tmp_path / "out"))
    (image,) = result["images"]
    (face,) = image["faces"]
    assert face["expression"] == "happy"
    annotated = read_image(Path(image["annotated"]))
    original = read_image(FACE)
    assert annotated.shape == original.shape
    assert not np.array_equal(annotated, original)


def test_image_goes_on_after_a_bad_picture(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff but no picture")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "good.jpg").write_bytes(FACE.read_bytes())
    result = fer_edge("image", tmp_path)
    assert result.returncode == 1
    assert "good.jpg: happy" in result.stdout
    assert result.stderr.count("fer-edge: error:") == 2
    assert "Traceback" not in result.stderr


def test_models_lists_the_bundled_model() -> None:
    (model,) = (m for m in document(fer_edge("models", "--json"))["models"] if m["name"] == "default")
    assert set(model) == {"name", "path", "sha256", "bytes", "card"}
    assert Path(model["path"]).stat().st_size == model["bytes"]
    assert model["card"]["labels"] == list(LABELS)
    assert model["card"]["quantization"]["recipe"] == "int8"
    assert model["card"]["figures"]["PrivateTest"]["accuracy"] >= 0.66


def test_evaluate_needs_the_base_install_only(tmp_path: Path) -> None:
    """Keras, TensorFlow and the rest are blocked; a .tflite file is evaluated all the same."""
    data = SyntheticFer2013.generate(per_class=(1, 1, 4)).write_csv(tmp_path / "fer2013.csv")
    script = (
        f"import sys\nfor name in {HEAVY}: sys.modules[name] = None\n"
        "from fer_edge.cli import main\n"
        f"sys.exit(main(['evaluate', 'default', '--data', {str(data)!r}, '--json']))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    figures = document(result)
    assert figures["n"] == 28
    assert figures["sha256"] == document(fer_edge("models", "--json"))["models"][0]["sha256"]
    assert {"accuracy", "balanced_accuracy", "macro_f1", "ece", "threads"} <= set(figures)
    assert set(figures["per_class"]) == set(LABELS)
    assert set(figures["per_class"]["happy"]) == {"precision", "recall", "f1", "support"}
    assert np.array(figures["confusion_matrix"]).sum() == 28
    assert set(figures["latency_ms"]) == {"p50", "p90", "p95", "p99"}
    assert "holds 63 rows" in result.stderr or "warning" in result.stderr


@pytest.mark.fer2013
def test_the_bundled_model_does_what_its_card_says(fer2013_path: Path) -> None:
    card = document(fer_edge("models", "--json"))["models"][0]["card"]
    result = document(fer_edge("evaluate", "default", "--data", fer2013_path, "--split", "PublicTest", "--json"))
    assert result["n"] == 3589
    # Kernels of other processors round differently; one image is 0.00028.
    assert result["accuracy"] == pytest.approx(card["figures"]["PublicTest"]["accuracy"], abs=0.003)


def test_the_runtime_imports_with_everything_heavy_blocked() -> None:
    script = (
        f"import sys\nfor name in {HEAVY}: sys.modules[name] = None\n"
        "import pkgutil, importlib, fer_edge\n"
        "for module in pkgutil.walk_packages(fer_edge.__path__, 'fer_edge.'):\n"
        "    if not module.name.endswith('__main__'): importlib.import_module(module.name)\n"
    )
    result = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\nfrom fer_edge.cli import build_parser\nbuild_parser()\n"
        "print([m for m in ('numpy', 'cv2', 'rich', 'msgspec', 'ai_edge_litert', 'keras', 'tensorflow', 'asyncio') "
        "if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_dependencies_run_one_way() -> None:
    allowed = ("fer_edge.contract", "fer_edge.errors")
    shared_commands = ("fer_edge", "fer_edge.model_store")  # the version; a model's name on the command line
    for path in (ROOT / "edge").rglob("*.py"):
        assert not [m for m in imports(path) if m.startswith(("fer_train", "fer_convert"))], path
    for path in [*(ROOT / "train").rglob("*.py"), *(ROOT / "convert").rglob("*.py")]:
        runtime = [m for m in imports(path) if m.split(".")[0] == "fer_edge" and not m.startswith(allowed)]
        stray = [m for m in runtime if m not in shared_commands]
        if "benchmark" not in path.name and "latency" not in path.name:
            assert not stray, (path, stray)
    for path in (ROOT / "train").rglob("*.py"):
        assert not [m for m in imports(path) if m.startswith("fer_convert")], path


def test_no_file_is_long_or_called_utils() -> None:
    for room in ("edge", "convert", "train", "tests", "benchmarks", "systemd"):
        for path in (ROOT / room).rglob("*.py"):
            assert path.stem not in ("utils", "helpers", "common", "misc"), path
            assert len(path.read_text().splitlines()) <= 420, path


@pytest.mark.parametrize("command", ["train", "convert"])
def test_a_missing_extra_names_the_command_that_installs_it(command: str, tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_bytes(b"x")
    arguments = {
        "train": ["train", "--model", "vgg_lite", "--data", str(tmp_path), "--out", str(tmp_path / "run")],
        "convert": ["convert", str(tmp_path / "model.keras"), "--data", str(tmp_path), "--out", str(tmp_path / "out")],
    }[command]
    script = (
        f"import sys\nfor name in {HEAVY}: sys.modules[name] = None\n"
        f"from fer_edge.cli import main\nsys.exit(main({arguments!r}))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "python -m pip install 'fer-edge[train]'" in complaint(result, 2)
    assert not (tmp_path / "run").exists()


def test_bad_input_is_one_line(video: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no model, no video, no data")
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(find_model("default").read_bytes()[:5000])
    row = tmp_path / "row.csv"
    row.write_text("emotion,pixels,Usage\n0,1 2 3,Training\n")
    assert "there is no model" in complaint(fer_edge("evaluate", "defualt", "--data", row), 2)
    assert "did you mean 'default'" in complaint(fer_edge("evaluate", "defualt", "--data", row), 2)
    assert str(cut) in complaint(fer_edge("run", "--source", "demo", "--model", cut, "--output", "jsonl"), 78)
    assert f"{row}, line 2" in complaint(fer_edge("evaluate", "default", "--data", row), 1)
    assert "no split" in complaint(fer_edge("evaluate", "default", "--data", row, "--split", "Test"), 2)
    assert "notes.txt" in complaint(fer_edge("run", "--source", text, "--output", "jsonl"), 1)
    assert "/dev/video77" in complaint(fer_edge("run", "--source", "77", "--output", "jsonl"), 1)
    assert "cannot be written" in complaint(fer_edge("demo", "--json", "--out", text / "x"), 1)
    headers_only = tmp_path / "cut.avi"
    headers_only.write_bytes(video.read_bytes()[:4000])
    assert "cut.avi" in complaint(fer_edge("run", "--source", headers_only, "--output", "jsonl"), 1)
    assert fer_edge("run", "--no-such-flag").returncode == 2


def test_a_video_that_ends_in_mid_frame_gives_its_frames_and_one_warning(video: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.avi"
    half.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    result = fer_edge("run", "--source", half, "--output", "jsonl", "--output", f"video:{tmp_path / 'out.mp4'}")
    assert result.returncode == 0, result.stderr
    assert 50 < len(result.stdout.splitlines()) < FRAMES
    assert sum("half.avi" in line and "WARNING" in line for line in result.stderr.splitlines()) == 1
    assert all(line.startswith("fer-edge: ") for line in result.stderr.splitlines())
