"""What the board says about itself: model, temperature, and whether it slows itself down.

Everything is read from files that Linux offers, below a ``root`` that tests replace; the one program asked is
Raspberry Pi's own ``vcgencmd``. A reading that the board does not offer is None, never an error: the same code runs
on a laptop.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from fer_edge.child import run_limited

ROOT: Final = Path("/")

THROTTLED_FLAGS: Final[dict[int, str]] = {
    0: "under-voltage",
    1: "frequency capped",
    2: "throttled",
    3: "soft temperature limit",
    16: "under-voltage has occurred",
    17: "frequency capping has occurred",
    18: "throttling has occurred",
    19: "soft temperature limit has occurred",
}
"""Meaning of each bit of ``vcgencmd get_throttled``, as in Raspberry Pi's documentation of the command. Bits 0 to 3
are true now, bits 16 to 19 have been since the last start."""

CPU_ZONES: Final = ("cpu-thermal", "cpu_thermal", "soc-thermal", "x86_pkg_temp", "acpitz")
"""Thermal zones that stand for the processor, the most telling first: Raspberry Pi has the first, older kernels the
second, Rockchip boards the third, PCs the last two."""

_VCGENCMD_LIMIT_S = 2.0


def model(root: Path = ROOT) -> str | None:
    """Name of the board, such as ``Raspberry Pi 4 Model B Rev 1.4``; None where there is no device tree."""
    text = _read(root / "proc/device-tree/model")
    return text.rstrip("\0") or None if text is not None else None


def temperature_c(root: Path = ROOT) -> float | None:
    """Temperature of the processor in degrees Celsius; None where no thermal zone can be read."""
    readings: dict[str, float] = {}
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        millidegrees = _integer(_read(zone / "temp"), base=10)
        if millidegrees is not None:
            readings.setdefault(_read(zone / "type") or zone.name, millidegrees / 1000.0)
    for name in CPU_ZONES:
        if name in readings:
            return readings[name]
    return next(iter(readings.values()), None)


def throttled(root: Path = ROOT, vcgencmd: str = "vcgencmd") -> str | None:
    """Raspberry Pi's throttling flags in words, joined by commas; "" when all is well, None where unknown.

    Three places are asked. ``vcgencmd`` knows all flags (it takes some milliseconds, and membership of the group
    ``video``). The firmware's sysfs file knows them too but makes the kernel log a stack trace at its first reading
    ("deprecated, use hwmon sysfs instead"), so it comes second. The hwmon alarm is on every Pi and knows only of
    under-voltage.
    """
    flags = throttled_flags(root, vcgencmd)
    return None if flags is None else throttled_words(flags)


def throttled_flags(root: Path = ROOT, vcgencmd: str = "vcgencmd") -> int | None:
    """The bit field that :func:`throttled` puts into words; None where no place offers it."""
    flags = _flags_by_vcgencmd(root, vcgencmd)
    if flags is None:
        flags = _flags_by_firmware(root)
    return _flags_by_hwmon(root) if flags is None else flags


def throttled_words(flags: int) -> str:
    """Put the bits of :data:`THROTTLED_FLAGS` into words; bits without a meaning are left out."""
    return ", ".join(words for bit, words in THROTTLED_FLAGS.items() if flags >> bit & 1)


def _flags_by_vcgencmd(root: Path, vcgencmd: str) -> int | None:
    # Without the mailbox device there is nothing that vcgencmd could ask: do not start it once a second for that.
    program = shutil.which(vcgencmd) if (root / "dev/vcio").exists() else None
    if program is None:
        return None
    try:
        done = run_limited([program, "get_throttled"], _VCGENCMD_LIMIT_S)
    except OSError:
        return None
    if done is None or done.status != 0:
        return None
    return _integer(done.stdout.partition("throttled=")[2], base=16)


def _flags_by_firmware(root: Path) -> int | None:
    # "soc" up to the Pi 4, "soc@107c000000" on the Pi 5.
    for path in sorted((root / "sys/devices/platform").glob("soc*/soc*firmware/get_throttled")):
        flags = _integer(_read(path), base=16)
        if flags is not None:
            return flags
    return None


def _flags_by_hwmon(root: Path) -> int | None:
    for device in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        if _read(device / "name") == "rpi_volt":
            return _integer(_read(device / "in0_lcrit_alarm"), base=10)
    return None


def _read(path: Path) -> str | None:
    """The file's text without white space at its ends; None if it cannot be read (zones may refuse, EINVAL)."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _integer(text: str | None, base: int) -> int | None:
    try:
        return None if text is None else int(text.strip(), base)
    except ValueError:
        return None
