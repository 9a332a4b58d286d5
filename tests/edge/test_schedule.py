"""What is searched when. Work is counted in pixels and calls; the clock is one that only work moves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from fer_edge.contract.preprocess import Box, UInt8Array
from fer_edge.vision.base import TrackedBox
from fer_edge.vision.boxes import iou
from fer_edge.vision.schedule import DetectionSchedule, ScheduleSettings
from tests.edge.square_world import SIZE, SquareDetector, WorkClock, world

FRAME = SIZE[0] * SIZE[1]
EASY = ScheduleSettings(budget_ms=float("inf"))


def schedule(detector: SquareDetector, settings: ScheduleSettings = EASY) -> DetectionSchedule:
    return DetectionSchedule(detector, settings, clock=detector.clock)


def show(watch: DetectionSchedule, frames: Iterable[UInt8Array], start: int = 0) -> list[list[TrackedBox]]:
    return [watch.faces(frame, (start + n) / 30) for n, frame in enumerate(frames)]


def drifting(count: int, speed: float = 3.0, side: int = 80, x: int = 100, y: int = 150) -> list[Box]:
    return [(x + round(speed * n), y, side, side) for n in range(count)]


def test_the_first_frame_gives_its_faces_at_once() -> None:
    boxes: list[Box] = [(60, 60, 50, 50), (300, 200, 120, 120), (500, 50, 40, 40)]
    faces = schedule(SquareDetector()).faces(world(*boxes), 0.0)
    assert [face.id for face in faces] == [1, 2, 3]
    assert all(max(iou(face.box, box) for face in faces) > 0.85 for box in boxes)
    assert all(face.fresh and face.first_seen == face.last_seen == 0.0 for face in faces)


@pytest.mark.parametrize("side", [31, 36, 45, 48, 60, 77, 96, 150, 200, 290, 380, 440])
def test_faces_of_every_size_are_found(side: int) -> None:
    box = (640 - side - 20, 480 - side - 20, side, side)
    (face,) = schedule(SquareDetector()).faces(world(box), 0.0)
    assert iou(face.box, box) > 0.8


def test_faces_under_the_least_size_are_not_found() -> None:
    settings = replace(EASY, min_face_px=60)
    watch = schedule(SquareDetector(), settings)
    (face,) = show(watch, [world((100, 100, 45, 45), (300, 100, 70, 70))] * 20)[-1]
    assert face.box[2] > 60


def test_following_costs_a_fraction_of_a_scan() -> None:
    detector = SquareDetector()
    watch = schedule(detector)
    # The whole picture changes and counts as searched in the first frame; a face on a plain wall leaves no trail.
    frames = [world(box) for box in drifting(61, speed=1.0)]
    watch.faces(frames[0], 0.0)
    first = detector.pixels
    following = show(watch, frames[1:14], start=1)
    assert all(len(faces) == 1 and faces[0].id == 1 for faces in following)
    assert (detector.pixels - first) / 13 < 0.02 * FRAME


def test_a_large_face_costs_no_more_than_a_small_one() -> None:
    spent = []
    for side in (40, 160):
        detector = SquareDetector()
        watch = schedule(detector, replace(EASY, changes_only=False, full_scan_every=1000, matched_frames=0))
        show(watch, [world(box) for box in drifting(2, side=side)])
        before = detector.pixels
        show(watch, [world(box) for box in drifting(12, side=side)[2:]], start=2)
        spent.append(detector.pixels - before)
    assert spent[1] == pytest.approx(spent[0], rel=0.15)


def test_a_still_face_is_kept_without_a_search_but_not_for_ever() -> None:
    detector = SquareDetector()
    watch = schedule(detector, replace(EASY, still_frames=5))
    faces = show(watch, [world((200, 150, 90, 90))] * 61)
    assert all(len(shown) == 1 and shown[0].id == 1 for shown in faces)
    report = watch.report()
    assert report.kept == 50
    assert report.skipped >= 45
    # Between two searches five frames pass, and the pipeline is told that nothing was seen in these.
    assert sum(shown[0].fresh for shown in faces) == 11


def test_a_face_that_moves_again_is_searched_for_at_once() -> None:
    watch = schedule(SquareDetector())
    show(watch, [world((200, 150, 90, 90))] * 3)
    (face,) = watch.faces(world((212, 156, 90, 90)), 3 / 30)
    assert face.fresh
    assert iou(face.box, (212, 156, 90, 90)) > 0.7


def test_a_smile_on_a_still_face_is_noticed() -> None:
    still = world((200, 150, 90, 90))
    smiling = still.copy()
    smiling[215:225, 225:265] = 200  # a tenth of the side high, brightness changed by a fifth
    watch = schedule(SquareDetector())
    show(watch, [still] * 3)
    assert not watch.faces(still, 3 / 30)[0].fresh
    assert watch.faces(smiling, 4 / 30)[0].fresh


def test_noise_is_not_taken_for_movement() -> None:
    rng = np.random.default_rng(0)
    still = world((200, 150, 90, 90), brightness=200).astype(np.float32)
    frames = [np.clip(still + rng.normal(0, 4, still.shape), 0, 255).astype(np.uint8) for _ in range(30)]
    watch = schedule(SquareDetector())
    show(watch, frames)
    assert watch.report().kept >= 20
    assert watch.report().area_scans == 0


def test_who_comes_in_is_found_by_searching_what_changed() -> None:
    detector = SquareDetector()
    watch = schedule(detector, replace(EASY, full_scan_every=100))
    resident: Box = (80, 80, 90, 90)
    show(watch, [world(resident)] * 10)
    before = watch.report()
    faces = show(watch, [world(resident, (400, 250, 70, 70))] * 5, start=10)
    assert [len(shown) for shown in faces][-1] == 2
    after = watch.report()
    assert (after.full_scans, after.area_scans) == (before.full_scans, before.area_scans + 1)
    assert after.pixels - before.pixels < 0.3 * FRAME


def test_several_who_come_in_far_apart_are_searched_one_by_one() -> None:
    detector = SquareDetector()
    watch = schedule(detector)
    show(watch, [world()] * 10)
    before = detector.pixels
    corners: list[Box] = [(20, 20, 60, 60), (540, 20, 60, 60), (20, 390, 60, 60), (540, 390, 60, 60)]
    assert len(show(watch, [world(*corners)], start=10)[-1]) == 4
    assert detector.pixels - before < 0.6 * FRAME


def test_an_empty_still_room_is_left_alone_between_scans() -> None:
    detector = SquareDetector()
    watch = schedule(detector, replace(EASY, full_scan_every=10))
    show(watch, [world()] * 101)
    report = watch.report()
    assert report.full_scans == 11
    assert report.skipped == 90


def test_everything_is_searched_now_and_then_even_if_nothing_changes() -> None:
    watch = schedule(SquareDetector(), replace(EASY, full_scan_every=10))
    show(watch, [world((100, 100, 80, 80))] * 121)
    assert watch.report().full_scans == 4


def test_after_the_last_face_has_gone_everything_is_searched_on_the_cadence() -> None:
    watch = schedule(SquareDetector(), replace(EASY, full_scan_every=10, hold_s=0.1, forget_after_s=0.1))
    show(watch, [world((100, 100, 80, 80))] * 12)
    before = watch.report().full_scans
    show(watch, [world()] * 40, start=12)
    assert watch.report().full_scans - before >= 4


def test_a_moving_camera_is_scanned_by_the_cadence() -> None:
    rng = np.random.default_rng(0)
    wide = np.repeat(np.repeat(rng.integers(0, 80, (48, 200), dtype=np.uint8), 10, 0), 10, 1)
    frames = []
    for n in range(90):
        frame = np.ascontiguousarray(wide[:, 8 * n : 8 * n + 640])
        frame[150:230, 200:280] = 255
        frames.append(frame)
    watch = schedule(SquareDetector(), replace(EASY, full_scan_every=15))
    faces = show(watch, frames)
    assert all(len(shown) == 1 for shown in faces)
    report = watch.report()
    assert 5 <= report.full_scans + report.area_scans <= 8


def test_who_leaves_is_held_forgotten_and_given_a_new_id() -> None:
    watch = schedule(SquareDetector(), replace(EASY, hold_s=0.19, forget_after_s=0.6))
    there, empty = world((200, 150, 90, 90)), world()
    faces = show(watch, [there] * 15 + [empty] * 40 + [there] * 15)
    gone = [bool(shown) for shown in faces[15:55]]
    assert gone == [True] * 6 + [False] * 34
    assert not any(shown[0].fresh for shown in faces[15:21])
    assert faces[-1][0].id == 2


def test_who_comes_back_soon_keeps_the_id() -> None:
    watch = schedule(SquareDetector(), replace(EASY, hold_s=0.1, forget_after_s=1.0))
    there, empty = world((200, 150, 90, 90)), world()
    faces = show(watch, [there] * 15 + [empty] * 12 + [there] * 20)
    assert faces[26] == []
    assert {face.id for shown in faces for face in shown} == {1}
    assert faces[-1]


def test_a_face_that_jumps_is_found_again() -> None:
    watch = schedule(SquareDetector())
    show(watch, [world((100, 100, 80, 80))] * 5)
    faces = show(watch, [world((450, 300, 80, 80))] * 5, start=5)
    assert any(iou(face.box, (450, 300, 80, 80)) > 0.8 for face in faces[-1])


def test_without_following_every_face_comes_from_scans() -> None:
    watch = schedule(SquareDetector(), replace(EASY, follow=False, changes_only=False, full_scan_every=1))
    faces = show(watch, [world(box) for box in drifting(20)])
    assert {face.id for shown in faces for face in shown} == {1}
    assert watch.report().full_scans == 20


def test_another_frame_size_begins_a_new_scene() -> None:
    watch = schedule(SquareDetector())
    show(watch, [world((200, 150, 90, 90))] * 5)
    (face,) = watch.faces(world((100, 60, 70, 70), size=(320, 240)), 1.0)
    assert face.id == 2
    assert iou(face.box, (100, 60, 70, 70)) > 0.8


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (24, 24), (300, 23), (40, 40)])
def test_tiny_frames_hold_no_surprise(size: tuple[int, int]) -> None:
    watch = schedule(SquareDetector())
    assert [watch.faces(world(size=size), n / 30) for n in range(3)] == [[], [], []]
    assert watch.faces_still(world(size=size)) == []


def test_any_picture_is_survived() -> None:
    rng = np.random.default_rng(1)
    watch = schedule(SquareDetector(), ScheduleSettings(full_scan_every=2))
    for n in range(60):
        frame = rng.integers(0, 2, (60, 80), dtype=np.uint8).repeat(4, 0).repeat(4, 1) * 255
        for face in watch.faces(frame, n / 30):
            assert face.box[2] > 0
            assert face.box[3] > 0


def test_a_picture_that_stands_alone_is_searched_in_full_and_disturbs_nobody() -> None:
    detector = SquareDetector()
    watch = schedule(detector)
    show(watch, [world((100, 100, 80, 80))] * 3)
    before = detector.pixels
    boxes: list[Box] = [(400, 100, 33, 33), (60, 200, 120, 120)]
    faces = watch.faces_still(world(*boxes))
    assert detector.pixels - before == FRAME
    assert [face.box for face in faces] == [boxes[1], boxes[0]]
    assert [face.id for face in faces] == [1, 2]
    assert watch.faces(world((100, 100, 80, 80)), 0.2)[0].id == 1


def test_weak_evidence_in_a_picture_that_stands_alone_is_no_face() -> None:
    watch = schedule(SquareDetector(strength=0.9))
    assert watch.faces_still(world((100, 100, 80, 80))) == []


def test_a_large_photograph_is_reduced_and_its_boxes_are_not() -> None:
    detector = SquareDetector()
    photograph = world((2000, 1000, 400, 400), size=(4000, 3000))
    (face,) = schedule(detector).faces_still(photograph)
    assert iou(face.box, (2000, 1000, 400, 400)) > 0.95
    assert detector.pixels <= 1920 * 1440


def test_the_report_counts_what_the_detector_was_given() -> None:
    detector = SquareDetector()
    watch = schedule(detector)
    show(watch, [world(box) for box in drifting(30)])
    report = watch.report()
    assert report.frames == 30
    assert report.pixels == detector.pixels
    assert report.slices + report.roi_scans >= detector.calls
    assert (report.working_width, report.full_scan_every) == (480, 15)


def test_nothing_is_kept_of_faces_that_are_gone() -> None:
    clock = WorkClock()
    watch = schedule(SquareDetector(clock), replace(EASY, hold_s=0.0, forget_after_s=0.0, full_scan_every=1))
    for n in range(120):
        watch.faces(world((20 + 37 * n % 500, 20 + 53 * n % 350, 60, 60)), float(n))
    assert len(watch._tracker.tracks) <= 2
    assert len(watch._follower._memories) <= 2


@pytest.mark.parametrize(
    ("name", "value"),
    [("budget_ms", 0.0), ("budget_ms", float("nan")), ("hold_s", -1.0), ("full_scan_every", 0), ("working_width", 8)],
)
def test_settings_that_make_no_sense_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        ScheduleSettings(**{name: value})  # type: ignore[arg-type]
