from __future__ import annotations

import itertools

import numpy as np
import pytest

from fer_edge.contract.preprocess import Box
from fer_edge.vision.base import Detection, TrackedBox
from fer_edge.vision.boxes import iou, without_duplicates
from fer_edge.vision.tracker import Tracker

SURE = 4.0
FRAME_S = 1 / 30


def walk(
    tracker: Tracker, frames: list[list[Box]], start: float = 0.0, step: float = FRAME_S
) -> list[list[TrackedBox]]:
    """Show faces to a tracker, frame after frame; all of its tracks are searched for in each."""
    shown = []
    for n, boxes in enumerate(frames):
        now = start + n * step
        tracker.advance(now)
        found = [Detection(box, SURE) for box in boxes]
        shown.append(tracker.update([], found, {track.id for track in tracker.tracks}, now))
    return shown


def test_a_face_keeps_its_id_while_it_moves() -> None:
    shown = walk(Tracker(), [[(100 + 4 * n, 100, 80, 80)] for n in range(60)])
    assert [[face.id for face in faces] for faces in shown] == [[1]] * 60
    assert all(faces[0].fresh for faces in shown)


def test_a_moving_box_does_not_lag() -> None:
    shown = walk(Tracker(), [[(100 + 8 * n, 100, 80, 80)] for n in range(60)])
    assert iou(shown[-1][0].box, (100 + 8 * 59, 100, 80, 80)) > 0.85


def test_a_trembling_box_is_steadied() -> None:
    rng = np.random.default_rng(3)
    trembling: list[list[Box]] = [
        [(100 + int(dx), 100 + int(dy), 80 + int(dw), 80 + int(dw))] for dx, dy, dw in rng.integers(-2, 3, (200, 3))
    ]
    shown = walk(Tracker(), trembling)

    def roughness(boxes: list[Box]) -> float:
        centres = np.array([(x + w / 2, y + h / 2, w) for x, y, w, h in boxes[20:]])
        return float(np.abs(np.diff(centres, axis=0)).mean())

    assert roughness([faces[0].box for faces in shown]) < 0.5 * roughness([boxes[0] for boxes in trembling])


def test_a_gap_is_bridged_and_the_id_survives() -> None:
    frames: list[list[Box]] = [[(100 + 3 * n, 100, 80, 80)] for n in range(60)]
    for n in range(20, 40):
        frames[n] = []
    shown = walk(Tracker(hold_s=0.3, forget_after_s=1.0), frames)
    held = [bool(faces) for faces in shown]
    assert all(held[:20])
    # Held for 0.3 s, which is nine frames at 30 a second, and then not shown any more.
    assert held[20:29] == [True] * 9
    assert held[29:40] == [False] * 11
    assert all(held[40:])
    assert {face.id for faces in shown for face in faces} == {1}
    assert not any(face.fresh for faces in shown[20:29] for face in faces)
    assert shown[28][0].last_seen == pytest.approx(19 * FRAME_S)
    assert shown[59][0].first_seen == 0.0


def test_a_held_box_moves_on_and_comes_to_rest() -> None:
    tracker = Tracker(hold_s=10.0, forget_after_s=10.0)
    frames: list[list[Box]] = [[(100 + 6 * n, 100, 80, 80)] for n in range(90)]
    shown = walk(tracker, frames + [[]] * 80)
    places = [faces[0].box[0] for faces in shown]
    assert places[91] > places[89]
    assert places[-1] - places[89] < 0.6 * 6 * 80
    assert places[-1] - places[-10] < 0.3 * (places[98] - places[89])


def test_a_lost_face_gets_a_new_id_after_it_is_forgotten() -> None:
    there: list[list[Box]] = [[(100, 100, 80, 80)]] * 10
    shown = walk(Tracker(hold_s=0.1, forget_after_s=0.5), there + [[]] * 20 + there)
    assert shown[0][0].id == 1
    assert shown[-1][0].id == 2


def test_what_was_seen_only_once_is_not_held() -> None:
    shown = walk(Tracker(hold_s=1.0), [[(100, 100, 80, 80)], [], []])
    assert [len(faces) for faces in shown] == [1, 0, 0]


def test_weak_evidence_has_to_come_again() -> None:
    tracker = Tracker()
    for n, expected in enumerate([[], [1], [1]]):
        tracker.advance(n * FRAME_S)
        weak = [Detection((100, 100, 80, 80), 1.5)]
        faces = tracker.update([], weak, {track.id for track in tracker.tracks}, n * FRAME_S)
        assert [face.id for face in faces] == expected


def test_weak_evidence_that_does_not_come_again_is_forgotten_at_once() -> None:
    tracker = Tracker()
    tracker.advance(0.0)
    assert tracker.update([], [Detection((100, 100, 80, 80), 1.5)], set(), 0.0) == []
    tracker.advance(FRAME_S)
    assert tracker.update([], [], {1}, FRAME_S) == []
    assert tracker.tracks == []


def test_what_is_found_near_a_known_face_begins_no_track() -> None:
    tracker = Tracker()
    tracker.advance(0.0)
    assert tracker.update([Detection((100, 100, 80, 80), SURE)], [], set(), 0.0) == []


def test_a_face_that_was_not_searched_for_is_neither_seen_nor_missed() -> None:
    tracker = Tracker(hold_s=0.1, forget_after_s=0.2)
    walk(tracker, [[(100, 100, 80, 80)]] * 5)
    for n in range(5, 200):
        tracker.advance(n * FRAME_S)
        (face,) = tracker.update([], [], set(), n * FRAME_S)
        assert not face.fresh


@pytest.mark.parametrize("gap", [0, 6, 15])
def test_two_faces_that_cross_keep_their_ids(gap: int) -> None:
    """They pass each other, one hidden behind the other for ``gap`` frames around the crossing."""
    frames: list[list[Box]] = []
    for n in range(100):
        front: Box = (100 + 4 * n, 100, 80, 80)
        behind: Box = (496 - 4 * n, 110, 76, 76)
        frames.append([front] if abs(n - 50) < gap else [front, behind])
    shown = walk(Tracker(), frames)
    first = {face.id: face.box for face in shown[0]}
    last = {face.id: face.box for face in shown[-1]}
    assert set(first) == set(last) == {1, 2}
    right_going = next(number for number, box in first.items() if box[0] < 200)
    assert last[right_going][0] > 400


def test_association_is_as_good_as_trying_everything_for_two() -> None:
    """Greedy alone fails here: the cheapest pair leaves a bad one for the other."""
    rng = np.random.default_rng(7)
    for _ in range(200):
        tracker = Tracker()
        places = [(200 + int(rng.integers(-30, 31)), 100, 80, 80), (260 + int(rng.integers(-20, 40)), 130, 80, 80)]
        walk(tracker, [list(places)])
        if len(tracker.tracks) < 2:
            continue
        moved = [
            (x + int(dx), y + int(dy), 80, 80)
            for (x, y, _, _), (dx, dy) in zip(places, rng.integers(-28, 29, (2, 2)), strict=True)
        ]
        if len(without_duplicates([Detection(box, SURE) for box in moved])) < 2:
            continue
        expected = {track.id: track.expected for track in tracker.tracks}
        tracker.advance(0.0)
        tracker.update([Detection(box, SURE) for box in moved], [], {1, 2}, 0.0)
        got = {track.id: track.shape.measured() for track in tracker.tracks if not track.missed}
        if len(got) < 2:
            continue

        def total(order: tuple[Box, ...], expected: dict[int, Box] = expected) -> float:
            return sum(float(np.hypot(b[0] - e[0], b[1] - e[1])) for b, e in zip(order, expected.values(), strict=True))

        assert total(tuple(got.values())) == pytest.approx(min(total(order) for order in itertools.permutations(moved)))


def test_a_part_of_a_face_does_not_become_a_face() -> None:
    tracker = Tracker(hold_s=1.0)
    walk(tracker, [[(100, 100, 120, 120)]] * 10)
    shown = walk(tracker, [[(120, 130, 40, 40)]], start=10 * FRAME_S)
    assert [face.id for face in shown[0]] == [1]
    assert not shown[0][0].fresh


def test_ids_are_never_used_again() -> None:
    tracker = Tracker(hold_s=0.0, forget_after_s=0.0)
    seen: list[int] = []
    for n in range(20):
        shown = walk(tracker, [[(30 * n, 100, 80, 80)], [], []], start=float(n))
        seen += [face.id for faces in shown for face in faces]
        if n % 5 == 0:
            tracker.clear()
    assert seen == list(range(1, 21))


def test_a_clip_that_starts_again_goes_on() -> None:
    tracker = Tracker()
    walk(tracker, [[(100, 100, 80, 80)]] * 10, start=1000.0)
    shown = walk(tracker, [[(100, 100, 80, 80)]] * 5 + [[]] * 60, start=0.0)
    assert [face.id for face in shown[0]] == [1]
    assert shown[-1] == []
    assert tracker.tracks == []


def test_a_clock_that_stands_still_keeps_nobody_for_ever() -> None:
    tracker = Tracker()
    walk(tracker, [[(100, 100, 80, 80)]] * 2, step=0.0)
    walk(tracker, [[]] * 400, step=0.0)
    assert tracker.tracks == []


def test_duplicates_go_and_the_strongest_stays() -> None:
    found = [
        Detection((100, 100, 80, 80), 1.0),
        Detection((110, 105, 70, 70), 3.0),
        Detection((125, 130, 30, 30), 2.0),
        Detection((300, 100, 80, 80), 0.5),
    ]
    assert without_duplicates(found) == [found[1], found[3]]
