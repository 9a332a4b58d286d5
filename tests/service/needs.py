"""Whether the tests in booted systems can run on this machine: ``python -m tests.service.needs``.

Prints what is missing and ends with 1, or says nothing and ends with 0. The tests themselves only look whether they are
asked for and whether the programs are there; what goes wrong after that is a failure. Here the rest is tried, so that
CI can tell a machine that cannot run them from a product that does not work.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from tests.service import machine as machines
from tests.service.wheelhouse import PYTHON

PROBE_LIMIT_S = 60


def missing() -> str:
    """What keeps the tests from running here; empty if nothing does."""
    asked = os.environ.get("FER_EDGE_NSPAWN")
    releases = [name for name in PYTHON if asked in ("1", name)]
    return machines.obstacle() or _containers() or _roots(releases) or _wheels(releases) or _boots(releases)


def _containers() -> str:
    """Whether a container can be started at all: not so inside of most other containers."""
    command = [
        "systemd-nspawn",
        "--quiet",
        "--directory=/",
        "--volatile=yes",
        f"--machine=fer-edge-probe-{os.getpid()}",
    ]
    command += ["--register=no", "--keep-unit", "--console=pipe", "--private-network", "--link-journal=no", "true"]
    done = _ended(command)
    return f"systemd-nspawn starts no container here: {done}" if done else ""


def _roots(releases: Sequence[str]) -> str:
    """Whether all roots are there already, or the archive that they are built from."""
    archive = machines.debian_archive().rstrip("/")
    for release in releases:
        # bdebstrap builds an image of Trixie anew each time.
        built_anew = release == "trixie" and shutil.which("bdebstrap") is not None
        if not built_anew and all(machines.archive_path(release, each).exists() for each in machines.ROOTS[release]):
            continue
        address = f"{archive}/dists/{release}/Release"
        try:
            urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=PROBE_LIMIT_S).close()
        except OSError as error:
            return f"{address} is out of reach ({error}), and not all that is built from it is in {machines.cache()}"
    return ""


def _wheels(releases: Sequence[str]) -> str:
    """Whether pip finds wheels for the releases' Pythons, which need not be this machine's."""
    with tempfile.TemporaryDirectory() as folder:
        for release in releases:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
            command += ["--only-binary=:all:", f"--python-version={PYTHON[release]}", f"--dest={folder}", "msgspec"]
            if done := _ended(command):
                return f"there are no wheels for Python {PYTHON[release]} of {release}: {done}"
    return ""


def _boots(releases: Sequence[str]) -> str:
    """Whether Debian as it is comes up; builds its roots, which the tests want anyway."""
    for release in releases:
        with tempfile.TemporaryDirectory() as folder:
            try:
                for packages in machines.ROOTS[release]:
                    machines.root_archive(release, packages)
                system = machines.Machine(release, Path(folder), {})
            except (OSError, subprocess.CalledProcessError) as error:
                return f"there is no root of {release}: {error}"
            try:
                system.boot()
            except AssertionError as error:
                return " ".join(str(error).split())
            finally:
                system.remove()
    return ""


def _ended(command: Sequence[str]) -> str:
    """The last words of a program that failed; empty if it did not."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PROBE_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer in {PROBE_LIMIT_S} s"
    return (done.stderr.strip().splitlines() or ["it says nothing"])[-1] if done.returncode else ""


if __name__ == "__main__":
    if reason := missing():
        print(reason)
        sys.exit(1)
