"""The budget: kept on fast and slow boards, by a clock on which only the detector's work takes time."""

from __future__ import annotations

import pytest

from fer_edge.contract.preprocess import Box, UInt8Array
from fer_edge.vision.base import TrackedBox
from fer_edge.vision.boxes import iou
from fer_edge.vision.budget import CostModel, FrameBudget
from fer_edge.vision.schedule import DetectionSchedule, ScheduleSettings
from tests.edge.square_world import SquareDetector, WorkClock, world

BUDGET_MS = 12.0
FAST, SLOW, VERY_SLOW = 1e-7, 1.5e-6, 3e-6
"""Seconds a window: a scan of everything takes about 10, 150 and 300 ms at full width."""


def costs(
    detector: SquareDetector, watch: DetectionSchedule, frames: list[UInt8Array], start: int = 0
) -> tuple[list[float], list[list[TrackedBox]]]:
    """Return what each frame took, in milliseconds, and its faces."""
    spent, faces = [], []
    for n, frame in enumerate(frames, start):
        before = detector.clock.seconds
        faces.append(watch.faces(frame, n / 30))
        spent.append((detector.clock.seconds - before) * 1e3)
    return spent, faces


def moving(count: int, *others: Box) -> list[UInt8Array]:
    return [world((100 + abs(100 - 2 * n % 200), 150, 80, 80), *others) for n in range(count)]


def watcher(seconds_per_window: float, **settings: float) -> tuple[SquareDetector, DetectionSchedule]:
    detector = SquareDetector(seconds_per_window=seconds_per_window)
    chosen = ScheduleSettings(budget_ms=BUDGET_MS, changes_only=False, **settings)  # type: ignore[arg-type]
    return detector, DetectionSchedule(detector, chosen, clock=detector.clock)


@pytest.mark.parametrize("board", [FAST, SLOW, VERY_SLOW])
def test_a_board_keeps_the_budget_after_its_first_frame(board: float) -> None:
    detector, watch = watcher(board)
    spent, faces = costs(detector, watch, moving(200))
    assert all(len(shown) == 1 and shown[0].id == 1 for shown in faces)
    later = spent[1:]
    assert sum(later) / len(later) < BUDGET_MS
    assert sum(ms > 1.25 * BUDGET_MS for ms in later) <= 0.05 * len(later)


def test_a_fast_board_scans_at_full_width_on_the_cadence() -> None:
    detector, watch = watcher(FAST)
    costs(detector, watch, moving(100))
    report = watch.report()
    assert (report.working_width, report.full_scan_every) == (480, 15)
    assert report.full_scans == 7


def test_a_slow_board_scans_less_finely_and_less_often_and_says_so() -> None:
    detector, watch = watcher(VERY_SLOW)
    costs(detector, watch, moving(200))
    report = watch.report()
    assert report.working_width < 480
    assert report.full_scan_every > 15
    assert report.slices > report.full_scans * 4
    assert 0 < report.cost_ms < 1.25 * BUDGET_MS
    assert report.budget_ms == BUDGET_MS


def test_a_scan_in_slices_finds_faces_anywhere() -> None:
    for y in range(10, 400, 37):
        detector, watch = watcher(SLOW, full_scan_every=5)
        costs(detector, watch, [world()] * 3)
        box: Box = (300, y, 70, 70)
        _, faces = costs(detector, watch, [world(box)] * 30, start=3)
        assert any(iou(face.box, box) > 0.8 for face in faces[-1])


def test_a_board_that_gets_faster_widens_again() -> None:
    detector, watch = watcher(VERY_SLOW)
    costs(detector, watch, moving(100))
    narrow = watch.report().working_width
    detector.seconds_per_window = FAST
    costs(detector, watch, moving(300), start=100)
    assert watch.report().working_width == 480 > narrow


def test_many_faces_take_turns_and_none_waits_for_ever() -> None:
    detector, watch = watcher(VERY_SLOW)
    crowd: list[list[Box]] = [
        [(20 + 100 * (n % 6) + abs(20 - 2 * frame % 40), 20 + 110 * (n // 6), 50, 50) for n in range(24)]
        for frame in range(150)
    ]
    spent, faces = costs(detector, watch, [world(*boxes) for boxes in crowd])
    assert len(faces[-1]) == 24
    assert watch.report().postponed > 0
    assert sum(spent[1:]) / len(spent[1:]) < 1.25 * BUDGET_MS
    waits = [149 / 30 - face.last_seen for face in faces[-1]]
    assert max(waits) < 0.6


def test_a_new_face_is_found_while_many_take_turns() -> None:
    detector, watch = watcher(VERY_SLOW)
    crowd: list[Box] = [(20 + 100 * (n % 6), 20 + 110 * (n // 6), 50, 50) for n in range(20)]
    costs(detector, watch, [world(*crowd)] * 10)
    newcomer: Box = (480, 350, 90, 90)
    _, faces = costs(detector, watch, [world(*crowd, newcomer)] * 90, start=10)
    assert any(iou(face.box, newcomer) > 0.8 for face in faces[-1])


def test_a_cost_model_predicts_what_it_was_taught() -> None:
    model = CostModel()
    assert model.seconds(100.0) == 0.0
    assert model.units(1.0) == float("inf")
    model.learn(1000.0, 0.01)
    assert model.seconds(500.0) == pytest.approx(0.005)
    assert model.units(0.02) == pytest.approx(2000.0)
    for _ in range(60):
        model.learn(1000.0, 0.02)
    assert model.seconds(1000.0) == pytest.approx(0.02, rel=0.01)


def test_one_interruption_does_not_make_a_slow_board() -> None:
    model = CostModel()
    for _ in range(20):
        model.learn(1000.0, 0.01)
    model.learn(1000.0, 5.0)
    assert model.seconds(1000.0) < 0.015


def test_a_frame_budget_counts_from_its_beginning() -> None:
    clock = WorkClock()
    budget = FrameBudget(0.010, clock)
    budget.begin()
    clock.seconds += 0.004
    assert budget.spent() == pytest.approx(0.004)
    assert budget.left() == pytest.approx(0.006)
    assert budget.left(0.25) == pytest.approx(-0.0015)
    budget.end()
    budget.begin()
    assert budget.left() == pytest.approx(0.010)
    clock.seconds += 0.014
    budget.end()
    assert budget.mean_s == pytest.approx(0.005)
