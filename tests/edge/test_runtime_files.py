from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_edge.contract.preprocess import UInt8Array
from fer_edge.errors import OutputError, SourceError
from fer_edge.frames import Frame
from fer_edge.notify import ServiceNotifier
from fer_edge.outputs import OutputClosed
from fer_edge.runtime import Runtime
from fer_edge.runtime.feed import FILE_HANGS_AFTER_S, READ_AHEAD, FileFeed, check_frame
from fer_edge.sources import SourceSettings, open_source
from fer_edge.sources.base import Paced
from fer_edge.sources.image import ImageSource
from tests.edge.sample_observations import eventually
from tests.edge.scripted_camera import ASTRONAUT, Background, MemoryOutput, parts_for
from tests.edge.service_manager import ServiceManager
from tests.edge.tiny_model import write_tiny_model

FRAMES = 30


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.tflite")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A face that wanders to the right; in the last third it is gone."""
    path = tmp_path_factory.mktemp("clip") / "clip.avi"
    face = np.asarray(cv2.resize(np.asarray(cv2.imread(str(ASTRONAUT))), (256, 256)), np.uint8)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (320, 256))
    for number in range(FRAMES):
        picture = np.full((256, 320, 3), 90, np.uint8)
        if number < 20:
            picture[:, number : number + 256] = face
        writer.write(picture)
    writer.release()
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(FRAMES):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((48, 64, 3), number, np.uint8))
    return folder


def test_every_frame_of_a_file_is_processed_once_and_in_order(model: Path, clip: Path) -> None:
    output = MemoryOutput()
    summary = Runtime(parts_for(model, [output], source=str(clip))).run()
    assert [observation.frame for observation in output.observations] == list(range(FRAMES))
    assert output.observations[25].time == pytest.approx(1.0)
    assert (output.opened, output.closed) == (1, 1)
    assert [bool(observation.faces) for observation in output.observations[:20]] == [True] * 20
    assert not output.observations[-1].faces
    document = summary.document()
    assert document["frames"] == FRAMES
    assert 20 <= document["frames_with_face"] < FRAMES
    assert document["fps"] == pytest.approx(FRAMES / document["seconds"], rel=0.01)
    assert document["dropped"] == 0
    assert document["source"] == f"file:{clip}"
    assert (document["model"], len(document["model_sha256"])) == ("tiny", 64)
    assert document["runtime"].startswith("ai_edge_litert ")
    assert document["outputs"][0]["written"] == FRAMES
    assert document["schedule"]["frames"] == FRAMES
    for part in ("detect", "classify", "total"):
        figures = document["timing_ms"][part]
        assert 0 < figures["p50"] <= figures["p90"] <= figures["p99"]
    assert 10 < document["peak_rss_mb"] < 4000


def test_a_file_gives_the_same_results_again_and_at_its_own_pace(model: Path, clip: Path) -> None:
    runs = []
    for realtime in (False, True):
        output = MemoryOutput()
        Runtime(parts_for(model, [output], source=str(clip), realtime=realtime)).run()
        runs.append([(each.frame, each.time, each.faces) for each in output.observations])
    assert runs[0] == runs[1]


def test_a_run_ends_after_the_frames_asked_for(model: Path, pictures: Path) -> None:
    output = MemoryOutput()
    assert Runtime(parts_for(model, [output], source=str(pictures)), frames=7).run().statistics.frames == 7
    assert [observation.frame for observation in output.observations] == list(range(7))


def test_the_last_state_that_outputs_see_is_stopped(model: Path, pictures: Path) -> None:
    output = MemoryOutput()
    Runtime(parts_for(model, [output], source=str(pictures))).run()
    last = output.states[-1]
    assert (last.state, last.frames, last.model) == ("stopped", FRAMES, "tiny")


def test_a_paused_file_stands_still_and_loses_nothing(model: Path, pictures: Path) -> None:
    output = MemoryOutput()
    runtime = Runtime(
        parts_for(model, [output], source=str(pictures), realtime=True, keys={"source.fps": 50.0}), status_every_s=0.1
    )
    run = Background(runtime)
    run.until(lambda: len(output.observations) >= 3, "a result")
    assert output.control is runtime
    output.control.pause()
    run.until(lambda: runtime.status().state == "paused", "the pause")
    run.until(lambda: output.state == "paused", "the pause in the output")
    shown = len(output.observations)
    before = len(output.states)
    run.until(lambda: len(output.states) >= before + 2, "two more states")
    assert len(output.observations) <= shown + 1  # the one that was being processed
    output.control.resume()
    run.wait()
    assert [observation.frame for observation in output.observations] == list(range(FRAMES))


def test_stop_ends_a_run_that_waits_for_a_file(model: Path, pictures: Path) -> None:
    output = MemoryOutput()
    run = Background(Runtime(parts_for(model, [output], source=str(pictures), realtime=True, keys={"source.fps": 5.0})))
    run.until(lambda: bool(output.observations), "a result")
    summary = run.stop()
    assert 0 < summary.statistics.frames < FRAMES
    assert len(output.observations) == summary.statistics.frames
    assert not run.runtime.left_hanging


def test_a_missing_file_is_one_error_and_no_output_is_begun(model: Path, tmp_path: Path) -> None:
    output = MemoryOutput()
    with pytest.raises(SourceError, match=r"nosuch\.mp4"):
        Runtime(parts_for(model, [output], source=str(tmp_path / "nosuch.mp4"))).run()
    assert output.opened == 0


def test_an_output_that_cannot_be_opened_ends_the_run_and_closes_the_others(model: Path, pictures: Path) -> None:
    good, bad = MemoryOutput("good"), MemoryOutput("bad")
    bad.refuses_to_open = True
    with pytest.raises(OutputError, match="bad: the port is in use"):
        Runtime(parts_for(model, [good, bad], source=str(pictures))).run()
    assert (good.opened, good.closed) == (1, 1)
    assert not good.observations


def test_a_full_disk_ends_the_run_of_a_file(model: Path, pictures: Path) -> None:
    full = MemoryOutput(fail_at=5)
    other = MemoryOutput("other")
    with pytest.raises(OutputError, match="disk is full"):
        Runtime(parts_for(model, [other, full], source=str(pictures))).run()
    assert len(full.observations) == 5
    assert other.closed == 1


def test_a_view_that_fails_does_not_end_the_run(model: Path, pictures: Path) -> None:
    view = MemoryOutput("view", lossless=False, fail_at=0)
    log = MemoryOutput("log")
    summary = Runtime(parts_for(model, [view, log], source=str(pictures))).run()
    assert len(log.observations) == summary.statistics.frames == FRAMES


def test_a_reader_who_has_had_enough_ends_the_run_without_an_error(model: Path, pictures: Path) -> None:
    output = MemoryOutput(fail_at=5)
    output.failure = OutputClosed("stdout: the reader has gone")
    Runtime(parts_for(model, [output], source=str(pictures))).run()
    assert len(output.observations) == 5


def test_a_file_is_not_reloaded(model: Path, pictures: Path, caplog: pytest.LogCaptureFixture) -> None:
    output = MemoryOutput()
    runtime = Runtime(
        parts_for(model, [output], source=str(pictures), realtime=True, keys={"source.fps": 20.0}),
        reload=lambda: pytest.fail("reloaded"),
    )
    run = Background(runtime)
    run.until(lambda: bool(output.observations), "a result")
    with caplog.at_level(logging.WARNING):
        runtime.reload()
        run.until(lambda: "not reloaded" in caplog.text, "the refusal")
    assert run.wait().statistics.frames == FRAMES


class CountingSource:
    """A finite source that counts how far it was read."""

    name, live, nominal_fps = "counting:", False, 25.0

    def __init__(self, frames: int, fail_at: int | None = None) -> None:
        self.frames, self.fail_at, self.read_so_far, self.closed = frames, fail_at, 0, 0

    def open(self) -> None:
        pass

    def read(self) -> Frame | None:
        if self.read_so_far == self.fail_at:
            raise SourceError("counting:: the disk was pulled out")
        if self.read_so_far == self.frames:
            return None
        self.read_so_far += 1
        return Frame(self.read_so_far - 1, np.zeros((20, 20), np.uint8), 0.0, 0.0)

    def close(self) -> None:
        self.closed += 1


def test_no_more_frames_are_decoded_ahead_than_agreed() -> None:
    source = CountingSource(100)
    feed = FileFeed(source)
    feed.start()
    eventually(lambda: source.read_so_far == READ_AHEAD + 1, "reading ahead")  # the last one waits for room
    assert (feed.get(1), feed.next_index) is not None
    eventually(lambda: source.read_so_far == READ_AHEAD + 2, "one more")
    feed.end()
    assert feed.join()
    assert source.closed == 1
    assert source.read_so_far == READ_AHEAD + 2


def test_frames_before_a_fault_are_delivered_then_the_fault() -> None:
    feed = FileFeed(CountingSource(100, fail_at=3))
    feed.start()
    indices = [frame.index for _ in range(3) if (frame := feed.get(10)) is not None]
    assert indices == [0, 1, 2]
    assert not feed.ended
    with pytest.raises(SourceError, match="pulled out"):
        feed.get(10)
    assert feed.join()


def test_a_read_that_blocks_counts_as_a_hang_until_it_returns(tmp_path: Path) -> None:
    pipe = tmp_path / "picture.png"  # as from a server that does not answer: nobody has opened the other end
    os.mkfifo(pipe)
    now = [0.0]
    feed = FileFeed(ImageSource(pipe, SourceSettings()), hangs_after_s=10.0, clock=lambda: now[0])
    feed.start()
    assert feed.healthy(10.0)
    eventually(lambda: not feed.healthy(10.1), "the read to begin")
    pipe.write_bytes(cv2.imencode(".png", np.zeros((48, 64, 3), np.uint8))[1].tobytes())
    assert feed.get(60) is not None
    eventually(lambda: feed.healthy(1000.0), "the read to be over")
    feed.end()
    assert feed.join()


def test_a_wait_for_the_next_frame_is_no_hang(pictures: Path) -> None:
    source = open_source(str(pictures), SourceSettings(realtime=True, fps=0.1))
    now = [0.0]
    feed = FileFeed(source, hangs_after_s=1.0, clock=lambda: now[0])
    feed.start()
    assert feed.get(60) is not None
    assert isinstance(source, Paced)
    eventually(lambda: source.waiting, "the wait for the second picture")
    assert feed.healthy(9.0)
    feed.end()
    source.close()  # ends the wait
    assert feed.join()


def test_systemd_is_not_told_that_all_is_well_while_a_file_does_not_answer(model: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "picture.png"
    os.mkfifo(pipe)
    skew = [0.0]
    output = MemoryOutput()
    with ServiceManager() as systemd:
        notifier = ServiceNotifier(systemd.environment | {"WATCHDOG_USEC": "400000"})
        parts = parts_for(model, [output], source=str(pipe))
        runtime = Runtime(
            parts, notifier=notifier, status_every_s=0.25, clock=lambda: time.monotonic() + skew[0], stuck_after_s=1e9
        )
        run = Background(runtime)
        run.until(lambda: systemd.beats_between_states(output), "heartbeats")
        skew[0] = FILE_HANGS_AFTER_S + 1
        run.until(lambda: not systemd.beats_between_states(output), "their end")
        pipe.write_bytes(cv2.imencode(".png", np.zeros((48, 64, 3), np.uint8))[1].tobytes())
        assert run.wait().statistics.frames == 1


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((100, 100), np.float32),
        np.zeros((100, 100, 4), np.uint8),
        np.zeros((100,), np.uint8),
        np.zeros((100, 15, 3), np.uint8),
        np.zeros((0, 0, 3), np.uint8),
    ],
)
def test_what_is_no_picture_is_refused_at_the_door(image: UInt8Array) -> None:
    with pytest.raises(SourceError, match="camera: delivers pictures of the shape"):
        check_frame(Frame(0, image, 0.0, 0.0), "camera")


def test_a_luma_that_does_not_fit_is_not_used() -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    assert check_frame(Frame(0, image, 0.0, 0.0, np.zeros((40, 48), np.uint8)), "camera").luma is None
    fitting = Frame(0, image, 0.0, 0.0, np.zeros((40, 40), np.uint8))
    assert check_frame(fitting, "camera") is fitting
