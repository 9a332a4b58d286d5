from __future__ import annotations

import contextlib
import logging
import os
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_edge.contract.preprocess import UInt8Array
from fer_edge.errors import SourceError
from fer_edge.frames import Frame
from fer_edge.sources import Source, SourceSettings, open_source
from fer_edge.sources.files import Pacer, cannot_open, natural_order
from fer_edge.sources.image import ImageSource, read_image

VIDEO_FORMATS = [(".avi", "MJPG"), (".mp4", "mp4v"), (".mkv", "MJPG"), (".avi", "XVID")]


def picture(value: int, width: int = 64, height: int = 48) -> UInt8Array:
    """A flat picture whose upper left quarter is white."""
    image = np.full((height, width, 3), value, np.uint8)
    image[: height // 2, : width // 2] = 255
    return image


def write_image(path: Path, value: int = 10) -> Path:
    assert cv2.imwrite(str(path), picture(value))
    return path


def write_video(path: Path, fourcc: str = "MJPG", frames: int = 20, fps: float = 25.0) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*fourcc), fps, (64, 48))
    assert writer.isOpened()
    noise = np.random.default_rng(7)
    for number in range(frames):
        # Noise gives each frame some bytes, so that cutting the file in half cuts frames off.
        writer.write(picture(number * 10) // 2 + noise.integers(0, 60, (48, 64, 3), np.uint8))
    writer.release()
    return path


def frames_of(source: Source, at_most: int = 1000) -> list[Frame]:
    source.open()
    frames: list[Frame] = []
    while len(frames) < at_most and (frame := source.read()) is not None:
        frames.append(frame)
    source.close()
    return frames


def failure(source: Source) -> str:
    """The message of the error that opening or reading ends in."""
    with pytest.raises(SourceError) as caught:
        frames_of(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tiff", ".ppm", ".JPG"])
def test_an_image_is_one_frame(tmp_path: Path, suffix: str) -> None:
    path = write_image(tmp_path / f"face{suffix}", 40)
    source = open_source(str(path))
    frames = frames_of(source)
    assert source.name == f"image:{path}"
    assert not source.live
    assert [(frame.index, frame.time, frame.size) for frame in frames] == [(0, 0.0, (64, 48))]
    assert frames[0].image[40, 60].tolist() == pytest.approx([40, 40, 40], abs=3)
    assert frames[0].image.dtype == np.uint8


def test_a_grey_or_transparent_image_becomes_bgr(tmp_path: Path) -> None:
    grey = tmp_path / "grey.png"
    assert cv2.imwrite(str(grey), picture(9)[:, :, 0])
    clear = tmp_path / "clear.png"
    assert cv2.imwrite(str(clear), np.dstack([picture(9), picture(0)[:, :, 0]]))
    assert read_image(grey).shape == read_image(clear).shape == (48, 64, 3)


def test_a_looping_image_comes_again_and_again(tmp_path: Path) -> None:
    path = write_image(tmp_path / "face.png")
    frames = frames_of(open_source(str(path), SourceSettings(loop=True, fps=10)), at_most=4)
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    assert [frame.time for frame in frames] == pytest.approx([0.0, 0.1, 0.2, 0.3])


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tiff"])
@pytest.mark.parametrize("keep", [0.0, 0.05, 0.5, 0.95])
def test_a_cut_image_is_one_line(tmp_path: Path, suffix: str, keep: float, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / f"face{suffix}"
    whole = cv2.resize(np.random.default_rng(1).integers(0, 255, (20, 20, 3), np.uint8), (200, 200))
    assert cv2.imwrite(str(path), whole)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    message = failure(open_source(str(path)))
    assert message.startswith(f"{path}: cannot be decoded: ")
    assert ("it is empty" in message) == (keep == 0.0)
    assert capfd.readouterr().err == ""


def test_a_damaged_jpeg_leaves_no_noise_on_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "face.jpg"
    whole = np.random.default_rng(1).integers(0, 255, (200, 200, 3), np.uint8)
    assert cv2.imwrite(str(path), whole)
    data = bytearray(path.read_bytes())
    data[2000:4000] = np.random.default_rng(2).integers(0, 255, 2000, np.uint8).tobytes()
    path.write_bytes(data)
    os.write(2, b"before\n")
    with contextlib.suppress(SourceError):  # OpenCV 4.6 decodes it, 4.14 refuses
        read_image(path)
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "before\nafter\n"


def test_a_jpeg_thumbnail_does_not_hide_that_the_picture_is_cut(tmp_path: Path) -> None:
    encoded = cv2.imencode(".jpg", picture(50))[1].tobytes()
    thumbnail = b"\xff\xe1" + (2 + len(encoded)).to_bytes(2, "big") + encoded
    whole = encoded[:2] + thumbnail + encoded[2:]
    path = tmp_path / "face.jpg"
    path.write_bytes(whole)
    assert read_image(path).shape == (48, 64, 3)
    path.write_bytes(whole[:-2])
    assert "ends too early" in failure(ImageSource(path, SourceSettings()))


def test_text_named_like_an_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "face.png"
    path.write_text("not a picture")
    assert "not a picture" in failure(open_source(str(path)))


@pytest.mark.parametrize("name", ["none.jpg", "none.mp4", "none", "image:none", "folder:none", "file:none.avi"])
def test_a_missing_file_says_what_a_source_may_be(name: str) -> None:
    message = failure(open_source(name))
    assert "no such file" in message
    assert "picamera2" in message


def test_each_refusal_of_the_system_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "face.jpg"
    assert "chmod a+r" in str(cannot_open(path, PermissionError(13, "Permission denied")))
    assert "Input/output error" in str(cannot_open(path, OSError(5, "Input/output error")))


def test_natural_order() -> None:
    names = ["frame10.png", "frame2.png", "Frame1.png", "a.png", "frame02.png", "7.png", "10.png"]
    assert sorted(names, key=natural_order) == [
        "7.png",
        "10.png",
        "a.png",
        "Frame1.png",
        "frame02.png",
        "frame2.png",
        "frame10.png",
    ]


def test_a_folder_gives_its_pictures_in_natural_order(tmp_path: Path) -> None:
    for number in (10, 9, 1, 100):
        write_image(tmp_path / f"f{number}.png", number)
    (tmp_path / "notes.txt").write_text("no picture")
    write_image(tmp_path / ".hidden.png", 77)
    source = open_source(str(tmp_path), SourceSettings(fps=5))
    frames = frames_of(source)
    assert source.name == f"folder:{tmp_path}"
    assert source.nominal_fps == 5
    assert [int(frame.image[-1, -1, 0]) for frame in frames] == [1, 9, 10, 100]
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    assert [frame.time for frame in frames] == pytest.approx([0.0, 0.2, 0.4, 0.6])


def test_a_folder_skips_a_damaged_picture_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in (1, 2, 3):
        write_image(tmp_path / f"{number}.png", number)
    (tmp_path / "2.png").write_bytes(b"")
    frames = frames_of(open_source(str(tmp_path)))
    assert [frame.index for frame in frames] == [0, 2]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "2.png" in caplog.text


@pytest.mark.parametrize("loop", [False, True])
def test_a_folder_of_damaged_pictures_is_an_error(tmp_path: Path, loop: bool) -> None:
    for number in (1, 2):
        (tmp_path / f"{number}.jpg").write_bytes(b"junk")
    message = failure(open_source(str(tmp_path), SourceSettings(loop=loop)))
    assert "1.jpg" in message
    assert "the other 1 picture" in message


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    assert "holds no picture" in failure(open_source(str(tmp_path)))


@pytest.mark.parametrize(("suffix", "fourcc"), VIDEO_FORMATS)
def test_a_video_gives_every_frame(tmp_path: Path, suffix: str, fourcc: str, caplog: pytest.LogCaptureFixture) -> None:
    path = write_video(tmp_path / f"clip{suffix}", fourcc)
    source = open_source(str(path))
    frames = frames_of(source)
    assert source.name == f"file:{path}"
    assert not source.live
    assert source.nominal_fps == pytest.approx(25)
    assert [frame.index for frame in frames] == list(range(20))
    assert [frame.time for frame in frames] == pytest.approx([number / 25 for number in range(20)])
    levels = [float(frame.image[30:, 40:].mean()) for frame in frames]
    assert levels == sorted(levels)
    assert levels[-1] - levels[0] == pytest.approx(95, abs=8)
    assert not caplog.records


def test_a_video_can_be_read_twice(tmp_path: Path) -> None:
    source = open_source(str(write_video(tmp_path / "clip.avi")))
    assert len(frames_of(source)) == 20
    assert source.read() is None
    source.close()
    assert len(frames_of(source)) == 20


def test_a_looping_video_goes_on_counting(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", frames=5)
    frames = frames_of(open_source(str(path), SourceSettings(loop=True)), at_most=12)
    assert [frame.index for frame in frames] == list(range(12))
    assert [frame.time for frame in frames] == pytest.approx([number / 25 for number in range(12)])
    assert np.array_equal(frames[0].image, frames[5].image)


@pytest.mark.parametrize("keep", [0.9, 0.5, 0.35])
@pytest.mark.parametrize(("suffix", "fourcc"), [(".avi", "MJPG"), (".mkv", "MJPG"), (".avi", "XVID")])
def test_a_video_that_is_cut_short_ends_with_a_warning(
    tmp_path: Path,
    suffix: str,
    fourcc: str,
    keep: float,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = write_video(tmp_path / f"clip{suffix}", fourcc)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    frames = frames_of(open_source(str(path)))
    assert 0 < len(frames) < 20
    assert len(caplog.records) == 1
    message = caplog.records[0].getMessage()
    assert f"ends after frame {frames[-1].index} " in message
    assert "promises 20 frames" in message
    assert capfd.readouterr().err == ""


def test_a_video_without_its_index_is_an_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_video(tmp_path / "clip.mp4", "mp4v")
    path.write_bytes(path.read_bytes()[:-200])
    assert "cut short before its index" in failure(open_source(str(path)))
    assert capfd.readouterr().err == ""


def test_a_video_without_a_single_frame_is_an_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_video(tmp_path / "clip.avi")
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"movi") + 4])
    message = failure(open_source(str(path)))
    assert str(path) in message
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("content", [b"", b"junk", "Wörter\n".encode() * 500, os.urandom(50_000)])
@pytest.mark.parametrize("name", ["clip.mp4", "clip.avi", "clip.mkv", "clip", "clip.gif", "notes.txt"])
def test_what_is_no_video_is_refused(
    tmp_path: Path, name: str, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    message = failure(open_source(str(path)))
    assert message.startswith(f"{path}: ")
    assert capfd.readouterr().err == ""


def test_rotation_and_flip_apply_to_files(tmp_path: Path) -> None:
    path = write_image(tmp_path / "face.png", 10)
    turned = frames_of(open_source(str(path), SourceSettings(rotation=90, flip="vertical")))[0]
    assert turned.size == (48, 64)
    # The white quarter goes from the upper left to the upper right, then down.
    assert turned.image[-1, -1].tolist() == [255, 255, 255]
    assert turned.image[0, -1].tolist() == [10, 10, 10]


class FakeClock:
    """A clock that only waiting moves on."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


def test_pace_is_kept_without_drift() -> None:
    clock = FakeClock()
    pacer = Pacer(clock=clock, wait=clock.wait)
    for number in range(4):
        pacer.wait_until(number * 0.04)
        clock.now += 0.01  # work
    assert clock.waits == pytest.approx([0.03, 0.03, 0.03])


def test_pace_catches_up_after_a_hiccup_but_not_after_a_pause() -> None:
    clock = FakeClock()
    pacer = Pacer(catch_up_s=1.0, clock=clock, wait=clock.wait)
    pacer.wait_until(0.0)
    clock.now += 0.1
    pacer.wait_until(0.04)
    pacer.wait_until(0.08)
    pacer.wait_until(0.12)
    assert clock.waits == pytest.approx([0.02])
    clock.now += 60
    pacer.wait_until(0.16)
    pacer.wait_until(0.20)
    assert clock.waits == pytest.approx([0.02, 0.04])


def test_realtime_paces_a_real_file(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", frames=4, fps=50)
    frames = frames_of(open_source(str(path), SourceSettings(realtime=True)))
    gaps = [frame.captured_at - frames[0].captured_at - frame.time for frame in frames]
    assert min(gaps) > -0.005  # never ahead of its time


def test_closing_from_another_thread_ends_a_realtime_video(tmp_path: Path) -> None:
    source = open_source(str(write_video(tmp_path / "clip.avi", frames=3, fps=0.1)), SourceSettings(realtime=True))
    source.open()
    assert source.read() is not None
    frames: list[Frame | None] = []
    reader = threading.Thread(target=lambda: frames.extend([source.read(), source.read()]))
    reader.start()
    source.close()
    reader.join()
    assert frames[1] is None
