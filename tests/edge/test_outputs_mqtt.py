"""MQTT against a real mosquitto: what is sent, to whom, and what happens when the broker is killed."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fer_edge.contract.labels import LABELS
from fer_edge.errors import OutputError
from fer_edge.outputs.home_assistant import availability_topic, discovery, state_topic
from fer_edge.outputs.isolated import IsolatedOutput
from fer_edge.outputs.mqtt import MqttOutput
from fer_edge.outputs.settings import MqttSettings
from fer_edge.status import State
from tests.edge.mosquitto import Broker, Observer, free_port, needs_mosquitto
from tests.edge.sample_observations import eventually, face, observation, run_status

EXPECTED_SENSORS = {"expression", "score", "faces", "fps", "temperature", "state", "throttled"}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path)
    broker.start()
    yield broker
    broker.kill()


def settings_for(broker: Broker, **values: Any) -> MqttSettings:
    values = {"device": "pi", "camera": "hall", "publish_interval_s": 0.2, **values}
    return MqttSettings(host="127.0.0.1", port=broker.port, **values)


def assert_home_assistant_takes(topic: str, payload: dict[str, Any]) -> None:
    """The rules of Home Assistant's MQTT discovery and of its sensor and binary_sensor platforms."""
    prefix, component, node, key, last = topic.split("/")
    assert (prefix, last) == ("homeassistant", "config")
    assert component in {"sensor", "binary_sensor"}
    assert all(part.replace("_", "").replace("-", "").isalnum() for part in (node, key))
    assert payload["state_topic"]
    assert payload["unique_id"]
    assert payload["name"]
    device = payload["device"]
    assert device["identifiers"]
    assert {"name", "manufacturer", "model", "sw_version"} <= device.keys()
    assert payload["origin"]["name"] == "fer-edge"
    assert payload["availability_topic"]
    assert payload["value_template"].startswith("{{ ")
    assert payload.get("entity_category") in {None, "diagnostic"}
    assert payload.get("icon", "mdi:").startswith("mdi:")
    if payload.get("device_class") == "enum":
        assert len(set(payload["options"])) == len(payload["options"]) > 0
        assert "state_class" not in payload
        assert "unit_of_measurement" not in payload
    else:
        assert "options" not in payload
    if payload.get("device_class") == "temperature":
        assert payload["unit_of_measurement"] == "°C"
    if component == "binary_sensor":
        assert payload["device_class"] == "problem"
        assert not payload.keys() & {"state_class", "unit_of_measurement", "options"}


def test_discovery_announces_each_sensor_of_one_device_per_camera() -> None:
    hall, door = (discovery(MqttSettings(device="pi", camera=camera), LABELS) for camera in ("hall", "door"))
    for topic, payload in hall.items():
        assert_home_assistant_takes(topic, payload)
    assert {topic.split("/")[3] for topic in hall} == EXPECTED_SENSORS
    ids = [payload["unique_id"] for payload in (*hall.values(), *door.values())]
    assert len(set(ids)) == len(ids)
    devices = [{str(payload["device"]) for payload in camera.values()} for camera in (hall, door)]
    assert [len(camera) for camera in devices] == [1, 1]
    assert devices[0] != devices[1]
    expression = hall["homeassistant/sensor/pi_hall/expression/config"]
    assert expression["options"] == [*LABELS, "uncertain"]
    other = discovery(MqttSettings(discovery_prefix="ha"), ("calm", "uncertain"))
    assert all(topic.startswith("ha/") for topic in other)
    assert next(p for t, p in other.items() if "/expression/" in t)["options"] == ["calm", "uncertain"]


@needs_mosquitto
def test_a_camera_appears_in_home_assistant_with_its_values(broker: Broker) -> None:
    settings = settings_for(broker)
    observer = Observer(broker.port)
    output = MqttOutput(settings)
    output.open()
    eventually(lambda: output.connected, "connected")
    output.status(run_status(temperature_c=48.7, throttled="under-voltage"))
    small, large = face(1, "sad", 0.6, (0, 0, 40, 40)), face(2, "happy", 0.8123, (90, 0, 90, 90))
    output.write(observation(0, small, large), None)

    def seen() -> bool:
        output.status(run_status(temperature_c=48.7, throttled="under-voltage"))
        return observer.state(settings).get("expression") is not None and len(observer.messages) == 9

    eventually(seen, "state, availability and seven sensors")
    assert observer.state(settings) == {
        "expression": "happy",
        "score": 0.812,
        "faces": 2,
        "fps": 30.0,
        "temperature_c": 48.7,
        "throttled": "under-voltage",
        "state": "running",
        "detail": "",
        "source": "v4l2:/dev/video0",
        "model": "default",
    }
    assert observer.last(availability_topic(settings)) == "online"
    announced = {topic: text for topic, (text, _) in observer.messages.items() if topic.startswith("homeassistant/")}
    for topic, text in announced.items():
        payload = json.loads(text)
        assert_home_assistant_takes(topic, payload)
        assert payload["state_topic"] == state_topic(settings)
        assert payload["availability_topic"] == availability_topic(settings)
    observer.close()

    # Retained: Home Assistant, started later, gets all of it at once.
    late = Observer(broker.port)
    eventually(lambda: len(late.messages) == 9, "everything is retained")
    assert all(retained for _, retained in late.messages.values())
    output.close()
    output.close()
    eventually(lambda: late.last(availability_topic(settings)) == "offline", "a farewell")
    late.close()


@needs_mosquitto
def test_a_camera_that_is_paused_or_away_reports_nobody(broker: Broker) -> None:
    settings = settings_for(broker, discovery=False)
    observer = Observer(broker.port)
    output = MqttOutput(settings)
    output.open()
    eventually(lambda: output.connected, "connected")

    def shows(state: State) -> bool:
        output.status(run_status(state))
        return observer.state(settings).get("state") == state

    away: tuple[State, ...] = ("paused", "retrying")
    for state in away:
        output.write(observation(0, face()), None)
        eventually(partial(shows, "running"), "running")
        eventually(partial(shows, state), state)
        document = observer.state(settings)
        assert [document[key] for key in ("expression", "score", "faces")] == [None, None, None]
    assert not any(topic.startswith("homeassistant/") for topic in observer.messages)
    output.close()
    observer.close()


@needs_mosquitto
def test_changes_are_sent_at_once_and_a_standing_picture_seldom(broker: Broker) -> None:
    settings = settings_for(broker, discovery=False, publish_interval_s=3600)
    observer = Observer(broker.port)
    output = MqttOutput(settings)
    output.open()
    eventually(lambda: output.connected, "connected")

    def shows(expression: str) -> bool:
        output.write(observation(0, face(1, expression)), None)
        return observer.state(settings).get("expression") == expression

    for expression in ("happy", "sad", "happy"):
        eventually(partial(shows, expression), expression)
    for frame in range(2000):
        output.write(observation(frame, face(1, "happy", 0.5 + frame / 5000)), None)
    output.close()
    eventually(lambda: observer.last(availability_topic(settings)) == "offline", "closed")
    states = [text for topic, text in observer.history if topic == state_topic(settings)]
    assert len(states) <= 4  # one at the connection, three changes
    observer.close()


@needs_mosquitto
def test_a_model_with_other_labels_is_announced_anew(broker: Broker) -> None:
    settings = settings_for(broker)
    observer = Observer(broker.port)
    output = MqttOutput(settings, ("calm", "upset"))
    output.open()
    topic = "homeassistant/sensor/pi_hall/expression/config"
    eventually(lambda: topic in observer.messages, "announced")
    assert json.loads(observer.last(topic))["options"] == ["calm", "upset", "uncertain"]
    output.write(observation(0, face()), None)
    eventually(lambda: json.loads(observer.last(topic))["options"] == [*LABELS, "uncertain"], "announced anew")
    output.close()
    observer.close()


@needs_mosquitto
def test_the_broker_says_offline_when_the_process_is_killed(broker: Broker) -> None:
    settings = settings_for(broker)
    observer = Observer(broker.port)
    code = f"""
import time
from fer_edge.outputs.mqtt import MqttOutput
from fer_edge.outputs.settings import MqttSettings
MqttOutput(MqttSettings(host="127.0.0.1", port={broker.port}, device="pi", camera="hall")).open()
time.sleep(600)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    eventually(lambda: observer.last(availability_topic(settings)) == "online", "online")
    process.kill()
    process.wait()
    eventually(lambda: observer.last(availability_topic(settings)) == "offline", "the last will")
    observer.close()


@needs_mosquitto
def test_a_broker_killed_and_restarted_delays_nothing_and_gets_everything_again(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fer_edge")
    settings = settings_for(broker)
    mqtt = MqttOutput(settings)
    output = IsolatedOutput(mqtt)
    output.open()
    eventually(lambda: mqtt.connected, "connected")
    broker.kill()
    eventually(lambda: not mqtt.connected, "noticed")
    longest_s = 0.0
    for frame in range(3000):
        began = time.monotonic()
        output.write(observation(frame, face(1, "surprise")), None)
        longest_s = max(longest_s, time.monotonic() - began)
    output.status(run_status())
    eventually(lambda: output.stats.written + output.stats.dropped == 3000, "the output took them")
    assert output.stats.failures == 0
    broker.start()  # it has forgotten all that was retained
    observer = Observer(broker.port)
    eventually(lambda: mqtt.connected, "connected again")
    eventually(lambda: len(observer.messages) == 9, "everything is published again")
    assert observer.state(settings)["expression"] == "surprise"
    assert observer.last(availability_topic(settings)) == "online"
    output.close()
    observer.close()
    # Once when it was lost; attempts while it is away do not fill the log.
    assert sum("connection was lost" in message for message in caplog.messages) == 1
    assert sum("no connection" in message for message in caplog.messages) <= 1
    assert sum("connected" in message for message in caplog.messages) == 2
    print(f"longest write while the broker was away: {longest_s * 1000:.2f} ms")


@needs_mosquitto
def test_a_broker_that_stands_still_delays_nothing(broker: Broker) -> None:
    settings = settings_for(broker)
    mqtt = MqttOutput(settings)
    mqtt.open()
    eventually(lambda: mqtt.connected, "connected")
    broker.signal(signal.SIGSTOP)
    try:
        for frame in range(3000):
            mqtt.write(observation(frame, face(1, LABELS[frame % 7])), None)
            mqtt.status(run_status())
    finally:
        broker.signal(signal.SIGCONT)
    observer = Observer(broker.port)

    def goes_on() -> bool:
        mqtt.status(run_status())
        return observer.state(settings).get("faces") == 1

    eventually(goes_on, "it goes on")
    mqtt.close()
    observer.close()


def test_a_broker_that_is_not_there_delays_nothing_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    output = IsolatedOutput(MqttOutput(MqttSettings(host="127.0.0.1", port=free_port())))
    output.open()
    for frame in range(1000):
        output.write(observation(frame, face()), None)
    eventually(lambda: bool(caplog.records), "it is said")
    time.sleep(1.5)  # a second attempt
    output.close()
    assert len(caplog.records) == 1
    assert "no connection" in caplog.text
    assert "Connection refused" in caplog.text


@needs_mosquitto
def test_user_and_password(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tool = shutil.which("mosquitto_passwd")
    if tool is None:
        pytest.skip("mosquitto_passwd is not installed")
    users = tmp_path / "users"
    subprocess.run([tool, "-c", "-b", str(users), "camera", "s3cret"], check=True, capture_output=True)
    broker = Broker(tmp_path, "allow_anonymous false", f"password_file {users}")
    broker.start()
    (tmp_path / "password").write_text("s3cret\n")
    good = MqttOutput(settings_for(broker, username="camera", password_file=tmp_path / "password"))
    good.open()
    eventually(lambda: good.connected, "connected")
    good.close()
    caplog.clear()
    bad = MqttOutput(settings_for(broker, username="camera", password="wr0ng"))
    bad.open()
    eventually(lambda: "refuses the connection" in caplog.text, "refused")
    assert not bad.connected
    bad.close()
    broker.kill()
    assert "ot authori" in caplog.text  # "Not authorized" or "not authorised", as paho 2 or 1.6 put it
    assert "wr0ng" not in caplog.text
    assert "s3cret" not in caplog.text


def make_certificates(folder: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")

    def run(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], cwd=folder, check=True, capture_output=True)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    run("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=test CA")
    (folder / "san").write_text("subjectAltName=IP:127.0.0.1")
    for name in ("server", "client"):
        run("req", *new_key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "san")
        run("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signing)


@needs_mosquitto
@pytest.mark.filterwarnings(  # paho leaves the socket of a failed handshake to the garbage collector
    "ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"
)
def test_tls_with_certificates_on_both_sides(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_certificates(tmp_path)
    files = (f"cafile {tmp_path}/ca.pem", f"certfile {tmp_path}/server.pem", f"keyfile {tmp_path}/server.key")
    broker = Broker(tmp_path, *files, "require_certificate true", "allow_anonymous true")
    broker.start()
    client = {"certificate_file": tmp_path / "client.pem", "key_file": tmp_path / "client.key"}
    good = MqttOutput(settings_for(broker, tls=True, ca_file=tmp_path / "ca.pem", **client))
    good.open()
    eventually(lambda: good.connected, "connected")
    good.close()
    caplog.clear()
    doubtful = MqttOutput(settings_for(broker, tls=True))  # the system does not know this CA
    doubtful.open()
    eventually(lambda: "CERTIFICATE_VERIFY_FAILED" in caplog.text, "the broker's certificate is refused")
    assert not doubtful.connected
    doubtful.close()
    broker.kill()


def test_files_that_cannot_be_read_fail_at_the_start(tmp_path: Path) -> None:
    missing, wrong = tmp_path / "missing", tmp_path / "wrong.pem"
    wrong.write_text("no certificate")
    for settings, message in (
        (MqttSettings(username="u", password_file=missing), "missing: the MQTT password cannot be read"),
        (MqttSettings(tls=True, ca_file=missing), "missing: no usable certificate"),
        (MqttSettings(tls=True, ca_file=wrong), "wrong.pem: no usable certificate"),
        (MqttSettings(tls=True, certificate_file=wrong), "wrong.pem: no usable certificate"),
    ):
        with pytest.raises(OutputError, match=message) as caught:
            IsolatedOutput(MqttOutput(settings)).open()
        assert "\n" not in str(caught.value)
