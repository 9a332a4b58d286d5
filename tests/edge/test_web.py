"""The dashboard's server, asked by plain HTTP clients."""

from __future__ import annotations

import itertools
import socket
import subprocess
import sys
import threading
from dataclasses import replace

import cv2
import numpy as np
import pytest

from fer_edge.errors import ConfigError, FerEdgeError, OutputError, SourceError
from fer_edge.outputs import ServingSettings
from fer_edge.outputs.base import Record
from fer_edge.outputs.overlay import draw_overlay
from fer_edge.outputs.settings import WebSettings
from fer_edge.outputs.web import WebOutput
from fer_edge.outputs.web.pictures import shrunk
from fer_edge.status import RuntimeStatus
from tests.edge.web_page import (
    ACTION,
    ASTRONAUT,
    STATUS,
    Feeder,
    Switch,
    ask,
    face,
    next_event,
    next_picture,
    observation,
    serving,
    streaming,
    wait_until,
)


def test_state_tells_the_run_and_its_newest_result() -> None:
    with serving(Switch()) as output:
        before = ask(output, "/api/state").json
        assert before["state"] == "starting"
        assert before["observation"] is None
        assert before["model"] is None
        output.status(STATUS)
        output.write(observation(0, face()), ASTRONAUT)
        output.write(observation(1, face(), face(2, "sad", 0.5)), ASTRONAUT)
        state = ask(output, "/api/state").json
    assert state["state"] == "running"
    assert state["source"] == STATUS.source
    assert state["model"] == {"name": "tiny", "sha256": "5e" * 32}
    assert (state["fps"], state["age_ms"], state["temperature_c"]) == (29.9, 31.4, 52.5)
    assert state["observation"]["frame"] == 1
    assert state["observation"]["size"] == [512, 512]
    assert [one["expression"] for one in state["observation"]["faces"]] == ["happy", "sad"]
    assert state["palette"]["happy"] == "#f0e442"
    assert [*state["labels"], "uncertain"] == list(state["palette"])


def test_stream_shows_the_annotated_picture() -> None:
    with serving() as output, streaming(output, "/stream.mjpg") as stream:
        assert stream.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=frame"
        seen = observation(0, face())
        output.write(seen, ASTRONAUT)
        picture = next_picture(stream)
        while picture.shape != ASTRONAUT.shape:  # the notice that there is no picture yet
            picture = next_picture(stream)
    expected = draw_overlay(ASTRONAUT, seen)
    assert cv2.PSNR(picture, expected) > 28
    assert cv2.PSNR(picture, ASTRONAUT) < 25  # without the box it would be this one


def test_pictures_are_encoded_once_for_all_viewers_and_only_for_them() -> None:
    with serving(max_fps=1000) as output:
        for frame in range(10):
            output.write(observation(frame, face()), ASTRONAUT)
        assert ask(output, "/api/state").json["viewers"] == 0
        assert output.pictures_encoded == 0
        with streaming(output, "/stream.mjpg") as one, streaming(output, "/stream.mjpg") as other:
            for stream in (one, other):
                next_picture(stream)
            assert ask(output, "/api/state").json["viewers"] == 2
            for grey in (50, 100, 150, 200):
                output.write(observation(grey), np.full((64, 64, 3), grey, np.uint8))
                for stream in (one, other):
                    while round(next_picture(stream).mean()) != grey:
                        pass
        assert output.pictures_encoded == 5
        wait_until(lambda: bool(ask(output, "/api/state").json["viewers"] == 0), "nobody watches")
        encoded = output.pictures_encoded
        output.write(observation(20, face()), ASTRONAUT)
        assert output.pictures_encoded == encoded


def test_pause_empties_the_stream_and_resume_fills_it() -> None:
    control = Switch()
    with serving(control) as output, streaming(output, "/stream.mjpg") as stream:
        output.status(control.status())
        output.write(observation(0, face()), ASTRONAUT)
        while next_picture(stream).shape != ASTRONAUT.shape:
            pass
        answer = ask(output, "/api/pause", "POST", ACTION)
        assert (answer.status, answer.json["state"], answer.json["observation"]) == (200, "paused", None)
        assert control.paused
        while (notice := next_picture(stream)).shape == ASTRONAUT.shape:
            pass
        assert notice.mean() < 40

        # A result that was under way arrives late, and is neither shown nor kept nor counted.
        output.write(observation(1, face()), ASTRONAUT)
        assert ask(output, "/api/state").json["observation"] is None

        assert ask(output, "/api/resume", "POST", ACTION).json["state"] == "running"
        output.write(observation(2, face()), ASTRONAUT)
        while next_picture(stream).shape != ASTRONAUT.shape:
            pass


def test_a_pause_that_the_camera_delays_is_not_called_paused() -> None:
    class Hanging(Switch):
        def status(self) -> RuntimeStatus:
            return replace(STATUS, detail="pausing: waiting until the camera lets go")

    with serving(Hanging()) as output:
        output.status(STATUS)
        output.write(observation(0, face()), ASTRONAUT)
        state = ask(output, "/api/pause", "POST", ACTION).json
        assert (state["state"], state["pause_wanted"], state["observation"]) == ("running", True, None)
        assert "lets go" in state["detail"]


def test_stream_goes_dark_while_the_source_is_away() -> None:
    with serving() as output, streaming(output, "/stream.mjpg") as stream:
        output.write(observation(0, face()), ASTRONAUT)
        while next_picture(stream).shape != ASTRONAUT.shape:
            pass
        output.status(replace(STATUS, state="retrying", detail="unplugged"))
        while next_picture(stream).shape == ASTRONAUT.shape:
            pass
        state = ask(output, "/api/state").json
        assert (state["state"], state["detail"], state["observation"]) == ("retrying", "unplugged", None)


def test_pause_needs_a_run_that_can_be_paused_and_tells_why_it_failed() -> None:
    with serving() as output:
        assert ask(output, "/api/pause", "POST", ACTION).status == 409
    control = Switch()
    control.failure = SourceError("v4l2:/dev/video0: cannot be closed; unplug it")
    with serving(control) as output:
        answer = ask(output, "/api/pause", "POST", ACTION)
        assert answer.status == 500
        assert answer.json == {"error": str(control.failure)}
    assert isinstance(control.failure, FerEdgeError)


def test_events_tell_the_state_first_and_then_the_newest_result() -> None:
    with serving(Switch(), max_events_hz=20) as output, streaming(output, "/api/events") as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        assert next_event(stream) == ("message", None)  # the time after which to connect again
        name, status = next_event(stream)
        assert (name, status["state"]) == ("status", "starting")
        assert next_event(stream) == ("observation", None)
        for frame in range(200):
            output.write(observation(frame, face()), ASTRONAUT)
        frames: list[int] = []
        while not frames or frames[-1] != 199:
            name, data = next_event(stream)
            if name == "observation":
                frames.append(data["frame"])
        assert frames == sorted(set(frames))
        assert len(frames) < 200  # some were overtaken: the newest counts
        output.status(replace(STATUS, state="retrying"))
        while name != "status":
            name, data = next_event(stream)
        assert data["state"] == "retrying"


def test_history_and_events_carry_the_same_seconds() -> None:
    control = Switch()
    with serving(control) as output, Feeder(output, control, face(), face(2, "neutral", 0.6)):
        seconds: list[Record] = []
        with streaming(output, "/api/events") as stream:
            while len(seconds) < 2:
                name, data = next_event(stream)
                if name == "second":
                    seconds.append(data)
        history = ask(output, "/api/history").json
    assert history["span_s"] == 300
    assert history["labels"][-1] == "uncertain"
    assert [second["faces"] for second in seconds] == [{"happy": 1.0, "neutral": 1.0}] * 2
    times = [second["time"] for second in history["seconds"]]
    for second in seconds:
        assert min(abs(time - second["time"]) for time in times) < 0.5


def test_health_and_readiness() -> None:
    control = Switch()
    with serving(control, frame_stale_after_s=0.2, status_stale_after_s=0.4) as output:

        def verdicts() -> tuple[int, int]:
            return ask(output, "/healthz").status, ask(output, "/readyz").status

        assert verdicts() == (503, 503)
        output.status(replace(STATUS, frames=0))
        assert ask(output, "/readyz").status == 503
        output.write(observation(0), ASTRONAUT)
        output.status(STATUS)
        assert ask(output, "/readyz").json == {"ok": True, "state": "running"}
        wait_until(lambda: verdicts() == (503, 200), "no frame for too long: unhealthy")
        output.write(observation(1), ASTRONAUT)
        assert ask(output, "/healthz").status == 200

        control.pause()
        output.status(control.status())
        assert verdicts() == (200, 503)
        wait_until(lambda: verdicts() == (503, 503), "the run no longer tells its state: unhealthy")
        control.resume()
        output.status(replace(STATUS, state="retrying"))
        assert verdicts() == (200, 503)


def test_a_viewer_that_takes_nothing_is_disconnected_and_delays_nobody() -> None:
    noise = np.random.default_rng(5).integers(0, 256, (720, 1280, 3), np.uint8)
    frames = itertools.count()
    with serving(client_timeout_s=0.5, max_fps=200, jpeg_quality=100) as output, socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", output.port))
        deaf.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: bool(ask(output, "/api/state").json["viewers"] == 1), "it watches")

        def gone() -> bool:
            output.write(observation(next(frames), size=(1280, 720)), noise)
            return bool(ask(output, "/api/state").json["viewers"] == 0)

        wait_until(gone, "it is disconnected")


def test_streams_are_limited() -> None:
    with serving(max_clients=2) as output:
        with streaming(output, "/stream.mjpg"), streaming(output, "/api/events"):
            wait_until(lambda: ask(output, "/api/events").status == 503, "both count")
            assert "Retry-After" in ask(output, "/stream.mjpg").headers
        wait_until(lambda: _opens(output), "a place is free again")


def _opens(output: WebOutput) -> bool:
    try:
        with streaming(output, "/stream.mjpg"):
            return True
    except AssertionError:
        return False


def test_a_port_in_use_is_one_line() -> None:
    with serving() as first:
        second = WebOutput(WebSettings(port=first.port))
        with pytest.raises(OutputError, match="choose another port") as caught:
            second.open()
    assert "\n" not in str(caught.value)
    assert f":{first.port}" in str(caught.value)


def test_an_unknown_host_is_one_line() -> None:
    with pytest.raises(OutputError, match=r"nowhere\.invalid:0") as caught:
        WebOutput(WebSettings(host="nowhere.invalid", port=0)).open()
    assert "\n" not in str(caught.value)


def test_close_ends_streams_and_threads_and_open_serves_again() -> None:
    threads = set(threading.enumerate())
    output = WebOutput(WebSettings(port=0), Switch())
    output.open()
    port = output.port
    with streaming(output, "/stream.mjpg") as pictures, streaming(output, "/api/events") as events:
        output.write(observation(0, face()), ASTRONAUT)
        next_event(events)
        output.close()
        while pictures.readline():
            pass
        while events.readline():
            pass
    output.close()
    assert {
        thread for thread in threading.enumerate() if thread not in threads and thread.name == "web server"
    } == set()
    with pytest.raises(OutputError, match="not running"):
        output.write(observation(1), ASTRONAUT)

    again = WebOutput(WebSettings(port=port), Switch())
    again.open()
    assert ask(again, "/api/state").json["observation"] is None
    again.close()
    again.open()
    assert again.port == port
    assert ask(again, "/readyz").status == 503
    again.close()


def test_large_and_grey_frames_can_be_watched() -> None:
    large = np.asarray(cv2.resize(ASTRONAUT, (1920, 1080)), np.uint8)
    with serving(max_side_px=640) as output, streaming(output, "/stream.mjpg") as stream:
        output.write(observation(0, face(), size=(1920, 1080)), large)
        while next_picture(stream).shape != (360, 640, 3):
            pass
        output.write(observation(1, face()), ASTRONAUT[:, :, 1])
        while (grey := next_picture(stream)).shape != ASTRONAUT.shape:
            pass
    assert cv2.PSNR(grey, draw_overlay(ASTRONAUT[:, :, 1], observation(1, face()))) > 28
    small, image = shrunk(observation(0, face(), size=(1920, 1080)), large, 640)
    assert image.shape == (360, 640, 3)
    assert small.size == (640, 360)
    assert small.faces[0].box == (58, 22, 35, 35)


def test_what_is_not_there_is_said_as_json() -> None:
    with serving() as output:
        for path in ("/nothing", "/static/nothing.js", "/static/..%2Fapp.py", "/static/openapi.json"):
            answer = ask(output, path)
            assert (answer.status, list(answer.json)) == (404, ["error"])
        assert ask(output, "/api/pause").status == 405
        assert ask(output, "/api/state", "HEAD").status == 200


def test_kiosk_setting_chooses_the_first_page() -> None:
    with serving() as plain, serving(settings=WebSettings(port=0, kiosk=True)) as kiosk:
        assert b'class="dashboard"' in ask(plain, "/").body
        assert b'class="kiosk"' in ask(kiosk, "/").body
        assert b'class="dashboard"' in ask(kiosk, "/dashboard").body
        assert b'class="kiosk"' in ask(plain, "/kiosk").body


def test_pages_ask_nobody_else_for_anything() -> None:
    with serving() as output:
        for page in ("/dashboard", "/kiosk"):
            body = ask(output, page).body.decode()
            assert "http://" not in body
            assert "https://" not in body
            for part in body.split('"'):
                if part.startswith("/static/"):
                    assert ask(output, part).status == 200, part


@pytest.mark.parametrize(
    "wrong", [{"jpeg_quality": 0}, {"max_fps": 0}, {"max_clients": 0}, {"max_side_px": 10}, {"client_timeout_s": -1}]
)
def test_settings_are_checked(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        ServingSettings(**wrong)


def test_the_server_is_imported_only_when_it_is_used() -> None:
    code = (
        "import sys; from fer_edge.outputs import parse_output; parse_output('web');"
        "print(sorted({'uvicorn', 'starlette', 'asyncio'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "uvicorn" not in done.stdout
    assert "starlette" not in done.stdout
