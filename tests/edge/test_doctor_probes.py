"""The doctor's child processes: libraries and cameras that work, fail, crash and hang."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_edge.doctor.check import Check
from fer_edge.doctor.probe import Answer, Request, ask
from tests.edge.tiny_model import write_tiny_model

LIMIT_S = 60.0


@pytest.fixture(autouse=True)
def no_other_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("FER_EDGE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))


def one(answer: Answer) -> Check:
    assert len(answer.checks) == 1
    return answer.checks[0]


def configuration(tmp_path: Path, text: str) -> str:
    file = tmp_path / "config.toml"
    file.write_text(text)
    return str(file)


def shadow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, text: str) -> None:
    """Put a module of our own before the installed one, as a broken installation would be."""
    path = tmp_path / "shadow" / f"{module}.py"
    path.parent.mkdir()
    path.write_text(text)
    monkeypatch.setenv("PYTHONPATH", f"{path.parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")


@pytest.mark.parametrize(("probe", "found"), [("numpy", np.__version__), ("opencv", cv2.__version__)])
def test_libraries_of_this_environment_work(probe: str, found: str) -> None:
    check = one(ask(Request(probe), probe, LIMIT_S))
    assert (check.name, check.status) == (probe, "ok")
    assert found.startswith(check.found)


def test_the_face_detector_finds_the_bundled_face() -> None:
    check = one(ask(Request("face detector"), "face detector", LIMIT_S))
    assert (check.status, check.advice) == ("ok", "")


def test_a_model_is_built_and_invoked(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "m.tflite", "surprise", name="mine")
    request = Request("model", configuration(tmp_path, f"[model]\nname = '{path}'\nthreads = 2\n"))
    check = one(ask(request, "model", LIMIT_S))
    assert check.status == "ok"
    assert check.found.startswith("mine 1 on ai_edge_litert ")
    assert "2 threads: surprise in" in check.found


def test_a_damaged_model_fails_with_its_reason(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "m.tflite")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    check = one(ask(Request("model", configuration(tmp_path, f"[model]\nname = '{path}'\n")), "model", LIMIT_S))
    assert check.status == "fail"
    assert str(path) in check.found


@pytest.mark.parametrize(
    ("text", "found", "advice"),
    [
        ("raise ImportError('libxcb.so.1: cannot open shared object file')", "libxcb.so.1", "reinstall"),
        ("import os; os.kill(os.getpid(), 4)", "crashes (SIGILL)", "another processor"),
        ("import os; os.abort()", "crashes (SIGABRT)", "reinstall"),
        ("__version__ = '5.0.0'", "5.0.0, which has no cascade classifier", "opencv-python-headless>=4.10,<5"),
    ],
)
def test_a_broken_opencv_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, found: str, advice: str
) -> None:
    shadow(tmp_path, monkeypatch, "cv2", text)
    check = one(ask(Request("opencv"), "opencv", LIMIT_S))
    assert (check.name, check.status) == ("opencv", "fail")
    assert found in check.found
    assert advice in check.advice


def test_what_a_library_prints_is_not_taken_for_the_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shadow(
        tmp_path,
        monkeypatch,
        "cv2",
        "print('{\"checks\": []}'); print('hello', end='')\nCascadeClassifier = 1\n__version__ = '4'",
    )
    assert one(ask(Request("opencv"), "opencv", LIMIT_S)) == Check("opencv", "ok", "4")


def test_a_module_in_the_working_directory_is_not_taken_for_a_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('a stranger')")
    monkeypatch.chdir(tmp_path)
    assert one(ask(Request("numpy"), "numpy", LIMIT_S)).status == "ok"


def test_a_picture_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "room.png"
    cv2.imwrite(str(path), np.full((120, 160, 3), 90, np.uint8))
    check = one(ask(Request("camera", spec=str(path)), "camera", LIMIT_S))
    assert (check.name, check.status) == (f"image:{path}", "ok")
    assert check.found.startswith("160x120, first picture after")


def test_a_black_picture_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "cap.png"
    cv2.imwrite(str(path), np.zeros((120, 160, 3), np.uint8))
    check = one(ask(Request("camera", spec=str(path)), "camera", LIMIT_S))
    assert check.status == "warn"
    assert "black" in check.found


def test_a_camera_that_is_not_there_fails() -> None:
    check = one(ask(Request("camera", spec="v4l2:/dev/video99"), "camera", LIMIT_S))
    assert (check.name, check.status, check.found) == ("v4l2:/dev/video99", "fail", "no such device")
    assert check.advice


def test_a_camera_that_hangs_fails_and_leaves_no_process(tmp_path: Path) -> None:
    """Opening a FIFO that nobody writes to blocks in native code, as a hung driver does."""
    fifo = tmp_path / "hung.mp4"
    os.mkfifo(fifo)
    check = one(ask(Request("camera", spec=f"file:{fifo}"), "camera 9", 3.0))
    assert (check.name, check.status) == ("camera 9", "fail")
    assert check.found == "no answer within 3 s: something hangs"
    # Without a reader left, opening for writing without waiting is refused.
    with pytest.raises(OSError, match="No such device or address"):
        os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)


def test_the_configuration_is_a_check_too(tmp_path: Path) -> None:
    good = ask(Request("configuration", configuration(tmp_path, "[source]\nspec = '3'\n")), "configuration", LIMIT_S)
    assert (one(good).status, good.source) == ("ok", "3")
    bad = ask(Request("configuration", configuration(tmp_path, "[source]\nspecs = '3'\n")), "configuration", LIMIT_S)
    assert (one(bad).status, bad.source) == ("fail", "auto")
    assert "did you mean source.spec?" in one(bad).found


def test_an_unknown_probe_is_a_failure_and_no_traceback() -> None:
    check = one(ask(Request("nonsense"), "nonsense", LIMIT_S))
    assert (check.name, check.status) == ("nonsense", "fail")
    assert "\n" not in check.found
