"""``metrics[:[HOST:]PORT]``: a page for Prometheus, by default on http://127.0.0.1:9464/metrics."""

from __future__ import annotations

import ipaddress
import logging
import math
import threading
from typing import TYPE_CHECKING, Final, get_args

from fer_edge import __version__
from fer_edge.board import THROTTLED_FLAGS
from fer_edge.contract.preprocess import UInt8Array
from fer_edge.errors import OutputError
from fer_edge.frames import Observation
from fer_edge.outputs.settings import MetricsSettings, address
from fer_edge.status import RuntimeStatus, State

if TYPE_CHECKING:
    from socketserver import BaseServer

log = logging.getLogger(__name__)

LATENCY_BUCKETS_S: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.033, 0.05, 0.1, 0.2, 0.5, 1.0)
"""From a classification on a PC to a scan on a Pi Zero; 0.033 is a frame at 30 frames/s."""


class MetricsOutput:
    """Serves the run's counters; owns its registry, so that two runs in one process do not meet."""

    wants_image = False
    lossless = True

    def __init__(self, settings: MetricsSettings) -> None:
        """Name the address; nothing is bound before :meth:`open`."""
        try:
            from prometheus_client import CollectorRegistry
        except ImportError as error:
            raise OutputError(
                "metrics: needs the package prometheus-client: run  python -m pip install prometheus-client"
            ) from error
        self._settings = settings
        self._port = settings.port
        self.registry = CollectorRegistry()
        self._server: BaseServer | None = None
        self._thread: threading.Thread | None = None
        self._frames = self._dropped = 0
        self._make_metrics()

    @property
    def name(self) -> str:
        """The page's address without http."""
        return f"metrics:{address(self._settings.host, self._port)}"

    @property
    def port(self) -> int:
        """The port listened on; the one that was free if the settings say 0."""
        return self._port

    def open(self) -> None:
        """Listen.

        Raises:
            OutputError: if the address or port cannot be had.
        """
        from prometheus_client import start_http_server

        host = self._settings.host
        try:
            self._server, self._thread = start_http_server(self._port, addr=host, registry=self.registry)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise OutputError(f"{self.name}: cannot listen there ({reason}); choose another port") from error
        self._port = int(self._server.server_address[1])
        if not _is_loopback(host):
            log.warning("%s: open to the network, without password or encryption, as asked", self.name)

    def write(self, observation: Observation, image: UInt8Array | None) -> None:  # noqa: ARG002
        """Count one result."""
        timing = observation.timing
        for stage, milliseconds in (("detect", timing.detect), ("classify", timing.classify), ("total", timing.total)):
            self._latency.labels(stage).observe(milliseconds / 1000)
        self._age.observe(observation.age_ms / 1000)
        self._faces_in_view.set(len(observation.faces))
        for face in observation.faces:
            self._faces.labels(face.expression).inc()

    def status(self, status: RuntimeStatus) -> None:
        """Take the state of the run."""
        self._frames_total.inc(max(0, status.frames - self._frames))
        self._dropped_total.inc(max(0, status.dropped - self._dropped))
        self._frames, self._dropped = status.frames, status.dropped
        self._fps.set(status.fps)
        self._uptime.set(status.uptime_s)
        self._temperature.set(math.nan if status.temperature_c is None else status.temperature_c)
        self._state.state(status.state)
        if status.state != "running":
            self._faces_in_view.set(0)
        flags = set() if status.throttled is None else set(status.throttled.split(", "))
        for flag in THROTTLED_FLAGS.values():
            self._throttled.labels(flag).set(math.nan if status.throttled is None else flag in flags)
        run = {"version": __version__, "source": status.source, "model": status.model, "sha256": status.model_sha256}
        self._run.info(run)

    def close(self) -> None:
        """Stop listening; idempotent."""
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        server.server_close()
        if self._thread is not None:
            self._thread.join()

    def _make_metrics(self) -> None:
        from prometheus_client import Counter, Enum, Gauge, Histogram, Info

        registry = self.registry
        self._frames_total = Counter("fer_edge_frames", "Frames processed.", registry=registry)
        self._dropped_total = Counter(
            "fer_edge_frames_dropped", "Frames overtaken by a newer one before they were processed.", registry=registry
        )
        self._faces = Counter("fer_edge_faces", "Faces in frames, by expression.", ["expression"], registry=registry)
        self._faces_in_view = Gauge("fer_edge_faces_in_view", "Faces in the last frame.", registry=registry)
        self._latency = Histogram(
            "fer_edge_latency_seconds",
            "Time that a frame took, by stage.",
            ["stage"],
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self._age = Histogram(
            "fer_edge_age_seconds",
            "From the capture of a frame to the end of its processing.",
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self._fps = Gauge("fer_edge_frames_per_second", "Processed frames a second, lately.", registry=registry)
        self._uptime = Gauge("fer_edge_uptime_seconds", "Since the run began.", registry=registry)
        self._temperature = Gauge("fer_edge_temperature_celsius", "Of the board; NaN if unknown.", registry=registry)
        self._throttled = Gauge(
            "fer_edge_throttled",
            "Raspberry Pi's throttling flags: 1 if set, NaN if unknown.",
            ["flag"],
            registry=registry,
        )
        self._state = Enum(
            "fer_edge_source_state", "State of the source.", states=list(get_args(State)), registry=registry
        )
        self._run = Info("fer_edge_run", "What is running.", registry=registry)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
