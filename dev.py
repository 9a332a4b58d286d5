#!/usr/bin/env python3
"""Set up and run fer-edge from a checkout; needs only Python >= 3.11 with venv and pip.

python3 dev.py demo       install into .venv, then recognise expressions in the bundled scene
python3 dev.py test       install with all that the tests need, then run them (extra arguments go to pytest)
python3 dev.py lint       ruff and mypy --strict
python3 dev.py backends   the tests of the training loop on PyTorch and on JAX
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
TORCH = "torch==2.13.0"
KERAS_TESTS = tuple(
    f"tests/train/test_{name}.py"
    for name in (
        "fit",
        "fit_options",
        "augment",
        "converted",
        "gradients",
        "interruption",
        "layerwise",
        "torch_speed",
        "winograd",
        "workers",
        "whole_room",
    )
)


def main(arguments: Sequence[str]) -> int:
    """Run the task that ``arguments`` name and return its exit code."""
    if sys.version_info < (3, 11):  # noqa: UP036 - this file is what tells people so
        print(f"fer-edge needs Python 3.11 or newer; this is {sys.version.split()[0]}", file=sys.stderr)
        return 2
    tasks: dict[str, Callable[[Sequence[str]], int]] = {"demo": demo, "test": test, "lint": lint, "backends": backends}
    if not arguments or arguments[0] not in tasks:
        print((__doc__ or "").strip(), file=sys.stderr)
        return 2
    try:
        return tasks[arguments[0]](arguments[1:])
    except subprocess.CalledProcessError as error:
        print(f"dev.py: `{' '.join(map(str, error.cmd))}` failed", file=sys.stderr)
        return 1


def demo(arguments: Sequence[str]) -> int:
    """Install the device runtime and run the demo."""
    install("-e", str(ROOT))
    return run("-m", "fer_edge", "demo", *arguments)


def test(arguments: Sequence[str]) -> int:
    """Install everything that the tests need and run them."""
    install("-e", f"{ROOT}[train]", "--group", f"{ROOT / 'pyproject.toml'}:test")
    return run("-m", "pytest", *arguments)


def lint(arguments: Sequence[str]) -> int:
    """Check style and types."""
    install("-e", f"{ROOT}[train]", "--group", f"{ROOT / 'pyproject.toml'}:dev")
    del arguments
    codes = [run("-m", "ruff", "check", "."), run("-m", "ruff", "format", "--check", "."), run("-m", "mypy")]
    return max(codes)


def backends(arguments: Sequence[str]) -> int:
    """Run the tests of the training loop on the Keras backends that `test` does not run them on."""
    install("-e", f"{ROOT}[train]", "--group", f"{ROOT / 'pyproject.toml'}:test")
    install(TORCH, "jax")
    codes = []
    for backend in ("torch", "jax"):
        print(f"--- Keras on {backend}", flush=True)
        codes.append(run("-m", "pytest", *KERAS_TESTS, *arguments, KERAS_BACKEND=backend))
    return max(codes)


def install(*requirements: str) -> None:
    """Make the environment if need be and install into it; what was installed by the same words is left alone."""
    if not PYTHON.exists():
        print(f"dev.py: making {ENVIRONMENT}", flush=True)
        venv.create(ENVIRONMENT, with_pip=True)
    stamp = ENVIRONMENT / f".installed-{_digest(requirements)}"
    if stamp.exists():
        return
    print(f"dev.py: installing {' '.join(requirements)}", flush=True)
    quiet = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    # --group came with pip 25.1; a fresh environment has the pip that came with its Python.
    subprocess.run([PYTHON, *quiet, "--upgrade", "pip>=25.1"], check=True)
    subprocess.run([PYTHON, *quiet, *requirements], check=True, cwd=ROOT)
    stamp.touch()


def run(*arguments: str, **environment: str) -> int:
    """Run the environment's Python and return its exit code."""
    return subprocess.run([PYTHON, *arguments], check=False, cwd=ROOT, env={**os.environ, **environment}).returncode


def _digest(requirements: Sequence[str]) -> str:
    text = "\n".join(requirements) + (ROOT / "pyproject.toml").read_text()
    return hashlib.sha256(text.encode()).hexdigest()[:16]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
