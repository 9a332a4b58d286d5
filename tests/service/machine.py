"""A Debian system with a real systemd, booted in a container: built once, copied for each use, cut off at will.

``mmdebstrap`` builds the root from the archive that this machine's apt uses; ``systemd-nspawn`` boots it with a network
of its own that leads nowhere. Nothing is registered with a machined, which containers and CI machines lack.

Where loop devices can be had (``disk.py``), the root lies on a disk image, and a power cut takes away what had not been
written to it. Elsewhere it is a folder, and a power cut ends all processes, but loses no data.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tests.service.disk import Disk, forgets

PACKAGES: Final = "systemd,systemd-sysv,dbus,udev,python3,curl,procps"
"""What a fresh Raspberry Pi OS has, too; python3-venv is not among it."""

ROOTS: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "bookworm": ((),),
    "trixie": ((), ("cloud-init", "netplan.io")),
}
"""The roots that the tests use: further packages by release. Trixie's first boot is cloud-init's business."""

BOOT_LIMIT_S: Final = 180.0

KIOSK_WITHOUT_CONSOLE: Final = """\
[Unit]
ConditionPathExists=
[Service]
PAMName=
TTYPath=
TTYReset=no
TTYVHangup=no
TTYVTDisallocate=no
UtmpIdentifier=
StandardInput=null
StandardOutput=journal
"""
"""A drop-in for fer-edge-kiosk.service: a container has no console."""


def cache() -> Path:
    """Where built roots are kept: FER_EDGE_TEST_CACHE, by default below ~/.cache."""
    return Path(os.environ.get("FER_EDGE_TEST_CACHE") or Path.home() / ".cache" / "fer-edge-tests")


def obstacle() -> str:
    """Why no system can be booted here; empty if one can."""
    if not os.environ.get("FER_EDGE_NSPAWN"):
        return "set FER_EDGE_NSPAWN=1 (and be root) to boot Debian systems, about eight minutes each"
    missing = [name for name in ("mmdebstrap", "systemd-nspawn", "nsenter", "dpkg") if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} missing: apt-get install mmdebstrap systemd-container"
    return "" if os.geteuid() == 0 else "systemd-nspawn needs root"


def debian_archive() -> str:
    """The Debian archive of this machine's apt."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    addresses = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return next((one for one in addresses if one.rstrip("/").endswith("/debian")), "http://deb.debian.org/debian")


def archive_path(release: str, packages: Sequence[str] = ()) -> Path:
    """Where the root of a Debian release with further packages is kept."""
    return cache() / f"{'-'.join([release, *packages])}.tar"


def root_archive(release: str, packages: Sequence[str] = ()) -> Path:
    """Return the root of a Debian release, with further packages, as a tar file; built if there is none yet."""
    return built(archive_path(release, packages), release, f"--include={','.join([PACKAGES, *packages])}")


def built(archive: Path, release: str, *options: str) -> Path:
    """Return ``archive``, the root of a Debian release without its documentation; mmdebstrap builds it if need be."""
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        partial = archive.with_name(f".{os.getpid()}-{archive.name}")
        command = ["mmdebstrap", "--quiet", "--variant=minbase", *options]
        command += ["--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*"]
        subprocess.run([*command, release, partial, debian_archive()], check=True)
        partial.replace(archive)
    return archive


def wait_until(what: Callable[[], bool], limit_s: float, every_s: float = 0.2) -> bool:
    """Whether ``what`` comes true within ``limit_s`` seconds."""
    until = time.monotonic() + limit_s
    while not what():
        if time.monotonic() > until:
            return False
        time.sleep(every_s)
    return True


class Machine:
    """A root and, while booted, the processes in it.

    Args:
        release: code name of the Debian release.
        folder: where its root is unpacked.
        binds: paths of this machine that it sees read-only, by their path in it.
        packages: what is installed in it besides the usual.
        archive: its root as a tar file; None: one that is built from the release.
        partitions: folders that are disks of their own, where there are disks.
    """

    def __init__(
        self,
        release: str,
        folder: Path,
        binds: dict[str, Path],
        packages: Sequence[str] = (),
        archive: Path | None = None,
        partitions: Sequence[str] = (),
    ) -> None:
        self.release = release
        self.root = folder / release
        self._binds = binds
        self._container: subprocess.Popen[bytes] | None = None
        self._console = folder / f"{release}.console"
        archive = archive or root_archive(release, packages)
        self.root.mkdir()
        # An inner one comes after the outer one.
        self._disks = [Disk(folder / f"{release}.ext4", self.root)] if forgets() else []
        subprocess.run(["tar", "-xf", archive, "-C", self.root], check=True)
        for number, partition in enumerate(partitions):
            if self._disks:
                self._disks.append(Disk(folder / f"{release}-{number}.ext4", self.root / partition))
            else:
                (self.root / partition).mkdir(parents=True)

    def boot(self, *options: str) -> None:
        """Boot it; returns when systemd says that it is done."""
        self.switch_on(*options)
        wait_until(lambda: self._is_off() or self._is_booted(), BOOT_LIMIT_S)
        if not self._is_booted():
            raise AssertionError(f"{self.release} does not boot:\n{self.console()[-3000:]}")

    def switch_on(self, *options: str, kernel: Sequence[str] = ()) -> None:
        """Begin to boot it, with words on the kernel's command line."""
        assert self._container is None, "it runs already"
        # Whatever was changed while it was off lies on its disk.
        for path in [self.root, *(disk.mount_point for disk in self._disks)]:
            subprocess.run(["sync", "--file-system", path], check=True)
        command = ["systemd-nspawn", "--quiet", f"--directory={self.root}", "--boot", "--register=no", "--keep-unit"]
        command += ["--console=pipe", "--private-network", "--link-journal=no"]
        command += [f"--bind-ro={source}:{target}" for target, source in self._binds.items()]
        with self._console.open("wb") as console:
            self._container = subprocess.Popen(
                [*command, *options, *kernel], stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT
            )

    def console(self) -> str:
        """What was written to its console since it was switched on."""
        return self._console.read_text(errors="replace")

    def restarts(self, limit_s: float = 300.0) -> bool:
        """Whether it goes down by itself to start anew; it is then off."""
        container = self._container
        assert container is not None
        # systemd-nspawn's word, with --keep-unit, for a machine that wants to be started again.
        restarted = container.wait(limit_s) == 133
        self._container = None
        return restarted

    def power_cut(self) -> None:
        """End every process at once, the first one included; what was not written to the disk is lost."""
        leader, container = self._leader(), self._container
        assert leader is not None
        assert container is not None
        for disk in self._disks:
            disk.cut()
        os.kill(leader, signal.SIGKILL)  # the kernel kills all others of its pid namespace
        container.wait(30)
        self._container = None
        for disk in reversed(self._disks):
            disk.detach()
        for disk in self._disks:
            disk.attach()

    def remove(self) -> None:
        """Switch it off and take its root away."""
        self.shut_down()
        for disk in reversed(self._disks):
            disk.remove()
        shutil.rmtree(self.root)

    def shut_down(self) -> None:
        """Switch it off in order."""
        container = self._container
        if container is None:
            return
        if self._leader() is not None:
            self.run("systemctl", "poweroff", check=False)
        try:
            container.wait(60)
        except subprocess.TimeoutExpired:
            self.power_cut()
        self._container = None

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a program in it; fails the test if the program does, unless ``check`` is off."""
        leader = self._leader()
        assert leader is not None, "it does not run"
        environment = ["env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"]
        done = subprocess.run(
            ["nsenter", f"--target={leader}", "--all", "--", *environment, *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file of its root, down to the disk."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)
        subprocess.run(["sync", target], check=True)

    # --- the service in it ---

    def version(self) -> str:
        """The number of the installed version that is in force."""
        return (self.root / "opt/fer-edge/current").readlink().name

    def show(self, prop: str, unit: str = "fer-edge.service") -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", f"--property={prop}", "--value", unit).stdout.strip()

    def pid(self, unit: str = "fer-edge.service") -> int:
        """The main process of a unit; 0 if there is none."""
        return int(self.show("MainPID", unit))

    def active(self) -> bool:
        """Whether the service is up; also asked while the machine itself is still coming up."""
        return self._says("systemctl", "is-active", "fer-edge.service") == "active"

    def healthy(self, port: int = 8787) -> bool:
        """Whether its dashboard says so."""
        return self._says("curl", "--silent", "--fail", f"http://127.0.0.1:{port}/healthz").startswith('{"ok":true')

    def comes_up(self, limit_s: float = 180.0) -> bool:
        """Whether the service is active and healthy soon."""
        return wait_until(lambda: self.active() and self.healthy(), limit_s)

    def journal(self, unit: str = "fer-edge.service") -> str:
        """What a unit wrote since the boot."""
        self.run("journalctl", "--sync")
        return self.run("journalctl", "--boot", "--unit", unit, "--no-pager", "--output", "cat").stdout

    def _is_booted(self) -> bool:
        return self._says("systemctl", "is-system-running") in ("running", "degraded")

    def _is_off(self) -> bool:
        return self._container is None or self._container.poll() is not None

    def _says(self, *command: str) -> str:
        return self.run(*command, check=False).stdout.strip() if self._leader() is not None else ""

    def _leader(self) -> int | None:
        """The container's process 1, as this machine numbers it."""
        if self._container is None or self._is_off():
            return None
        children = Path(f"/proc/{self._container.pid}/task/{self._container.pid}/children").read_text().split()
        return int(children[0]) if children else None
