"""What a child process of the doctor does: ``python -m fer_edge.doctor.probes``; see :mod:`fer_edge.doctor.probe`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from fer_edge.doctor import cameras, libraries
from fer_edge.doctor.check import Check
from fer_edge.doctor.probe import VARIABLE, Answer, Request
from fer_edge.errors import FerEdgeError

if TYPE_CHECKING:
    from fer_edge.configuration import Config


def _configuration(request: Request) -> Answer:
    from fer_edge.configuration import resolve_config

    try:
        resolved = resolve_config(_file(request))
    except FerEdgeError as error:
        advice = "see  fer-edge config check  ; the checks below go by the defaults"
        return Answer([Check("configuration", "fail", str(error), advice)])
    set_by_somebody = sum(origin.kind != "default" for origin in resolved.origins.values())
    where = resolved.file or "no file, defaults"
    source = resolved.config.source
    check = Check("configuration", "ok", f"{where} (settings changed: {set_by_somebody})")
    return Answer([check], source=source.spec, read_timeout_s=source.read_timeout_s)


def _numpy(_: Request) -> Answer:
    return Answer([libraries.numpy_library()])


def _opencv(_: Request) -> Answer:
    return Answer([libraries.opencv_library()])


def _face_detector(_: Request) -> Answer:
    return Answer([libraries.face_detector()])


def _model(request: Request) -> Answer:
    section = _config(request).model
    return Answer([libraries.model(section.name, section.threads)])


def _cameras(request: Request) -> Answer:
    return Answer(cameras=cameras.find(_config(request)))


def _camera(request: Request) -> Answer:
    return Answer([cameras.take_picture(request.spec, _config(request))])


PROBES: Final[dict[str, Callable[[Request], Answer]]] = {
    "configuration": _configuration,
    "numpy": _numpy,
    "opencv": _opencv,
    "face detector": _face_detector,
    "model": _model,
    "cameras": _cameras,
    "camera": _camera,
}


def _config(request: Request) -> Config:
    """The configuration, or the defaults where it cannot be used: its own check says so."""
    from fer_edge.configuration import Config, load_config

    try:
        return load_config(_file(request))
    except FerEdgeError:
        return Config()


def _file(request: Request) -> Path | None:
    return None if request.config is None else Path(request.config)


def main() -> None:
    """Answer the request in the environment; an exception's last line on stderr is an answer too."""
    request = msgspec.json.decode(os.environ.pop(VARIABLE), type=Request)
    answer = PROBES[request.probe](request)
    # A line of its own, after whatever a library printed.
    sys.stdout.write("\n" + msgspec.json.encode(answer).decode())
    sys.stdout.flush()
    # Without the interpreter's clean-up: a camera's thread or driver may never let it end.
    os._exit(0)


if __name__ == "__main__":
    main()
