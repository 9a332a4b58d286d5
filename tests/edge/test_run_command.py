from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.e2e.command import complaint, fer_edge
from tests.edge.camera_server import mjpeg_server
from tests.edge.sample_observations import eventually
from tests.edge.scripted_camera import ASTRONAUT
from tests.edge.tiny_model import write_tiny_model

FRAMES = 12


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.tflite")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.avi"
    face = np.asarray(cv2.resize(np.asarray(cv2.imread(str(ASTRONAUT))), (256, 256)), np.uint8)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (256, 256))
    for _ in range(FRAMES):
        writer.write(face)
    writer.release()
    return path


@pytest.fixture(autouse=True)
def nobody_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration or choice of the person who runs the tests."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))


class Process:
    """``fer-edge run`` under way."""

    def __init__(self, arguments: Sequence[object], log: Path) -> None:
        self.log = log
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "fer_edge", "run", *map(str, arguments)], stdout=subprocess.PIPE, stderr=stderr
            )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stdout:
            self.lines.extend(line.decode() for line in stdout)

    def until(self, text: str) -> None:
        """Wait until ``text`` is in the log."""
        eventually(lambda: text in self.log.read_text() or self._process.poll() is not None, text)
        assert text in self.log.read_text()

    def until_results(self, more: int = 1) -> None:
        wanted = len(self.lines) + more
        eventually(lambda: len(self.lines) >= wanted or self._process.poll() is not None, "results")
        assert self._process.poll() is None, self.log.read_text()

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self, number: signal.Signals | None = None) -> int:
        if number is not None:
            self.send(number)
        try:
            return self._process.wait(60)
        finally:
            self._process.kill()
            self._reader.join()


@pytest.fixture
def camera() -> Iterator[str]:
    with mjpeg_server() as address:
        yield address


def test_jsonl_has_one_line_a_frame_and_nothing_else_on_stdout(model: Path, clip: Path, tmp_path: Path) -> None:
    summary = tmp_path / "new" / "summary.json"
    result = fer_edge("run", "--source", clip, "--model", model, "--output", "jsonl", "--summary", summary)
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["frame"] for line in lines] == list(range(FRAMES))
    for line in lines:
        assert set(line) == {"frame", "time", "age_ms", "faces", "timing_ms"}
        assert set(line["timing_ms"]) == {"detect", "classify", "total"}
        (face,) = line["faces"]
        assert (face["id"], face["expression"]) == (1, "happy")
    document: dict[str, Any] = json.loads(summary.read_text())
    assert (document["frames"], document["frames_with_face"]) == (FRAMES, FRAMES)
    assert {"seconds", "fps", "timing_ms", "peak_rss_mb", "runtime", "model_sha256"} <= set(document)
    assert f"{FRAMES} frames in " in result.stderr


def test_without_a_terminal_jsonl_is_the_default(model: Path, clip: Path) -> None:
    result = fer_edge("run", "--source", clip, "--model", model, "--frames", 3, "--budget-ms", 50, "--threads", 2)
    assert [json.loads(line)["frame"] for line in result.stdout.splitlines()] == [0, 1, 2]


def test_on_a_terminal_a_table_is_the_default(model: Path, clip: Path) -> None:
    ours, theirs = pty.openpty()
    shown = bytearray()

    def read() -> None:
        try:
            while chunk := os.read(ours, 4096):
                shown.extend(chunk)
        except OSError:  # EIO: the other end was closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    done = subprocess.run(
        [sys.executable, "-m", "fer_edge", "run", "--source", clip, "--model", model],
        stdout=theirs,
        stderr=subprocess.PIPE,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
        check=False,
    )
    os.close(theirs)
    reader.join()
    os.close(ours)
    assert done.returncode == 0, done.stderr
    text = shown.decode()
    assert "expression" in text
    assert "happy" in text
    assert f"{FRAMES} frames" in text
    assert '"frame"' not in text


def test_several_outputs_get_all_frames(model: Path, clip: Path, tmp_path: Path) -> None:
    outputs = [f"jsonl:{tmp_path / 'faces.jsonl'}", f"csv:{tmp_path / 'faces.csv'}"]
    result = fer_edge("run", "--source", clip, "--model", model, "--output", outputs[0], "--output", outputs[1])
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    assert len((tmp_path / "faces.jsonl").read_text().splitlines()) == FRAMES
    assert len((tmp_path / "faces.csv").read_text().splitlines()) == FRAMES + 1


def test_the_configuration_file_is_obeyed(model: Path, clip: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        f'[source]\nspec = "{clip}"\n[model]\nname = "{model}"\n[outputs]\nenabled = ["csv:/dev/stdout"]\n'
    )
    result = fer_edge("run", "--config", config, "--output", "jsonl", "--set", "smoothing.uncertain_below=0.99")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[0])["faces"][0]["expression"] == "uncertain"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--source", "nosuch.mp4"], 1, "nosuch.mp4: no such file"),
        (["--source", "corrupt.mp4"], 1, "corrupt.mp4: is not a video"),
        (["--source", "empty.png"], 1, "empty.png"),
        (["--source", "/dev/video97"], 1, "/dev/video97"),
        (["--source", "gopher://x/y"], 2, "gopher"),
        (["--source", ""], 2, "source.spec: found"),
        (["--model", "nosuch"], 2, "there is no model 'nosuch'"),
        (["--model", "corrupt.mp4"], 78, "corrupt.mp4: not a TFLite model"),
        (["--output", "jsno"], 2, "did you mean jsonl"),
        (["--output", "jsonl:nosuch/\0"], 1, "jsonl"),
        (["--output", "jsonl:folder"], 1, "folder"),
        (["--summary", "folder"], 1, "folder: is a folder"),
        (["--summary", "corrupt.mp4/x.json"], 1, "cannot be written"),
        (["--config", "nosuch.toml"], 78, "nosuch.toml"),
        (["--config", "bad.toml"], 78, "bad.toml:2: detection.budget: unknown key"),
        (["--set", "detection.budget=3"], 2, "detection.budget: unknown key"),
        (["--set", "nonsense"], 2, "write KEY=VALUE"),
        (["--set", "detection.budget_ms=fast"], 2, 'found "fast"'),
    ],
)
def test_bad_input_is_one_line_with_the_way_out(
    model: Path, clip: Path, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    (tmp_path / "corrupt.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(5000))
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    (tmp_path / "bad.toml").write_text("[detection]\nbudget = 3\n")
    before = sorted(tmp_path.iterdir())
    given = {"--source": str(clip), "--model": str(model), "--output": "jsonl"}
    given |= dict(zip(arguments[::2], arguments[1::2], strict=True))
    if "\0" in given["--output"]:
        given["--output"] = "jsonl:/proc/nosuch/faces.jsonl"
    result = fer_edge("run", *[word for pair in given.items() for word in pair], cwd=tmp_path)
    assert message in complaint(result, code)
    assert result.stdout == ""
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "arguments", [["--frames", "0"], ["--threads", "-1"], ["--budget-ms", "nan"], ["--frames", "x"], ["--nosuch"]]
)
def test_bad_flags_are_usage_errors(arguments: list[str]) -> None:
    result = fer_edge("run", *arguments)
    assert result.returncode == 2
    assert arguments[0] in result.stderr
    assert "Traceback" not in result.stderr


def test_a_full_disk_is_one_line(model: Path, clip: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(
            [sys.executable, "-m", "fer_edge", "run", "--source", clip, "--model", model, "--output", "jsonl"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert "No space left on device" in complaint(result, 1)


def test_a_reader_that_leaves_ends_the_run_quietly(model: Path, clip: Path) -> None:
    command = f"{sys.executable} -m fer_edge run --loop --source {clip} --model {model} --output jsonl | head -n 2"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2
    assert "rror" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_live_run_in_order(model: Path, camera: str, tmp_path: Path, number: signal.Signals) -> None:
    summary = tmp_path / "summary.json"
    arguments = ["--source", f"{camera}/ok", "--model", model, "--output", "jsonl", "--summary", summary]
    process = Process(arguments, tmp_path / "log")
    process.until_results(3)
    assert process.end(number) == 0
    assert [json.loads(line)["frame"] for line in process.lines]  # each is whole
    document = json.loads(summary.read_text())
    assert document["frames"] == len(process.lines)
    assert document["source"] == f"{camera}/ok"
    assert "Traceback" not in process.log.read_text()


def test_a_signal_ends_a_run_whose_camera_says_nothing_more(model: Path, camera: str, tmp_path: Path) -> None:
    arguments = ["--source", f"{camera}/stall", "--model", model, "--output", "jsonl"]
    process = Process([*arguments, "--set", "source.read_timeout_s=600"], tmp_path / "log")
    process.until_results(3)
    assert process.end(signal.SIGTERM) == 0
    assert "frames in " in process.log.read_text()


def test_a_signal_ends_the_wait_for_a_camera(model: Path, tmp_path: Path) -> None:
    arguments = ["--source", "/dev/video97", "--wait-for-source", "--model", model, "--output", "jsonl"]
    process = Process(arguments, tmp_path / "log")
    process.until("it is tried again")
    assert process.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("fault", ["vanish", "garbage", "stall"])
def test_a_network_camera_that_fails_is_opened_again(model: Path, camera: str, tmp_path: Path, fault: str) -> None:
    arguments = ["--source", f"{camera}/{fault}", "--model", model, "--output", "jsonl"]
    process = Process([*arguments, "--set", "source.read_timeout_s=0.5"], tmp_path / "log")
    process.until("delivers again after")
    process.until_results(3)
    assert process.end(signal.SIGTERM) == 0
    frames = [json.loads(line)["frame"] for line in process.lines]
    assert frames == sorted(set(frames))


def test_hangup_reloads_and_a_bad_configuration_changes_nothing(model: Path, camera: str, tmp_path: Path) -> None:
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    config = tmp_path / "config.toml"

    def write(outputs: str) -> None:
        config.write_text(
            f'[source]\nspec = "{camera}/ok"\n[model]\nname = "{model}"\n'
            f'[outputs]\nenabled = ["jsonl", "jsonl:{outputs}"]\n[outputs.files]\nflush_interval_s = 0\n'
        )

    write(str(first))
    process = Process(["--config", config], tmp_path / "log")
    process.until_results(3)
    config.write_text("[source]\nspec = 7\n")
    process.send(signal.SIGHUP)
    process.until("not reloaded, the old configuration stays")
    assert "config.toml:2: source.spec" in process.log.read_text()
    process.until_results(3)
    write(str(second))
    process.send(signal.SIGHUP)
    process.until("the configuration was reloaded")
    process.until_results(3)
    eventually(lambda: second.exists() and bool(second.read_text()), "results in the second file")
    assert process.end(signal.SIGTERM) == 0
    assert len(first.read_text().splitlines()) + len(second.read_text().splitlines()) <= len(process.lines)


def test_a_chosen_model_takes_over_in_a_running_process(
    model: Path, camera: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    config = tmp_path / "config.toml"
    config.write_text(f'[model]\nname = "{model}"\n')
    other = write_tiny_model(tmp_path / "other.tflite", "sad", name="other")
    process = Process(["--config", config, "--source", f"{camera}/ok", "--output", "jsonl"], tmp_path / "log")
    process.until_results(3)
    used = _model("use", other)
    assert used.returncode == 0, used.stderr
    assert "other 1" in used.stdout
    process.until("model other")
    assert _model("show").stdout == f"{other}\n"
    assert _model("unset").returncode == 0
    process.until("model tiny")
    process.until_results(3)
    assert process.end(signal.SIGTERM) == 0
    assert "no model was chosen" in _model("unset").stdout


@pytest.mark.parametrize(("name", "code"), [("nosuch", 2), ("broken.tflite", 78)])
def test_a_model_that_cannot_be_used_is_not_chosen(tmp_path: Path, name: str, code: int) -> None:
    (tmp_path / "broken.tflite").write_bytes(b"broken")
    result = _model("use", name, cwd=tmp_path)
    assert name in complaint(result, code)
    assert not (tmp_path / "state").exists()


def _model(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return fer_edge("model", *arguments, cwd=cwd)


def test_the_commands_are_cheap_to_import() -> None:
    code = (
        "import sys, fer_edge.commands.run, fer_edge.commands.model;"
        "sys.exit(', '.join({'cv2', 'numpy', 'rich', 'msgspec'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
