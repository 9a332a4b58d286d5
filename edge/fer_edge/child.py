"""Running another program without ever waiting for it longer than agreed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_GRACE_S = 0.5
"""How long a killed child gets to disappear before it is left behind."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A program that ran to its end."""

    status: int
    """Its exit status; negative: the number of the signal that ended it."""
    stdout: str
    stderr: str


def run_limited(command: Sequence[str], timeout_s: float, env: Mapping[str, str] | None = None) -> Finished | None:
    """Run ``command`` for at most ``timeout_s`` seconds, without a shell and without standard input.

    ``subprocess.run(timeout=...)`` waits for the child that it killed, and a child that sits in a hung driver
    (state D) does not die: the caller hangs with it. This one gives up after a moment and leaves the child to the
    kernel. Its whole process group is killed, so that nothing it started lives on.

    Args:
        command: the program, looked up on the PATH, and its arguments.
        timeout_s: seconds from its start.
        env: the whole environment of the child; None: this process's own.

    Returns:
        What it left, or None when the time was up.

    Raises:
        OSError: if there is no such program or it may not be run.
    """
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        env=None if env is None else dict(env),
        start_new_session=True,
    )
    try:
        stdout, stderr = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        _abandon(child)
        return None
    except BaseException:  # Ctrl-C: the child has its own session and would not get it
        _abandon(child)
        raise
    return Finished(child.returncode, stdout, stderr)


def _abandon(child: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(timeout=_GRACE_S)
    for pipe in (child.stdout, child.stderr):
        if pipe is not None:
            pipe.close()
    if child.returncode is None:
        child.returncode = -signal.SIGKILL  # else Popen's destructor warns of a child that still runs
