"""What the dashboard knows: written by the output's thread, read by the server's event loop."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Final

from fer_edge import __version__
from fer_edge.contract.labels import LABELS, UNCERTAIN
from fer_edge.contract.preprocess import UInt8Array
from fer_edge.control import RuntimeControl
from fer_edge.frames import Observation
from fer_edge.outputs.base import Record, record
from fer_edge.outputs.overlay import expression_colour
from fer_edge.outputs.settings import ServingSettings
from fer_edge.outputs.web.history import History
from fer_edge.outputs.web.pulse import Pulse
from fer_edge.status import RuntimeStatus, State

NO_PICTURE_IN: Final = frozenset[State]({"paused", "retrying"})
"""States in which the last frame says nothing about now, or must not be shown."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One result and the frame it belongs to."""

    number: int
    """Counts results, from 1."""
    observation: Observation
    image: UInt8Array | None
    """(H, W, 3) uint8 BGR or (H, W) uint8 grey; shared, so never drawn upon."""


class DashboardState:
    """The newest result, the newest status and the timeline; safe to use from any thread."""

    def __init__(self, control: RuntimeControl | None, serving: ServingSettings, *, recording: bool) -> None:
        """Begin without a result.

        Args:
            control: pauses the run; None: the page has no pause button.
            serving: the length of the timeline, and what counts as alive.
            recording: whether another output of the run stores pictures, which the page then says.
        """
        self.control = control
        self.changed = Pulse()
        self.history = History(serving.history_s)
        self.closing = False
        self._serving = serving
        self._recording = recording
        self._lock = threading.Lock()
        self._results = 0
        self._seen: Seen | None = None
        self._seen_at: float | None = None
        self._labels: tuple[str, ...] = LABELS
        self._status: RuntimeStatus | None = None
        self._status_at = 0.0
        self._statuses = 0

    def put(self, observation: Observation, image: UInt8Array | None) -> None:
        """Take one result; one that was still under way when the run was paused is dropped."""
        with self._lock:
            if self._pause_wanted():
                return
            self._results += 1
            self._seen = Seen(self._results, observation, image)
            self._seen_at = time.monotonic()
            if observation.faces:
                self._labels = tuple(observation.faces[0].probabilities) or self._labels
        self.history.add(face.expression for face in observation.faces)
        self.changed.beat()

    def set_status(self, status: RuntimeStatus) -> None:
        """Take the state of the run; forgets the last frame if that must not be shown any more."""
        with self._lock:
            self._status = status
            self._status_at = time.monotonic()
            self._statuses += 1
            if self._pause_wanted() or self._state() in NO_PICTURE_IN:
                self._seen = None
        self.changed.beat()

    def close(self) -> None:
        """Let every stream end."""
        self.closing = True
        with self._lock:
            self._seen = None
        self.changed.beat()

    @property
    def state(self) -> State:
        """The run's state now, which can be newer than the last status."""
        with self._lock:
            return self._state()

    @property
    def pause_wanted(self) -> bool:
        """Whether someone asked for a pause; the state is ``paused`` only when the camera has let go."""
        with self._lock:
            return self._pause_wanted()

    @property
    def seen(self) -> Seen | None:
        """The newest result; None before the first, from the wish for a pause on, and while the source is away."""
        with self._lock:
            return None if self._pause_wanted() else self._seen

    @property
    def status_number(self) -> int:
        """Counts statuses: a new number means news."""
        with self._lock:
            return self._statuses

    def describe(self) -> Record:
        """Return the JSON-able state of the run, without the newest result."""
        with self._lock:
            state, wanted, status, labels = self._state(), self._pause_wanted(), self._status, self._labels
        return {
            "time": round(time.time(), 3),
            "version": __version__,
            "state": state,
            "pause_wanted": wanted,
            "can_pause": self.control is not None,
            "recording": self._recording,
            "source": status.source if status else "",
            "detail": status.detail if status else "",
            "model": {"name": status.model, "sha256": status.model_sha256} if status else None,
            "frames": status.frames if status else 0,
            "dropped": status.dropped if status else 0,
            "fps": round(status.fps, 2) if status else 0.0,
            "age_ms": _rounded(status.age_ms) if status else None,
            "temperature_c": _rounded(status.temperature_c) if status else None,
            "throttled": status.throttled if status else None,
            "uptime_s": round(status.uptime_s, 1) if status else 0.0,
            "history_s": self.history.span_s,
            "labels": list(labels),
            "palette": {label: _hex(label) for label in (*labels, UNCERTAIN)},
        }

    def describe_seen(self) -> Record | None:
        """Return the JSON-able newest result and its frame's size in pixels; None where :attr:`seen` is."""
        seen = self.seen
        return None if seen is None else record(seen.observation) | {"size": list(seen.observation.size)}

    def alive(self) -> bool:
        """Whether frames are processed, or the run waits for good reason and still tells its state."""
        now = time.monotonic()
        with self._lock:
            frame_at, status_at = self._seen_at, self._status_at
            waits = self._pause_wanted() or self._state() in NO_PICTURE_IN
        if frame_at is not None and now - frame_at <= self._serving.frame_stale_after_s:
            return True
        return waits and now - status_at <= self._serving.status_stale_after_s

    def ready(self) -> bool:
        """Whether the run is going and has processed a frame."""
        with self._lock:
            processed = self._results > 0 or (self._status is not None and self._status.frames > 0)
            return self._state() == "running" and not self._pause_wanted() and processed

    def _pause_wanted(self) -> bool:
        if self.control is not None:
            return self.control.paused
        return self._status is not None and self._status.state == "paused"

    def _state(self) -> State:
        # A status is up to a second old: "paused" may have been overtaken by a click on the page's button.
        if self._status is None or (self._status.state == "paused" and not self._pause_wanted()):
            return "starting"
        return self._status.state


def _hex(label: str) -> str:
    blue, green, red = expression_colour(label)
    return f"#{red:02x}{green:02x}{blue:02x}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
