"""Observations and states as a run would make them, and a way to wait for another thread or process."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from fer_edge.contract.labels import LABELS
from fer_edge.contract.preprocess import Box
from fer_edge.frames import Face, Observation, Timing
from fer_edge.status import RuntimeStatus, State

FRAME_S = 1 / 30


def face(number: int = 1, expression: str = "happy", score: float = 0.7, box: Box = (40, 30, 80, 80)) -> Face:
    """A face whose other probabilities share what ``score`` leaves."""
    rest = (1 - score) / (len(LABELS) - 1)
    top = expression if expression in LABELS else LABELS[-1]
    return Face(number, box, expression, score, {label: score if label == top else rest for label in LABELS})


def observation(frame: int = 0, *faces: Face, time_s: float | None = None) -> Observation:
    """A result of frame number ``frame`` of a 320x240 source at 30 frames/s."""
    at = frame * FRAME_S if time_s is None else time_s
    return Observation(frame, at, 12.345678, (320, 240), faces, Timing(4.5678912, 0.4, 5.1))


def numpy_observation() -> Observation:
    """As a pipeline makes it that forgets to turn NumPy's numbers into Python's."""
    scores = np.full(len(LABELS), 1 / 7, np.float32)
    box = tuple(np.int32(edge) for edge in (1, 2, 3, 4))
    seen = Face(1, box, "happy", scores[3], dict(zip(LABELS, scores, strict=True)))  # type: ignore[arg-type]
    return Observation(0, np.float64(0.5), np.float32(3.25), (320, 240), (seen,), Timing(1.0, 2.0, 3.0))  # type: ignore[arg-type]


def run_status(
    state: State = "running",
    frames: int = 100,
    dropped: int = 7,
    temperature_c: float | None = 51.25,
    throttled: str | None = "",
) -> RuntimeStatus:
    """The state of a run on a Raspberry Pi."""
    return RuntimeStatus(
        state=state,
        source="v4l2:/dev/video0",
        detail="",
        model="default",
        model_sha256="ab" * 32,
        frames=frames,
        dropped=dropped,
        fps=29.97,
        age_ms=21.5,
        temperature_c=temperature_c,
        throttled=throttled,
        uptime_s=12.5,
    )


def eventually(condition: Callable[[], bool], what: str, within_s: float = 60.0) -> None:
    """Wait until ``condition`` holds; the limit is there only so that a failing test ends."""
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"never happened: {what}")
        time.sleep(0.02)
