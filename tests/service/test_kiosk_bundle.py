"""The whole kiosk on a card that never sees a network: cage and Chromium out of the bundle, fer-edge's page in them.

    FER_EDGE_NSPAWN=1 FER_EDGE_KIOSK_BUNDLE=1 python -m pytest tests/service/test_kiosk_bundle.py -v

Opt-in by a variable of its own, because it downloads some 300 MB of Debian's packages. The screen is one in memory (a
container has no other); the units, cage, Chromium and the page are those of a card.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Iterator

import pytest

from fer_edge.bundle.options import ARCHITECTURES
from fer_edge.cli import main
from tests.service import machine as machines
from tests.service.machine import KIOSK_WITHOUT_CONSOLE, Machine, wait_until
from tests.service.test_first_boot import CLOUD_INIT_OF_RASPBERRY_PI_OS
from tests.service.wheelhouse import build_wheel, gather

_OBSTACLE = machines.obstacle() or (
    "" if os.environ.get("FER_EDGE_KIOSK_BUNDLE") else "set FER_EDGE_KIOSK_BUNDLE=1 to download Debian's Chromium"
)

pytestmark = [
    pytest.mark.skipif(bool(_OBSTACLE), reason=_OBSTACLE or "runs"),
    pytest.mark.timeout(2400),
]

UNIT = "fer-edge-kiosk.service"
CONFIG = '[outputs]\nenabled = ["web"]\n[outputs.web]\nkiosk = true\n'
ENDLESS_DEMO = """\
[Service]
ExecStart=
ExecStart=/opt/fer-edge/current/bin/fer-edge run --config /etc/fer-edge/config.toml --source demo --loop --realtime
"""
SCREEN_IN_MEMORY = """\
Environment=WLR_BACKENDS=headless WLR_RENDERER=pixman WLR_LIBINPUT_NO_DEVICES=1
Environment=XDG_RUNTIME_DIR=/run/fer-edge-kiosk FER_EDGE_KIOSK_DRM=/run/screen
"""
ESTABLISHED, DASHBOARD = "01", f":{8787:04X}"


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine that installed itself, kiosk and all, from a bundle at its first boot."""
    folder = tmp_path_factory.mktemp("kiosk")
    architecture = next(ours for ours, theirs in ARCHITECTURES.items() if theirs == platform.machine())
    wheels = gather("trixie", build_wheel(folder / "wheel"), folder / "wheels", platform.machine())
    (folder / "config.toml").write_text(CONFIG)
    command = ["image", "bundle", "--release", "trixie", "--arch", architecture, "--out", str(folder / "card")]
    command += ["--with-kiosk", "--wheelhouse", str(wheels), "--config", str(folder / "config.toml")]
    assert main(command) == 0
    system = Machine("trixie", folder, {}, machines.ROOTS["trixie"][-1], partitions=["boot/firmware"])
    system.write("/etc/cloud/cloud.cfg.d/99_raspberry-pi.cfg", CLOUD_INIT_OF_RASPBERRY_PI_OS)
    shutil.copytree(folder / "card", system.root / "boot/firmware", dirs_exist_ok=True)
    (system.root / "etc/machine-id").write_text("")
    try:
        system.boot()
        log = system.root / "boot/firmware/fer-edge-first-boot.log"
        ended = ("done: fer-edge.service is active", "tried again at the next boot")
        assert wait_until(lambda: log.exists() and any(end in log.read_text() for end in ended), 1200, every_s=1)
        assert "warning" not in log.read_text(), log.read_text()
        assert system.comes_up(60), log.read_text()
        yield system
    finally:
        system.remove()


@pytest.fixture(scope="module")
def kiosk(card: Machine) -> Machine:
    """The same machine with a screen, and a door through which Chromium tells what it shows."""
    card.write("/etc/systemd/system/fer-edge.service.d/test.conf", ENDLESS_DEMO)
    card.write(f"/etc/systemd/system/{UNIT}.d/test.conf", KIOSK_WITHOUT_CONSOLE + SCREEN_IN_MEMORY)
    card.write("/etc/fer-edge/kiosk.env", 'FER_EDGE_KIOSK_FLAGS="--disable-gpu --remote-debugging-port=9222"\n')
    card.run("mkdir", "-p", "/run/screen/card0-HDMI-A-1")
    card.run("sh", "-c", "echo connected >/run/screen/card0-HDMI-A-1/status")
    card.run("systemctl", "daemon-reload")
    card.run("systemctl", "restart", "fer-edge.service", UNIT)
    return card


def title(system: Machine) -> str:
    """What Chromium shows; empty if it does not run."""
    answer = system.run("curl", "--silent", "http://127.0.0.1:9222/json", check=False).stdout
    pages = [entry for entry in json.loads(answer or "[]") if entry["type"] == "page"]
    return str(pages[0]["title"]) if pages else ""


def streams(system: Machine) -> int:
    """Connections to the dashboard that the kiosk's user holds open: the page's script makes them."""
    user = system.run("id", "--user", "fer-edge-kiosk").stdout.strip()
    rows = [line.split() for line in system.run("cat", "/proc/net/tcp").stdout.splitlines()[1:]]
    return sum(row[2].endswith(DASHBOARD) and row[3] == ESTABLISHED and row[7] == user for row in rows)


def shows_the_page(system: Machine) -> bool:
    return wait_until(lambda: title(system) == "fer-edge kiosk" and streams(system) > 0, 180, every_s=1)


def test_the_page_is_shown_by_programs_of_the_bundle(kiosk: Machine) -> None:
    assert shows_the_page(kiosk), kiosk.journal(UNIT)[-3000:]
    assert kiosk.show("User", UNIT) == "fer-edge-kiosk"
    assert "running" in kiosk.show("StatusText")


@pytest.mark.parametrize("program", ["chromium", "cage"])
def test_whatever_crashes_on_the_screen_comes_back_and_recognition_goes_on(kiosk: Machine, program: str) -> None:
    assert shows_the_page(kiosk), kiosk.journal(UNIT)[-3000:]
    recognition, former = kiosk.pid(), kiosk.pid(UNIT)
    kiosk.run("pkill", "--signal", "KILL", "--uid", "fer-edge-kiosk", program)
    assert wait_until(lambda: kiosk.pid(UNIT) not in (0, former), 60), kiosk.journal(UNIT)[-3000:]
    assert shows_the_page(kiosk), kiosk.journal(UNIT)[-3000:]
    assert kiosk.pid() == recognition
    assert kiosk.healthy()
    assert kiosk.show("NRestarts") == "0"


def test_a_screen_that_is_unplugged_leaves_a_status_line_at_the_next_start(kiosk: Machine) -> None:
    kiosk.run("sh", "-c", "echo disconnected >/run/screen/card0-HDMI-A-1/status")
    kiosk.run("systemctl", "restart", UNIT)
    assert wait_until(lambda: "no screen is connected" in kiosk.journal(UNIT), 30), kiosk.journal(UNIT)[-3000:]
    assert kiosk.healthy()
    kiosk.run("sh", "-c", "echo connected >/run/screen/card0-HDMI-A-1/status")
    assert shows_the_page(kiosk), kiosk.journal(UNIT)[-3000:]
