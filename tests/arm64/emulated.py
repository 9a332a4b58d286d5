"""An arm64 Debian root whose programs run here, instruction by instruction, under qemu's user-mode emulation.

``mmdebstrap`` builds the root from the archive that this machine's apt uses, the kernel's binfmt_misc hands its
programs to qemu, and ``systemd-nspawn`` runs one at a time in it, with a network of its own that leads nowhere. The
kernel is this machine's: so it is the processor, the C library, the wheels and the installer that are tested, and
neither a Pi's kernel nor its speed.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.service.machine import built, cache

PACKAGES: Final = "systemd,systemd-sysv,dbus,udev,python3,python3-numpy"
"""What Raspberry Pi OS has, too; NumPy comes there with picamera2."""

CORES: Final = {
    # (CPU part, Features) as Linux shows them, and the boards: Arm's technical reference manuals, MIDR_EL1.
    "cortex-a72": ("0xd08", "fp asimd evtstrm crc32 cpuid"),  # Pi 4
    "cortex-a76": ("0xd0b", "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp asimdrdm lrcpc asimddp"),
}
"""The processors of Pi 4 and Pi 5, by qemu's names. The latter has the int8 dot product, for which XNNPACK has other
kernels. The Pi Zero 2 W's Cortex-A53 has the instructions of the former."""

_BINFMT: Final = Path("/proc/sys/fs/binfmt_misc")
_ENTRY: Final = "qemu-aarch64"
_QEMU: Final = "qemu-aarch64-static"
# The header of an executable or shared 64-bit little-endian ELF file for AArch64 (machine 183), as qemu-binfmt-conf.sh
# of qemu has it. The flag F opens qemu here and now: the root does not have to hold it.
_MAGIC: Final = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
_MASK: Final = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"


def obstacle() -> str:
    """Why nothing can be emulated here; empty if it can."""
    if not os.environ.get("FER_EDGE_ARM64"):
        return "set FER_EDGE_ARM64=1 (and be root) to install and run fer-edge in emulated arm64 systems"
    if platform.machine() == "aarch64":
        return "this is an arm64 machine: the other tests run on the real thing"
    missing = [name for name in ("mmdebstrap", "arch-test", _QEMU, "systemd-nspawn") if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} missing: apt-get install mmdebstrap arch-test qemu-user-static systemd-container"
    if os.geteuid() != 0:
        return "emulated systems need root"
    return "" if "binfmt_misc" in Path("/proc/filesystems").read_text() else "this kernel has no binfmt_misc"


@contextmanager
def emulation() -> Iterator[None]:
    """Let the kernel run arm64 programs; where nobody told it how to, as in a container, it forgets it afterwards."""
    mounted = not (_BINFMT / "status").exists()
    if mounted:
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", _BINFMT], check=True)
    entry = _BINFMT / _ENTRY
    registered = not entry.exists()
    if registered:
        (_BINFMT / "register").write_text(f":{_ENTRY}:M::{_MAGIC}:{_MASK}:{shutil.which(_QEMU)}:F")
    try:
        yield
    finally:
        if registered:
            entry.write_text("-1")
        if mounted:
            subprocess.run(["umount", _BINFMT], check=True)


def root_archive(release: str) -> Path:
    """Return the arm64 root of a Debian release as a tar file, built if there is none yet."""
    return built(cache() / f"{release}-arm64.tar", release, "--architectures=arm64", f"--include={PACKAGES}")


class EmulatedRoot:
    """An arm64 root, and programs run in it one at a time.

    Args:
        release: code name of the Debian release.
        folder: where its root is unpacked.
        binds: paths of this machine that it sees read-only, by their path in it.
    """

    def __init__(self, release: str, folder: Path, binds: dict[str, Path]) -> None:
        self.release = release
        self.root = folder / release
        self._binds = {"/mnt/cores": folder / "cores", **binds}
        self.root.mkdir()
        subprocess.run(["tar", "-xf", root_archive(release), "-C", self.root], check=True)
        (folder / "cores").mkdir()
        for name in CORES:
            (folder / "cores" / name).write_text(_cpu_info(name))

    def run(self, *command: str, core: str = "cortex-a72", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a program in it on a core of :data:`CORES`; fails the test if the program does, unless told not to."""
        nspawn = ["systemd-nspawn", "--quiet", f"--directory={self.root}", "--register=no", "--keep-unit"]
        # A name of its own: /run/systemd/nspawn has a folder by it, and the name of the root is no rare one.
        nspawn += [f"--machine=fer-edge-arm64-{self.release}-{os.getpid()}"]
        nspawn += ["--console=pipe", "--private-network", "--link-journal=no", "--as-pid2"]
        # Compiling what pip installs beforehand takes a minute; Python compiles what it imports.
        nspawn += [f"--setenv=QEMU_CPU={core}", "--setenv=PIP_NO_COMPILE=1", "--setenv=LANG=C.UTF-8"]
        nspawn += [f"--bind-ro={source}:{target}" for target, source in self._binds.items()]
        # qemu before version 8.2 shows the programs this machine's /proc/cpuinfo, and LiteRT 2.3.0 dies of an arm64
        # processor that says nothing of what an arm64 processor says there.
        dressed = f'mount --bind /mnt/cores/{core} /proc/cpuinfo && cd /root && exec "$@"'
        done = subprocess.run(
            [*nspawn, "--", "/bin/sh", "-c", dressed, "sh", *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def fer_edge(self, *arguments: str, core: str = "cortex-a72") -> str:
        """Run the installed ``fer-edge`` and return what it prints."""
        return self.run("/usr/local/bin/fer-edge", *arguments, core=core).stdout


def _cpu_info(core: str) -> str:
    """What /proc/cpuinfo shows on a board with two such cores, and that this is none."""
    part, features = CORES[core]
    one = (
        f"BogoMIPS\t: 108.00\nFeatures\t: {features}\nCPU implementer\t: 0x41\nCPU architecture: 8\n"
        f"CPU variant\t: 0x0\nCPU part\t: {part}\nCPU revision\t: 3\n\n"
    )
    count = os.cpu_count() or 1
    return "".join(f"processor\t: {n}\n{one}" for n in range(count)) + f"Model\t\t: QEMU user emulation of {core}\n"
