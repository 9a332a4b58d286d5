"""A real MQTT broker on a loopback port, and a client that watches it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt import client as paho

from fer_edge.outputs.home_assistant import state_topic
from fer_edge.outputs.settings import MqttSettings
from tests.edge.sample_observations import eventually

MOSQUITTO = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed: apt install mosquitto")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Broker:
    """A mosquitto of this test's own, on a loopback port; it forgets everything when it is killed."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.port = free_port()
        self._configuration = folder / "mosquitto.conf"
        lines = [f"listener {self.port} 127.0.0.1", "persistence false", *(options or ("allow_anonymous true",))]
        if os.geteuid() == 0:  # otherwise mosquitto becomes a user who cannot read the test's folder
            lines.insert(0, "user root")
        self._configuration.write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert MOSQUITTO is not None
        command = [MOSQUITTO, "-c", str(self._configuration)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(self._answers, "mosquitto listens")

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
        except OSError:
            return False
        return True


class Observer:
    """Another client, such as Home Assistant: keeps the last message of each topic."""

    def __init__(self, port: int) -> None:
        self.messages: dict[str, tuple[str, bool]] = {}
        self.history: list[tuple[str, str]] = []
        versions = getattr(paho, "CallbackAPIVersion", None)
        self._client: Any = paho.Client() if versions is None else paho.Client(versions.VERSION2)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _on_message(self, client: Any, userdata: object, message: Any) -> None:  # noqa: ARG002
        text = message.payload.decode()
        self.messages[message.topic] = text, bool(message.retain)
        self.history.append((message.topic, text))

    def last(self, topic: str) -> str:
        return self.messages.get(topic, ("", False))[0]

    def state(self, settings: MqttSettings) -> dict[str, Any]:
        document = json.loads(self.last(state_topic(settings)) or "{}")
        assert isinstance(document, dict)
        return document

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
