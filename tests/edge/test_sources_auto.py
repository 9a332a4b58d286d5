"""``auto`` among cameras that are dead: it takes no longer than it may, reaches the others, and does not chatter."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest

from fer_edge.errors import SourceError
from fer_edge.runtime.live_feed import LiveFeed
from fer_edge.sources import Source, SourceSettings
from fer_edge.sources.auto import TOLD_AGAIN_AFTER_S, AutoSource, Candidate
from fer_edge.sources.supervised import Backoff
from tests.edge.sample_observations import eventually
from tests.edge.scripted_camera import Device, Mood

SETTINGS = SourceSettings(read_timeout_s=0.5)


class Bench:
    """Cameras side by side; a source is built anew at each look, as it is for real ones."""

    def __init__(self, *moods: Mood) -> None:
        self.devices = [Device(mood) for mood in moods]

    def candidates(self, settings: SourceSettings) -> Iterator[Candidate]:
        yield Candidate("codec", None, "is no camera")
        for number, device in enumerate(self.devices):
            yield Candidate(f"camera {number}", device.source(settings))


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    bench = Bench(*request.param)
    yield bench
    for device in bench.devices:
        device.let_go.set()


def opened(source: AutoSource) -> str:
    """Open it and return what was taken, or the error."""
    try:
        source.open()
    except SourceError as error:
        return str(error)
    return next(step for step in source.steps if step.endswith(": taken"))


@pytest.mark.parametrize("bench", [("hang on open", "hang", "hang on open", "good")], indirect=True)
def test_a_working_camera_behind_dead_ones_is_reached(bench: Bench) -> None:
    source = AutoSource(SETTINGS, bench.candidates)
    assert opened(source) == "camera 3: taken"
    assert source.steps[:3] == (
        "codec: is no camera",
        "camera 0: delivers no picture in time",
        "camera 1: delivers no picture in time",
    )
    assert source.read() is not None
    assert source.hanging
    source.close()
    for device in bench.devices:
        device.hanging.clear()
    assert opened(source) == "camera 3: taken"  # and at once: those that were silent have to let it go first
    assert not any(device.hanging.is_set() for device in bench.devices)
    source.close()


@pytest.mark.parametrize("bench", [("hang on open", "hang on open", "good")], indirect=True)
def test_a_silent_camera_gets_another_chance_and_is_left_alone_while_it_hangs(bench: Bench) -> None:
    first, second, third = bench.devices
    source = AutoSource(SETTINGS, bench.candidates)
    opened(source)
    source.close()
    third.mood = "missing"
    first.mood = "good"  # the next call to its driver would succeed, but the first one still hangs
    for _ in range(3):
        assert "no camera works" in opened(source)
    assert first.openings == 0
    first.let_go.set()
    eventually(lambda: (first.openings, first.holders) == (1, 0), "the first camera's driver comes back")
    assert "camera 0: taken" in [opened(source) for _ in range(2)]  # the two silent ones take turns
    assert second.openings == 0
    source.close()
    second.let_go.set()
    eventually(lambda: not source.hanging and second.holders == 0, "all cameras are given back")


@pytest.mark.parametrize("bench", [("hang on open", "stall", "hang", "hang on open")], indirect=True)
def test_many_dead_cameras_are_a_failure_and_not_a_hang(bench: Bench) -> None:
    settings = replace(SETTINGS, read_timeout_s=2.0)
    feed = LiveFeed(
        lambda: AutoSource(settings, bench.candidates),
        settings,
        wait_for_source=True,
        backoff=Backoff(first_s=0.0, jitter=0.0),
    )
    feed.start()

    def failed_twice() -> bool:
        now = feed._clock()
        assert feed.healthy(now), "the service manager would kill a run that does what it can"
        feed.supervise(now)
        return feed.failures >= 2

    eventually(failed_twice, "two openings")
    assert "no camera works (tried codec: is no camera, camera 0: delivers no picture" in feed.state().detail
    feed.end()
    assert not feed.join()  # drivers hang: the interpreter must not be torn down around them
    for device in bench.devices:
        device.let_go.set()
    eventually(feed.join, "the drivers' return")


@pytest.mark.parametrize("bench", [("missing", "hang on open", "hang on open")], indirect=True)
def test_the_same_outcome_is_told_once_and_then_seldom(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    now = [0.0]
    source = AutoSource(replace(SETTINGS, read_timeout_s=0.1), bench.candidates, clock=lambda: now[0])
    errors = set()
    for _ in range(6):  # the silent two take turns meanwhile
        errors.add(opened(source))
        now[0] += 30.0
    assert len(errors) == 1
    told = [
        "auto: passed over codec: is no camera",
        "auto: passed over camera 0: no such device; plug it in",
        "auto: passed over camera 1: delivers no picture in time",
        "auto: passed over camera 2: delivers no picture in time",
    ]
    assert caplog.messages == told
    now[0] += TOLD_AGAIN_AFTER_S
    opened(source)
    assert caplog.messages == 2 * told
    bench.devices[0].mood = "good"
    opened(source)
    assert "auto: took camera 0" in caplog.messages
    source.close()


class Exploding:
    """A source whose library raises what no source should."""

    name, live, nominal_fps = "exploding:", True, None

    def open(self) -> None:
        raise ValueError("numpy.core.multiarray failed\nto import")

    def read(self) -> None:
        raise AssertionError

    def close(self) -> None:
        pass


def test_a_library_that_breaks_does_not_keep_the_next_camera_away() -> None:
    device = Device()
    exploding: Source = Exploding()
    source = AutoSource(SETTINGS, lambda settings: [Candidate("a", exploding), Candidate("b", device.source(settings))])
    source.open()
    assert source.steps == ("a: numpy.core.multiarray failed to import", "b: taken")
    source.close()
    assert device.holders == 0
