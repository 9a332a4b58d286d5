"""Where results go: files, brokers, pages and screens, each behind the same protocol.

::

    output = IsolatedOutput(parse_output("jsonl:faces.jsonl", settings), finite=settings.finite)
    output.open()
    output.write(observation, image)
    output.close()
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fer_edge.errors import ConfigError, UsageError
from fer_edge.outputs.base import Output, OutputClosed, record
from fer_edge.outputs.isolated import IsolatedOutput, OutputStats, RetrySettings
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

if TYPE_CHECKING:
    from fer_edge.control import RuntimeControl

__all__ = [
    "OUTPUTS",
    "AggregateSettings",
    "IsolatedOutput",
    "LogSettings",
    "MetricsSettings",
    "MqttSettings",
    "Output",
    "OutputClosed",
    "OutputSettings",
    "OutputStats",
    "RetrySettings",
    "ServingSettings",
    "VideoSettings",
    "WebSettings",
    "parse_output",
    "record",
]


@dataclass(frozen=True, slots=True)
class _Wish:
    """What an output is built from."""

    argument: str
    """What stands after the colon; "" for nothing."""
    settings: OutputSettings
    control: RuntimeControl | None
    recording: bool


@dataclass(frozen=True, slots=True)
class OutputKind:
    """One entry of the registry."""

    grammar: str
    """How it is named: ``csv:PATH``."""
    build: Callable[[_Wish], Output]
    """Imports what it needs."""
    tells_of_faces: bool = True
    """Whether single faces can be followed in it; refused if only counts are wanted."""


def parse_output(
    spec: str,
    settings: OutputSettings | None = None,
    *,
    control: RuntimeControl | None = None,
    recording: bool = False,
) -> Output:
    """Build the output that ``spec`` names; nothing is opened yet.

    ========================  =====================================================================
    ``jsonl``                 one line of JSON a frame, to stdout
    ``jsonl:PATH``            the same to a file, with rotation
    ``csv:PATH``              one row a face
    ``aggregate[:PATH]``      counts by expression per interval, to stdout or a file
    ``mqtt[:HOST[:PORT]]``    the camera's state to a broker, with Home Assistant discovery
    ``metrics[:[HOST:]PORT]`` a page for Prometheus
    ``web[:[HOST:]PORT]``     the dashboard
    ``window``                the annotated picture on the screen
    ``video:PATH``            the annotated pictures as a video
    ========================  =====================================================================

    Args:
        spec: as above; what it says goes before ``settings``.
        settings: those of all outputs.
        control: what the dashboard's pause button controls; None: it has none.
        recording: whether another output of the run stores pictures; the dashboard then says so.

    Raises:
        UsageError: if ``spec`` is not in the grammar, or names an output that tells of single faces although
            ``settings.aggregate_only``.
        OutputError: if the output cannot be built here, such as a video of an unknown format.
    """
    settings = settings or OutputSettings()
    name, _, argument = spec.strip().partition(":")
    kind = OUTPUTS.get(name)
    if kind is None:
        raise _unknown(spec)
    if settings.aggregate_only and kind.tells_of_faces:
        allowed = ", ".join(name for name, other in OUTPUTS.items() if not other.tells_of_faces)
        raise UsageError(f"the output {spec!r} tells of single faces, and only counts are wanted; choose of {allowed}")
    try:
        return kind.build(_Wish(argument, settings, control, recording))
    except ConfigError as error:
        raise UsageError(f"the output {spec!r}: {error}") from error


def _unknown(spec: str) -> UsageError:
    name = spec.strip().partition(":")[0]
    grammar = ", ".join(kind.grammar for kind in OUTPUTS.values())
    suffix = Path(spec).suffix.lower()
    by_suffix = {".jsonl": "jsonl", ".csv": "csv", ".mp4": "video", ".avi": "video", ".mkv": "video"}
    close = difflib.get_close_matches(name.lower(), OUTPUTS, n=1)
    guess = f"{by_suffix[suffix]}:{spec}" if suffix in by_suffix else next(iter(close), "")
    hint = f"did you mean {guess}? Outputs are" if guess else "outputs are"
    return UsageError(f"no output is called {name!r}; {hint} {grammar}")


def _path(kind: str, argument: str) -> Path:
    if not argument:
        raise UsageError(f"the output {kind} needs a file: {kind}:PATH")
    return Path(argument).expanduser()


def _path_or_stdout(argument: str) -> Path | None:
    return None if argument in {"", "-"} else Path(argument).expanduser()


def _address(kind: str, argument: str) -> dict[str, Any]:
    """Return the host and port named by ``HOST:PORT``, ``[HOST]:PORT`` (IPv6) or ``PORT``, as far as they are."""
    host, colon, port = argument.rpartition(":")
    if argument.endswith("]"):
        host, colon, port = argument, "", ""
    if not port.isdecimal() and (port or colon):
        raise UsageError(f"the output {kind}:{argument} ends in no port number: it is {OUTPUTS[kind].grammar}")
    found: dict[str, Any] = {}
    if host:
        found["host"] = host.strip("[]")
    if port:
        found["port"] = int(port)
    return found


def _files(settings: OutputSettings) -> LogSettings:
    # Rotation deletes; the results of a file are wanted whole.
    return dataclasses.replace(settings.log, max_bytes=0) if settings.finite else settings.log


def _jsonl(wish: _Wish) -> Output:
    from fer_edge.outputs.jsonl import JsonlOutput

    return JsonlOutput(_path_or_stdout(wish.argument), _files(wish.settings))


def _csv(wish: _Wish) -> Output:
    from fer_edge.outputs.csv_file import CsvOutput

    return CsvOutput(_path("csv", wish.argument), wish.settings.labels, _files(wish.settings))


def _aggregate(wish: _Wish) -> Output:
    from fer_edge.outputs.aggregate import AggregateOutput

    return AggregateOutput(_path_or_stdout(wish.argument), wish.settings.aggregate, _files(wish.settings))


def _mqtt(wish: _Wish) -> Output:
    from fer_edge.outputs.mqtt import MqttOutput

    if "@" in wish.argument or wish.argument.startswith("//"):
        raise UsageError(
            "the output mqtt takes a host and a port only; name user and password in the configuration, "
            "where other processes do not see them"
        )
    host, colon, _ = wish.argument.partition(":")
    named = {"host": host} if host and not colon else _address("mqtt", wish.argument)
    return MqttOutput(dataclasses.replace(wish.settings.mqtt, **named), wish.settings.labels)


def _metrics(wish: _Wish) -> Output:
    from fer_edge.outputs.metrics import MetricsOutput

    return MetricsOutput(dataclasses.replace(wish.settings.metrics, **_address("metrics", wish.argument)))


def _web(wish: _Wish) -> Output:
    from fer_edge.outputs.web import WebOutput

    web = dataclasses.replace(wish.settings.web, **_address("web", wish.argument))
    return WebOutput(web, wish.control, recording=wish.recording)


def _window(wish: _Wish) -> Output:
    from fer_edge.outputs.window import WindowOutput

    if wish.argument:
        raise UsageError("the output window takes nothing after its name")
    return WindowOutput()


def _video(wish: _Wish) -> Output:
    from fer_edge.outputs.video_file import VideoOutput

    return VideoOutput(_path("video", wish.argument), wish.settings.video)


OUTPUTS: Final[dict[str, OutputKind]] = {
    "jsonl": OutputKind("jsonl[:PATH]", _jsonl),
    "csv": OutputKind("csv:PATH", _csv),
    "aggregate": OutputKind("aggregate[:PATH]", _aggregate, tells_of_faces=False),
    "mqtt": OutputKind("mqtt[:HOST[:PORT]]", _mqtt),
    "metrics": OutputKind("metrics[:[HOST:]PORT]", _metrics, tells_of_faces=False),
    "web": OutputKind("web[:[HOST:]PORT]", _web),
    "window": OutputKind("window", _window),
    "video": OutputKind("video:PATH", _video),
}
"""Every output by its name; the order is that of help texts."""
