"""Checks in a child process: a hung driver, a crash in native code or a runaway import cannot take the doctor along.

The parent calls :func:`ask`; the child is :mod:`fer_edge.doctor.probes`. What is asked travels in an environment
variable, which only this user can read, because a source may hold a password; the answer is the last line of stdout.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import msgspec

import fer_edge
from fer_edge.child import Finished, run_limited
from fer_edge.doctor.cameras import Camera
from fer_edge.doctor.check import Check

VARIABLE = "FER_EDGE_PROBE"

LIBRARY_LIMIT_S = 60.0
"""For the slowest import on the slowest board from a cold SD card."""


class Request(msgspec.Struct, frozen=True):
    """What a child is to look at."""

    probe: str
    """A name of :data:`fer_edge.doctor.probes.PROBES`."""
    config: str | None = None
    """The configuration file; None: the one that is found."""
    spec: str = ""
    """A source."""


class Answer(msgspec.Struct, frozen=True):
    """What a child found."""

    checks: list[Check] = []
    cameras: list[Camera] = []
    source: str = "auto"
    """The source that the configuration names; may hold a password."""
    read_timeout_s: float = 5.0


def ask(request: Request, name: str, limit_s: float = LIBRARY_LIMIT_S) -> Answer:
    """Have a child answer ``request``.

    Args:
        request: what to look at.
        name: what a check is called that stands for a child without an answer.
        limit_s: how long the child may take, in seconds.
    """
    env = dict(os.environ)
    env[VARIABLE] = msgspec.json.encode(request).decode()
    # -P: a numpy.py in the working directory must not be taken for numpy. The path makes a source tree work too.
    env["PYTHONPATH"] = os.pathsep.join(
        filter(None, (env.get("PYTHONPATH"), str(Path(fer_edge.__file__).resolve().parents[1])))
    )
    try:
        done = run_limited([sys.executable, "-P", "-m", "fer_edge.doctor.probes"], limit_s, env)
    except OSError as error:
        return Answer([Check(name, "fail", f"{sys.executable} cannot be started ({error.strerror})")])
    if done is None:
        return Answer(
            [
                Check(
                    name,
                    "fail",
                    f"no answer within {limit_s:g} s: something hangs",
                    "restart the board (a USB camera: unplug it and plug it in again), then see  dmesg | tail",
                )
            ]
        )
    try:
        return msgspec.json.decode(done.stdout.rpartition("\n")[2], type=Answer)
    except msgspec.DecodeError:
        return Answer([_without_answer(name, done)])


def _without_answer(name: str, done: Finished) -> Check:
    if done.status < 0:
        signal_name = signal.Signals(-done.status).name
        advice = (
            "a library is built for another processor: install the wheels of this one, or a 64-bit system"
            if signal_name == "SIGILL"
            else "reinstall fer-edge and its libraries in a new virtual environment"
        )
        return Check(name, "fail", f"crashes ({signal_name})", advice)
    last = done.stderr.strip().rpartition("\n")[2] or f"exit status {done.status}"
    return Check(name, "fail", last, "reinstall fer-edge and its libraries in a new virtual environment")
