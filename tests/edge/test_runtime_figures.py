from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.contract.memory import peak_rss_mb
from fer_edge.frames import Observation, Timing
from fer_edge.notify import ServiceNotifier
from fer_edge.runtime.histogram import LEAST_MS, MOST_MS, DurationHistogram
from fer_edge.runtime.selection import state_directory
from fer_edge.runtime.signals import SignalChannel
from fer_edge.runtime.summary import RECENT_S, RunStatistics
from tests.edge.sample_observations import eventually, face, observation
from tests.edge.service_manager import ServiceManager

# --- percentiles ---


@given(
    st.lists(st.floats(LEAST_MS * 1.01, MOST_MS * 0.99), min_size=1, max_size=300),
    st.sampled_from([0, 1, 50, 90, 99, 100]),
)
def test_a_percentile_is_known_to_one_per_cent(durations: list[float], percent: int) -> None:
    histogram = DurationHistogram()
    for duration in durations:
        histogram.add(duration)
    exact = float(np.percentile(durations, percent, method="inverted_cdf"))
    assert histogram.percentile(percent) == pytest.approx(exact, rel=0.0101)


def test_durations_beyond_the_ends_count_as_the_ends() -> None:
    histogram = DurationHistogram()
    for duration in (-1.0, 0.0, 1e12):
        histogram.add(duration)
    assert histogram.count == 3
    assert histogram.percentile(50) == pytest.approx(LEAST_MS, rel=0.02)
    assert histogram.percentile(100) == pytest.approx(MOST_MS, rel=0.03)


def test_counting_takes_no_memory() -> None:
    histogram = DurationHistogram()
    before = sys.getallocatedblocks()
    for n in range(300_000):
        histogram.add(1.0 + n % 1000)
    assert sys.getallocatedblocks() - before < 50


def test_nothing_has_no_percentile() -> None:
    assert DurationHistogram().percentile(50) is None
    assert RunStatistics().percentiles("total") == {"p50": None, "p90": None, "p99": None}


# --- counters ---


def test_frames_with_and_without_faces_are_counted() -> None:
    statistics = RunStatistics()
    for frame in range(10):
        seen = (face(),) * (frame % 3)
        statistics.add(observation(frame, *seen), float(frame))
    assert (statistics.frames, statistics.frames_with_face) == (10, 6)
    assert statistics.percentiles("classify")["p50"] == pytest.approx(0.4, rel=0.01)


def aged(age_ms: float) -> Observation:
    return Observation(0, 0.0, age_ms, (320, 240), (), Timing(1.0, 1.0, 2.0))


def test_rate_and_age_are_those_of_the_last_seconds() -> None:
    statistics = RunStatistics()
    statistics.started = 0.0
    for number in range(100):  # 10 s at 10 frames/s
        statistics.add(aged(float(number)), number / 10)
    fps, age_ms = statistics.recent(9.9)
    assert fps == pytest.approx(31 / RECENT_S)
    assert age_ms == 84
    assert statistics.recent(9.9 + RECENT_S + 0.1) == (0.0, None)


def test_a_run_that_has_just_begun_is_not_measured_over_seconds_that_were_not() -> None:
    statistics = RunStatistics()
    statistics.started = 100.0
    for number in range(1, 6):
        statistics.add(aged(1.0), 100 + number / 10)
    assert statistics.recent(100.5)[0] == pytest.approx(10)


def test_the_rate_of_a_very_fast_run_is_right_although_not_all_is_kept() -> None:
    statistics = RunStatistics()
    statistics.started = 0.0
    for number in range(10_000):
        statistics.add(aged(1.0), number / 1000)
    assert statistics.recent(9.999)[0] == pytest.approx(1000, rel=0.01)


def test_peak_memory_is_that_of_this_process() -> None:
    status = Path("/proc/self/status").read_text()
    kib = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
    assert peak_rss_mb() == pytest.approx(kib / 1024, rel=0.05)


# --- systemd ---


def test_messages_reach_the_service_manager() -> None:
    with ServiceManager() as systemd:
        notifier = ServiceNotifier(systemd.environment | {"WATCHDOG_USEC": "20000000"})
        assert notifier.watchdog_s == 20
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        notifier.ready()
        notifier.status("running: two\nlines")
        notifier.status("running: two\nlines")
        notifier.reloading()
        for now in (0.0, 0.5, 1.0):
            notifier.heartbeat(now)
        notifier.stopping()
        eventually(lambda: "STOPPING=1" in systemd.messages, "the last message")
    reloading = systemd.messages.pop(2)
    kind, microseconds = reloading.split("\nMONOTONIC_USEC=")
    assert kind == "RELOADING=1"
    assert before <= int(microseconds) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert systemd.messages == ["READY=1", "STATUS=running: two lines", "WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"]


def test_an_abstract_socket_is_understood() -> None:
    name = f"fer-edge-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"\0{name}")
        ServiceNotifier({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert systemd.recv(100) == b"READY=1"


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": "/nowhere/notify"}])
def test_nobody_to_tell_is_no_fault(environment: dict[str, str]) -> None:
    notifier = ServiceNotifier(environment)
    notifier.ready()
    notifier.heartbeat(0.0)
    assert notifier.watchdog_s is None


@pytest.mark.parametrize(
    "environment", [{"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}]
)
def test_a_watchdog_that_is_not_ours_is_not_fed(environment: dict[str, str]) -> None:
    assert ServiceNotifier(environment).watchdog_s is None


# --- signals ---


def test_signals_reach_another_thread_while_the_main_thread_is_busy() -> None:
    got: list[signal.Signals] = []
    before = signal.getsignal(signal.SIGHUP)
    with SignalChannel() as channel:
        supervisor = threading.Thread(target=lambda: got.extend(channel.wait(60)))
        supervisor.start()
        os.kill(os.getpid(), signal.SIGHUP)
        supervisor.join()
    assert got == [signal.SIGHUP]
    assert signal.getsignal(signal.SIGHUP) is before
    assert signal.set_wakeup_fd(-1) == -1


def test_a_wake_up_is_no_signal_and_does_no_harm_afterwards() -> None:
    channel = SignalChannel()
    channel.wake()
    with channel:
        channel.wake()
        assert channel.wait(60) == set()
        assert channel.wait(0) == set()
        for _ in range(100_000):  # nobody reads: the socket is full, and nothing blocks
            channel.wake()
    channel.wake()


def test_the_second_interrupt_is_one() -> None:
    with SignalChannel() as channel:
        os.kill(os.getpid(), signal.SIGINT)
        assert channel.wait(60) == {signal.SIGINT}
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - the signal may arrive at the next bytecode only
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)


def test_outside_of_the_main_thread_nothing_is_handled() -> None:
    before = signal.getsignal(signal.SIGTERM)
    inside: list[object] = []

    def use() -> None:
        with SignalChannel() as channel:
            inside.append(signal.getsignal(signal.SIGTERM))
            channel.wake()
            inside.append(channel.wait(60))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert inside == [before, set()]


# --- where state is kept ---


def test_the_directory_of_the_state(tmp_path: Path) -> None:
    service, home = tmp_path / "var", tmp_path / "home"
    assert state_directory({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}, service) == Path("/var/lib/a")
    assert state_directory({"XDG_STATE_HOME": str(home)}, service) == home / "fer-edge"
    assert state_directory({"XDG_STATE_HOME": "relative"}, service) == Path.home() / ".local/state/fer-edge"
    service.mkdir()
    assert state_directory({"XDG_STATE_HOME": str(home)}, service) == service
