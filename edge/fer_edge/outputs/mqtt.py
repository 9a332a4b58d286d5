"""``mqtt[:HOST[:PORT]]``: the camera's state to an MQTT broker, for Home Assistant and others.

Topics, all retained::

    PREFIX/DEVICE/CAMERA/availability   "online" or "offline" (the broker says so itself when this process dies)
    PREFIX/DEVICE/CAMERA/state          {"expression", "score", "faces", "fps", "temperature_c", "throttled",
                                         "state", "detail", "source", "model"}

``expression`` and ``score`` are those of the largest face, null when there is none; while the camera is not running, so
is ``faces``. paho-mqtt connects and reconnects in a thread of its own: a broker that is away delays nothing, and gets
the newest state when it is back. The callbacks of paho-mqtt 1.6 (Debian Bookworm) and 2 differ; both work.
"""

from __future__ import annotations

import logging
import os
import ssl
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from fer_edge.contract.labels import LABELS
from fer_edge.contract.preprocess import UInt8Array
from fer_edge.errors import OutputError
from fer_edge.frames import Face, Observation
from fer_edge.outputs.home_assistant import availability_topic, discovery, state_topic
from fer_edge.outputs.settings import MqttSettings, address
from fer_edge.status import RuntimeStatus

log = logging.getLogger(__name__)

SHORTEST_INTERVAL_S: Final = 0.2
"""Changes are sent at once, but no more than five a second."""
RECONNECT_MAX_S: Final = 30
GOODBYE_S: Final = 1.0


class MqttOutput:
    """Publishes the camera's state; see the module for the topics."""

    wants_image = False
    lossless = False

    def __init__(self, settings: MqttSettings, labels: tuple[str, ...] = LABELS) -> None:
        """Name the broker; nothing is sent before :meth:`open`."""
        self.name = f"mqtt:{address(settings.host, settings.effective_port)}"
        self._settings = settings
        self._labels = labels
        self._client: Any = None
        self._connected = False
        self._complaint = ""
        self._face: Face | None = None
        self._faces: int | None = None
        self._status: RuntimeStatus | None = None
        self._published_at = 0.0
        self._published_key: object = None

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted the connection."""
        return self._connected

    def open(self) -> None:
        """Start connecting; returns at once, whether or not the broker is there.

        Raises:
            OutputError: if a certificate or the password's file cannot be read.
        """
        settings = self._settings
        client = _new_client(f"fer-edge-{settings.device}-{settings.camera}-{os.getpid():x}")
        if settings.tls:
            client.tls_set_context(self._tls_context())
        if settings.username is not None:
            client.username_pw_set(settings.username, self._password())
        client.will_set(availability_topic(settings), "offline", qos=1, retain=True)
        client.reconnect_delay_set(min_delay=1, max_delay=RECONNECT_MAX_S)
        client.max_queued_messages_set(32)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.connect_async(settings.host, settings.effective_port, keepalive=settings.keepalive_s)
        self._client = client
        client.loop_start()

    def write(self, observation: Observation, image: UInt8Array | None) -> None:  # noqa: ARG002
        """Take one result; it is published if it changes something, or if the interval has passed."""
        self._face = max(observation.faces, key=lambda face: face.box[2] * face.box[3], default=None)
        self._faces = len(observation.faces)
        if self._face is not None and tuple(self._face.probabilities) != self._labels:
            self._labels = tuple(self._face.probabilities)
            if self._connected:
                self._announce(self._client)
        self._publish_if_due()

    def status(self, status: RuntimeStatus) -> None:
        """Take the state of the run."""
        self._status = status
        if status.state != "running":
            # A camera that is paused or away sees nobody: the last face must not stay on the wall for hours.
            self._face = self._faces = None
        self._publish_if_due()

    def close(self) -> None:
        """Say ``offline`` and disconnect."""
        client, self._client = self._client, None
        if client is None:
            return
        if self._connected:
            farewell = client.publish(availability_topic(self._settings), "offline", qos=1, retain=True)
            # If the connection breaks meanwhile, the broker says it in our name.
            with suppress(RuntimeError, ValueError):
                farewell.wait_for_publish(GOODBYE_S)
        client.disconnect()
        client.loop_stop()
        self._connected = False

    def _publish_if_due(self) -> None:
        thread = getattr(self._client, "_thread", None)
        if thread is not None and not thread.is_alive():
            raise OutputError(f"{self.name}: its network thread ended unexpectedly")
        if not self._connected:
            return
        expression = self._face.expression if self._face else None
        state = self._status.state if self._status else None
        key = expression, self._faces, state
        since = time.monotonic() - self._published_at
        least = SHORTEST_INTERVAL_S if key != self._published_key else self._settings.publish_interval_s
        if since >= least:
            self._published_key = key
            self._publish_state(self._client)

    def _publish_state(self, client: Any) -> None:
        self._published_at = time.monotonic()
        client.publish(state_topic(self._settings), msgspec.json.encode(self._state()), qos=0, retain=True)

    def _state(self) -> dict[str, Any]:
        face, status = self._face, self._status
        return {
            "expression": face.expression if face else None,
            "score": round(float(face.score), 3) if face else None,
            "faces": self._faces,
            "fps": round(status.fps, 1) if status else None,
            "temperature_c": None if status is None or status.temperature_c is None else round(status.temperature_c, 1),
            "throttled": status.throttled if status else None,
            "state": status.state if status else "starting",
            "detail": status.detail if status else "",
            "source": status.source if status else "",
            "model": status.model if status else "",
        }

    def _announce(self, client: Any) -> None:
        if self._settings.discovery:
            for topic, payload in discovery(self._settings, self._labels).items():
                client.publish(topic, msgspec.json.encode(payload), qos=1, retain=True)

    def _on_connect(self, client: Any, userdata: object, flags: object, code: Any, *rest: object) -> None:  # noqa: ARG002
        """Greet the broker; called in paho's thread at every connection. ``code``: int in paho 1, ReasonCode in 2."""
        failed = code.is_failure if hasattr(code, "is_failure") else code != 0
        if failed:
            self._complain(f"the broker refuses the connection ({_connack(code)}); mend user and password")
            return
        log.info("%s: connected", self.name)
        self._complaint = ""
        client.publish(availability_topic(self._settings), "online", qos=1, retain=True)
        self._connected = True
        self._announce(client)
        self._publish_state(client)

    def _on_connect_fail(self, client: Any, userdata: object) -> None:  # noqa: ARG002
        # paho calls this while it handles the exception, and does not pass it on.
        error = sys.exc_info()[1]
        self._complain(f"no connection ({error or 'unknown reason'})")

    def _on_disconnect(self, client: Any, userdata: object, *rest: object) -> None:  # noqa: ARG002
        if self._connected:
            self._connected = False
            if self._client is not None:
                self._complain("the connection was lost")

    def _complain(self, reason: str) -> None:
        """Log a reason once, not at every attempt."""
        if reason != self._complaint:
            self._complaint = reason
            log.warning("%s: %s; trying on", self.name, reason)

    def _password(self) -> str | None:
        path = self._settings.password_file
        if path is None:
            return self._settings.password
        try:
            return path.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            raise OutputError(f"{path}: the MQTT password cannot be read ({reason})") from error

    def _tls_context(self) -> ssl.SSLContext:
        settings = self._settings
        path: Path | None = settings.ca_file
        try:
            context = ssl.create_default_context(cafile=path)
            if settings.certificate_file is not None:
                path = settings.certificate_file
                context.load_cert_chain(path, settings.key_file)
        except OSError as error:  # ssl.SSLError is one
            raise OutputError(f"{path}: no usable certificate ({error.strerror or error})") from error
        return context


def _new_client(client_id: str) -> Any:
    try:
        import paho.mqtt.client as paho
    except ImportError as error:
        raise OutputError("mqtt: needs the package paho-mqtt: run  python -m pip install paho-mqtt") from error
    versions = getattr(paho, "CallbackAPIVersion", None)  # paho-mqtt 2 asks which callbacks are meant
    return paho.Client(client_id=client_id) if versions is None else paho.Client(versions.VERSION2, client_id=client_id)


def _connack(code: Any) -> str:
    if not isinstance(code, int):
        return str(code)
    from paho.mqtt.client import connack_string

    return str(connack_string(code)).removeprefix("Connection Refused: ").rstrip(".")
