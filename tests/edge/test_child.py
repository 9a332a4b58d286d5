"""Running programs with a time limit."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from fer_edge.child import run_limited


def test_output_and_status_come_back() -> None:
    done = run_limited([sys.executable, "-c", "import sys; print('ü'); print('x', file=sys.stderr); sys.exit(3)"], 30)
    assert done is not None
    assert (done.status, done.stdout, done.stderr) == (3, "ü\n", "x\n")


def test_a_signal_is_a_negative_status() -> None:
    done = run_limited([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], 30)
    assert done is not None
    assert done.status == -signal.SIGKILL


def test_a_program_without_end_is_killed_with_all_it_started(tmp_path: Path) -> None:
    note = tmp_path / "pids"
    assert run_limited(["sh", "-c", f"sleep 600 & echo $$ $! > {note}; wait"], 2) is None
    for pid in map(int, note.read_text().split()):
        assert ends(pid), f"process {pid} lives on"


def test_a_pipe_that_a_grandchild_keeps_open_does_not_hold_us_up() -> None:
    start = time.monotonic()
    assert run_limited(["sh", "-c", "setsid sleep 30 & echo done"], 2) is None
    assert time.monotonic() - start < 25, "it waited for the grandchild"


def test_it_has_nothing_to_read_and_the_environment_it_was_given() -> None:
    script = "import os, sys; print(repr(sys.stdin.read()), os.environ['COLOUR'])"
    done = run_limited([sys.executable, "-c", script], 30, {"COLOUR": "green"})
    assert done is not None
    assert done.stdout == "'' green\n"


def test_a_missing_program_is_an_oserror() -> None:
    with pytest.raises(FileNotFoundError):
        run_limited(["/nonexistent/program"], 1)


def ends(pid: int) -> bool:
    """Whether the process goes away (or is a corpse that only waits to be counted) within a moment."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state in "ZX":
            return True
        os.sched_yield()
    return False
