"""A live camera that does what a test tells it to, and an output that remembers: real parts of a run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias

import cv2
import numpy as np

from fer_edge.configuration import resolve_config
from fer_edge.contract.preprocess import UInt8Array
from fer_edge.control import RuntimeControl
from fer_edge.errors import OutputError, SourceError
from fer_edge.frames import Observation
from fer_edge.outputs import Output, OutputSettings
from fer_edge.runtime import OutputPlan, Parts, RunSummary, Runtime, assemble
from fer_edge.sources import Source, SourceSettings
from fer_edge.sources.live import LiveSource, Picture
from fer_edge.status import RuntimeStatus
from tests.edge.sample_observations import eventually

ASTRONAUT = Path(__file__).parents[2] / "edge" / "fer_edge" / "data" / "astronaut.jpg"

Mood: TypeAlias = Literal["good", "missing", "vanish", "stall", "freeze", "garbage", "resize", "hang", "hang on open"]


class Device:
    """The hardware that :class:`ScriptedCamera` drives: it outlives the source, as a camera does."""

    def __init__(self, mood: Mood = "good", interval_s: float = 0.01) -> None:
        self.mood: Mood = mood
        self.interval_s = interval_s
        self.holders = 0
        """Sources that hold the device open now."""
        self.openings = 0
        self.attempts = 0
        """Times that somebody tried to open it, also in vain."""
        self.built = 0
        self.hanging = threading.Event()
        """Set once a call hangs in the driver, or waits for a picture."""
        self.let_go = threading.Event()
        """Set by the test to let calls that hang return."""
        self._face: UInt8Array = np.asarray(cv2.resize(np.asarray(cv2.imread(str(ASTRONAUT))), (256, 256)), np.uint8)
        self._noise = np.random.default_rng(1)

    def source(self, settings: SourceSettings) -> Source:
        self.built += 1
        return ScriptedCamera(self, settings)

    def hang(self) -> None:
        self.hanging.set()
        self.let_go.wait()

    def picture(self) -> UInt8Array:
        if self.mood == "freeze":
            return self._face
        if self.mood == "garbage":
            return np.zeros((3, 5), np.float32)
        face = self._face.copy()
        face[:8] = self._noise.integers(0, 255, (8, face.shape[1], 3), np.uint8)
        return face if self.mood != "resize" else np.ascontiguousarray(face[:, :200])


class ScriptedCamera(LiveSource):
    """Behaves as the device's mood says."""

    def __init__(self, device: Device, settings: SourceSettings) -> None:
        super().__init__("scripted:camera", settings)
        self._device = device

    def _open_device(self) -> None:
        self._device.attempts += 1
        if self._device.mood in ("missing", "vanish"):
            raise SourceError("scripted:camera: no such device; plug it in")
        if self._device.mood == "hang on open":
            self._device.hang()
        self._device.openings += 1
        self._device.holders += 1

    def _read_device(self) -> Picture:
        device = self._device
        time.sleep(device.interval_s)
        if device.mood == "hang":
            device.hang()
        if device.mood == "vanish":
            raise SourceError("scripted:camera: delivers no more pictures; check the plug")
        if device.mood == "stall":
            device.hanging.set()
            device.let_go.wait(self._settings.read_timeout_s)
            raise SourceError("scripted:camera: no picture in time")
        return Picture(device.picture(), time.monotonic())

    def _close_device(self) -> None:
        self._device.holders -= 1


class MemoryOutput:
    """Keeps what it gets."""

    wants_image = False

    def __init__(self, name: str = "memory", *, lossless: bool = True, fail_at: int | None = None) -> None:
        self.name = name
        self.lossless = lossless
        self.fail_at = fail_at
        self.failure: OutputError = OutputError(f"{name}: the disk is full; free some space")
        self.refuses_to_open = False
        self.opening, self.let_open = threading.Event(), threading.Event()
        """Set once it is being opened; what an opening waits for, as for a server that does not answer."""
        self.let_open.set()
        self.observations: list[Observation] = []
        self.states: list[RuntimeStatus] = []
        self.opened = self.closed = 0
        self.control: RuntimeControl | None = None

    @property
    def state(self) -> str:
        """The last one that it was told."""
        return self.states[-1].state if self.states else "none yet"

    @property
    def detail(self) -> str:
        return self.states[-1].detail if self.states else ""

    def open(self) -> None:
        self.opening.set()
        self.let_open.wait()
        if self.refuses_to_open:
            raise OutputError(f"{self.name}: the port is in use; name another")
        self.opened += 1

    def write(self, observation: Observation, image: UInt8Array | None) -> None:  # noqa: ARG002
        if self.fail_at is not None and len(self.observations) >= self.fail_at:
            raise self.failure
        self.observations.append(observation)

    def status(self, status: RuntimeStatus) -> None:
        self.states.append(status)

    def close(self) -> None:
        self.closed += 1

    def plan(self, settings: OutputSettings | None = None) -> OutputPlan:
        def build(control: RuntimeControl | None) -> Output:
            self.control = control
            return self

        return OutputPlan(self.name, settings or OutputSettings(), build)


class Background:
    """A run in a thread of its own, as an application would have it."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.summary: RunSummary | None = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.summary = self.runtime.run()
        except BaseException as error:
            self.error = error

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for something to happen while the run goes on."""
        eventually(lambda: self.error is not None or condition(), what)
        if self.error is not None:
            raise self.error

    def wait(self) -> RunSummary:
        self._thread.join(60)
        assert not self._thread.is_alive(), "the run did not end"
        if self.error is not None:
            raise self.error
        assert self.summary is not None
        return self.summary

    def stop(self) -> RunSummary:
        self.runtime.stop()
        return self.wait()


def parts_for(
    model: Path,
    outputs: Sequence[MemoryOutput],
    *,
    source: str = "0",
    device: Device | None = None,
    realtime: bool = False,
    keys: Mapping[str, object] | None = None,
) -> Parts:
    """Assemble a run with outputs in memory; a ``device`` takes the place of the live source that ``source`` names.

    ``keys`` are those of the configuration.
    """
    overrides = {"source.spec": source, "model.name": str(model), **(keys or {})}
    resolved = resolve_config(None, {}, overrides, system_file=Path("/nowhere"))
    parts = replace(assemble(resolved, realtime=realtime), outputs=tuple(output.plan() for output in outputs))
    if device is None:
        return parts
    build: Callable[[], Source] = lambda: device.source(parts.source_settings)  # noqa: E731
    return replace(parts, build_source=build)
