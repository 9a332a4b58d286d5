"""``fer-edge service``: what it hands to install.sh, systemctl and journalctl."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fer_edge.cli import main
from fer_edge.commands.service import installer
from fer_edge.errors import UsageError

SYSTEMD = Path(__file__).parents[2] / "systemd"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """systemctl and journalctl that print how they were called, and fail with 3, as for a service that is down."""
    for name in ("systemctl", "journalctl"):
        (tmp_path / name).write_text('#!/bin/sh\necho "$(basename "$0") $*"\nexit 3\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize(
    ("arguments", "called"),
    [
        (["status"], "systemctl status --no-pager --lines=15 --full fer-edge.service"),
        (["status", "--kiosk"], "systemctl status --no-pager --lines=15 --full fer-edge-kiosk.service"),
        (["logs"], "journalctl --unit=fer-edge.service --lines=50 --no-pager"),
        (["logs", "-f", "-n", "5"], "journalctl --unit=fer-edge.service --lines=5 --follow"),
    ],
)
def test_systemd_is_asked(arguments: list[str], called: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["service", *arguments]) == 3
    assert capfd.readouterr().out == called + "\n"


def test_without_systemd_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["service", "status"]) == 2
    assert "needs Debian or Raspberry Pi OS with systemd" in capfd.readouterr().err


def test_installing_is_left_to_the_script(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("fer_edge-0.1.0-py3-none-any.whl", "pip-25.0-py3-none-any.whl"):
        (tmp_path / name).touch()
    assert main(["service", "install", "--dry-run", "--no-start", "--wheelhouse", str(tmp_path)]) == 0
    printed = capfd.readouterr().out
    assert f"--find-links {tmp_path}" in printed
    assert "systemctl restart" not in printed


def test_removing_is_left_to_the_script(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["service", "uninstall", "--dry-run", "--purge"]) == 0
    assert "/etc/fer-edge" in capfd.readouterr().out


def test_the_installer_is_found_in_a_wheel_and_in_an_installation(tmp_path: Path) -> None:
    package = tmp_path / "site-packages" / "deep" / "fer_edge"
    installed = tmp_path / "share"
    with pytest.raises(UsageError, match=r"install\.sh"):
        installer(installed, package)
    for place in (installed, package / "data" / "systemd"):
        place.mkdir(parents=True)
        for name in ("install.sh", "fer-edge.service"):
            (place / name).touch()
        assert installer(installed, package) == place / "install.sh"
    assert installer() == SYSTEMD / "install.sh"


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, fer_edge.commands.service; print({'numpy', 'cv2', 'subprocess'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
