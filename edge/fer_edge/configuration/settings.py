"""The configuration in the form that each part of the runtime takes: its own settings class.

Imported by what builds the runtime, not by what only reads the configuration: the parts bring OpenCV along.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from msgspec import structs

from fer_edge.configuration.schema import Config
from fer_edge.outputs.settings import (
    AggregateSettings,
    LogSettings,
    MetricsSettings,
    MqttSettings,
    OutputSettings,
    ServingSettings,
    VideoSettings,
    WebSettings,
)
from fer_edge.sources.base import SourceSettings
from fer_edge.vision.schedule import ScheduleSettings
from fer_edge.vision.smoothing import SmoothingSettings


def source_settings(config: Config, *, realtime: bool = False, loop: bool = False) -> SourceSettings:
    """Return what is asked of the source; ``realtime`` and ``loop`` concern files and come from the command line."""
    values = structs.asdict(config.source)
    del values["spec"]
    return SourceSettings(**values, realtime=realtime, loop=loop)


def schedule_settings(config: Config) -> ScheduleSettings:
    """Return how faces are searched for."""
    values = structs.asdict(config.detection)
    for name in ("backend", "profile", "cascade", "yunet_model"):  # they choose and build the detector itself
        del values[name]
    return ScheduleSettings(**values)


def smoothing_settings(config: Config, uncertain_below: float) -> SmoothingSettings:
    """Return how expressions are smoothed.

    Args:
        config: the configuration.
        uncertain_below: the threshold of the model's card, for a configuration that sets none.
    """
    chosen = config.smoothing.uncertain_below
    return SmoothingSettings(
        time_constant_s=config.smoothing.time_constant_s,
        margin=config.smoothing.margin,
        uncertain_below=uncertain_below if chosen is None else chosen,
    )


def output_settings(config: Config, labels: Sequence[str], *, finite: bool) -> OutputSettings:
    """Return the settings of all outputs.

    Args:
        config: the configuration.
        labels: the model's labels.
        finite: whether the source is a file that is processed whole.
    """
    outputs = config.outputs
    mqtt = structs.asdict(outputs.mqtt)
    if mqtt["device"] is None:
        del mqtt["device"]  # the host's name, which MqttSettings finds itself
    for name in ("ca_file", "certificate_file", "key_file", "password_file"):
        mqtt[name] = as_path(mqtt[name])
    web = structs.asdict(outputs.web)
    web["token_file"] = as_path(web["token_file"])
    serving = ServingSettings(**{name: web.pop(name) for name in [field.name for field in fields(ServingSettings)]})
    return OutputSettings(
        log=LogSettings(**structs.asdict(outputs.files)),
        aggregate=AggregateSettings(**structs.asdict(outputs.aggregate)),
        mqtt=MqttSettings(**mqtt),
        metrics=MetricsSettings(**structs.asdict(outputs.metrics)),
        video=VideoSettings(**structs.asdict(outputs.video)),
        web=WebSettings(**web, serving=serving),
        labels=tuple(labels),
        finite=finite,
        aggregate_only=config.privacy.aggregate_only,
    )


def as_path(text: str | None) -> Path | None:
    """Return a path of the configuration, its ``~`` replaced by the home directory."""
    return None if text is None else Path(text).expanduser()
