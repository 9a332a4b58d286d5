"""The doctor's look at the system and the board, with roots that hold what real ones do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fer_edge.doctor import hardware, system

BOOKWORM = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_CODENAME=bookworm\n'


def place(root: Path, name: str, text: str = "") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def raspberry(root: Path, release: str = BOOKWORM) -> None:
    place(root, "etc/os-release", release)
    place(root, "etc/rpi-issue", "Raspberry Pi reference 2024-11-19\n")
    place(root, "proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0")


def test_python() -> None:
    assert system.python_version().status == "ok"
    old = system.python_version((3, 9, 2))
    assert old.status == "fail"
    assert "3.9.2" in old.found


@pytest.mark.parametrize(
    ("machine", "bits", "status"),
    [
        ("aarch64", 64, "ok"),
        ("x86_64", 64, "ok"),
        ("aarch64", 32, "fail"),
        ("armv7l", 32, "fail"),
        ("riscv64", 64, "warn"),
    ],
)
def test_architecture_is_pythons_and_not_the_kernels(machine: str, bits: int, status: str) -> None:
    assert system.architecture(machine, bits).status == status


def test_raspberry_pi_os_is_told_from_debian(tmp_path: Path) -> None:
    raspberry(tmp_path)
    check = system.operating_system(tmp_path)
    assert (check.status, check.found) == ("ok", "Raspberry Pi OS Bookworm (Debian GNU/Linux 12 (bookworm))")
    (tmp_path / "etc/rpi-issue").unlink()
    assert system.operating_system(tmp_path).found == "Debian GNU/Linux 12 (bookworm)"


def test_an_old_release_on_a_pi_is_a_warning(tmp_path: Path) -> None:
    raspberry(tmp_path, BOOKWORM.replace("bookworm", "bullseye"))
    assert system.operating_system(tmp_path).status == "warn"
    (tmp_path / "proc/device-tree/model").unlink()
    assert system.operating_system(tmp_path).status == "ok"


def test_an_os_release_in_usr_lib_will_do(tmp_path: Path) -> None:
    assert system.operating_system(tmp_path).status == "warn"
    place(tmp_path, "usr/lib/os-release", "# comment\nPRETTY_NAME='Fedora Linux 43'\n")
    assert system.operating_system(tmp_path).found == "Fedora Linux 43"


@pytest.mark.parametrize(
    ("free", "status", "text"),
    [(40_000_000_000, "ok", "40.0 GB"), (300_000_000, "warn", "300 MB"), (5_000_000, "fail", "5 MB")],
)
def test_disk(tmp_path: Path, free: int, status: str, text: str) -> None:
    check = system.disk(tmp_path, free)
    assert check.status == status
    assert text in check.found
    assert bool(check.advice) == (status != "ok")


def test_disk_really_looks(tmp_path: Path) -> None:
    assert str(tmp_path) in system.disk(tmp_path).found
    assert system.disk(tmp_path / "gone").status == "warn"
    read_only = Path("/sys")  # mounted read-only in containers, writable on machines: both are right
    flag = os.statvfs(read_only).f_flag & os.ST_RDONLY
    assert ("read-only" in system.disk(read_only, 10**12).found) == bool(flag)


def test_clock(tmp_path: Path) -> None:
    assert system.clock(tmp_path, kernel_state=0).status == "ok"
    unsynchronised = system.clock(tmp_path, kernel_state=5)
    assert unsynchronised.status == "warn"
    assert "timedatectl set-ntp true" in unsynchronised.advice
    assert system.clock(tmp_path, kernel_state=-1).status == "warn"
    place(tmp_path, "run/systemd/timesync/synchronized")
    assert system.clock(tmp_path, kernel_state=5).status == "ok"


def test_the_kernel_is_really_asked_for_the_clock() -> None:
    assert system._adjtimex() in range(-1, 6)
    assert system.clock().status in ("ok", "warn")


def test_without_systemd_the_service_is_skipped(tmp_path: Path) -> None:
    assert system.service(tmp_path).status == "skip"


@pytest.mark.parametrize(
    ("properties", "status", "found"),
    [
        ("LoadState=not-found\nActiveState=inactive\nSubState=dead\nNRestarts=0\n", "skip", "not installed"),
        (
            "LoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\nNRestarts=0\n",
            "ok",
            "active (running), enabled",
        ),
        (
            "LoadState=loaded\nActiveState=failed\nSubState=failed\nUnitFileState=enabled\nNRestarts=0\nExecMainStatus=78\n",
            "fail",
            "failed (failed), enabled, exit status 78",
        ),
        (
            "LoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\nNRestarts=12\n",
            "warn",
            "active (running), enabled, restarted 12 times",
        ),
        (
            "LoadState=loaded\nActiveState=inactive\nSubState=dead\nUnitFileState=disabled\nNRestarts=0\n",
            "warn",
            "inactive (dead), disabled",
        ),
    ],
)
def test_what_systemd_says_of_the_service(tmp_path: Path, properties: str, status: str, found: str) -> None:
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    systemctl = place(
        tmp_path, "systemctl", f"#!/bin/sh\n[ \"$1 $2\" = 'show fer-edge.service' ] && cat <<E\n{properties}E\n"
    )
    systemctl.chmod(0o755)
    check = system.service(tmp_path, str(systemctl))
    assert (check.status, check.found) == (status, found)
    assert bool(check.advice) == (status in ("warn", "fail"))


def test_a_systemctl_that_fails_or_is_missing_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    systemctl = place(tmp_path, "systemctl", "#!/bin/sh\necho 'Failed to connect to bus' >&2; exit 1\n")
    systemctl.chmod(0o755)
    check = system.service(tmp_path, str(systemctl))
    assert (check.status, check.found) == ("warn", "systemd does not tell: Failed to connect to bus")
    assert system.service(tmp_path, "/nonexistent/systemctl").status == "warn"


@pytest.mark.skipif(shutil.which("systemctl") is None, reason="no systemctl here")
def test_the_real_systemctl_knows_the_properties_that_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    check = system.service(tmp_path)
    booted = Path("/run/systemd/system").is_dir()
    assert ("systemd does not tell" in check.found) is not booted


def test_temperature(tmp_path: Path) -> None:
    assert hardware.temperature(tmp_path).status == "skip"
    place(tmp_path, "sys/class/thermal/thermal_zone0/type", "cpu-thermal\n")
    reading = place(tmp_path, "sys/class/thermal/thermal_zone0/temp", "48312\n")
    assert (hardware.temperature(tmp_path).status, hardware.temperature(tmp_path).found) == ("ok", "48.3 C")
    reading.write_text("82000\n")
    assert hardware.temperature(tmp_path).status == "warn"


@pytest.mark.parametrize(
    ("flags", "status", "advice"),
    [
        ("0", "ok", ""),
        ("50000", "warn", "power supply"),
        ("50005", "fail", "power supply"),
        ("80008", "warn", "heat sink"),
        ("4", "warn", "heat sink"),
    ],
)
def test_power(tmp_path: Path, flags: str, status: str, advice: str) -> None:
    place(tmp_path, "sys/devices/platform/soc/soc:firmware/get_throttled", f"{flags}\n")
    check = hardware.power(tmp_path)
    assert check.status == status
    assert advice in check.advice
    assert bool(check.advice) == bool(advice)


def test_board(tmp_path: Path) -> None:
    assert hardware.board_model(tmp_path).status == "skip"
    raspberry(tmp_path)
    assert hardware.board_model(tmp_path).found == "Raspberry Pi 5 Model B Rev 1.0"


@contextmanager
def nobody() -> Iterator[None]:
    """Be a user without rights for a moment, if we are root, whom no permission stops."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_root(tmp_path: Path) -> Path:
    """A root that others may look into."""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    return tmp_path


def test_devices_that_may_be_used(open_root: Path) -> None:
    assert hardware.devices(open_root).status == "skip"
    for name in ("dev/video0", "dev/media0", "dev/dri/renderD128"):
        place(open_root, name).chmod(0o666)
    with nobody():
        check = hardware.devices(open_root)
    assert check.status == "ok"
    assert "all 3" in check.found


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to any group")
@pytest.mark.parametrize(
    ("name", "group", "status"),
    [("video0", "video", "fail"), ("dma_heap/system", "video", "fail"), ("dri/renderD128", "audio", "warn")],
)
def test_devices_that_may_not_be_used_come_with_the_command(
    open_root: Path, name: str, group: str, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = place(open_root, f"dev/{name}")
    shutil.chown(device, group=group)
    device.chmod(0o660)
    place(open_root, "dev/media0").chmod(0o666)
    monkeypatch.setenv("LOGNAME", "maria")
    with nobody():
        check = hardware.devices(open_root)
    assert check.status == status
    assert check.found == f"maria may not use 1 of 2: /dev/{name} (group {group})"
    assert check.advice == f"run  sudo usermod -aG {group} maria  and log in again"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root owns files of root")
def test_nobody_is_told_to_join_the_group_root(open_root: Path) -> None:
    place(open_root, "dev/dma_heap/system").chmod(0o600)
    with nobody():
        assert hardware.devices(open_root).status == "skip"
    place(open_root, "dev/video0").chmod(0o600)
    with nobody():
        check = hardware.devices(open_root)
    assert check.status == "fail"
    assert "usermod" not in check.advice
    assert "/dev/video0" in check.advice
