from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_edge.contract.preprocess import Box
from fer_edge.vision.change import ChangeMap
from fer_edge.vision.nearby import CONFIRM, FOLLOW, look
from fer_edge.vision.pyramid import Octaves, Slice, octave_sizes, plan, windows
from tests.edge.square_world import SquareDetector, world

WINDOW = 24
SIZES = st.tuples(st.integers(60, 1400), st.integers(60, 1000))


def pieces(size: tuple[int, int], area: Box, width: int, limit: float, least: int = 1) -> list[Slice]:
    return plan(size, area, working_width=width, min_face=least, window=WINDOW, slice_windows=limit)


@given(
    size=SIZES,
    width=st.integers(100, 700),
    limit=st.floats(100, 1e6),
    face=st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
)
@settings(max_examples=300, deadline=None)
def test_wherever_a_face_is_some_slice_holds_all_of_it(
    size: tuple[int, int], width: int, limit: float, face: tuple[float, float, float]
) -> None:
    smallest = WINDOW * max(1.0, size[0] / width)
    largest = min(size)
    if smallest >= largest:
        return
    side = smallest + face[0] * (largest - smallest)
    x, y = face[1] * (size[0] - side), face[2] * (size[1] - side)
    sizes = octave_sizes(size, width)
    # A pixel of slack for what rounding takes from an octave and a strip.
    for piece in pieces(size, (0, 0, *size), width, limit):
        sx, sy = sizes[piece.octave][0] / size[0], sizes[piece.octave][1] / size[1]
        left, top, w, h = piece.area
        held = left <= x * sx + 1 and x * sx + side * sx <= left + w + 1
        held &= top <= y * sy + 1 and y * sy + side * sy <= top + h + 1
        if held and piece.smallest - 1 <= side * sx <= 2 * WINDOW + 1:
            return
    pytest.fail(f"no slice for a face of {side:.0f} at {x:.0f}, {y:.0f} in {size}")


def test_large_faces_come_first() -> None:
    octaves = [piece.octave for piece in pieces((640, 480), (0, 0, 640, 480), 480, 5000.0)]
    assert octaves == sorted(octaves, reverse=True)
    assert octaves[0] == 3
    assert octaves[-1] == 0


def test_slices_are_as_small_as_asked_for_and_no_more_than_needed() -> None:
    whole = pieces((640, 480), (0, 0, 640, 480), 480, float("inf"))
    assert len(whole) == 4
    limit = 0.4 * max(piece.windows for piece in whole)
    cut = pieces((640, 480), (0, 0, 640, 480), 480, limit)
    assert max(piece.windows for piece in cut) <= limit
    assert len([piece for piece in cut if piece.octave == 0]) <= 6


def test_only_the_area_is_searched() -> None:
    for piece in pieces((640, 480), (320, 240, 160, 120), 480, float("inf")):
        w, h = octave_sizes((640, 480), 480)[piece.octave]
        assert piece.area == pytest.approx((w / 2, h / 2, w / 4, h / 4), abs=1)


def test_octaves_that_hold_too_small_faces_only_are_left_out() -> None:
    assert {piece.octave for piece in pieces((640, 480), (0, 0, 640, 480), 480, float("inf"), least=150)} == {2, 3}


def test_octaves_are_made_once_and_only_if_asked_for() -> None:
    octaves = Octaves(world((100, 100, 80, 80)), 320)
    assert octaves.image(1).shape == (120, 160)
    assert octaves.image(1) is octaves.image(1)
    assert octaves.image(0).shape == (240, 320)
    assert octaves.scale(1) == (4.0, 4.0)
    small = world(size=(200, 150))
    assert Octaves(small, 480).image(0) is small


@given(st.integers(60, 400), st.integers(60, 400))
def test_windows_are_counted_as_opencv_steps(w: int, h: int) -> None:
    stepped = sum(
        len(np.arange(0, w - side + 1, 2 * side / WINDOW)) * len(np.arange(0, h - side + 1, 2 * side / WINDOW))
        for side in (24.0, 28.8, 34.56, 41.472)
        if side <= min(w, h)
    )
    counted = windows((0, 0, w, h), WINDOW, 47, WINDOW, 1.2) - 100
    assert counted == pytest.approx(stepped, rel=0.25, abs=60)


@pytest.mark.parametrize("box", [(300, 200, 60, 60), (5, 5, 200, 200), (575, 415, 60, 60)])
def test_a_close_look_finds_a_face_wherever_it_is(box: Box) -> None:
    guess = (box[0] + box[2] // 12, box[1] - box[2] // 12, box[2], box[3])
    for how in (FOLLOW, CONFIRM):
        (found,), pixels = look(world(box), guess, how, SquareDetector())
        assert found.box == pytest.approx(box, abs=max(3, box[2] // 20))
        assert 0 < pixels <= (how.reach * how.windows * WINDOW + 2) ** 2


@pytest.mark.parametrize("box", [(-300, 10, 50, 50), (700, 10, 50, 50), (630, 470, 50, 50), (10, 10, 0, 0)])
def test_a_close_look_outside_the_picture_finds_nothing(box: Box) -> None:
    assert look(world((100, 100, 80, 80)), box, FOLLOW, SquareDetector())[0] == []


def test_change_is_told_place_by_place() -> None:
    changes = ChangeMap()
    empty = world()
    assert changes.changed(empty, ()) == [(0, 0, 640, 480)]
    changes.searched(empty, [(0, 0, 640, 480)])
    assert changes.changed(empty, ()) == []
    left, right = (50, 50, 80, 80), (450, 300, 60, 60)
    both = world(left, right)
    areas = sorted(changes.changed(both, ()))
    for (x, y, w, h), (ax, ay, aw, ah) in zip([left, right], areas, strict=True):
        assert ax <= x - 8
        assert ay <= y - 8
        assert x + w + 8 <= ax + aw <= x + w + 40
        assert y + h + 8 <= ay + ah <= y + h + 40
    assert changes.changed(both, [left]) == [areas[1]]
    changes.searched(both, [areas[0]])
    assert changes.changed(both, ()) == [areas[1]]


def test_slow_change_adds_up() -> None:
    changes = ChangeMap()
    changes.searched(world((200, 200, 60, 60), brightness=20), [(0, 0, 640, 480)])
    seen = [bool(changes.changed(world((200, 200, 60, 60), brightness=20 + 2 * n), ())) for n in range(12)]
    assert seen == [False] * 6 + [True] * 6


def test_areas_that_touch_become_one() -> None:
    changes = ChangeMap()
    changes.searched(world(), [(0, 0, 640, 480)])
    # A bracket and what it embraces: their boxes overlap, their pixels do not.
    picture = world((100, 100, 200, 16), (100, 100, 16, 200), (220, 220, 40, 40))
    assert len(changes.changed(picture, ())) == 1


def test_rain_is_searched_as_one() -> None:
    changes = ChangeMap()
    changes.searched(world(), [(0, 0, 640, 480)])
    drops: list[Box] = [(20 + 80 * (n % 8), 20 + 80 * (n // 8), 10, 10) for n in range(40)]
    assert len(changes.changed(world(*drops[:10]), ())) == 10
    assert len(changes.changed(world(*drops), ())) == 1


def test_a_body_below_a_known_face_is_no_news_unless_somebody_was_lost_there() -> None:
    changes = ChangeMap()
    changes.searched(world(), [(0, 0, 640, 480)])
    face: Box = (300, 100, 60, 60)
    hand: Box = (320, 220, 40, 40)
    assert changes.changed(world(face, hand), [face]) == []
    (area,) = changes.changed(world(face, hand), [face], [(330, 210, 50, 50)])
    assert area[1] > face[1] + face[3]
