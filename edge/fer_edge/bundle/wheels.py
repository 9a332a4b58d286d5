"""The wheels of a bundle: fer-edge's own, what it depends on, and pip, for another machine's Python."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import fer_edge
from fer_edge.bundle.options import ARCHITECTURES, Release
from fer_edge.errors import OutputError, UsageError

_FIRST_GLIBC: Final = 17
"""glibc 2.17 (manylinux2014) is the oldest that aarch64 wheels are built for."""


def gather_wheels(
    release: Release, architecture: str, constraints: Path, folder: Path, wheelhouse: Path | None = None
) -> dict[str, str]:
    """Fill ``folder`` with all wheels that an installation without a network needs.

    pip chooses them for the card's Python, glibc and processor, within the release's constraints.

    Args:
        release: what is on the card.
        architecture: a key of ``ARCHITECTURES``.
        constraints: the release's constraints file.
        folder: where the wheels go; made if need be.
        wheelhouse: choose among the wheels in there, without a network; None: build or fetch fer-edge's own wheel, and
            download the others.

    Returns:
        Version by name.

    Raises:
        UsageError: if ``wheelhouse`` has no wheel of fer-edge.
        OutputError: if pip cannot get them; with pip's reason.
    """
    folder.mkdir(parents=True, exist_ok=True)
    machine = ARCHITECTURES[architecture]
    command = ["download", "--dest", str(folder), "--only-binary=:all:", "--implementation=cp"]
    command += [f"--python-version={release.python}", f"--constraint={constraints}"]
    command += [f"--platform=manylinux_2_{minor}_{machine}" for minor in range(release.glibc, _FIRST_GLIBC - 1, -1)]
    command.append(f"--platform=manylinux2014_{machine}")
    with tempfile.TemporaryDirectory(prefix="fer-edge-wheel-") as scratch:
        if wheelhouse is not None:
            if not any(wheelhouse.glob("fer_edge-*.whl")):
                raise UsageError(f"{wheelhouse}: holds no fer_edge-*.whl; name a folder with the wheels of a card")
            _pip([*command, "--no-index", f"--find-links={wheelhouse}", "fer-edge", "pip"], offline=True)
        elif (source := source_tree()) is not None:
            _pip(["wheel", "--no-deps", "--wheel-dir", scratch, str(source)])
            (wheel,) = Path(scratch).glob("fer_edge-*.whl")
            _pip([*command, str(wheel), "pip"])
        else:
            _pip([*command, f"fer-edge=={fer_edge.__version__}", "pip"])
    return dict(sorted(path.name.split("-")[:2] for path in folder.glob("*.whl")))


def source_tree() -> Path | None:
    """Return the source tree that fer-edge runs from; None if it runs from an installed wheel."""
    root = Path(fer_edge.__file__).resolve().parents[2]
    return root if (root / "pyproject.toml").is_file() else None


def _pip(arguments: list[str], *, offline: bool = False) -> None:
    """Run pip.

    Raises:
        OutputError: if it fails, with the last error that it printed.
    """
    environment = dict(os.environ)
    if offline:
        # A machine's pip may be told of further indexes and folders, which "offline" does not mean.
        environment = {name: value for name, value in environment.items() if not name.startswith("PIP_")}
        environment["PIP_CONFIG_FILE"] = os.devnull
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        way_out = "add what is missing to the folder" if offline else "see to the network, or name a --wheelhouse"
        raise OutputError(f"the wheels cannot be gathered: {_reason(done.stdout, done.stderr)}; {way_out}")


def _reason(printed: str, errors: str) -> str:
    """Find the one line that says most in what pip wrote."""
    # "ResolutionImpossible" explains itself in what is printed, and what is missing stands in its last sentence.
    for heading in ("have no matching distributions available for your environment:\n", "conflict is caused by:\n"):
        if heading in printed:
            paragraph = printed.split(heading, 1)[1].split("\n\n", 1)[0]
            names = ", ".join(line.strip() for line in paragraph.splitlines())
            return f"there is no wheel for that card of: {names}" if "no matching" in heading else names
    lines = [line.removeprefix("ERROR: ") for line in errors.splitlines() if line.startswith("ERROR: ")]
    return (lines or errors.strip().splitlines() or ["pip says nothing"])[-1]
