"""Checks of the cameras by taking a picture with each; run in a child process each, because a driver may hang."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from fer_edge.doctor.check import Check
from fer_edge.errors import FerEdgeError, SourceError

if TYPE_CHECKING:
    from fer_edge.configuration import Config

DARK: Final = 4.0
"""Mean grey level under which a picture counts as black: a closed lens gives 0 to 2, a dim room 10 and more."""

SETTLE_S: Final = 2.0
"""How long a camera may take to get its automatic exposure right: many begin with black pictures."""


class Camera(msgspec.Struct, frozen=True):
    """A camera, or a place where none is."""

    spec: str
    """What ``--source`` takes."""
    reason: str = ""
    """Why it cannot be used; "" if it may be tried."""


def find(config: Config) -> list[Camera]:
    """Return what ``auto`` would try, without codecs, converters and other things that only look like cameras."""
    from fer_edge.configuration.settings import source_settings
    from fer_edge.sources.auto import find_cameras

    found = []
    for candidate in find_cameras(source_settings(config)):
        reason = candidate.reason if candidate.source is None else _why_not(candidate.name)
        if reason != _NO_CAMERA:
            found.append(Camera(candidate.name, reason))
    return found


_NO_CAMERA: Final = "no camera"


def _why_not(name: str) -> str:
    from fer_edge.sources import v4l2

    kind, _, device = name.partition(":")
    if kind != "v4l2":
        return ""
    try:
        return _NO_CAMERA if v4l2.query(Path(device)).why_no_camera else ""
    except SourceError as error:
        return str(error).removeprefix(f"{name}: ")


def take_picture(spec: str, config: Config) -> Check:
    """Open a source, read one frame and look at it.

    Args:
        spec: the source, as in the configuration.
        config: what else is asked of it.
    """
    from fer_edge.configuration.settings import source_settings
    from fer_edge.sources import open_source

    try:
        source = open_source(spec, source_settings(config))
    except FerEdgeError as error:
        return Check(spec, "fail", str(error), "see  fer-edge run --help  for what a source can be")
    start = time.monotonic()
    try:
        source.open()
        frame = source.read()
        took_s = time.monotonic() - start
        while frame is not None and float(frame.grey.mean()) < DARK and time.monotonic() - start < took_s + SETTLE_S:
            later = source.read()
            if later is None:
                break
            frame = later
    except FerEdgeError as error:
        found, _, advice = str(error).removeprefix(f"{source.name}: ").partition("; ")
        return Check(source.name, "fail", found, advice)
    finally:
        source.close()
    if frame is None:
        return Check(source.name, "fail", "delivers no picture", "check the plug, the cable and its power")
    found = f"{frame.size[0]}x{frame.size[1]}, first picture after {took_s:.1f} s"
    if source.nominal_fps:
        found += f", {source.nominal_fps:g} frames/s"
    if float(frame.grey.mean()) < DARK:
        return Check(source.name, "warn", f"{found}; it is black", "take the cap off the lens, switch the light on")
    return Check(source.name, "ok", found)
