"""``fer-edge doctor``: is everything here that fer-edge needs, does it work, and what mends it if not?

Libraries and cameras are tried out, not just looked for, each in a child process with a time limit. The doctor itself
imports neither numpy nor OpenCV, so that it can still tell what is wrong with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fer_edge import board
from fer_edge.doctor import hardware, system
from fer_edge.doctor.cameras import Camera
from fer_edge.doctor.check import Check, Status, failed
from fer_edge.doctor.probe import Answer, Request, ask

__all__ = ["Check", "Status", "examine", "failed"]

_START_S = 20.0
"""What a child may take to import OpenCV or picamera2 from a cold SD card, on top of the source's own time."""


def examine(
    config: Path | None = None, root: Path = board.ROOT, camera_limit_s: float | None = None
) -> Iterator[Check]:
    """Look at everything; checks come as they are done, which takes some seconds.

    Args:
        config: the configuration file; None: the one that is found.
        root: where /proc, /sys, /dev, /etc and /run are looked for.
        camera_limit_s: seconds that a camera may take; None: from its read_timeout_s.
    """
    file = None if config is None else str(config)
    yield system.python_version()
    yield system.architecture()
    yield system.operating_system(root)
    yield hardware.board_model(root)
    yield hardware.power(root)
    yield hardware.temperature(root)
    yield system.disk(root)
    yield system.clock(root)
    service = system.service(root)
    yield service
    configuration = ask(Request("configuration", file), "configuration")
    yield from configuration.checks
    for probe in ("numpy", "opencv", "face detector", "model"):
        yield from ask(Request(probe, file), probe).checks
    yield hardware.devices(root)
    if service.found.startswith("active"):
        yield Check(
            "cameras", "skip", "the running service uses them", f"to try them:  sudo systemctl stop {system.SERVICE}"
        )
        return
    limit_s = camera_limit_s or _START_S + 2 * configuration.read_timeout_s
    yield from _cameras(configuration, file, board.model(root) is not None, limit_s)


def _cameras(configuration: Answer, file: str | None, is_pi: bool, limit_s: float) -> Iterator[Check]:
    if configuration.source != "auto":
        check = _picture(configuration.source, file, limit_s)
        yield Check(f"source {check.name}", check.status, check.found, check.advice)
    listed = ask(Request("cameras", file), "cameras", limit_s)
    yield from listed.checks
    usable = [camera for camera in listed.cameras if not camera.reason]
    for camera in listed.cameras:
        if camera.reason and _matters(camera, is_pi):
            found, _, advice = camera.reason.partition("; ")
            yield Check(f"camera {camera.spec}", "warn", found, advice)
    for camera in usable:
        check = _picture(camera.spec, file, limit_s)
        yield Check(f"camera {camera.spec}", check.status, check.found, check.advice)
    if not usable and not listed.checks:
        yield Check(
            "cameras",
            "warn",
            "none found",
            "connect one (a Raspberry Pi camera only while the power is off)",
        )


def _picture(spec: str, file: str | None, limit_s: float) -> Check:
    from fer_edge.configuration.redact import redact

    return ask(Request("camera", file, spec), redact(spec), limit_s).checks[0]


def _matters(camera: Camera, is_pi: bool) -> bool:
    """Whether it is news that a camera cannot be used: not where a PC has no picamera2, or nothing is plugged in."""
    if camera.spec == "picamera2":
        return is_pi
    return camera.spec != "v4l2" and "USB camera" not in camera.reason
