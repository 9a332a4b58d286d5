"""Starting the processes of one data-parallel run on this machine, as torchrun does, for any backend."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from types import FrameType
from typing import IO, Final

TERMINATE_AFTER_S: Final = 20.0
"""Time that the others have to end by themselves once one has ended with an error."""
LAUNCHER: Final = "FER_EDGE_LAUNCHER"


def launch(arguments: Sequence[str], processes: int, threads: int | None) -> int:
    """Run ``fer-edge`` with ``arguments`` in so many processes and return the first one's exit code.

    The first one speaks; of the others, the last line is told if they fail. Ctrl-C and SIGTERM are handed on. When one
    fails, the others, who would wait for it, are ended.

    Args:
        arguments: of ``fer-edge``.
        processes: how many.
        threads: CPU threads of each; None to divide the cores among them.
    """
    each = threads or max(1, len(os.sched_getaffinity(0)) // processes)
    shared = {
        **os.environ,
        "WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "OMP_NUM_THREADS": str(each),
        LAUNCHER: str(os.getpid()),
    }
    words = [sys.executable, "-m", "fer_edge", *arguments]
    with ExitStack() as open_files:
        said = [open_files.enter_context(tempfile.TemporaryFile()) for _ in range(1, processes)]
        children: list[subprocess.Popen[bytes]] = []
        for rank, stderr in enumerate([None, *said]):
            environment = {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            # A group of their own: Ctrl-C in the terminal comes to them once, through here.
            children.append(subprocess.Popen(words, env=environment, stderr=stderr, start_new_session=True))
        stopped = _wait(children)
        codes = [child.wait() for child in children]
        if not stopped:
            for rank, (code, stderr) in enumerate(zip(codes[1:], said, strict=True), start=1):
                # What has the code of the first one's error is most likely the same error, which was told.
                told = code > 0 and code == codes[0]
                if not told and code not in (0, -signal.SIGTERM, 128 + signal.SIGTERM):
                    print(f"fer-edge: process {rank}: {_how_it_ended(code, stderr)}", file=sys.stderr)
    failed = [code for code in codes if code]
    code = codes[0] if codes[0] or not failed else failed[0]
    return 128 - code if code < 0 else code


def end_with_launcher() -> None:
    """Let a process that :func:`launch` started end when its launcher is gone, even if that was killed."""
    launcher = os.environ.get(LAUNCHER)
    if launcher is None:
        return

    def watch() -> None:
        while os.getppid() == int(launcher):
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _wait(children: Sequence[subprocess.Popen[bytes]]) -> bool:
    """Wait until all have ended, handing signals on; return whether there was one."""
    stopped = False

    def hand_on(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        del frame
        stopped = True
        for child in children:
            child.send_signal(number)

    before = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
    failed_at: float | None = None
    try:
        while any(child.poll() is None for child in children):
            time.sleep(0.1)
            if failed_at is None and any(child.poll() not in (None, 0) for child in children):
                failed_at = time.monotonic()
            if failed_at is not None and time.monotonic() - failed_at > TERMINATE_AFTER_S:
                for child in children:
                    if child.poll() is None:
                        child.kill()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return stopped


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _how_it_ended(code: int, stderr: IO[bytes]) -> str:
    """Return the signal that ended a process, or the last line that it said."""
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    stderr.seek(0)
    lines = stderr.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"exit code {code}"
