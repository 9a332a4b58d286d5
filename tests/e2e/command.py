"""Running ``fer-edge`` as a person does: in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def fer_edge(*arguments: object, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``fer-edge ARGUMENTS`` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "fer_edge", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, **environment},
    )


def document(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return the one JSON document that a successful run printed on stdout."""
    assert result.returncode == 0, result.stderr
    parsed: dict[str, Any] = json.loads(result.stdout)
    return parsed


def complaint(result: subprocess.CompletedProcess[str], code: int) -> str:
    """Return the one line in which a run says what is wrong; nothing else may be on stderr, and no traceback."""
    lines = [line for line in result.stderr.splitlines() if not line.startswith("INFO: Created TensorFlow Lite")]
    assert result.returncode == code, result.stderr
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("fer-edge: error: ")
    return lines[0]
