"""Settings of the outputs: one frozen class an output, units in the names.

They are cheap to import, so that the configuration can be read without loading what an output needs.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, field
from pathlib import Path

from fer_edge.contract.labels import LABELS
from fer_edge.errors import ConfigError

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How the files of ``jsonl``, ``csv`` and ``aggregate`` are written."""

    max_bytes: int = 64 * MIB
    """Size at which a file is rotated (PATH becomes PATH.1), in bytes; 0: never. Results of a finite source never are
    rotated."""
    keep: int = 4
    """How many rotated files are kept beside the current one; 0: a full file is deleted."""
    flush_interval_s: float = 2.0
    """Lines are collected for up to so many seconds, to spare an SD card; 0: each is written at once."""

    def __post_init__(self) -> None:
        _at_least("max_bytes", self.max_bytes, 0)
        _at_least("keep", self.keep, 0)
        _at_least("flush_interval_s", self.flush_interval_s, 0)


@dataclass(frozen=True, slots=True)
class AggregateSettings:
    """Settings of ``aggregate[:PATH]``."""

    interval_s: float = 60.0
    """Length of an interval in seconds; intervals start at multiples of it, counted from 1970 or a file's beginning."""

    def __post_init__(self) -> None:
        _at_least("interval_s", self.interval_s, 1)


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """Settings of ``mqtt[:HOST[:PORT]]``."""

    host: str = "localhost"
    port: int | None = None
    """None: 1883, or 8883 with TLS."""
    tls: bool = False
    ca_file: Path | None = None
    """Certificates that the broker's is checked against, PEM; None: those of the system."""
    certificate_file: Path | None = None
    """This client's certificate, PEM, for brokers that ask for one."""
    key_file: Path | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    password_file: Path | None = None
    """A file that holds nothing but the password, such as a systemd credential; its last line feed does not count."""
    topic_prefix: str = "fer-edge"
    """Topics are ``PREFIX/DEVICE/CAMERA/state`` and ``.../availability``."""
    device: str = field(default_factory=lambda: slug(socket.gethostname()))
    """Names this machine in topics and unique ids; keep it when the host is renamed."""
    camera: str = "camera"
    """Names the camera; two runs on one machine need two names."""
    discovery: bool = True
    """Whether Home Assistant is told of the sensors."""
    discovery_prefix: str = "homeassistant"
    publish_interval_s: float = 2.0
    """Seconds between two states while nothing changes; a change of expression or of the number of faces is sent at
    once."""
    keepalive_s: int = 30

    def __post_init__(self) -> None:
        if not self.host:
            raise ConfigError("host is empty: name the MQTT broker")
        if self.port is not None and not 1 <= self.port <= 65535:
            raise ConfigError(f"port is {self.port}: it must be 1 to 65535")
        if self.password is not None and self.password_file is not None:
            raise ConfigError("password and password_file are both set: drop one")
        if (self.password is not None or self.password_file is not None) and self.username is None:
            raise ConfigError("there is a password without a username: name the user")
        if self.key_file is not None and self.certificate_file is None:
            raise ConfigError("key_file is set without certificate_file")
        for name in ("device", "camera"):
            if slug(getattr(self, name)) != getattr(self, name):
                raise ConfigError(f"{name} is {getattr(self, name)!r}: use letters, digits, - and _ only")
        for name in ("topic_prefix", "discovery_prefix"):
            if not re.fullmatch(r"[^+#\0/$][^+#\0]*(?<!/)", getattr(self, name)):
                raise ConfigError(f"{name} is {getattr(self, name)!r}: it must be an MQTT topic without wildcards")
        _at_least("publish_interval_s", self.publish_interval_s, 0.2)
        _at_least("keepalive_s", self.keepalive_s, 5)

    @property
    def effective_port(self) -> int:
        """The port that is used."""
        return self.port or (8883 if self.tls else 1883)


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """Settings of ``metrics[:[HOST:]PORT]``."""

    host: str = "127.0.0.1"
    """Address that is listened on. The page has neither password nor encryption: leave it on loopback, or put it behind
    a firewall."""
    port: int = 9464
    """0: any free one."""

    def __post_init__(self) -> None:
        _port(self.port)


@dataclass(frozen=True, slots=True)
class VideoSettings:
    """Settings of ``video:PATH``."""

    fps: float = 25.0
    """Frames a second of the file, whatever the source's pace: frames are repeated or left out to keep time."""

    def __post_init__(self) -> None:
        if not 1 <= self.fps <= 240:
            raise ConfigError(f"fps is {self.fps}: it must be 1 to 240")


@dataclass(frozen=True, slots=True)
class ServingSettings:
    """What viewing the dashboard costs at most, and what counts as alive."""

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


@dataclass(frozen=True, slots=True)
class WebSettings:
    """Settings of ``web[:[HOST:]PORT]``."""

    host: str = "127.0.0.1"
    """Address that is listened on; any but loopback needs a token."""
    port: int = 8787
    """0: any free one."""
    token_file: Path | None = None
    """A file that holds nothing but the token that a browser has to present."""
    kiosk: bool = False
    """Whether the page starts in its full-screen view."""
    serving: ServingSettings = field(default_factory=ServingSettings)
    """What viewing costs at most, and what counts as alive."""

    def __post_init__(self) -> None:
        _port(self.port)


@dataclass(frozen=True, slots=True)
class OutputSettings:
    """Settings of all outputs, and what they have to know of the run."""

    log: LogSettings = field(default_factory=LogSettings)
    aggregate: AggregateSettings = field(default_factory=AggregateSettings)
    mqtt: MqttSettings = field(default_factory=MqttSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    video: VideoSettings = field(default_factory=VideoSettings)
    web: WebSettings = field(default_factory=WebSettings)
    labels: tuple[str, ...] = LABELS
    """The model's labels."""
    finite: bool = False
    """Whether the source is a file that is processed whole: then every result is kept."""
    aggregate_only: bool = False
    """Privacy: refuse every output that tells of single faces."""


def slug(text: str) -> str:
    """Return ``text`` made of letters, digits, - and _ only, as ids of MQTT discovery have to be."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-") or "fer-edge"


def address(host: str, port: int) -> str:
    """Return ``host:port``, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _port(port: int) -> None:
    if not 0 <= port <= 65535:
        raise ConfigError(f"port is {port}: it must be 0 to 65535")


def _at_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise ConfigError(f"{name} is {value}: it must be at least {least}")
