from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from fer_edge.errors import SourceError, UsageError
from fer_edge.frames import Frame
from fer_edge.sources import Source, SourceSettings, open_source
from tests.edge.camera_server import FAULT_AT, RTSP_FAULT_AT, free_port, mjpeg_server, picture, rtsp_server

FAST = SourceSettings(read_timeout_s=1.0)


@pytest.fixture(scope="module")
def http() -> Iterator[str]:
    with mjpeg_server() as address:
        yield address


@pytest.fixture(scope="module")
def rtsp() -> Iterator[str]:
    with rtsp_server() as address:
        yield address


@pytest.fixture(autouse=True)
def _quiet(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """OpenCV and FFmpeg say nothing of their own, whatever happens."""
    yield
    assert capfd.readouterr().err == ""


def read(source: Source, count: int) -> list[Frame]:
    source.open()
    frames = []
    for _ in range(count):
        frame = source.read()
        assert frame is not None
        frames.append(frame)
    return frames


def read_to_failure(source: Source) -> tuple[list[Frame], str]:
    source.open()
    frames: list[Frame] = []

    def read_on() -> None:
        while (frame := source.read()) is not None:
            frames.append(frame)

    with pytest.raises(SourceError) as caught:
        read_on()
    source.close()
    assert "\n" not in str(caught.value)
    return frames, str(caught.value)


def refusal(source: Source) -> str:
    with pytest.raises(SourceError) as caught:
        source.open()
    assert "\n" not in str(caught.value)
    assert source.read() is None
    source.close()
    return str(caught.value)


def test_http_frames_come_in_order_with_their_clocks(http: str) -> None:
    source = open_source(f"{http}/ok", FAST)
    before = time.monotonic(), time.time()
    frames = read(source, 10)
    after = time.monotonic(), time.time()
    source.close()
    assert source.live
    assert source.name == f"{http}/ok"
    assert [frame.index for frame in frames] == list(range(10))
    for number, frame in enumerate(frames):
        assert frame.size == (320, 240)
        assert abs(int(frame.image[100, 100, 0]) - int(picture(number)[0, 0, 0])) <= 1
        assert before[0] <= frame.captured_at <= after[0]
        assert before[1] - 0.1 <= frame.time <= after[1] + 0.1


def test_rtsp_frames_come_in_order(rtsp: str) -> None:
    source = open_source(f"rtsp://{rtsp}/ok", FAST)
    frames = read(source, 10)
    source.close()
    levels = [int(frame.image[100, 100, 0]) for frame in frames]
    assert frames[0].size == (320, 240)
    assert levels == sorted(levels)
    assert levels[-1] - levels[0] == pytest.approx(45, abs=6)


@pytest.mark.parametrize("fault", ["vanish", "stall", "garbage"])
def test_an_http_camera_that_fails_is_an_error_and_can_be_opened_again(http: str, fault: str) -> None:
    source = open_source(f"{http}/{fault}", FAST)
    frames, message = read_to_failure(source)
    assert len(frames) == FAULT_AT
    assert message.startswith(f"{http}/{fault}: the stream ended, or sent nothing usable for 1 s")
    again = read(source, 3)
    source.close()
    assert [frame.index for frame in again] == [FAULT_AT, FAULT_AT + 1, FAULT_AT + 2]


@pytest.mark.parametrize("fault", ["vanish", "stall"])
def test_an_rtsp_camera_that_fails_is_an_error_and_can_be_opened_again(rtsp: str, fault: str) -> None:
    source = open_source(f"rtsp://{rtsp}/{fault}", FAST)
    frames, message = read_to_failure(source)
    assert 0 < len(frames) <= RTSP_FAULT_AT
    assert "the stream ended" in message
    assert read(source, 3)[0].index == len(frames)
    source.close()


def test_a_new_size_in_mid_stream_is_survived(http: str) -> None:
    source = open_source(f"{http}/resize", FAST)
    frames = read(source, FAULT_AT + 10)
    source.close()
    # OpenCV scales to the first size; what matters is that each frame is whole and goes on brightening.
    levels = [int(frame.image[-5, -5, 0]) for frame in frames]
    assert levels == sorted(levels)
    assert levels[-1] > 95


def test_a_server_that_accepts_but_sends_nothing(http: str) -> None:
    assert "the server answers, but with no video" in refusal(open_source(f"{http}/mute", FAST))


def test_a_page_that_is_no_video(http: str) -> None:
    assert "the server answers, but with no video" in refusal(open_source(f"{http}/text", FAST))


def test_nobody_listens() -> None:
    port = free_port()
    message = refusal(open_source(f"rtsp://127.0.0.1:{port}/x", FAST))
    assert message.startswith(f"rtsp://127.0.0.1:{port}/x: cannot be reached (Connection refused)")


def test_a_password_works_and_is_never_shown(http: str) -> None:
    address = http.replace("http://", "http://me:secret@")
    source = open_source(f"{address}/private", FAST)
    assert len(read(source, 2)) == 2
    source.close()
    wrong = open_source(f"{address.replace('secret', 'hunter2')}/private?token=abc", FAST)
    message = refusal(wrong)
    assert "user and password" in message
    for text in (source.name, wrong.name, message):
        assert not any(word in text for word in ("me:", "secret", "hunter2", "abc", "@"))
    assert wrong.name == f"{http}/private?..."


@pytest.mark.parametrize("address", ["rtsp://", "rtsp://me:secret@/x", "rtsp://me:secret@host:port/x", "http://[::1/x"])
def test_an_address_that_cannot_be_read_is_not_repeated(address: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_source(address)
    assert "secret" not in str(caught.value)


def test_an_ipv6_address_keeps_its_brackets() -> None:
    assert open_source("rtsp://u:p@[::1]:8554/x").name == "rtsp://[::1]:8554/x"


def test_closing_from_another_thread_ends_a_waiting_read(http: str) -> None:
    source = open_source(f"{http}/stall", FAST)
    frames = read(source, FAULT_AT)
    results: list[Frame | None] = []
    reader = threading.Thread(target=lambda: results.append(source.read()))
    reader.start()
    source.close()
    reader.join()
    assert results == [None]
    assert len(frames) == FAULT_AT


def test_a_silent_port_is_given_up_after_the_timeout() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = f"rtsp://127.0.0.1:{listener.getsockname()[1]}/x"
        assert "the server answers, but with no video" in refusal(open_source(address, FAST))
