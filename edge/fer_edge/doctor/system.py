"""Checks of what lies under fer-edge: Python, processor, operating system, disk, clock and service."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import struct
import sys
from pathlib import Path
from typing import Final

from fer_edge import board
from fer_edge.child import run_limited
from fer_edge.doctor.check import Check, Status

OLDEST_PYTHON: Final = (3, 11)
TESTED_RELEASES: Final = {"bookworm": "12", "trixie": "13"}
"""Code names of the Debian releases, and so of Raspberry Pi OS, that fer-edge is made for."""

SERVICE: Final = "fer-edge.service"

_MB = 1_000_000
DISK_WARN_BYTES: Final = 500 * _MB
"""Logs rotate at a few times 64 MiB, and apt wants room for updates."""
DISK_FAIL_BYTES: Final = 20 * _MB

_TIME_ERROR = 5
"""``adjtimex`` returns it while nothing keeps the clock synchronised (linux/timex.h)."""
_TIMEX_BYTES = 1024
"""More than ``struct timex`` has on any architecture; the kernel fills in its part."""

_SYSTEMCTL_LIMIT_S = 5.0


def python_version(version: tuple[int, int, int] | None = None) -> Check:
    """Whether this Python is recent enough, and where it comes from.

    Args:
        version: another version than that of the running interpreter.
    """
    version = sys.version_info[:3] if version is None else version
    written = ".".join(map(str, version))
    kind = "virtual environment" if sys.prefix != sys.base_prefix else "no virtual environment"
    found = f"{written}, {sys.executable} ({kind})"
    if version[:2] < OLDEST_PYTHON:
        return Check(
            "python",
            "fail",
            found,
            "Python 3.11 or newer is needed: flash Raspberry Pi OS Bookworm or Trixie (64-bit)",
        )
    return Check("python", "ok", found)


def architecture(machine: str | None = None, pointer_bits: int | None = None) -> Check:
    """Whether processor and Python are 64-bit.

    Raspberry Pi OS (32-bit) runs a 64-bit kernel on a Pi 4, so the kernel's word is not enough.

    Args:
        machine: the kernel's architecture; None: this machine's.
        pointer_bits: width of a pointer in Python; None: this Python's.
    """
    machine = platform.machine() if machine is None else machine
    pointer_bits = struct.calcsize("P") * 8 if pointer_bits is None else pointer_bits
    found = f"{machine}, {pointer_bits}-bit Python"
    if pointer_bits < 64:
        return Check(
            "architecture",
            "fail",
            found,
            "LiteRT and OpenCV have no 32-bit wheels: flash Raspberry Pi OS (64-bit) with Raspberry Pi Imager",
        )
    if machine not in ("aarch64", "x86_64"):
        return Check("architecture", "warn", found, "fer-edge is tested on aarch64 and x86_64")
    return Check("architecture", "ok", found)


def operating_system(root: Path = board.ROOT) -> Check:
    """Which release of which system this is."""
    release = os_release(root)
    if not release:
        return Check("operating system", "warn", "unknown: no /etc/os-release", "fer-edge is tested on Raspberry Pi OS")
    name, codename = release.get("PRETTY_NAME", "unknown"), release.get("VERSION_CODENAME", "")
    found = f"Raspberry Pi OS {codename.capitalize()} ({name})" if is_raspberry_pi_os(root) else name
    is_pi = "Raspberry Pi" in (board.model(root) or "")
    if is_pi and codename not in TESTED_RELEASES:
        return Check(
            "operating system",
            "warn",
            found,
            "fer-edge is tested on Raspberry Pi OS Bookworm and Trixie (64-bit): flash one with Raspberry Pi Imager",
        )
    return Check("operating system", "ok", found)


def os_release(root: Path = board.ROOT) -> dict[str, str]:
    """Return the assignments of os-release(5), without their quotes; empty if there is no such file."""
    for path in (root / "etc/os-release", root / "usr/lib/os-release"):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        pairs = (line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#"))
        return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}
    return {}


def is_raspberry_pi_os(root: Path = board.ROOT) -> bool:
    """Whether this is Raspberry Pi OS; its 64-bit edition calls itself Debian, but carries its image's rpi-issue."""
    return (root / "etc/rpi-issue").exists() or os_release(root).get("ID") == "raspbian"


def disk(path: Path, free_bytes: int | None = None) -> Check:
    """Whether there is room on the file system of ``path``, and whether it can be written.

    Args:
        path: any path on it.
        free_bytes: another amount than what is free.
    """
    try:
        free = shutil.disk_usage(path).free if free_bytes is None else free_bytes
        read_only = bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError as error:
        return Check("disk", "warn", f"{path}: cannot be asked ({error.strerror})", f"look at it with  df -h {path}")
    found = f"{free / 1e9:.1f} GB free on {path}" if free >= 1e9 else f"{free // _MB} MB free on {path}"
    if read_only:
        return Check("disk", "warn", f"{found}, read-only", "a worn SD card turns read-only: see  dmesg | grep mmc")
    if free < DISK_WARN_BYTES:
        status: Status = "fail" if free < DISK_FAIL_BYTES else "warn"
        return Check("disk", status, found, f"free some space: see  sudo du -xh {path} | sort -h | tail -20")
    return Check("disk", "ok", found)


def clock(root: Path = board.ROOT, kernel_state: int | None = None) -> Check:
    """Whether something keeps the clock right; a Pi without a network starts in the past.

    Args:
        root: where systemd-timesyncd's mark is looked for.
        kernel_state: another answer than that of the kernel's adjtimex(2).
    """
    state = _adjtimex() if kernel_state is None else kernel_state
    if (root / "run/systemd/timesync/synchronized").exists() or 0 <= state < _TIME_ERROR:
        return Check("clock", "ok", "synchronised")
    return Check(
        "clock",
        "warn",
        "not synchronised, so that the times in results may be wrong",
        "connect the network, then  sudo timedatectl set-ntp true",
    )


def _adjtimex() -> int:
    """Ask the kernel for the state of the clock; -1 if it does not tell. Mode 0 changes nothing."""
    try:
        return int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)))
    except (OSError, AttributeError):  # no libc of that kind
        return -1


def service(root: Path = board.ROOT, systemctl: str = "systemctl") -> Check:
    """What systemd says of the service.

    Args:
        root: where the mark of a running systemd is looked for.
        systemctl: the program to ask.
    """
    if not (root / "run/systemd/system").is_dir():
        return Check("service", "skip", "systemd does not run here")
    properties = "LoadState,ActiveState,SubState,UnitFileState,NRestarts,ExecMainStatus"
    try:
        done = run_limited([systemctl, "show", SERVICE, f"--property={properties}"], _SYSTEMCTL_LIMIT_S)
    except OSError as error:
        return Check("service", "warn", f"systemctl cannot be run ({error.strerror})")
    if done is None or done.status != 0:
        reason = "no answer" if done is None else done.stderr.strip() or f"exit status {done.status}"
        return Check("service", "warn", f"systemd does not tell: {reason}", f"try  systemctl status {SERVICE}")
    return service_check(dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line))


def service_check(unit: dict[str, str]) -> Check:
    """Judge the properties of ``systemctl show``."""
    if unit.get("LoadState") == "not-found":
        return Check("service", "skip", "not installed")
    state, sub_state = unit.get("ActiveState", "unknown"), unit.get("SubState", "unknown")
    restarts = unit.get("NRestarts", "0")
    found = f"{state} ({sub_state}), {unit.get('UnitFileState') or 'static'}"
    if restarts != "0":
        found += f", restarted {restarts} times"
    look = f"see why with  journalctl -u {SERVICE} -n 50"
    if state == "failed":
        return Check("service", "fail", f"{found}, exit status {unit.get('ExecMainStatus', 'unknown')}", look)
    if state in ("activating", "deactivating") or restarts != "0":
        return Check("service", "warn", found, look)
    if state == "inactive":
        return Check("service", "warn", found, f"start it with  sudo systemctl enable --now {SERVICE}")
    return Check("service", "ok", found)
