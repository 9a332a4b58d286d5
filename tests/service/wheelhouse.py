"""Wheelhouses for the tests of the installer: good ones, and ones with a fer-edge that does not work."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parents[2]
PYTHON: Final = {"bookworm": "3.11", "trixie": "3.13"}

_PIP: Final = (sys.executable, "-m", "pip", "--disable-pip-version-check")
_PLATFORMS: Final = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")


def build_wheel(folder: Path) -> Path:
    """Build fer-edge's wheel from a copy of the working tree."""
    source = folder / "source"
    source.mkdir(parents=True)
    for name in ("edge", "convert", "train", "systemd"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(REPOSITORY / name, source)
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        folder,
        source,
    ]
    subprocess.run(pip, check=True)
    return next(folder.glob("fer_edge-*.whl"))


def gather(release: str, wheel: Path, folder: Path, machine: str) -> Path:
    """Fill ``folder`` with all that an offline installation of ``wheel`` on a release needs, pip included."""
    folder.mkdir(parents=True)
    constraints = REPOSITORY / "systemd" / f"constraints-{release}.txt"
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--only-binary=:all:",
        "--dest",
        folder,
    ]
    command += [f"--python-version={PYTHON[release]}", "--implementation=cp", f"--constraint={constraints}"]
    command += [f"--platform={platform}_{machine}" for platform in _PLATFORMS]
    subprocess.run([*command, wheel, "pip"], check=True)
    return folder


def add_changed(folder: Path) -> None:
    """Put beside the wheelhouse "good" one that cannot be imported, one that dies after its start, and a better one."""

    def unimportable(name: str, text: str) -> str:
        return "raise RuntimeError('planted')\n" if name == "fer_edge/vision/haar.py" else text

    def mortal(name: str, text: str) -> str:
        last_words = "time.sleep(1); raise RuntimeError('planted')"
        return (
            text.replace("self._statistics.started = self._clock()", last_words) if name.endswith("engine.py") else text
        )

    with_changed_wheel(folder / "good", folder / "unimportable", "0.2.0", unimportable)
    with_changed_wheel(folder / "good", folder / "mortal", "0.3.0", mortal)
    with_changed_wheel(folder / "good", folder / "better", "0.4.0", lambda name, text: text)  # noqa: ARG005


def with_changed_wheel(good: Path, folder: Path, version: str, change: Callable[[str, str], str]) -> Path:
    """Copy a wheelhouse, with a ``version`` of fer-edge whose Python files went through ``change(name, text)``."""
    shutil.copytree(good, folder)
    wheel = next(folder.glob("fer_edge-*.whl"))
    former = wheel.name.split("-")[1]
    with (
        zipfile.ZipFile(wheel) as old,
        zipfile.ZipFile(folder / wheel.name.replace(f"-{former}-", f"-{version}-"), "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for entry in old.infolist():
            data, name = old.read(entry), entry.filename
            if name.endswith(".py"):
                data = change(name, data.decode()).encode()
            elif name.endswith(".dist-info/METADATA"):
                data = data.replace(f"\nVersion: {former}\n".encode(), f"\nVersion: {version}\n".encode())
            elif name.endswith(".dist-info/RECORD"):
                data = _record(data.decode(), former, version)
            new.writestr(name.replace(f"fer_edge-{former}.", f"fer_edge-{version}."), data)
    wheel.unlink()
    return folder


def _record(text: str, former: str, version: str) -> bytes:
    """RECORD without checksums, which are optional, because the files have changed."""
    names = (line.rsplit(",", 2)[0] for line in text.splitlines())
    return "".join(f"{name.replace(f'fer_edge-{former}.', f'fer_edge-{version}.')},,\n" for name in names).encode()
