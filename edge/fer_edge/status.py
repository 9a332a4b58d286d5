"""The state of a running fer-edge, as outputs and the supervisor see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

State: TypeAlias = Literal["starting", "running", "retrying", "paused", "stopped"]


@dataclass(frozen=True, slots=True)
class RuntimeStatus:
    """A snapshot, taken about once a second."""

    state: State
    source: str
    """Name of the source in use, such as ``v4l2:/dev/video0``."""
    detail: str
    """One line for people: why the source is being retried, which source ``auto`` took."""
    model: str
    model_sha256: str
    frames: int
    """Frames processed since start."""
    dropped: int
    """Frames captured but overtaken by a newer one before they were processed."""
    fps: float
    """Processed frames a second, over the last few seconds."""
    age_ms: float | None
    """Median capture-to-result age over the last few seconds; None before the first frame."""
    temperature_c: float | None
    throttled: str | None
    """Raspberry Pi's ``get_throttled`` flags in words; None where it cannot be read, "" when all is well."""
    uptime_s: float
