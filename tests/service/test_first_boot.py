"""The first-boot bundle, read by a real cloud-init (Trixie) and by systemd.run= (Bookworm), without a network.

Opt-in like test_booted.py: FER_EDGE_NSPAWN=1. The machines here are what a card with a copied bundle is: Debian with
cloud-init as Raspberry Pi OS configures it, the bundle in /boot/firmware, and nobody at a keyboard.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fer_edge.cli import main
from tests.service import machine as machines
from tests.service.machine import Machine, wait_until
from tests.service.wheelhouse import build_wheel, gather

_OBSTACLE = machines.obstacle()
_RELEASES = [name for name in ("trixie", "bookworm") if os.environ.get("FER_EDGE_NSPAWN") in ("1", name, None)]

pytestmark = [
    pytest.mark.skipif(bool(_OBSTACLE), reason=_OBSTACLE or "runs"),
    pytest.mark.timeout(1800),
]

SYSTEMD = Path(__file__).parents[2] / "systemd"
CLOUD_INIT_OF_RASPBERRY_PI_OS = """\
datasource_list: [ NoCloud, None ]
datasource:
  NoCloud:
    seedfrom: file:///boot/firmware
"""
CMDLINE = "console=serial0,115200 console=tty1 root=PARTUUID=4c7d1f2a-02 rootfstype=ext4 fsck.repair=yes rootwait\n"
PATIENCE_S = 900
"""Half a minute does on a computer that has nothing else to do."""
PASSPHRASE, PSK = "password", "f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e"
HASH = "$6$salt$IxDD3jeSOb5eB1CX5LBsqZFVkJdido3OUILO5Ifz5iwMuTS4XMS130MTSuDDl3aCI6WouIL9AjRbLCelDCy.g."
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFakeFakeFakeFakeFakeFakeFakeFakeFakeFakeFake somebody@example"


@pytest.fixture(scope="module", params=_RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def wheelhouse(release: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    return gather(release, build_wheel(folder), folder / release, os.uname().machine)


@pytest.fixture(scope="module")
def bundle(release: str, wheelhouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with all that can be asked for, made by the command as people type it."""
    folder = tmp_path_factory.mktemp("bundle")
    (folder / "passphrase").write_text(f"{PASSPHRASE}\n")
    (folder / "key.pub").write_text(f"{KEY}\n")
    (folder / "config.toml").write_text('[source]\nspec = "auto"\n[outputs]\nenabled = ["web"]\n')
    (folder / "cmdline.txt").write_text(CMDLINE)
    model = next((Path(__file__).parents[2] / "edge/fer_edge/data/models").glob("*.tflite"))
    shutil.copy(model, folder / "mine.tflite")
    control = "Package: small-test\nVersion: 1:1.0\nArchitecture: all\nMaintainer: n <n@example>\nDescription: none\n"
    (folder / "tree/DEBIAN").mkdir(parents=True)
    (folder / "tree/DEBIAN/control").write_text(control)
    (folder / "debs").mkdir()
    pack = ["dpkg-deb", "--root-owner-group", "--build", str(folder / "tree"), str(folder / "debs")]
    subprocess.run(pack, check=True, capture_output=True)
    command = ["image", "bundle", "--release", release, "--arch", "amd64", "--out", str(folder / "card")]
    command += ["--wheelhouse", str(wheelhouse), "--config", str(folder / "config.toml"), "--hostname", "kiosk-7"]
    command += ["--model", str(folder / "mine.tflite"), "--user", "ada", "--ssh-key", str(folder / "key.pub")]
    command += ["--password-hash", HASH, "--debs", str(folder / "debs"), "--wifi", "IEEE", "--wifi-country", "GB"]
    command += ["--wifi-passphrase-file", str(folder / "passphrase")]
    command += ["--cmdline", str(folder / "cmdline.txt")] if release == "bookworm" else []
    assert main(command) == 0
    return folder / "card"


@pytest.fixture
def card(release: str, bundle: Path, tmp_path: Path) -> Iterator[Machine]:
    """A machine with a freshly flashed card, onto which the bundle was copied."""
    system = Machine(release, tmp_path, {}, machines.ROOTS[release][-1], partitions=["boot/firmware"])
    boot = system.root / "boot/firmware"
    (boot / "cmdline.txt").write_text(CMDLINE)
    shutil.copytree(bundle, boot, dirs_exist_ok=True)
    if release == "trixie":
        system.write("/etc/cloud/cloud.cfg.d/99_raspberry-pi.cfg", CLOUD_INIT_OF_RASPBERRY_PI_OS)
    (system.root / "etc/machine-id").write_text("")  # as on an image: this is the first boot
    try:
        yield system
    finally:
        system.remove()


def switch_on(card: Machine) -> None:
    """Do as a Raspberry Pi's firmware does: the kernel gets what cmdline.txt says."""
    words = (card.root / "boot/firmware/cmdline.txt").read_text().split()
    card.switch_on(kernel=[word for word in words if word.startswith("systemd.")])


def log(card: Machine) -> str:
    path = card.root / "boot/firmware/fer-edge-first-boot.log"
    return path.read_text() if path.exists() else ""


def finishes(card: Machine) -> bool:
    """Whether the installation ends well and the bundle goes away."""
    gone = card.root / "boot/firmware/fer-edge"
    return wait_until(lambda: not gone.exists(), PATIENCE_S, every_s=1) and card.comes_up(120)


def first_boot(card: Machine) -> None:
    """Switch the card on for the first time, and for the second where the first one only prepares."""
    switch_on(card)
    if card.release == "bookworm":
        assert card.restarts(), card.console()[-3000:]
        assert "systemd.run" not in (card.root / "boot/firmware/cmdline.txt").read_text()
        switch_on(card)


def secrets_in(folder: Path) -> list[str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return [
        str(path) for path in files if any(secret.encode() in path.read_bytes() for secret in (PASSPHRASE, PSK, HASH))
    ]


def test_a_card_installs_itself_without_network_or_keyboard(card: Machine) -> None:
    begin = time.monotonic()
    first_boot(card)
    assert finishes(card), log(card) + card.console()[-3000:]
    print(f"{card.release}: {time.monotonic() - begin:.0f} s from the first switching on to a green /healthz")
    boot = card.root / "boot/firmware"
    assert "done: fer-edge.service is active" in log(card)
    assert secrets_in(boot) == []
    assert not list(boot.glob("firstrun.sh")) + list(boot.glob("FER-EDGE*"))
    assert (card.root / "etc/fer-edge/config.toml").read_text().startswith('[source]\nspec = "auto"')
    assert card.run("fer-edge", "model", "show").stdout.strip() == "/var/lib/fer-edge/models/mine.tflite"
    assert card.show("UnitFileState", "fer-edge-kiosk.service") == "enabled"
    assert "installed" in card.run("dpkg-query", "--show", "--showformat=${Status}", "small-test").stdout
    assert (card.root / "etc/hostname").read_text().strip() == "kiosk-7"
    assert not (card.root / "etc/systemd/system/fer-edge-first-boot.service").exists()

    # Somebody can log in, and the network is joined by its key.
    assert card.run("getent", "shadow", "ada").stdout.split(":")[1] == HASH
    assert (card.root / "home/ada/.ssh/authorized_keys").read_text().strip().endswith(KEY)
    assert (card.root / "home/ada/.ssh/authorized_keys").stat().st_mode & 0o77 == 0
    network = "etc/netplan/50-cloud-init.yaml"
    if card.release == "bookworm":
        network = "etc/NetworkManager/system-connections/wifi.nmconnection"
        assert "cfg80211.ieee80211_regdom=GB" in (boot / "cmdline.txt").read_text()
    assert PSK in (card.root / network).read_text()
    assert (card.root / network).stat().st_mode & 0o77 == 0

    card.shut_down()
    switch_on(card)
    assert card.comes_up(90), card.journal()
    assert (card.root / "etc/hostname").read_text().strip() == "kiosk-7"
    assert len(list((card.root / "opt/fer-edge/versions").iterdir())) == 1


@pytest.mark.parametrize("moment", ["building", "installed", "cleaning"])
def test_a_power_cut_in_the_first_boot_is_made_good_by_the_next(card: Machine, moment: str) -> None:
    reached = {
        "building": lambda: (card.root / "opt/fer-edge/versions/1/lib").exists(),
        "installed": lambda: (card.root / "opt/fer-edge/current").is_symlink(),
        "cleaning": lambda: (card.root / "boot/firmware/fer-edge/finished").exists(),
    }[moment]
    first_boot(card)
    assert wait_until(reached, PATIENCE_S, every_s=0.02), log(card) + card.console()[-3000:]
    card.power_cut()
    switch_on(card)
    assert finishes(card), log(card) + card.console()[-3000:]
    assert secrets_in(card.root / "boot/firmware") == []
    assert len(list((card.root / "opt/fer-edge/versions").iterdir())) == 1


def test_a_bundle_that_was_damaged_on_the_card_is_not_installed_and_says_so(card: Machine) -> None:
    wheel = next((card.root / "boot/firmware/fer-edge/wheels").glob("numpy-*.whl"))
    whole = wheel.read_bytes()
    wheel.write_bytes(whole[: len(whole) // 2])
    first_boot(card)
    assert wait_until(lambda: "tried again at the next boot" in log(card), PATIENCE_S), (
        log(card) + card.console()[-3000:]
    )
    assert re.search(r"error: damaged on this card: wheels/numpy-.*copy the bundle", log(card))
    assert not (card.root / "opt/fer-edge").exists()
    card.power_cut()
    wheel.write_bytes(whole)
    switch_on(card)
    assert finishes(card), log(card) + card.console()[-3000:]


def test_a_power_cut_in_firstrun_is_made_good_by_the_next_boot(release: str, card: Machine) -> None:
    if release != "bookworm":
        pytest.skip("firstrun.sh is Bookworm's")
    switch_on(card)
    assert wait_until(lambda: "attempt 1" in log(card), PATIENCE_S, every_s=0.01), card.console()[-3000:]
    card.power_cut()
    switch_on(card)
    assert card.restarts(), card.console()[-3000:]
    assert "systemd.run" not in (card.root / "boot/firmware/cmdline.txt").read_text()
    switch_on(card)
    assert finishes(card), log(card) + card.console()[-3000:]


IMAGE = f"""
mmdebstrap:
  suite: trixie
  variant: minbase
  target: root.tar
  packages: [{", ".join(machines.PACKAGES.split(","))}]
"""


@pytest.mark.skipif(shutil.which("bdebstrap") is None, reason="bdebstrap is missing: apt-get install bdebstrap")
def test_an_image_built_with_the_layer_has_nothing_left_to_do(release: str, bundle: Path, tmp_path: Path) -> None:
    if release != "trixie":
        pytest.skip("the layer is for Trixie")
    layer = (SYSTEMD / "rpi-image-gen/layer/fer-edge.yaml").read_text()
    assert "    - python3-picamera2\n" in layer
    # Raspberry Pi's archive alone has that one. The rest is built as rpi-image-gen does it: by bdebstrap.
    (tmp_path / "layer.yaml").write_text(layer.replace("    - python3-picamera2\n", ""))
    (tmp_path / "image.yaml").write_text(IMAGE)
    command: list[str | Path] = ["bdebstrap", "--config", tmp_path / "image.yaml", "--config", tmp_path / "layer.yaml"]
    command += ["--output-base-dir", tmp_path, "--name", "image", "--env", f"IGconf_feredge_bundle={bundle}"]
    done = subprocess.run(
        [*command, "--mirrors", machines.debian_archive()], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    system = Machine(release, tmp_path, {}, archive=tmp_path / "image/root.tar")
    try:
        system.boot()
        assert system.comes_up(60), system.journal()
        assert system.run("fer-edge", "model", "show").stdout.strip() == "/var/lib/fer-edge/models/mine.tflite"
        assert not (system.root / "opt/fer-edge-bundle").exists()
    finally:
        system.remove()
