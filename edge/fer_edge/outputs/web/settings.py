"""How the dashboard is served; where it listens, and who may look, is in :class:`fer_edge.outputs.WebSettings`."""

from __future__ import annotations

from dataclasses import dataclass

from fer_edge.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ServingSettings:
    """What viewing costs at most, and what counts as alive."""

    jpeg_quality: int = 80
    """1 to 100; at 80 a 640x480 picture has 40 to 80 kB."""
    max_fps: float = 12.0
    """Pictures a second of the live view; JPEG is encoded once for all viewers, and not at all without one."""
    max_side_px: int = 1280
    """Larger frames are shrunk to so many pixels on their longer side before they are encoded."""
    max_events_hz: float = 10.0
    """Observations a second that the event stream carries."""
    max_clients: int = 16
    """Live views and event streams that may be open at once; a dashboard has one of each."""
    history_s: int = 300
    """Length of the timeline in seconds."""
    frame_stale_after_s: float = 10.0
    """The pipeline counts as alive for so long after a frame."""
    status_stale_after_s: float = 10.0
    """A run that is paused, or is retrying its source, counts as alive for so long after it last told its state."""
    client_timeout_s: float = 20.0
    """A viewer that takes no data for so long is disconnected."""

    def __post_init__(self) -> None:
        if not 1 <= self.jpeg_quality <= 100:
            raise ConfigError(f"jpeg_quality is {self.jpeg_quality}: it must be 1 to 100")
        if self.max_side_px < 64:
            raise ConfigError(f"max_side_px is {self.max_side_px}: it must be at least 64")
        for name in ("max_clients", "history_s"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: it must be at least 1")
        for name in ("max_fps", "max_events_hz", "frame_stale_after_s", "status_stale_after_s", "client_timeout_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}: it must be more than 0")
