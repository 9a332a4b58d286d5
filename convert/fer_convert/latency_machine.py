"""What a measurement was taken on, and in what state it was: without them a latency means nothing."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fer_edge import board
from fer_edge.contract.interpreter import find_runtime
from fer_edge.doctor.system import os_release

NOW: Final = 0xF
"""The bits of ``get_throttled`` that tell of this moment; those from 16 on tell of the time since the start."""
_ROOT: Final = board.ROOT


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine, as it stands in every result: figures of a PC can not pass for those of a Pi."""

    board: str | None
    """From the device tree; None on a PC."""
    cpu: str
    architecture: str
    cores: int
    """That this process may use."""
    memory_mb: int
    os: str
    kernel: str
    python: str
    numpy: str
    runtime: str
    """Name and version of the TFLite runtime."""
    emulated: bool
    """Whether the processor is qemu's: figures then tell of correctness, not of speed."""

    @property
    def name(self) -> str:
        """Short description for a table's head."""
        return f"{self.board or self.cpu} ({self.architecture}{', emulated' if self.emulated else ''})"


@dataclass(frozen=True, slots=True)
class BoardState:
    """What the board says of itself at one moment; None where it does not tell."""

    temperature_c: float | None
    clock_mhz: float | None
    """Of the fastest core."""
    governor: str | None
    throttled: int | None
    """The bit field of ``vcgencmd get_throttled``."""
    throttled_words: str | None
    load: float
    """Mean number of runnable processes over the last minute."""


def this_machine(root: Path = _ROOT) -> Machine:
    """Describe the machine that this runs on."""
    import numpy as np

    runtime = find_runtime()
    cpu_info = _read(root / "proc/cpuinfo") or ""
    return Machine(
        board=board.model(root),
        cpu=_cpu(cpu_info),
        architecture=platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        memory_mb=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20,
        os=os_release(root).get("PRETTY_NAME", platform.system()),
        kernel=platform.release(),
        python=platform.python_version(),
        numpy=np.__version__,
        runtime=f"{runtime.name} {runtime.version}",
        emulated=is_emulated(platform.machine(), root),
    )


def board_state(root: Path = _ROOT) -> BoardState:
    """Read temperature, clock, governor and throttling."""
    clocks, governors = [], set()
    for folder in sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq")):
        clock, governor = _read(folder / "scaling_cur_freq"), _read(folder / "scaling_governor")
        if clock is not None and clock.isdigit():
            clocks.append(int(clock) / 1000.0)
        if governor:
            governors.add(governor)
    flags = board.throttled_flags(root)
    return BoardState(
        temperature_c=board.temperature_c(root),
        clock_mhz=max(clocks, default=None),
        governor=", ".join(sorted(governors)) or None,
        throttled=flags,
        throttled_words=None if flags is None else board.throttled_words(flags),
        load=os.getloadavg()[0],
    )


def reasons_invalid(states: list[BoardState]) -> list[str]:
    """Tell from the states before, during and after a measurement why it must not count; empty if it may.

    A flag of this moment (bits 0 to 3) counts whenever it is seen. A flag of the past (bits 16 to 19) counts if it
    was not set at first: the event then fell between two readings.
    """
    flags = [state.throttled for state in states if state.throttled is not None]
    if not flags:
        return []
    bits = 0
    for value in flags:
        bits |= value & NOW | (value & ~flags[0])
    words = board.throttled_words(bits)
    return [f"the board slowed itself down: {words}"] if words else []


def is_emulated(architecture: str, root: Path = _ROOT) -> bool:
    """Whether the processor that this process sees is qemu's.

    Args:
        architecture: what ``platform.machine()`` says.
        root: where /proc and /sys are.
    """
    cpu_info = _read(root / "proc/cpuinfo") or ""
    if "QEMU" in cpu_info:
        return True
    if not architecture.startswith(("aarch64", "arm")):
        return False
    # qemu's user emulation passes the host's /proc/cpuinfo through or, from 8.2 on, makes up a real board's; /sys it
    # leaves alone, and there the kernel tells the processor that it was started on.
    of_kernel = _read(root / "sys/devices/system/cpu/modalias") or ""
    return "cpu:type:x86" in of_kernel or "GenuineIntel" in cpu_info or "AuthenticAMD" in cpu_info


def _cpu(text: str) -> str:
    """Name of the processor; on ARM, where /proc/cpuinfo has none, the number of its core's design."""
    pairs = (line.partition(":") for line in reversed(text.splitlines()) if ":" in line)
    fields = {name.strip(): value.strip() for name, _, value in pairs}  # the first core's, as the last to be set
    if "model name" in fields:
        # A virtual machine's name may tell only the maker: two generations of servers are both an "AMD EPYC".
        told = f" (family {fields['cpu family']}, model {fields.get('model', '?')})" if "cpu family" in fields else ""
        return fields["model name"] + told
    implementer, part = fields.get("CPU implementer", "?"), fields.get("CPU part", "?")
    return _ARM_CORES.get((implementer, part), f"implementer {implementer}, part {part}")


_ARM_CORES: Final = {
    ("0x41", "0xd03"): "Cortex-A53",  # Pi 3, Zero 2
    ("0x41", "0xd04"): "Cortex-A35",
    ("0x41", "0xd05"): "Cortex-A55",
    ("0x41", "0xd08"): "Cortex-A72",  # Pi 4
    ("0x41", "0xd0b"): "Cortex-A76",  # Pi 5
}
"""(CPU implementer, CPU part) -> design, from Arm's technical reference manuals (register MIDR_EL1)."""


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
