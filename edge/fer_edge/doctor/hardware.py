"""Checks of the board: its name, power, temperature, and who may use its devices."""

from __future__ import annotations

import getpass
import grp
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fer_edge import board
from fer_edge.doctor.check import Check, Status

HOT_C: Final = 75.0
"""A Raspberry Pi lowers its clock from 80 degrees on (its documentation, "Frequency management")."""

UNDER_VOLTAGE_NOW = 1 << 0
NOW = 0xF
"""The bits of ``get_throttled`` that tell of this moment; the others tell of the time since the start."""

CAMERA_DEVICES: Final = ("dev/video[0-9]*", "dev/media[0-9]*", "dev/dma_heap/*")
"""What V4L2 and libcamera reach cameras by, below the root."""
OTHER_DEVICES: Final = ("dev/dri/renderD*", "dev/vcio")
"""What a kiosk's browser draws with, and what vcgencmd asks."""


def board_model(root: Path = board.ROOT) -> Check:
    """Which board this is."""
    name = board.model(root)
    return Check("board", "ok", name) if name else Check("board", "skip", "no device tree: not a Raspberry Pi")


def temperature(root: Path = board.ROOT) -> Check:
    """Whether the processor is cool enough to keep its clock."""
    degrees = board.temperature_c(root)
    if degrees is None:
        return Check("temperature", "skip", "no thermal zone to read")
    found = f"{degrees:.1f} C"
    if degrees >= HOT_C:
        return Check("temperature", "warn", found, "from 80 C on a Pi slows down: give it a heat sink, a fan or air")
    return Check("temperature", "ok", found)


def power(root: Path = board.ROOT, vcgencmd: str = "vcgencmd") -> Check:
    """Whether the board is, or has been since its start, short of power or slowed down."""
    flags = board.throttled_flags(root, vcgencmd)
    if flags is None:
        return Check("power", "skip", "no throttling flags to read: not a Raspberry Pi")
    if not flags:
        return Check("power", "ok", "no under-voltage or throttling since the start")
    status: Status = "fail" if flags & UNDER_VOLTAGE_NOW else "warn"
    # Bits 0 and 16 are under-voltage, now and before; the others come from heat, or follow from it.
    advice = (
        "use Raspberry Pi's own power supply and a short, thick cable; USB cameras vanish under low voltage"
        if flags & (UNDER_VOLTAGE_NOW | UNDER_VOLTAGE_NOW << 16)
        else "give it a heat sink, a fan or air"
    )
    return Check("power", status, f"{board.throttled_words(flags)} (0x{flags:x})", advice)


def devices(root: Path = board.ROOT) -> Check:
    """Whether this user may open the devices of cameras and screen, and the command that makes it so."""
    cameras, others = _present(root, CAMERA_DEVICES), _present(root, OTHER_DEVICES)
    if not cameras and not others:
        return Check("devices", "skip", "no camera or graphics devices")
    # effective_ids: what counts is what this process may do, access lists of the desktop's seat included.
    refused = [path for path in cameras + others if not os.access(path, os.R_OK | os.W_OK, effective_ids=True)]
    user = _user()
    if not refused:
        return Check("devices", "ok", f"{user} may use all {len(cameras) + len(others)}")
    groups = sorted({_group(path) for path in refused})
    names = ", ".join("/" + str(path.relative_to(root)) for path in refused[:4]) + (", ..." if refused[4:] else "")
    return Check(
        "devices",
        "fail" if set(refused) & set(cameras) else "warn",
        f"{user} may not use {len(refused)} of {len(cameras) + len(others)}: {names} (group {', '.join(groups)})",
        _way_in(user, groups, names),
    )


def _present(root: Path, patterns: tuple[str, ...]) -> list[Path]:
    found = [path for pattern in patterns for path in sorted(root.glob(pattern))]
    # Raspberry Pi OS gives the heaps to the group video. Where they are root's alone, libcamera does without.
    return [path for path in found if path.parent.name != "dma_heap" or path.stat().st_gid != 0]


def _way_in(user: str, groups: list[str], names: str) -> str:
    if "root" in groups:  # nobody should join that group
        return f"give them to a group that {user} is in, by a udev rule: {names} belong to root alone"
    missing = [group for group in groups if group not in set(_groups_on_file(user))]
    if not missing:
        return f"{user} was added to {', '.join(groups)}, which counts from the next login: log out and in again"
    return f"run  sudo usermod -aG {','.join(missing)} {user}  and log in again"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in containers
        return str(os.geteuid())


def _group(path: Path) -> str:
    number = path.stat().st_gid
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _groups_on_file(user: str) -> Iterator[str]:
    """The groups that ``user`` gets at the next login."""
    return (group.gr_name for group in grp.getgrall() if user in group.gr_mem)
