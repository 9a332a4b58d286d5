from __future__ import annotations

import threading
from itertools import pairwise
from pathlib import Path
from queue import Queue

import cv2
import numpy as np
import pytest

from fer_edge.contract.preprocess import UInt8Array
from fer_edge.errors import SourceError
from fer_edge.frames import Frame
from fer_edge.sources import SourceSettings
from fer_edge.sources.folder import FolderSource
from fer_edge.sources.live import LiveSource, Picture, plausible_stamp
from fer_edge.sources.slot import LatestFrameSlot
from fer_edge.sources.spec import Kind
from fer_edge.sources.supervised import (
    Backoff,
    FreezeDetector,
    StallWatch,
    WatchedSource,
    fingerprint,
    longest_wait_s,
)


def noise(seed: int, width: int = 64, height: int = 48) -> UInt8Array:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


def frame(index: int, width: int = 64) -> Frame:
    return Frame(index, noise(index, width), captured_at=index / 10, time=index / 10)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class QueueCamera(LiveSource):
    """A camera that delivers what the test hands it; an error is raised, and nothing means that it blocks."""

    def __init__(self, settings: SourceSettings) -> None:
        super().__init__("queue:camera", settings)
        self.pictures: Queue[UInt8Array | SourceError] = Queue()
        self.waiting = threading.Event()
        self._taken = False
        self.released_while_reading = False
        self._busy = False

    def device_open(self) -> bool:
        return self._taken

    def _open_device(self) -> None:
        assert not self._taken, "opened twice"
        self._taken = True

    def _read_device(self) -> Picture:
        self._busy = True
        self.waiting.set()
        item = self.pictures.get()
        self._busy = False
        if isinstance(item, SourceError):
            raise item
        return Picture(item, captured_at=5.0)

    def _close_device(self) -> None:
        self.released_while_reading |= self._busy
        self._taken = False


# --- the slot ---


def test_the_latest_frame_wins_and_drops_are_counted() -> None:
    slot = LatestFrameSlot()
    for index in range(5):
        slot.put(frame(index))
    taken = slot.get(timeout=0)
    assert taken is not None
    assert taken.index == 4
    assert slot.dropped == 4
    assert slot.get(timeout=0) is None
    slot.put(frame(5))
    slot.clear()
    assert slot.get(timeout=0) is None
    assert slot.dropped == 4


def test_a_closed_slot_gives_its_last_frame_and_no_more() -> None:
    slot = LatestFrameSlot()
    slot.put(frame(1))
    slot.close()
    slot.put(frame(2))
    last = slot.get()
    assert last is not None
    assert last.index == 1
    assert slot.get() is None
    assert slot.closed


def test_closing_wakes_a_waiting_consumer() -> None:
    slot = LatestFrameSlot()
    results: Queue[Frame | None] = Queue()
    thread = threading.Thread(target=lambda: results.put(slot.get()))
    thread.start()
    slot.close()
    assert results.get(timeout=30) is None
    thread.join()


def test_no_frame_is_lost_uncounted_between_threads() -> None:
    slot = LatestFrameSlot()
    total = 5000

    def produce() -> None:
        for index in range(total):
            slot.put(Frame(index, small, 0.0, 0.0))
        slot.close()

    small = np.zeros((1, 1), np.uint8)
    producer = threading.Thread(target=produce)
    producer.start()
    seen = []
    while (taken := slot.get()) is not None:
        seen.append(taken.index)
    producer.join()
    assert seen == sorted(set(seen))
    assert seen[-1] == total - 1
    assert len(seen) + slot.dropped == total


# --- the policies ---


def test_identical_pictures_freeze_after_their_time() -> None:
    detector = FreezeDetector(10.0)
    still = noise(1)
    assert not detector.frozen(still, 0.0)
    assert not detector.frozen(still.copy(), 9.9)
    assert detector.frozen(still.copy(), 10.0)
    assert not detector.frozen(noise(2), 11.0)
    assert not detector.frozen(noise(2), 20.9)
    assert detector.frozen(noise(2), 21.0)
    detector.reset()
    assert not detector.frozen(noise(2), 40.0)


def test_a_picture_that_froze_is_suspect_until_it_moves_whatever_is_opened_again() -> None:
    detector = FreezeDetector(10.0)
    assert not detector.frozen(noise(1), 0.0)
    assert [detector.suspect, detector.frozen(noise(1), 10.0), detector.suspect] == [False, True, True]
    detector.reset()
    for now in (11.0, 12.0):  # the same picture once more
        assert not detector.frozen(noise(1), now)
        assert detector.suspect
    assert detector.frozen(noise(1), 21.0)
    detector.reset()
    for now in (22.0, 23.0):  # it woke with another picture, and stands on that one
        assert not detector.frozen(noise(2), now)
        assert detector.suspect
    assert [detector.suspect, detector.frozen(noise(3), 24.0), detector.suspect] == [True, False, False]


def test_freezing_can_be_switched_off() -> None:
    detector = FreezeDetector(0.0)
    assert not any(detector.frozen(noise(1), now) for now in (0.0, 1e6))


def test_sensor_noise_of_one_step_counts_as_life() -> None:
    still = np.full((480, 640, 3), 100, np.uint8)
    flicker = np.random.default_rng(5).integers(0, 2, still.shape, np.uint8)
    assert fingerprint(still) == fingerprint(still.copy())
    assert fingerprint(still) != fingerprint(still + flicker)


def test_a_fingerprint_knows_the_size() -> None:
    assert fingerprint(np.zeros((48, 64), np.uint8)) != fingerprint(np.zeros((64, 48), np.uint8))
    assert fingerprint(np.zeros((48, 63), np.uint8)) != fingerprint(np.zeros((48, 64), np.uint8))


def test_waits_double_up_to_the_cap() -> None:
    backoff = Backoff(first_s=0.5, cap_s=8.0, jitter=0.0)
    assert [backoff.next_wait_s() for _ in range(7)] == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert backoff.failures == 7
    for _ in range(5000):  # a camera that is missing for a day
        assert backoff.next_wait_s() == 8.0


def test_a_camera_of_this_machine_is_tried_again_more_often_than_a_stream() -> None:
    attempts = {}
    kinds: list[Kind] = ["v4l2", "picamera2", "auto", "network"]
    for kind in kinds:
        backoff, now, times = Backoff(cap_s=longest_wait_s(kind), jitter=0.0), 0.0, []
        while (now := now + backoff.next_wait_s()) <= 600.0:
            times.append(now)
        attempts[kind] = times
    for kind in kinds[:-1]:
        # Whenever it is plugged in, the next attempt is at most this far away.
        assert max(later - former for former, later in pairwise(attempts[kind])) == 2.0
    assert [len(attempts[kind]) for kind in kinds] == [301, 301, 301, 24]


def test_jitter_stays_within_its_fraction() -> None:
    low = Backoff(first_s=1.0, jitter=0.25, uniform=lambda a, _: a)
    high = Backoff(first_s=1.0, jitter=0.25, uniform=lambda _, b: b)
    assert (low.next_wait_s(), high.next_wait_s()) == (0.75, 1.25)
    real = [Backoff(first_s=1.0, jitter=0.25).next_wait_s() for _ in range(200)]
    assert all(0.75 <= wait <= 1.25 for wait in real)
    assert len(set(real)) > 100


def test_only_a_source_that_kept_working_starts_afresh() -> None:
    backoff = Backoff(first_s=1.0, jitter=0.0, stable_after_s=10.0)
    assert backoff.next_wait_s() == 1.0
    backoff.working(0.0)
    backoff.working(9.0)
    assert backoff.next_wait_s() == 2.0
    backoff.working(20.0)
    backoff.working(29.0)
    assert backoff.next_wait_s() == 4.0
    backoff.working(40.0)
    backoff.working(50.0)
    assert backoff.failures == 0
    assert backoff.next_wait_s() == 1.0


def test_a_stall_is_silence_while_something_is_expected() -> None:
    watch = StallWatch(5.0)
    assert not watch.stalled(1e9)
    watch.beat(10.0)
    assert not watch.stalled(15.0)
    assert watch.stalled(15.1)
    assert watch.silent_s(15.1) == pytest.approx(5.1)
    watch.beat(16.0)
    assert not watch.stalled(20.0)
    watch.rest()
    assert not watch.stalled(1e9)


@pytest.mark.parametrize(
    ("stamp", "expected"), [(99.9, 99.9), (95.5, 95.5), (94.0, 100.0), (100.1, 100.0), (0.0, 100.0)]
)
def test_a_stamp_of_another_clock_is_not_used(stamp: float, expected: float) -> None:
    assert plausible_stamp(stamp, 100.0) == expected


# --- the watched source ---


def test_a_frozen_camera_raises() -> None:
    clock = Clock()
    settings = SourceSettings(freeze_after_s=2.0)
    camera = QueueCamera(settings)
    source = WatchedSource(camera, settings, clock)
    source.open()
    for seed in (1, 2, 2, 2):
        camera.pictures.put(noise(seed))
    for _ in range(3):
        assert source.read() is not None
        clock.now += 1.0
    with pytest.raises(SourceError, match=r"queue:camera: .*not changed for 2 s.*freeze_after_s = 0"):
        source.read()
    source.close()
    source.open()
    camera.pictures.put(noise(2))
    assert source.read() is not None  # opened again, the picture may be the same


def test_a_finite_source_may_stand_still(tmp_path: Path) -> None:
    for number in range(3):
        assert cv2.imwrite(str(tmp_path / f"{number}.png"), noise(1))
    clock = Clock()
    settings = SourceSettings(freeze_after_s=0.5)
    source = WatchedSource(FolderSource(tmp_path, settings), settings, clock)
    source.open()
    count = 0
    while source.read() is not None:
        count += 1
        clock.now += 10
    assert count == 3
    assert not source.live
    assert not source.stall.stalled(clock.now)


def test_a_new_size_is_announced_once(caplog: pytest.LogCaptureFixture) -> None:
    settings = SourceSettings()
    camera = QueueCamera(settings)
    source = WatchedSource(camera, settings)
    source.open()
    resized = []
    for seed, width in enumerate((64, 64, 32, 32)):
        camera.pictures.put(noise(seed, width))
        assert source.read() is not None
        resized.append(source.resized)
    source.close()
    source.open()
    camera.pictures.put(noise(9, 16))
    assert source.read() is not None
    resized.append(source.resized)
    assert resized == [False, False, True, False, True]
    assert "from 64x48 to 32x48" in caplog.text


def test_a_read_that_hangs_is_seen_from_outside() -> None:
    clock = Clock()
    settings = SourceSettings(read_timeout_s=3.0)
    camera = QueueCamera(settings)
    source = WatchedSource(camera, settings, clock)
    source.open()
    assert not source.stall.stalled(clock.now + 1e6)
    reader = threading.Thread(target=source.read)
    reader.start()
    assert camera.waiting.wait(30)
    assert not source.stall.stalled(clock.now + 6.0)
    assert source.stall.stalled(clock.now + 6.1)
    camera.pictures.put(noise(1))
    reader.join()
    assert not source.stall.stalled(clock.now + 1e6)


# --- live sources ---


def test_numbers_go_on_after_reopening_and_time_is_unix_time() -> None:
    camera = QueueCamera(SourceSettings())
    for seed in range(3):
        camera.pictures.put(noise(seed))
    camera.open()
    camera.open()
    first, second = camera.read(), camera.read()
    camera.close()
    camera.close()
    assert camera.read() is None
    camera.open()
    third = camera.read()
    assert first is not None
    assert second is not None
    assert third is not None
    assert [first.index, second.index, third.index] == [0, 1, 2]
    assert first.captured_at == 5.0
    assert first.time > 1e9 / 2


def test_closing_during_a_read_leaves_the_device_to_the_reader() -> None:
    camera = QueueCamera(SourceSettings())
    camera.open()
    results: Queue[Frame | None] = Queue()
    reader = threading.Thread(target=lambda: results.put(camera.read()))
    reader.start()
    assert camera.waiting.wait(30)
    camera.close()
    assert camera.device_open()
    camera.pictures.put(SourceError("the driver noticed"))
    assert results.get(timeout=30) is None  # closed on purpose: not a failure
    reader.join()
    assert not camera.device_open()
    assert not camera.released_while_reading


def test_opening_waits_for_an_earlier_read_and_gives_up() -> None:
    camera = QueueCamera(SourceSettings(read_timeout_s=0.1))
    camera.open()
    reader = threading.Thread(target=camera.read)
    reader.start()
    assert camera.waiting.wait(30)
    camera.close()
    with pytest.raises(SourceError, match="earlier read still holds"):
        camera.open()
    camera.pictures.put(noise(1))
    reader.join()
    camera.open()
    assert camera.device_open()


def test_a_failed_read_leaves_the_source_open_until_it_is_closed() -> None:
    camera = QueueCamera(SourceSettings())
    camera.open()
    camera.pictures.put(SourceError("queue:camera: unplugged"))
    with pytest.raises(SourceError, match="unplugged"):
        camera.read()
    assert camera.device_open()
    camera.close()
    assert not camera.device_open()
