"""Outputs that take pictures: the video file and the window."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_edge.contract.preprocess import UInt8Array
from fer_edge.errors import OutputError
from fer_edge.outputs.isolated import IsolatedOutput
from fer_edge.outputs.settings import VideoSettings
from fer_edge.outputs.video_file import VideoOutput
from fer_edge.outputs.window import WindowOutput
from tests.edge.sample_observations import face, observation


def picture(number: int, width: int = 320, height: int = 240) -> UInt8Array:
    """A grey that tells which frame it is."""
    return np.full((height, width, 3), 20 + 5 * number, np.uint8)


def pictures_in(path: Path) -> list[UInt8Array]:
    video = cv2.VideoCapture(str(path))
    found = []
    while True:
        there, image = video.read()
        if not there:
            break
        found.append(image.astype(np.uint8))
    video.release()
    return found


def number_of(image: UInt8Array) -> int:
    return round((float(image[200:].mean()) - 20) / 5)


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_the_video_holds_every_annotated_frame_and_appears_when_it_is_whole(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"faces{suffix}"
    output = VideoOutput(path, VideoSettings(fps=30))
    output.open()
    for frame in range(40):
        output.write(observation(frame, face()), picture(frame))
    assert not path.exists()
    output.close()
    output.close()
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    found = pictures_in(path)
    assert [number_of(image) for image in found] == pytest.approx(list(range(40)), abs=1)
    assert found[5].shape == (240, 320, 3)
    # The tag of "happy" is yellow: blue is far below the others.
    tag = found[5][8:26, 60:90].astype(int)
    assert (tag[:, :, 2] - tag[:, :, 0]).max() > 80


@pytest.mark.parametrize(("fps", "expected"), [(15, 21), (60, 79)])
def test_time_is_kept_whatever_the_pace_of_the_source(tmp_path: Path, fps: int, expected: int) -> None:
    path = tmp_path / "faces.mp4"
    output = VideoOutput(path, VideoSettings(fps=fps))
    output.open()
    for frame in range(40):
        output.write(observation(frame), picture(frame))
    output.close()
    assert len(pictures_in(path)) == pytest.approx(expected, abs=1)


def test_a_long_gap_and_a_clock_set_back_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "faces.mp4"
    output = VideoOutput(path, VideoSettings(fps=30))
    output.open()
    for start in (0.0, 5000.0, 10.0):
        for frame in range(10):
            output.write(observation(frame, time_s=start + frame / 30), picture(frame))
    output.close()
    assert len(pictures_in(path)) == 30


def test_a_picture_of_another_shape_is_fitted_and_odd_sides_work(tmp_path: Path) -> None:
    path = tmp_path / "faces.mp4"
    output = VideoOutput(path, VideoSettings(fps=30))
    output.open()
    output.write(observation(0), picture(0, 321, 241))
    output.write(observation(1), picture(28, 240, 320))
    output.write(observation(2), np.full((241, 321), 200, np.uint8))
    output.close()
    found = pictures_in(path)
    assert [image.shape for image in found] == [(240, 320, 3)] * 3
    assert found[1][120, 160].mean() == pytest.approx(160, abs=4)
    assert found[1][120, 5].mean() < 10  # a black bar
    assert found[2][120, 160].mean() == pytest.approx(200, abs=4)


def test_without_a_picture_there_is_no_file(tmp_path: Path) -> None:
    output = VideoOutput(tmp_path / "faces.mp4", VideoSettings())
    output.open()
    output.close()
    assert list(tmp_path.iterdir()) == []


def test_an_impossible_place_fails_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        IsolatedOutput(VideoOutput(tmp_path / "file" / "faces.mp4", VideoSettings())).open()


def test_a_full_disk_is_noticed_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    """OpenCV itself says nothing. A limit on the file's size stands for the full disk."""
    code = f"""
import resource, signal, numpy as np
from pathlib import Path
from fer_edge.errors import OutputError
from fer_edge.outputs.settings import VideoSettings
from fer_edge.outputs.video_file import VideoOutput
from tests.edge.sample_observations import observation
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
output = VideoOutput(Path({str(tmp_path / "faces.mp4")!r}), VideoSettings(fps=30))
output.open()
generator = np.random.default_rng(0)
for frame in range(60):
    output.write(observation(frame), generator.integers(0, 255, (240, 320, 3), np.uint8))
try:
    output.close()
except OutputError as error:
    print(error)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert re.fullmatch(r".*/faces.mp4: only \d+ of 60 pictures could be written; free some space\n", done.stdout), done
    assert list(tmp_path.iterdir()) == []


def test_a_window_that_cannot_be_opened_says_why_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    output = IsolatedOutput(WindowOutput())
    with pytest.raises(OutputError, match=r"^window: .*; use  --output web  and a browser$"):
        output.open()
    output.close()


@pytest.mark.skipif("GUI:                           NONE" in cv2.getBuildInformation(), reason="OpenCV without windows")
def test_a_screen_that_does_not_answer_does_not_end_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":7777")
    with pytest.raises(OutputError, match="window: the screen :7777 does not take one"):
        WindowOutput().open()
