from __future__ import annotations

import logging
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_edge.contract.preprocess import to_grey
from fer_edge.errors import ConfigError, SourceError, UsageError
from fer_edge.sources import Source, SourceSettings, open_source, parse_source
from fer_edge.sources.auto import AutoSource, Candidate
from fer_edge.sources.base import Flip, PixelFormat, Rotation, orient
from fer_edge.sources.image import ImageSource
from fer_edge.sources.picamera2 import bgr_of_nv12, camera_controls, full_view, sensor_orientation, y_plane
from fer_edge.sources.v4l2 import V4l2Source, devices, parse_capability, pixel_format, query, refused

no_cameras = pytest.mark.skipif(bool(devices()), reason="this machine has a camera")


@pytest.mark.parametrize(
    ("spec", "kind", "target"),
    [
        ("auto", "auto", ""),
        (" auto ", "auto", ""),
        ("0", "v4l2", "/dev/video0"),
        ("12", "v4l2", "/dev/video12"),
        ("v4l2:3", "v4l2", "/dev/video3"),
        ("v4l2:/dev/v4l/by-id/usb-a:b-video-index0", "v4l2", "/dev/v4l/by-id/usb-a:b-video-index0"),
        ("/dev/video1", "v4l2", "/dev/video1"),
        ("picamera2", "picamera2", "0"),
        ("picamera2:1", "picamera2", "1"),
        ("rtsp://host/stream", "network", "rtsp://host/stream"),
        ("RTSP://host/stream", "network", "RTSP://host/stream"),
        ("http://host:8080/video", "network", "http://host:8080/video"),
        ("https://u:p@host/", "network", "https://u:p@host/"),
        ("clip.mp4", "file", "clip.mp4"),
        ("file:0", "file", "0"),
        ("folder:a b", "folder", "a b"),
        ("image:x.dat", "image", "x.dat"),
        ("odd:name.mp4", "file", "odd:name.mp4"),
        ("v4l2", "file", "v4l2"),
    ],
)
def test_specs(spec: str, kind: str, target: str) -> None:
    parsed = parse_source(spec)
    assert (parsed.kind, parsed.target) == (kind, target)


@pytest.mark.parametrize(
    "spec", ["", "  ", "v4l2:", "file:", "picamera2:", "picamera2:front", "ftp://host/x", "rtsp://"]
)
def test_bad_specs(spec: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_source(spec)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["v4l2:/dev/video0", "picamera2:1", "file:clip.mp4", "folder:shots", "image:a.png"])
def test_a_name_is_a_spec_again(name: str) -> None:
    assert open_source(name).name == name
    assert isinstance(open_source(name), Source)


@pytest.mark.parametrize(
    "wrong",
    [
        {"rotation": 45},
        {"flip": "sideways"},
        {"pixel_format": "H264"},
        {"width": 0},
        {"fps": 0.0},
        {"fps": float("nan")},
        {"exposure_us": 0},
        {"gain": 0.5},
        {"read_timeout_s": 0.0},
        {"freeze_after_s": -1.0},
    ],
)
def test_settings_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        SourceSettings(**wrong)  # type: ignore[arg-type]


def test_a_quarter_turn_is_clockwise_and_comes_before_the_flip() -> None:
    image = np.array([[1, 2], [3, 4]], np.uint8)
    assert orient(image, 0, "none") is image
    assert orient(image, 90, "none").tolist() == [[3, 1], [4, 2]]
    assert orient(image, 180, "none").tolist() == [[4, 3], [2, 1]]
    assert orient(image, 270, "none").tolist() == [[2, 4], [1, 3]]
    assert orient(image, 90, "horizontal").tolist() == [[1, 3], [2, 4]]
    assert orient(image, 90, "vertical").tolist() == [[4, 2], [3, 1]]
    assert orient(image, 180, "both").tolist() == image.tolist()


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("flip", ["none", "horizontal", "vertical", "both"])
def test_sensor_and_software_together_orient_like_software_alone(rotation: Rotation, flip: Flip) -> None:
    image = np.random.default_rng(3).integers(0, 255, (6, 4, 3), np.uint8)
    horizontal, vertical, turn = sensor_orientation(rotation, flip)
    from_sensor = image[:: -1 if vertical else 1, :: -1 if horizontal else 1]
    assert np.array_equal(orient(np.ascontiguousarray(from_sensor), turn, "none"), orient(image, rotation, flip))


@pytest.mark.parametrize("stride", [96, 128])
def test_the_y_plane_is_cut_out_of_a_padded_buffer(stride: int) -> None:
    width, height = 96, 64
    image = cv2.resize(np.random.default_rng(4).integers(0, 255, (8, 12, 3), np.uint8), (width, height))
    # OpenCV lays I420 out without padding: Y, then U and V at half the width. Pad it as a camera does.
    planes = np.asarray(cv2.cvtColor(np.asarray(image), cv2.COLOR_BGR2YUV_I420), np.uint8).reshape(-1)
    luma = planes[: width * height].reshape(height, width)
    chroma = planes[width * height :].reshape(height, width // 2)
    buffer = np.full((height * 3 // 2, stride), 255, np.uint8).reshape(-1)
    buffer[: stride * height].reshape(height, stride)[:, :width] = luma
    buffer[stride * height :].reshape(height, stride // 2)[:, : width // 2] = chroma
    cut = y_plane(buffer, (width, height), stride)
    assert np.array_equal(cut, luma)
    assert cut.flags.c_contiguous
    # I420 of OpenCV is limited range (16 to 235); stretched to full range it is the grey of the contract.
    full = (cut.astype(np.float32) - 16) * 255 / 219
    assert float(np.abs(full - to_grey(np.asarray(image, np.uint8))).max()) <= 2


def test_a_buffer_that_cannot_hold_the_plane_is_refused() -> None:
    with pytest.raises(SourceError, match="does not hold 64x48"):
        y_plane(np.zeros(64 * 47, np.uint8), (64, 48), 64)
    with pytest.raises(SourceError, match="rows of 60"):
        y_plane(np.zeros(64 * 72, np.uint8), (64, 48), 60)


@pytest.mark.parametrize("stride", [96, 128])
def test_nv12_becomes_the_picture_that_it_was(stride: int) -> None:
    width, height = 96, 64
    image = np.full((height, width, 3), (200, 120, 40), np.uint8)  # B, G, R
    image[: height // 2] = (255, 255, 255)
    luma, red, blue = cv2.split(cv2.cvtColor(image, cv2.COLOR_BGR2YCrCb))
    buffer = np.zeros((height * 3 // 2, stride), np.uint8)
    buffer[:height, :width] = luma
    buffer[height:, :width] = np.stack([blue, red], axis=-1)[::2, ::2].reshape(height // 2, width)
    colour = bgr_of_nv12(buffer.reshape(-1), (width, height), stride)
    assert colour.shape == image.shape
    border = slice(height // 2 - 2, height // 2 + 2)  # chroma is interpolated there
    assert int(np.abs(np.delete(colour.astype(int) - image, border, axis=0)).max()) <= 2
    with pytest.raises(SourceError, match="NV12 buffer of 95 bytes"):
        bgr_of_nv12(np.zeros(95, np.uint8), (width, height), stride)


def test_camera_controls() -> None:
    every = {"FrameDurationLimits", "AfMode", "ExposureTime", "AnalogueGain"}
    assert camera_controls(SourceSettings(), every) == {"FrameDurationLimits": (33333, 33333), "AfMode": 2}
    wanted = SourceSettings(fps=10, exposure_us=200_000, gain=4.0)
    assert camera_controls(wanted, every) == {
        "FrameDurationLimits": (100_000, 200_000),
        "AfMode": 2,
        "ExposureTime": 200_000,
        "AnalogueGain": 4.0,
    }
    assert camera_controls(wanted, {"AnalogueGain"}) == {"AnalogueGain": 4.0}


def test_the_whole_sensor_is_read_at_ordinary_rates() -> None:
    assert full_view((3280, 2464), 30) == {"size": (1640, 1232)}
    assert full_view((2592, 1944), 30) == {"size": (1296, 972)}
    assert full_view((3280, 2464), 90) == {}


def capability(driver: bytes, flags: int, own: int) -> bytes:
    return struct.pack("=16s32s32sIII12x", driver, b"HD Webcam", b"usb-1", 0x060100, flags, own)


def test_a_webcam_is_a_camera() -> None:
    parsed = parse_capability(capability(b"uvcvideo", 0x84A00001, 0x04200001))
    assert (parsed.driver, parsed.card, parsed.why_no_camera) == ("uvcvideo", "HD Webcam", "")


def test_a_metadata_node_of_a_webcam_is_not() -> None:
    parsed = parse_capability(capability(b"uvcvideo", 0x84A00001, 0x04A00000))
    assert "delivers no pictures" in parsed.why_no_camera


def test_an_old_driver_without_flags_of_its_own_counts() -> None:
    assert parse_capability(capability(b"old", 0x00000001, 0)).why_no_camera == ""


def test_a_codec_and_a_csi_receiver_of_the_pi_are_not() -> None:
    assert parse_capability(capability(b"bcm2835-codec", 0x84204000, 0x04204000)).why_no_camera
    assert "picamera2" in parse_capability(capability(b"unicam", 0x84A00001, 0x05200001)).why_no_camera
    for processor in (b"bcm2835-isp", b"pispbe"):  # their nodes claim to capture
        assert "image processor" in parse_capability(capability(processor, 0x84200001, 0x04200001)).why_no_camera


def test_devices_that_are_no_camera(tmp_path: Path) -> None:
    file = tmp_path / "clip.mp4"
    file.write_bytes(b"x")
    for device, message in [
        (tmp_path / "video9", "no such device"),
        (file, "is no device"),
        (Path(os.devnull), "is no video device"),
    ]:
        with pytest.raises(SourceError, match=message) as caught:
            V4l2Source(str(device), SourceSettings()).open()
        assert str(device) in str(caught.value)
        assert "\n" not in str(caught.value)


@no_cameras
def test_a_missing_camera_says_that_there_is_none(capfd: pytest.CaptureFixture[str]) -> None:
    source = open_source("0")
    with pytest.raises(SourceError, match="no camera is connected"):
        source.open()
    assert source.read() is None
    source.close()
    assert capfd.readouterr().err == ""


def test_a_device_node_without_a_driver_is_one_line(tmp_path: Path) -> None:
    device = tmp_path / "video0"
    try:
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(81, 250))
    except PermissionError:
        pytest.skip("device nodes cannot be made here")
    with pytest.raises(SourceError, match="cannot be opened") as caught:
        query(device)
    assert "\n" not in str(caught.value)


def test_permission_text_names_the_group_and_the_command() -> None:
    text = refused(Path("/dev/video0"), os.getgid())
    assert "sudo usermod -aG " in text
    assert "/dev/video0" in text
    assert "4294967294" in refused(Path("/dev/video0"), 4294967294)  # a group without a name


@pytest.mark.parametrize(
    ("width", "height", "fps", "asked", "expected"),
    [
        (None, None, None, "auto", "YUYV"),
        (640, 480, 30, "auto", "YUYV"),
        (640, 480, 60, "auto", "MJPG"),
        (1280, 720, None, "auto", "MJPG"),
        (1280, 720, 10, "auto", "YUYV"),
        (1280, 720, None, "YUYV", "YUYV"),
        (320, 240, None, "MJPG", "MJPG"),
    ],
)
def test_mjpg_is_taken_where_raw_frames_do_not_fit(
    width: int | None, height: int | None, fps: float | None, asked: PixelFormat, expected: str
) -> None:
    assert pixel_format(SourceSettings(width=width, height=height, fps=fps, pixel_format=asked)) == expected


def picture(path: Path) -> ImageSource:
    assert cv2.imwrite(str(path), np.full((48, 64, 3), 9, np.uint8))
    return ImageSource(path, SourceSettings())


def test_auto_takes_the_first_that_works_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    missing = ImageSource(tmp_path / "missing.png", SourceSettings())
    first, second = picture(tmp_path / "1.png"), picture(tmp_path / "2.png")

    def candidates(_: SourceSettings) -> Iterator[Candidate]:
        yield Candidate("codec", None, "is no camera")
        yield Candidate(missing.name, missing)
        yield Candidate(first.name, first)
        yield Candidate(second.name, second)

    source = AutoSource(SourceSettings(), candidates)
    assert source.name == "auto"
    source.open()
    assert source.name == first.name
    assert [step.split(": ")[0] for step in source.steps] == ["codec", missing.name, first.name]
    assert source.steps[-1] == f"{first.name}: taken"
    for step in ("passed over codec: is no camera", f"passed over {missing.name}", f"took {first.name}"):
        assert step in caplog.text
    frame = source.read()
    assert frame is not None  # the frame that proved it is not lost
    assert source.read() is None
    source.close()
    assert source.name == "auto"
    assert source.read() is None


def test_auto_looks_again_at_each_opening(tmp_path: Path) -> None:
    first, second = tmp_path / "1.png", tmp_path / "2.png"
    sources = [picture(first), picture(second)]
    source = AutoSource(SourceSettings(), lambda _: [Candidate(each.name, each) for each in sources])
    source.open()
    assert source.name == sources[0].name
    source.close()
    first.unlink()
    source.open()
    assert source.name == sources[1].name


@no_cameras
def test_auto_without_a_camera_lists_what_it_tried(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with pytest.raises(SourceError) as caught:
        open_source("auto").open()
    message = str(caught.value)
    assert "picamera2: " in message
    assert "v4l2: no /dev/video*" in message
    assert "--source FILE" in message
    assert "\n" not in message
    assert "passed over picamera2" in caplog.text


def test_picamera2_without_its_module_names_the_apt_package() -> None:
    try:
        import picamera2  # noqa: F401
    except ImportError:
        pass
    else:
        pytest.skip("picamera2 is installed here")
    with pytest.raises(SourceError, match="sudo apt install python3-picamera2"):
        open_source("picamera2").open()
