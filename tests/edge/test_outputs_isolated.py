"""IsolatedOutput: nothing that an output does delays the pipeline or takes it down."""

from __future__ import annotations

import json
import logging
import os
import threading
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from fer_edge.contract.preprocess import UInt8Array
from fer_edge.errors import OutputError
from fer_edge.frames import Observation
from fer_edge.outputs.base import OutputClosed
from fer_edge.outputs.isolated import RESULTS_QUEUED, IsolatedOutput, RetrySettings
from fer_edge.outputs.jsonl import JsonlOutput
from fer_edge.outputs.settings import LogSettings
from fer_edge.status import RuntimeStatus
from tests.edge.sample_observations import eventually, face, observation, run_status

AT_ONCE = LogSettings(flush_interval_s=0)
QUICK = RetrySettings(first_s=0.02, longest_s=0.05, calm_s=0.2)
IMAGE: UInt8Array = np.zeros((240, 320, 3), np.uint8)


class Memory:
    """Keeps what it gets; can be told to hang, to fail and not to open."""

    name = "memory"

    def __init__(self, *, wants_image: bool = False, lossless: bool = True) -> None:
        self.wants_image = wants_image
        self.lossless = lossless
        self.frames: list[int] = []
        self.images: list[UInt8Array | None] = []
        self.states: list[str] = []
        self.threads: set[threading.Thread] = set()
        self.opened = self.closed = 0
        self.fault: Exception | None = None
        self.may_write = threading.Event()
        self.may_write.set()

    def open(self) -> None:
        self.threads.add(threading.current_thread())
        if self.fault is not None:
            raise self.fault
        self.opened += 1

    def write(self, observation: Observation, image: UInt8Array | None) -> None:
        self.threads.add(threading.current_thread())
        self.may_write.wait()
        if self.fault is not None:
            raise self.fault
        self.frames.append(observation.frame)
        self.images.append(image)

    def status(self, status: RuntimeStatus) -> None:
        self.threads.add(threading.current_thread())
        if self.fault is not None:
            raise self.fault
        self.states.append(status.state)

    def close(self) -> None:
        self.threads.add(threading.current_thread())
        self.closed += 1


def write_for_ever(output: IsolatedOutput) -> None:
    for frame in count():
        output.write(observation(frame), None)


def has_failed(output: IsolatedOutput, times: int) -> bool:
    return output.stats.failures >= times


def test_everything_happens_in_one_thread_that_is_not_the_callers() -> None:
    memory = Memory(wants_image=True)
    output = IsolatedOutput(memory, finite=True)
    output.open()
    for frame in range(100):
        output.write(observation(frame), IMAGE)
    output.status(run_status())
    output.close()
    output.close()
    assert memory.frames == list(range(100))
    assert all(image is IMAGE for image in memory.images)
    assert memory.states == ["running"]
    assert (memory.opened, memory.closed) == (1, 1)
    assert len(memory.threads) == 1
    assert memory.threads != {threading.current_thread()}
    assert not any(thread.is_alive() for thread in memory.threads)


def test_an_image_goes_only_to_an_output_that_wants_it() -> None:
    memory = Memory(wants_image=False)
    output = IsolatedOutput(memory)
    output.open()
    output.write(observation(0), IMAGE)
    output.close()
    assert memory.images == [None]


def test_an_output_that_cannot_open_fails_in_the_callers_thread(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        IsolatedOutput(JsonlOutput(tmp_path / "file" / "faces.jsonl", AT_ONCE)).open()
    broken = Memory()
    broken.fault = ZeroDivisionError("a bug\nin two lines")
    with pytest.raises(OutputError, match=r"^memory: ZeroDivisionError: a bug in two lines$"):
        IsolatedOutput(broken).open()


def test_a_live_run_goes_on_while_an_output_hangs_and_the_newest_results_are_kept() -> None:
    memory = Memory()
    memory.may_write.clear()
    output = IsolatedOutput(memory)
    output.open()
    output.write(observation(0), None)
    eventually(lambda: output.stats.written == 0 and not output._results, "the first result is being written")
    for frame in range(1, 1000):  # would hang here
        output.write(observation(frame), None)
    assert output.stats.dropped == 999 - RESULTS_QUEUED
    memory.may_write.set()
    output.close()
    assert memory.frames == [0, *range(1000 - RESULTS_QUEUED, 1000)]
    assert output.stats.written + output.stats.dropped == 1000


def test_of_pictures_only_the_newest_waits() -> None:
    memory = Memory(wants_image=True)
    memory.may_write.clear()
    output = IsolatedOutput(memory)
    output.open()
    output.write(observation(0), IMAGE)
    eventually(lambda: not output._results, "the first result is being written")
    for frame in range(1, 50):
        output.write(observation(frame), IMAGE)
    memory.may_write.set()
    output.close()
    assert memory.frames == [0, 49]


def test_closing_does_not_wait_for_an_output_that_hangs(caplog: pytest.LogCaptureFixture) -> None:
    memory = Memory()
    memory.may_write.clear()
    output = IsolatedOutput(memory, close_timeout_s=0.05)
    output.open()
    output.write(observation(0), None)
    output.close()
    assert "memory: did not finish" in caplog.text
    memory.may_write.set()
    eventually(lambda: memory.closed == 1, "the thread ends by itself")


def test_a_reader_that_stands_still_does_not_stop_a_live_run(tmp_path: Path) -> None:
    """The real thing: a pipe that nobody empties."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    output = IsolatedOutput(JsonlOutput(path, AT_ONCE))
    output.open()
    for frame in range(5000):
        output.write(observation(frame, face()), None)
    assert output.stats.dropped > 0
    os.set_blocking(reading, True)
    with os.fdopen(reading, "rb") as pipe:
        drained: list[bytes] = []
        drain = threading.Thread(target=lambda: drained.extend(pipe.readlines()))
        drain.start()
        output.close()
        drain.join()
    frames = [json.loads(line)["frame"] for line in drained]
    assert frames == sorted(frames)
    assert frames[-1] == 4999
    assert len(frames) == output.stats.written


def test_a_finite_run_waits_for_a_slow_reader_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    output = IsolatedOutput(JsonlOutput(path, AT_ONCE), finite=True)
    output.open()

    def produce() -> None:
        for frame in range(3000):
            output.write(observation(frame, face()), None)
        output.close()

    producer = threading.Thread(target=produce)
    producer.start()
    os.set_blocking(reading, True)
    with os.fdopen(reading, "rb") as pipe:
        frames = [json.loads(line)["frame"] for line in pipe]
    producer.join()
    assert frames == list(range(3000))


def test_a_view_of_a_finite_run_may_drop() -> None:
    memory = Memory(lossless=False)
    memory.may_write.clear()
    output = IsolatedOutput(memory, finite=True)
    assert not output.lossless
    output.open()
    for frame in range(2 * RESULTS_QUEUED):
        output.write(observation(frame), None)
    memory.may_write.set()
    output.close()
    assert output.stats.dropped > 0


def test_a_failure_in_a_finite_run_is_raised(caplog: pytest.LogCaptureFixture) -> None:
    memory = Memory()
    memory.fault = None
    output = IsolatedOutput(memory, finite=True)
    output.open()
    memory.fault = OutputError("disk: full")
    with pytest.raises(OutputError, match="disk: full"):
        write_for_ever(output)
    with pytest.raises(OutputError, match="disk: full"):
        output.close()
    assert memory.closed == 1
    assert caplog.text == ""


def test_a_failure_at_the_end_of_a_finite_run_is_raised() -> None:
    """A disk that is full only when the last batch is written."""
    with Path("/dev/full").open("rb"):
        output = IsolatedOutput(JsonlOutput(Path("/dev/full"), LogSettings(flush_interval_s=3600)), finite=True)
        output.open()
        output.write(observation(0), None)
        with pytest.raises(OutputError, match=r"/dev/full: cannot be written \(No space left on device\)"):
            output.close()


def test_a_reader_that_leaves_ends_the_run_live_or_not() -> None:
    for finite in (False, True):
        memory = Memory()
        output = IsolatedOutput(memory, finite=finite)
        output.open()
        memory.fault = OutputClosed("stdout: the reader has gone")
        with pytest.raises(OutputClosed):
            write_for_ever(output)
        assert output.stats.failures == 0
        output.close()


def test_a_failing_output_is_retried_and_logged_once_an_episode(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    memory = Memory()
    output = IsolatedOutput(memory, retry=QUICK)
    output.open()
    memory.fault = OutputError("broker: gone")
    frame = 0

    def run_on() -> None:
        nonlocal frame
        frame += 1
        output.write(observation(frame), None)

    def failed_often() -> bool:
        run_on()
        return output.stats.failures >= 5

    eventually(failed_often, "it is tried again and again")
    assert output.stats.failing == "broker: gone"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "broker: gone" in caplog.text
    memory.fault = None

    def works_again() -> bool:
        run_on()
        return "works again" in caplog.text

    eventually(works_again, "it is reported once it is calm")
    assert output.stats.failing == ""
    output.close()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert memory.frames == sorted(memory.frames)
    assert memory.frames[-1] == frame
    assert len(memory.frames) + output.stats.dropped == frame


def test_an_output_that_takes_some_and_fails_some_is_one_episode(caplog: pytest.LogCaptureFixture) -> None:
    """As on a disk that fills and is emptied by others: no line in the log for each."""
    memory = Memory()
    output = IsolatedOutput(memory, retry=RetrySettings(first_s=0.001, longest_s=0.001, calm_s=3600))
    output.open()
    for failures in range(1, 6):
        memory.fault = OutputError("disk: full")
        output.write(observation(0), None)
        eventually(partial(has_failed, output, failures), "fails")
        memory.fault = None
        output.status(run_status())
        eventually(lambda: output.stats.failing == "", "works")
    output.close()
    assert len(caplog.records) == 1


def test_a_status_is_never_queued_twice_and_reaches_an_output_without_frames() -> None:
    memory = Memory()
    memory.may_write.clear()
    output = IsolatedOutput(memory)
    output.open()
    output.write(observation(0), None)
    eventually(lambda: not output._results, "the result is being written")
    output.status(run_status("running"))
    output.status(run_status("retrying"))
    memory.may_write.set()
    eventually(lambda: memory.states == ["retrying"], "the newest state arrives")
    output.close()
