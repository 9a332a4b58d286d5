"""The timeline's arithmetic, on a clock of its own."""

from __future__ import annotations

import time

import pytest

from fer_edge.outputs.web.history import History


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_second_holds_the_mean_number_of_faces() -> None:
    clock = Clock()
    history = History(60, clock)
    for expressions in (["happy"], ["happy", "sad"], [], ["uncertain"]):
        history.add(expressions)
    assert history.records() == []  # the second is still going on
    clock.now = 101.2
    (record,) = history.records()
    assert record["frames"] == 4
    assert record["faces"] == {"happy": 0.5, "sad": 0.25, "uncertain": 0.25}
    assert record["time"] == pytest.approx(time.time() - 1.2, abs=0.5)


def test_seconds_without_a_frame_are_left_out_and_old_ones_forgotten() -> None:
    clock = Clock()
    history = History(10, clock)
    for now in (100.1, 101.9, 105.0, 111.5):
        clock.now = now
        history.add([])
    assert [number for number, _ in history.since(-1)] == [101, 105]
    clock.now = 116.0
    assert [number for number, _ in history.since(-1)] == [111]
    clock.now = 500.0
    assert history.records() == []


def test_since_continues_where_the_last_call_ended() -> None:
    clock = Clock()
    history = History(300, clock)
    assert history.newest() == -1
    history.add(["happy"])
    clock.now = 101.0
    history.add(["sad"])
    newest = history.newest()
    assert newest == 100
    assert history.since(newest) == []
    clock.now = 102.0
    ((number, record),) = history.since(newest)
    assert (number, record["faces"]) == (101, {"sad": 1.0})


def test_it_never_grows_beyond_its_span() -> None:
    clock = Clock()
    history = History(5, clock)
    for second in range(1000):
        clock.now = 100.0 + second
        history.add(["happy"])
    assert len(history._seconds) <= 6
    assert len(history.records()) == 5
