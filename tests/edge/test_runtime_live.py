from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fer_edge.contract.interpreter import LoadedModel, load_model
from fer_edge.contract.labels import LABELS
from fer_edge.contract.preprocess import Box, UInt8Array
from fer_edge.errors import SourceError
from fer_edge.notify import ServiceNotifier
from fer_edge.runtime import Runtime
from fer_edge.runtime.live_feed import HUNG_MOST, LiveFeed
from fer_edge.sources import SourceSettings
from fer_edge.sources.supervised import Backoff
from fer_edge.vision.classifier import ExpressionClassifier
from fer_edge.vision.smoothing import ExpressionSmoother
from tests.edge.sample_observations import eventually
from tests.edge.scripted_camera import Background, Device, MemoryOutput, Mood, parts_for
from tests.edge.service_manager import ServiceManager
from tests.edge.tiny_model import write_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.tflite")


@pytest.fixture
def device() -> Iterator[Device]:
    device = Device()
    yield device
    device.let_go.set()


@pytest.fixture
def output() -> MemoryOutput:
    return MemoryOutput()


def live_run(
    model: Path, output: MemoryOutput, device: Device, *, wait: bool = False, read_timeout_s: float = 0.2
) -> Background:
    keys = {"source.read_timeout_s": read_timeout_s, "source.freeze_after_s": 0.3}
    return Background(
        Runtime(parts_for(model, [output], device=device, keys=keys), wait_for_source=wait, status_every_s=0.1)
    )


def test_live_frames_are_seen_and_the_camera_is_given_back(model: Path, device: Device, output: MemoryOutput) -> None:
    run = live_run(model, output, device)
    run.until(lambda: sum(bool(each.faces) for each in output.observations) >= 5, "faces")
    summary = run.stop()
    assert device.holders == 0
    assert output.states[-1].state == "stopped"
    assert summary.source == "scripted:camera"
    assert summary.failures == 0
    indices = [observation.frame for observation in output.observations]
    assert indices == sorted(set(indices))
    assert all(observation.age_ms > 0 for observation in output.observations)
    # Every frame was either processed or counted as dropped; up to two were still on their way.
    assert 0 <= indices[-1] + 1 - summary.statistics.frames - summary.dropped <= 2


def test_what_a_slow_pipeline_cannot_take_is_dropped_and_counted(
    model: Path, device: Device, output: MemoryOutput
) -> None:
    device.interval_s = 0.0005
    run = live_run(model, output, device)
    run.until(lambda: run.runtime.status().dropped > 20 and len(output.observations) > 5, "drops")
    assert run.stop().dropped > 20


@pytest.mark.parametrize(
    ("mood", "reason"),
    [
        ("vanish", "no such device"),  # what opening it again says
        ("stall", "no picture in time"),
        ("freeze", "the picture has not changed"),
        ("garbage", "delivers pictures of the shape"),
        ("hang", "the driver has not come back"),
    ],
)
def test_a_source_that_fails_is_shown_as_retrying_and_comes_back(
    model: Path, device: Device, output: MemoryOutput, caplog: pytest.LogCaptureFixture, mood: Mood, reason: str
) -> None:
    caplog.set_level(logging.INFO)
    run = live_run(model, output, device)
    run.until(lambda: len(output.observations) >= 3, "results")
    device.mood = mood
    run.until(lambda: output.state == "retrying" and reason in output.detail, f"the reason {reason!r}")
    device.mood = "good"
    before = len(output.observations)
    run.until(lambda: output.state == "running" and len(output.observations) > before + 3, "recovery")
    assert run.runtime.status().detail == ""
    device.let_go.set()
    summary = run.stop()
    assert summary.failures >= 1
    assert device.openings >= 2
    indices = [observation.frame for observation in output.observations]
    assert indices == sorted(set(indices))
    eventually(lambda: device.holders == 0, "the camera is given back")
    assert reason in caplog.text
    assert "delivers again after" in caplog.text
    assert "Traceback" not in caplog.text


def test_a_frozen_camera_is_shown_as_retrying_until_its_picture_moves(
    model: Path, device: Device, output: MemoryOutput, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = live_run(model, output, device)
    run.until(lambda: len(output.observations) >= 3, "results")
    device.mood = "freeze"
    run.until(lambda: output.state == "retrying", "the freeze to be noticed")
    shown, states, openings = len(output.observations), len(output.states), device.openings

    def opened_again_three_times() -> bool:
        status = run.runtime.status()
        assert (status.state, "the picture has not changed" in status.detail) == ("retrying", True)
        return device.openings >= openings + 3

    run.until(opened_again_three_times, "three more openings")
    assert {state.state for state in output.states[states:]} <= {"retrying"}
    assert len(output.observations) <= shown + 1  # the one that was under way
    assert caplog.text.count("the picture has not changed") == 1
    assert "delivers again" not in caplog.text
    device.mood = "good"
    run.until(lambda: output.state == "running" and len(output.observations) > shown + 3, "recovery")
    run.stop()


def test_a_reason_that_lasts_is_logged_once(device: Device, caplog: pytest.LogCaptureFixture) -> None:
    device.mood = "missing"
    feed = LiveFeed(
        lambda: device.source(SourceSettings()), SourceSettings(), wait_for_source=True, backoff=Backoff(first_s=0.001)
    )
    feed.start()
    eventually(lambda: feed.failures > 5, "attempts")
    feed.end()
    assert feed.join()
    assert caplog.text.count("no such device") == 1


def test_a_picture_of_another_size_is_taken_as_it_is(model: Path, device: Device, output: MemoryOutput) -> None:
    run = live_run(model, output, device)
    run.until(lambda: len(output.observations) >= 3, "results")
    device.mood = "resize"
    run.until(lambda: output.observations[-1].size == (200, 256), "the new size")
    run.until(lambda: bool(output.observations[-1].faces), "a face in it")
    assert run.stop().failures == 0


def test_a_camera_that_is_missing_at_the_start_is_an_error(model: Path, device: Device, output: MemoryOutput) -> None:
    device.mood = "missing"
    with pytest.raises(SourceError, match="no such device; plug it in"):
        Runtime(parts_for(model, [output], device=device)).run()
    assert output.opened == 0


def test_a_driver_that_hangs_at_the_start_is_an_error(model: Path, device: Device, output: MemoryOutput) -> None:
    device.mood = "hang on open"
    runtime = Runtime(parts_for(model, [output], device=device, keys={"source.read_timeout_s": 0.1}))
    with pytest.raises(SourceError, match="the driver has not come back"):
        runtime.run()
    assert runtime.left_hanging


def test_a_service_waits_for_a_camera_that_is_missing(model: Path, device: Device, output: MemoryOutput) -> None:
    device.mood = "missing"
    run = live_run(model, output, device, wait=True)
    run.until(lambda: output.state == "retrying", "retrying")
    assert "no such device" in output.detail
    device.mood = "good"
    run.until(lambda: output.state == "running", "running")
    run.stop()


@pytest.mark.parametrize(
    ("source", "cap_s"), [("auto", 2.0), ("0", 2.0), ("picamera2", 2.0), ("rtsp://192.0.2.1/", 30.0)]
)
def test_the_waits_are_bounded_by_where_the_source_is(
    model: Path, device: Device, output: MemoryOutput, source: str, cap_s: float
) -> None:
    device.mood = "missing"
    parts = parts_for(model, [output], source=source, device=device)
    assert parts.longest_wait_s == cap_s
    # The run obeys it: with waits that double from half a second on, as many attempts would take days.
    run = Background(Runtime(replace(parts, longest_wait_s=0.001), wait_for_source=True))
    run.until(lambda: device.attempts > 20, "attempts")
    run.stop()


@pytest.mark.parametrize("mood", ["hang", "stall"])
def test_a_stop_does_not_wait_for_a_camera(model: Path, device: Device, output: MemoryOutput, mood: Mood) -> None:
    run = live_run(model, output, device, read_timeout_s=300.0)
    run.until(lambda: bool(output.observations), "a result")
    device.mood = mood
    assert device.hanging.wait(60)
    run.stop()  # would time out if it waited for the read
    assert run.runtime.left_hanging
    assert output.closed == 1


def test_a_stop_does_not_wait_for_the_next_attempt(device: Device) -> None:
    device.mood = "missing"
    backoff = Backoff(first_s=300.0)
    feed = LiveFeed(lambda: device.source(SourceSettings()), SourceSettings(), wait_for_source=True, backoff=backoff)
    feed.start()
    eventually(lambda: feed.failures == 1, "the first attempt")
    feed.end()
    assert feed.join()


def test_a_pause_closes_the_camera_and_shows_it(model: Path, device: Device, output: MemoryOutput) -> None:
    run = live_run(model, output, device)
    run.until(lambda: bool(output.observations), "a result")
    run.runtime.pause()
    run.until(lambda: run.runtime.status().state == "paused", "the pause")
    assert device.holders == 0
    run.until(lambda: output.state == "paused", "the pause in the output")
    shown, openings = len(output.observations), device.openings
    states = len(output.states)
    run.until(lambda: len(output.states) > states + 1, "more states")
    assert (len(output.observations), device.openings) == (shown, openings)
    assert run.runtime.paused
    run.runtime.resume()
    run.until(lambda: len(output.observations) > shown, "a result after the pause")
    assert device.openings == openings + 1
    run.stop()


def test_a_pause_is_not_shown_as_one_before_the_camera_is_closed(
    model: Path, device: Device, output: MemoryOutput
) -> None:
    run = live_run(model, output, device, read_timeout_s=300.0)
    run.until(lambda: bool(output.observations), "a result")
    device.mood = "hang"
    assert device.hanging.wait(60)
    run.runtime.pause()
    status = run.runtime.status()
    assert (status.state, "pausing" in status.detail) == ("running", True)
    device.let_go.set()
    run.until(lambda: run.runtime.status().state == "paused", "the pause")
    assert device.holders == 0
    run.stop()


def test_a_paused_run_can_be_stopped(model: Path, device: Device, output: MemoryOutput) -> None:
    run = live_run(model, output, device)
    run.until(lambda: bool(output.observations), "a result")
    run.runtime.pause()
    run.stop()
    assert device.holders == 0


def test_attempts_end_when_too_many_calls_hang(device: Device) -> None:
    now = [0.0]
    settings = SourceSettings(read_timeout_s=1.0)
    device.mood = "hang on open"
    feed = LiveFeed(
        lambda: device.source(settings),
        settings,
        wait_for_source=True,
        backoff=Backoff(first_s=0.0),
        clock=lambda: now[0],
    )
    feed.start()
    hung = 0
    for _ in range(HUNG_MOST + 3):
        assert device.hanging.wait(60)
        device.hanging.clear()
        hung += 1
        now[0] += 10.0
        assert not feed.healthy(now[0])  # until it is replaced
        feed.supervise(now[0])
        if not feed.healthy(now[0]):
            break
    assert hung == HUNG_MOST + 1
    assert device.built == HUNG_MOST + 1
    assert feed.state().state == "retrying"
    device.let_go.set()
    eventually(lambda: feed.healthy(now[0]), "another attempt")
    feed.end()
    assert feed.join()
    assert device.holders == 0


class HangingClassifier(ExpressionClassifier):
    """Hangs in the library from the moment that the test says so."""

    def __init__(self, model: LoadedModel) -> None:
        super().__init__(model)
        self.hang, self.hanging, self.release = threading.Event(), threading.Event(), threading.Event()

    def classify(self, grey: UInt8Array, boxes: Sequence[Box]) -> NDArray[np.float32]:
        if self.hang.is_set():
            self.hanging.set()
            self.release.wait()
        return super().classify(grey, boxes)


def test_systemd_hears_of_progress_and_of_nothing_else(model: Path, device: Device, output: MemoryOutput) -> None:
    with ServiceManager() as systemd:
        parts = parts_for(model, [output], device=device, keys={"source.read_timeout_s": 0.2})
        classifier = HangingClassifier(load_model(model))
        parts.pipeline.swap_model(classifier, ExpressionSmoother(LABELS))
        notifier = ServiceNotifier(systemd.environment | {"WATCHDOG_USEC": "400000"})
        run = Background(Runtime(parts, notifier=notifier, stuck_after_s=1.0, status_every_s=0.25))
        run.until(lambda: "READY=1" in systemd.messages and "WATCHDOG=1" in systemd.messages, "the start")
        run.until(
            lambda: any(each.startswith("STATUS=running: scripted:camera") for each in systemd.messages), "status"
        )

        device.mood = "vanish"  # no progress, but all that can be done is being done
        run.until(lambda: output.state == "retrying", "retrying")
        assert systemd.beats_between_states(output)

        classifier.hang.set()
        device.mood = "good"
        assert classifier.hanging.wait(60)
        run.until(lambda: not systemd.beats_between_states(output), "no heartbeat while processing hangs")
        classifier.release.set()
        run.until(lambda: systemd.beats_between_states(output), "heartbeats")
        run.stop()
        eventually(lambda: "STOPPING=1" in systemd.messages, "the end")
        assert systemd.messages.count("READY=1") == 1
