"""A dashboard that really serves, a run that really can be paused, and clients that speak plain HTTP."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

import cv2
import numpy as np

from fer_edge.contract.labels import LABELS
from fer_edge.contract.preprocess import UInt8Array
from fer_edge.frames import Face, Observation, Timing
from fer_edge.outputs import ServingSettings
from fer_edge.outputs.settings import WebSettings
from fer_edge.outputs.web import WebOutput
from fer_edge.status import RuntimeStatus

DEADLINE_S = 30.0
"""After which a test gives up; nothing is asserted about how long anything takes."""

STATUS = RuntimeStatus(
    state="running",
    source="image:astronaut.jpg",
    detail="",
    model="tiny",
    model_sha256="5e" * 32,
    frames=1,
    dropped=0,
    fps=29.9,
    age_ms=31.4,
    temperature_c=52.5,
    throttled="",
    uptime_s=65.0,
)

BOXES = [(175, 65, 105, 105), (20, 330, 90, 90)]
"""A face, and a patch of its owner's sleeve."""

ACTION = {"X-Fer-Edge": "1"}


def astronaut() -> UInt8Array:
    data = np.frombuffer((files("fer_edge") / "data" / "astronaut.jpg").read_bytes(), np.uint8)
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


ASTRONAUT = astronaut()


def face(number: int = 1, expression: str = "happy", score: float = 0.82) -> Face:
    rest = (1 - score) / (len(LABELS) - 1)
    probabilities = {label: score if label == expression else rest for label in LABELS}
    return Face(number, BOXES[number - 1], expression, score, probabilities)


def observation(frame: int = 0, *faces: Face, size: tuple[int, int] = (512, 512)) -> Observation:
    return Observation(frame, 1_700_000_000.0 + frame / 30, 31.4, size, faces, Timing(8.0, 1.0, 9.2))


class Switch:
    """The part of a run that a dashboard controls."""

    def __init__(self) -> None:
        self.paused = False
        self.frames = 0
        self.failure: Exception | None = None

    def pause(self) -> None:
        if self.failure is not None:
            raise self.failure
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def status(self) -> RuntimeStatus:
        return replace(STATUS, state="paused" if self.paused else "running", frames=self.frames)


@contextmanager
def serving(control: Switch | None = None, settings: WebSettings | None = None, **limits: Any) -> Iterator[WebOutput]:
    settings = replace(settings or WebSettings(port=0), serving=ServingSettings(**limits))
    output = WebOutput(settings, control)
    output.open()
    try:
        yield output
    finally:
        output.close()


class Feeder:
    """Writes results and states as a live run does, until the end of the ``with`` block."""

    def __init__(self, output: WebOutput, control: Switch, *faces: Face) -> None:
        self._output = output
        self._control = control
        self._faces = faces or (face(),)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Feeder:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        turn = 0
        while not self._end.wait(1 / 30):
            if not self._control.paused:
                self._control.frames += 1
                self._output.write(observation(self._control.frames, *self._faces), ASTRONAUT)
            if turn % 10 == 0:
                self._output.status(self._control.status())
            turn += 1


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    output: WebOutput,
    path: str,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: str | None = None,
    address: str = "127.0.0.1",
) -> Answer:
    connection = http.client.HTTPConnection(address, output.port, timeout=DEADLINE_S)
    try:
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


@contextmanager
def streaming(output: WebOutput, path: str) -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("127.0.0.1", output.port, timeout=DEADLINE_S)
    try:
        connection.request("GET", path)
        with connection.getresponse() as response:
            assert response.status == 200
            yield response
    finally:
        connection.close()


def next_picture(stream: http.client.HTTPResponse) -> UInt8Array:
    """Read one part of an MJPEG stream as any client does: boundary, head, as many bytes as it says."""
    line = stream.readline()
    while line == b"\r\n":
        line = stream.readline()
    assert line == b"--frame\r\n"
    head: dict[str, str] = {}
    while (line := stream.readline()) != b"\r\n":
        name, _, value = line.decode().partition(":")
        head[name.lower()] = value.strip()
    assert head["content-type"] == "image/jpeg"
    data = stream.read(int(head["content-length"]))
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return np.asarray(picture, np.uint8)


def next_event(stream: http.client.HTTPResponse) -> tuple[str, Any]:
    """Read one server-sent event: its name and its data."""
    name, data = "message", ""
    while line := stream.readline().decode().rstrip("\n"):
        key, _, value = line.partition(": ")
        if key == "event":
            name = value
        elif key == "data":
            data = value
    return name, json.loads(data) if data else None


def wait_until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline, f"it never came to this: {what}"
        time.sleep(0.02)
