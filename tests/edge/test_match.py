"""Following a face by its own picture: exact where it may be used, and not used where it may be wrong."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_edge.contract.preprocess import Box, UInt8Array
from fer_edge.vision.boxes import iou
from fer_edge.vision.budget import FrameBudget
from fer_edge.vision.follow import Follower
from fer_edge.vision.haar import HaarDetector
from fer_edge.vision.match import match, picture_of
from fer_edge.vision.schedule import DetectionSchedule, ScheduleSettings
from fer_edge.vision.settings import Work
from fer_edge.vision.steady import SteadyBox
from fer_edge.vision.tracker import Track

FACE: Box = (178, 67, 92, 92)
"""What a full-scale scan finds in the portrait."""
PORTRAIT = np.asarray(
    cv2.imread(str(Path(__file__).parents[2] / "edge/fer_edge/data/astronaut.jpg"), cv2.IMREAD_GRAYSCALE), np.uint8
)
EVERY_FRAME = ScheduleSettings(matched_frames=0, still_frames=0, budget_ms=1e9)
MATCHING = replace(EVERY_FRAME, matched_frames=3)


def moved(dx: float, dy: float, noise: float = 4.0, seed: int = 1) -> UInt8Array:
    """The portrait, shifted, with fresh sensor noise."""
    matrix = np.array([[1.0, 0.0, dx], [0.0, 1.0, dy]], np.float32)
    picture = cv2.warpAffine(PORTRAIT, matrix, (512, 512), borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    picture += np.random.default_rng(seed).normal(0.0, noise, picture.shape)
    return np.asarray(np.clip(picture, 0, 255), np.uint8)


def centre(box: Box) -> tuple[float, float]:
    return box[0] + box[2] / 2, box[1] + box[3] / 2


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (3, -2), (-7, 5), (13, 11), (-15, -13)])
def test_a_face_that_moved_is_found_to_the_pixel(dx: int, dy: int) -> None:
    face = picture_of(moved(0, 0), FACE)
    assert face is not None
    found = match(moved(dx, dy, seed=2), face, FACE)
    assert found is not None
    assert found[2:] == FACE[2:]
    assert centre(found) == pytest.approx((centre(FACE)[0] + dx, centre(FACE)[1] + dy), abs=1.5)


def test_a_face_that_went_further_than_the_region_is_not_found() -> None:
    face = picture_of(moved(0, 0), FACE)
    assert face is not None
    assert match(moved(60, 0), face, FACE) is None
    x, y, w, h = FACE
    assert match(moved(60, 0), face, (x + 60, y, w, h)) is not None  # but where it is expected


@pytest.mark.parametrize("what", ["gone", "covered", "turned", "dark"])
def test_what_is_not_beyond_doubt_is_no_match(what: str) -> None:
    face = picture_of(moved(0, 0), FACE)
    assert face is not None
    x, y, w, h = FACE
    picture = moved(0, 0, seed=2)
    if what == "gone":
        picture[:] = moved(0, 200, seed=2)
    elif what == "covered":
        picture[y : y + h, x : x + w // 2] = 128
    elif what == "turned":
        matrix = cv2.getRotationMatrix2D(centre(FACE), 30.0, 1.0)
        picture = np.asarray(cv2.warpAffine(picture, matrix, (512, 512)), np.uint8)
    else:
        picture[:] = 0
    assert match(picture, face, FACE) is None


def test_a_face_at_the_edge_a_tiny_one_and_a_flat_one_have_no_picture() -> None:
    assert picture_of(np.full((200, 200), 90, np.uint8), (50, 50, 90, 90)) is None
    assert picture_of(PORTRAIT, (-3, 50, 90, 90)) is None
    assert picture_of(PORTRAIT, (440, 50, 90, 90)) is None
    assert picture_of(PORTRAIT, (100, 100, 20, 20)) is None


@pytest.mark.parametrize("turned", [False, True])
def test_what_looks_alike_along_a_line_is_no_match(turned: bool) -> None:
    stripes = np.tile(np.repeat(np.array([20, 200], np.uint8), 30), (300, 5))
    picture = np.ascontiguousarray(stripes.T if turned else stripes)
    box: Box = (100, 100, 60, 60)
    face = picture_of(picture, box)
    assert face is not None
    assert match(picture, face, box) is None


def follow(settings: ScheduleSettings, shifts: list[tuple[int, int]]) -> tuple[list[list[Box]], int, int]:
    """Return the boxes of each frame, close looks, and matches."""
    schedule = DetectionSchedule(HaarDetector(), settings)
    boxes = [[face.box for face in schedule.faces(moved(dx, dy, seed=n), n / 30)] for n, (dx, dy) in enumerate(shifts)]
    report = schedule.report()
    return boxes, report.roi_scans, report.matched


def test_the_schedule_follows_by_picture_and_searches_in_between() -> None:
    shifts = [(4 * n, round(10 * np.sin(n / 3))) for n in range(40)]
    searched, looks, none = follow(EVERY_FRAME, shifts)
    followed, fewer, matches = follow(MATCHING, shifts)
    assert none == 0
    assert fewer < looks / 2
    assert 0 < matches <= 3 * fewer
    assert all(len(boxes) == 1 for boxes in followed)
    assert all(iou(a[0], b[0]) > 0.8 for a, b in zip(searched, followed, strict=True))


def test_a_face_that_goes_is_dropped_as_soon_as_without_pictures() -> None:
    shifts = [(0, 0)] * 12 + [(0, 300)] * 20  # the face has left the picture at once
    searched, _, _ = follow(EVERY_FRAME, shifts)
    followed, _, matches = follow(MATCHING, shifts)
    assert matches > 0
    assert [bool(boxes) for boxes in followed] == [bool(boxes) for boxes in searched]


def test_faces_side_by_side_are_not_followed_by_picture() -> None:
    """One might be taken for the other."""
    x, y, w, h = FACE
    two = np.full((240, 480), 128, np.uint8)
    head = PORTRAIT[y - 40 : y + h + 40, x - 12 : x + w + 12]
    for left in (100, 100 + head.shape[1]):
        two[14 : 14 + head.shape[0], left : left + head.shape[1]] = head
    schedule = DetectionSchedule(HaarDetector(), MATCHING)
    faces = []
    for n in range(12):
        noise = np.random.default_rng(n).normal(0.0, 12.0, two.shape)
        faces = schedule.faces(np.asarray(np.clip(two + noise, 0, 255), np.uint8), n / 30)
    assert len(faces) == 2
    assert schedule.report().matched == 0


def test_no_picture_is_kept_of_a_face_that_is_forgotten() -> None:
    """It may have been made in the very last search, which found somebody else nearby."""
    follower = Follower(HaarDetector(), MATCHING, FrameBudget(1e6, time.perf_counter), Work())
    track = Track(1, SteadyBox(FACE), first_seen=0.0, last_seen=0.0, expected=FACE, evidence=10.0)
    assert len(follower.search(moved(0, 0), [track]).found) == 1
    assert set(follower._portraits) == {1}
    follower.search(moved(0, 0), [])
    assert not follower._portraits
