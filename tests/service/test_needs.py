"""What CI asks before it boots systems: a machine that cannot is told from a product that does not work."""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path

import pytest

from tests.service import machine as machines
from tests.service import needs

PROGRAMS = ("mmdebstrap", "systemd-nspawn", "nsenter", "dpkg")
READY = os.geteuid() == 0 and all(shutil.which(name) for name in PROGRAMS)
needs_programs = pytest.mark.skipif(not READY, reason=f"needs root and {', '.join(PROGRAMS)}")


def test_who_does_not_ask_is_told_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FER_EDGE_NSPAWN", raising=False)
    assert "FER_EDGE_NSPAWN=1" in needs.missing()


@pytest.mark.skipif(os.geteuid() != 0, reason="others are told first that they are not root")
def test_missing_programs_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_EDGE_NSPAWN", "1")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "mmdebstrap, systemd-nspawn" in needs.missing()


@needs_programs
def test_a_machine_that_starts_no_container_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_EDGE_NSPAWN", "1")
    # What systemd-nspawn says in a container without rights.
    (tmp_path / "systemd-nspawn").write_text(
        '#!/bin/sh\necho "Failed to move root directory: not permitted" >&2\nexit 1\n'
    )
    (tmp_path / "systemd-nspawn").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert needs.missing().endswith("starts no container here: Failed to move root directory: not permitted")


@pytest.fixture
def no_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No root is there yet, and no archive to build one from."""
    monkeypatch.setenv("FER_EDGE_TEST_CACHE", str(tmp_path))
    monkeypatch.setattr(machines, "debian_archive", lambda: "http://127.0.0.1:1/debian")  # nobody listens on port 1
    monkeypatch.setattr(needs, "_containers", str)  # this machine may be one that starts none
    monkeypatch.setattr(needs, "_wheels", lambda _: "")  # nor may it have a network
    monkeypatch.setattr(needs, "_boots", lambda _: "")


@needs_programs
@pytest.mark.usefixtures("no_archive")
def test_roots_that_are_there_need_no_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_EDGE_NSPAWN", "bookworm")
    assert "dists/bookworm/Release is out of reach" in needs.missing()
    for packages in machines.ROOTS["bookworm"]:
        machines.archive_path("bookworm", packages).touch()
    assert needs.missing() == ""


@needs_programs
@pytest.mark.usefixtures("no_archive")
def test_an_image_that_is_built_anew_needs_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_EDGE_NSPAWN", "trixie")
    (tmp_path / "bdebstrap").touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for packages in machines.ROOTS["trixie"]:
        machines.archive_path("trixie", packages).touch()
    assert "dists/trixie/Release is out of reach" in needs.missing()


@needs_programs
def test_a_machine_on_which_no_system_comes_up_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_EDGE_NSPAWN", "bookworm")
    monkeypatch.setenv("FER_EDGE_TEST_CACHE", str(tmp_path))
    monkeypatch.setattr(needs, "_wheels", lambda _: "")  # this machine may have no network
    for packages in machines.ROOTS["bookworm"]:
        with tarfile.open(machines.archive_path("bookworm", packages), "w"):
            pass
    # It starts a program, but no system: so where control groups are somebody else's.
    script = '#!/bin/sh\ncase "$*" in *--boot*) echo "Failed to mount cgroup"; exit 1 ;; esac\n'
    (tmp_path / "systemd-nspawn").write_text(script)
    (tmp_path / "systemd-nspawn").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert needs.missing() == "bookworm does not boot: Failed to mount cgroup"
