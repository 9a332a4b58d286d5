from __future__ import annotations

from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_edge.contract.preprocess import UInt8Array
from fer_edge.errors import ModelError
from fer_edge.vision.base import Detector
from fer_edge.vision.boxes import iou
from fer_edge.vision.haar import HaarDetector
from fer_edge.vision.yunet import YuNetDetector
from tests.edge.bright_yunet import SIDE, write_bright_yunet

FACE = (178, 67, 92, 92)


@pytest.fixture(scope="module")
def astronaut() -> UInt8Array:
    with resources.as_file(resources.files("fer_edge") / "data" / "astronaut.jpg") as path:
        picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    return np.asarray(picture, np.uint8)


def test_haar_finds_the_astronaut_where_opencv_does(astronaut: UInt8Array) -> None:
    detector: Detector = HaarDetector()
    found = detector.detect(astronaut, min_size=30, max_size=None, scale_factor=1.1)
    sure = [detection for detection in found if detection.score >= 1.0]
    assert [detection.box for detection in sure] == [FACE]
    assert detector.name == "haar"
    assert detector.window == 24


def test_the_score_is_opencvs_count_of_neighbours(astronaut: UInt8Array) -> None:
    with resources.as_file(resources.files("fer_edge") / "data" / "haarcascade_frontalface_default.xml") as path:
        cascade = cv2.CascadeClassifier(str(path))
    found = HaarDetector().detect(astronaut, min_size=30, max_size=None, scale_factor=1.05)
    for neighbours in (3, 5, 8):
        boxes = cascade.detectMultiScale(astronaut, 1.05, neighbours, minSize=(30, 30))
        expected = {tuple(int(v) for v in box) for box in boxes}
        assert {d.box for d in found if round(d.score * 6) > neighbours} == expected


def test_haar_keeps_to_the_sizes_asked_for(astronaut: UInt8Array) -> None:
    detector = HaarDetector()
    assert detector.detect(astronaut, min_size=130, max_size=None, scale_factor=1.1) == []
    small = detector.detect(astronaut, min_size=30, max_size=70, scale_factor=1.1)
    assert all(detection.box[2] <= 75 for detection in small)


@pytest.mark.parametrize("shape", [(1, 1), (23, 23), (24, 300)])
def test_a_picture_without_room_for_a_face_has_none(shape: tuple[int, int]) -> None:
    assert HaarDetector().detect(np.zeros(shape, np.uint8), min_size=24, max_size=None, scale_factor=1.1) == []


def test_profile_is_asked_only_where_no_frontal_face_is(astronaut: UInt8Array) -> None:
    detector = HaarDetector(profile=True)
    frontal = HaarDetector().detect(astronaut, min_size=30, max_size=None, scale_factor=1.1)
    assert detector.detect(astronaut, min_size=30, max_size=None, scale_factor=1.1) == frontal
    assert detector.name == "haar+profile"


def test_profile_finds_both_sides(astronaut: UInt8Array) -> None:
    """The cascade knows one side only; half of a frontal face is a profile to it, and none to the frontal one."""
    half = np.ascontiguousarray(astronaut[55:160, 215:320])
    other = np.ascontiguousarray(half[:, ::-1])
    assert HaarDetector().detect(half, min_size=24, max_size=None, scale_factor=1.1) == []
    detector = HaarDetector(profile=True)
    found = detector.detect(half, min_size=24, max_size=None, scale_factor=1.1)
    mirrored = detector.detect(other, min_size=24, max_size=None, scale_factor=1.1)
    assert found
    assert sorted((half.shape[1] - x - w, y, w, h) for (x, y, w, h), _ in mirrored) == sorted(d.box for d in found)


def test_another_cascade_can_be_named(astronaut: UInt8Array) -> None:
    with resources.as_file(resources.files("fer_edge") / "data" / "haarcascade_frontalface_default.xml") as path:
        detector = HaarDetector(cascade=path)
    assert detector.detect(astronaut, min_size=60, max_size=None, scale_factor=1.1)


def test_a_missing_cascade_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.xml: no such cascade"):
        HaarDetector(cascade=tmp_path / "none.xml")


@pytest.mark.parametrize("content", ["", "no xml at all", "<?xml version='1.0'?>\n<opencv_storage></opencv_storage>"])
def test_what_is_not_a_cascade_is_refused_in_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "broken.xml"
    path.write_text(content)
    with pytest.raises(ModelError, match=r"broken\.xml: not an OpenCV cascade") as caught:
        HaarDetector(cascade=path)
    assert "\n" not in str(caught.value)


def test_opencv_5_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "CascadeClassifier")
    with pytest.raises(ModelError, match="has no CascadeClassifier: run"):
        HaarDetector()


def test_yunet_runs_a_network(tmp_path: Path) -> None:
    detector: Detector = YuNetDetector(write_bright_yunet(tmp_path / "bright.onnx"))
    picture = np.zeros((120, 200), np.uint8)
    picture[40:48, 80:88] = 255
    (found,) = detector.detect(picture, min_size=1, max_size=None, scale_factor=1.2)
    assert iou(found.box, (84 - SIDE // 2, 44 - SIDE // 2, SIDE, SIDE)) > 0.95
    assert found.score > 4.0
    assert detector.name == "yunet"


def test_yunets_evidence_is_one_at_its_threshold(tmp_path: Path) -> None:
    detector = YuNetDetector(write_bright_yunet(tmp_path / "bright.onnx"))
    picture = np.zeros((64, 64), np.uint8)
    scores = []
    for brightness in (0.5, 0.7, 0.9):
        picture[24:32, 24:32] = round(brightness * 255)
        scores += [d.score for d in detector.detect(picture, min_size=1, max_size=None, scale_factor=1.2)]
    assert scores == pytest.approx([3 / 7, 1.0, 27 / 7], rel=0.03)


def test_yunet_keeps_to_the_sizes_asked_for(tmp_path: Path) -> None:
    detector = YuNetDetector(write_bright_yunet(tmp_path / "bright.onnx"))
    picture = np.full((64, 64), 255, np.uint8)
    assert detector.detect(picture, min_size=SIDE - 1, max_size=SIDE + 1, scale_factor=1.2)
    assert not detector.detect(picture, min_size=SIDE + 1, max_size=None, scale_factor=1.2)
    assert not detector.detect(picture, min_size=1, max_size=SIDE - 1, scale_factor=1.2)


def test_a_missing_yunet_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.onnx: no such file"):
        YuNetDetector(tmp_path / "none.onnx")


def test_what_is_not_a_yunet_is_refused_in_one_line(tmp_path: Path) -> None:
    whole = write_bright_yunet(tmp_path / "bright.onnx").read_bytes()
    for name, content in {
        "text": b"hello",
        "cut": whole[: len(whole) // 2],
        "other": whole.replace(b"cls_8", b"abc_8"),
    }.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        with pytest.raises(ModelError, match=rf"{name}\.onnx: OpenCV .* cannot use it") as caught:
            YuNetDetector(path)
        assert "\n" not in str(caught.value)
