"""What Home Assistant is told so that a camera's sensors appear by themselves.

The payloads follow https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery, one retained message a sensor. A
value that is null in the state's JSON becomes the payload ``None``, which Home
Assistant shows as unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias, get_args

from fer_edge import __version__
from fer_edge.contract.labels import UNCERTAIN
from fer_edge.outputs.settings import MqttSettings
from fer_edge.status import State

Payload: TypeAlias = dict[str, Any]


def state_topic(settings: MqttSettings) -> str:
    """Return the topic of the camera's state."""
    return f"{settings.topic_prefix}/{settings.device}/{settings.camera}/state"


def availability_topic(settings: MqttSettings) -> str:
    """Return the topic that says ``online`` or ``offline``."""
    return f"{settings.topic_prefix}/{settings.device}/{settings.camera}/availability"


def discovery(settings: MqttSettings, labels: Sequence[str]) -> dict[str, Payload]:
    """Return the discovery payload of each of a camera's sensors, by its topic.

    Args:
        settings: names of the device and the camera, and the topics' prefixes.
        labels: what the model can report; ``uncertain`` is added.
    """
    node = f"{settings.device}_{settings.camera}"
    shared: Payload = {
        "has_entity_name": True,
        "state_topic": state_topic(settings),
        "availability_topic": availability_topic(settings),
        "payload_available": "online",
        "payload_not_available": "offline",
        "device": {
            "identifiers": [f"fer-edge_{node}"],
            "name": f"{settings.device} {settings.camera}",
            "manufacturer": "fer-edge",
            "model": "facial-expression camera",
            "sw_version": __version__,
        },
        "origin": {"name": "fer-edge", "sw_version": __version__},
    }
    topics = {}
    for component, key, own in _sensors(labels):
        payload = {**shared, **own, "unique_id": f"fer-edge_{node}_{key}"}
        topics[f"{settings.discovery_prefix}/{component}/{node}/{key}/config"] = payload
    return topics


def _sensors(labels: Sequence[str]) -> list[tuple[str, str, Payload]]:
    """Return (component, key, what is particular to it) of each sensor."""
    measured: Payload = {"state_class": "measurement"}
    diagnostic: Payload = {"entity_category": "diagnostic"}
    return [
        (
            "sensor",
            "expression",
            {
                "name": "Expression",
                "icon": "mdi:emoticon-outline",
                "device_class": "enum",
                "options": [*labels, *(() if UNCERTAIN in labels else (UNCERTAIN,))],
                "value_template": "{{ value_json.expression }}",
            },
        ),
        (
            "sensor",
            "score",
            {
                "name": "Score",
                "icon": "mdi:gauge",
                "unit_of_measurement": "%",
                "suggested_display_precision": 0,
                "value_template": ("{{ none if value_json.score is none else (value_json.score * 100) | round(1) }}"),
                **measured,
            },
        ),
        (
            "sensor",
            "faces",
            {
                "name": "Faces",
                "icon": "mdi:account-group-outline",
                "unit_of_measurement": "faces",
                "value_template": "{{ value_json.faces }}",
                **measured,
            },
        ),
        (
            "sensor",
            "fps",
            {
                "name": "Frame rate",
                "icon": "mdi:speedometer",
                "unit_of_measurement": "fps",
                "suggested_display_precision": 1,
                "value_template": "{{ value_json.fps }}",
                **measured,
                **diagnostic,
            },
        ),
        (
            "sensor",
            "temperature",
            {
                "name": "Temperature",
                "device_class": "temperature",
                "unit_of_measurement": "°C",
                "suggested_display_precision": 0,
                "value_template": "{{ value_json.temperature_c }}",
                **measured,
                **diagnostic,
            },
        ),
        (
            "sensor",
            "state",
            {
                "name": "State",
                "icon": "mdi:cctv",
                "device_class": "enum",
                "options": list(get_args(State)),
                "value_template": "{{ value_json.state }}",
                **diagnostic,
            },
        ),
        (
            "binary_sensor",
            "throttled",
            {
                "name": "Throttled",
                "device_class": "problem",
                "value_template": (
                    "{{ none if value_json.throttled is none else 'ON' if value_json.throttled else 'OFF' }}"
                ),
                **diagnostic,
            },
        ),
    ]
