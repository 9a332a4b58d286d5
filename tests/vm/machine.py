"""A virtual machine with a kernel of its own, for what a container cannot have: drivers, cameras, plugs.

Its clock counts instructions, 10^9 a second, and goes with the real one only while it idles. So to it the emulation is
neither slow nor uneven, however busy the host: no watchdog strikes and no time runs out because of that. All seconds
within are of that clock; what waits from outside has a limit on both.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.service.machine import wait_until
from tests.vm.agent import AgentError, Done, GuestAgent
from tests.vm.image import Image

REAL_LIMIT_S: Final = float(os.environ.get("FER_EDGE_VM_LIMIT_S", "900"))
"""For a boot, a command or a wait, in real time: it only keeps a test that hangs from hanging for ever."""
MEMORY_MB: Final = 2048


def obstacle() -> str:
    """Why no virtual machine can be run here; empty if one can."""
    if not os.environ.get("FER_EDGE_VM"):
        return "set FER_EDGE_VM=1 (and be root) to test cameras in a virtual machine, about ten minutes of an idle core"
    missing = [
        name for name in ("qemu-system-x86_64", "qemu-img", "mmdebstrap", "mke2fs") if shutil.which(name) is None
    ]
    if missing:
        return f"{', '.join(missing)} missing: apt-get install qemu-system-x86 qemu-utils mmdebstrap e2fsprogs"
    return "" if os.geteuid() == 0 else "building the image needs root"


class VirtualMachine:
    """Debian on an emulated PC with one processor; it sees no network, and of this machine only ``share``, read-only.

    Args:
        image: what it boots from; stays as it is.
        folder: where its own state lies.
        share: a folder that it sees as /share.
    """

    def __init__(self, image: Image, folder: Path, share: Path) -> None:
        self._image = image
        self._disk = folder / "disk.qcow2"
        self._console = folder / "console"
        self._line = folder / "agent"
        self._share = share
        self._process: subprocess.Popen[bytes] | None = None
        self._agent: GuestAgent | None = None
        create: list[str | Path] = [
            "qemu-img",
            "create",
            "-q",
            "-f",
            "qcow2",
            "-F",
            "raw",
            "-b",
            image.disk,
            self._disk,
        ]
        subprocess.run(create, check=True)

    def boot(self) -> None:
        """Boot it; returns when systemd says that it is done."""
        assert self._process is None, "it runs already"
        # KVM where it is there would be faster, but then a machine with it would test something else than one without.
        command: list[str | Path] = ["nice", "-n", "10", "qemu-system-x86_64", "-nodefaults", "-no-reboot"]
        command += ["-display", "none", "-machine", "q35", "-accel", "tcg,thread=single", "-cpu", "max", "-smp", "1"]
        command += ["-icount", "shift=0,sleep=on", "-rtc", "clock=vm"]
        command += ["-m", str(MEMORY_MB), "-kernel", self._image.kernel, "-initrd", self._image.initramfs]
        command += ["-append", "root=/dev/vda rw console=ttyS0 quiet systemd.show_status=no"]
        command += ["-drive", f"file={self._disk},if=virtio,format=qcow2,cache=unsafe"]
        command += ["-virtfs", f"local,path={self._share},mount_tag=share,security_model=none,readonly=on"]
        command += ["-serial", f"file:{self._console}", "-device", "virtio-serial", "-device", "virtio-rng-pci"]
        command += ["-chardev", f"socket,id=agent,path={self._line},server=on,wait=off"]
        command += ["-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        assert wait_until(self._line.exists, 10), "qemu does not start"
        self._agent = GuestAgent(self._line)
        try:
            self._agent.wait(REAL_LIMIT_S)
        except AgentError as error:
            raise AgentError(f"{error}:\n{self.console()[-3000:]}") from error
        answers = ("running", "degraded")
        done = self.wait_until(lambda: self._says("systemctl", "is-system-running") in answers, 200)
        assert done, self.console()[-3000:]
        self.run("mkdir", "-p", "/share")
        self.run("mount", "-t", "9p", "-o", "trans=virtio,ro,version=9p2000.L,msize=262144", "share", "/share")

    def shut_down(self) -> None:
        """Switch it off: in order if it still listens, else by force."""
        process, agent = self._process, self._agent
        self._process = self._agent = None
        if process is None:
            return
        try:
            if agent is not None:
                agent.tell("guest-shutdown")
                agent.close()
            process.wait(90)
        except (OSError, subprocess.TimeoutExpired):
            process.kill()
            process.wait(30)

    def console(self) -> str:
        """What kernel and systemd wrote to the serial console."""
        return self._console.read_text(errors="replace") if self._console.exists() else ""

    def run(self, *command: str, check: bool = True) -> Done:
        """Run a program in it as root; fails the test if the program does, unless ``check`` is off."""
        assert self._agent is not None, "it does not run"
        done = self._agent.run(*command, limit_s=REAL_LIMIT_S)
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def shell(self, script: str, *, check: bool = True) -> Done:
        """Run a line of shell in it."""
        return self.run("sh", "-c", script, check=check)

    def clock(self) -> float:
        """Seconds since its boot, by its own clock."""
        return float(self.run("cat", "/proc/uptime").stdout.split()[0])

    def wait_until(self, what: Callable[[], bool], limit_s: float) -> bool:
        """Whether ``what`` comes true within ``limit_s`` seconds of its clock, and the limit of the real one."""
        until, really_until = self.clock() + limit_s, time.monotonic() + REAL_LIMIT_S
        while not what():
            # It waits within: asking again and again from outside would keep the one processor busy.
            now = float(self.shell("sleep 1; cat /proc/uptime").stdout.split()[0])
            if now > until or time.monotonic() > really_until:
                return False
        return True

    def write(self, path: str, text: str) -> None:
        """Write a file of its file system, folders included."""
        assert self._agent is not None, "it does not run"
        self.run("mkdir", "-p", str(Path(path).parent))
        self._agent.write(path, text.encode())

    def _says(self, *command: str) -> str:
        return self.run(*command, check=False).stdout.strip()
