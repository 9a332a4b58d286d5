"""Making a first-boot bundle: what is in the folder, what is refused, and that no secret is left readable in it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from fer_edge.bundle.first_boot import CMDLINE_WORDS
from fer_edge.bundle.network import keyfile_ssid, wifi_network, wpa_psk
from fer_edge.cli import main
from fer_edge.errors import UsageError

SYSTEMD = Path(__file__).parents[2] / "systemd"
MODEL = next((Path(__file__).parents[2] / "edge/fer_edge/data/models").glob("*.tflite"))
CMDLINE = "console=tty1 root=PARTUUID=4c7d1f2a-02 rootfstype=ext4 rootwait\n"
HASH = "$6$salt$IxDD3jeSOb5eB1CX5LBsqZFVkJdido3OUILO5Ifz5iwMuTS4XMS130MTSuDDl3aCI6WouIL9AjRbLCelDCy.g."
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFake somebody@example"


def make_wheel(folder: Path, name: str, version: str, tag: str = "py3-none-any", requires: str = "") -> None:
    """Write a wheel that holds nothing but what pip must know to choose it."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n"
    metadata += f"Requires-Dist: {requires}\n" if requires else ""
    with zipfile.ZipFile(folder / f"{name}-{version}-{tag}.whl", "w") as wheel:
        wheel.writestr(f"{info}/METADATA", metadata)
        wheel.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture(scope="module")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheels for several machines, among which pip has to find the card's."""
    folder = tmp_path_factory.mktemp("wheelhouse")
    make_wheel(folder, "fer_edge", "0.1.0", requires="numpy")
    make_wheel(folder, "pip", "26.0")
    for version in ("1.26.4", "2.3.0"):
        for python in ("cp311", "cp313"):
            for machine in ("aarch64", "x86_64"):
                make_wheel(folder, "numpy", version, f"{python}-{python}-manylinux_2_28_{machine}")
    make_wheel(folder, "numpy", "2.9.0", "cp313-cp313-manylinux_2_99_aarch64")  # for a glibc that the card lacks
    return folder


@pytest.fixture
def base(wheelhouse: Path, tmp_path: Path) -> list[str]:
    """The command for a Trixie bundle in ``tmp_path / "card"``."""
    return ["image", "bundle", "--release", "trixie", "--out", str(tmp_path / "card"), "--wheelhouse", str(wheelhouse)]


def for_bookworm(command: list[str]) -> list[str]:
    return ["bookworm" if word == "trixie" else word for word in command]


def refused(capsys: pytest.CaptureFixture[str], command: list[str]) -> str:
    """Return the one line with which a command is refused."""
    capsys.readouterr()
    assert main(command) != 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ("release", "arch", "numpy"),
    [
        ("trixie", "arm64", "numpy-2.3.0-cp313-cp313-manylinux_2_28_aarch64.whl"),
        ("bookworm", "arm64", "numpy-1.26.4-cp311-cp311-manylinux_2_28_aarch64.whl"),
        ("trixie", "amd64", "numpy-2.3.0-cp313-cp313-manylinux_2_28_x86_64.whl"),
    ],
)
def test_the_wheels_fit_the_card_and_its_constraints(
    wheelhouse: Path, tmp_path: Path, release: str, arch: str, numpy: str
) -> None:
    command = ["bundle", "--release", release, "--arch", arch, "--out", str(tmp_path / "card")]
    assert main([*command, "--wheelhouse", str(wheelhouse)]) == 0
    wheels = {path.name for path in (tmp_path / "card/fer-edge/wheels").iterdir()}
    assert wheels == {"fer_edge-0.1.0-py3-none-any.whl", "pip-26.0-py3-none-any.whl", numpy}


def test_each_file_is_in_the_manifest_with_its_checksum(base: list[str], tmp_path: Path) -> None:
    shutil.copy(MODEL, tmp_path / "mine.tflite")
    assert main([*base, "--model", str(tmp_path / "mine.tflite")]) == 0
    card = tmp_path / "card"
    manifest = json.loads((card / "fer-edge/manifest.json").read_text())
    listed = {entry["path"]: entry["sha256"] for entry in manifest["files"]}
    there = {path.relative_to(card).as_posix(): path for path in card.rglob("*") if path.is_file()}
    assert set(listed) == set(there) - {"fer-edge/manifest.json"}
    assert all(hashlib.sha256(there[name].read_bytes()).hexdigest() == digest for name, digest in listed.items())
    assert (manifest["release"], manifest["python"], manifest["architecture"]) == ("trixie", "3.13", "arm64")
    assert manifest["wheels"] == {"fer_edge": "0.1.0", "numpy": "2.3.0", "pip": "26.0"}
    assert manifest["models"] == ["mine.tflite"]
    assert listed["fer-edge/models/mine.tflite"] == hashlib.sha256(MODEL.read_bytes()).hexdigest()
    # What the card itself checks before it installs.
    check = subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=card / "fer-edge", check=False)
    assert check.returncode == 0
    sums = (card / "fer-edge/SHA256SUMS").read_text()
    assert all(f"  wheels/{path.name}\n" in sums for path in (card / "fer-edge/wheels").iterdir())


def test_the_readme_has_ten_lines_and_names_the_first_step(base: list[str], tmp_path: Path) -> None:
    assert main(for_bookworm(base)) == 0
    lines = (tmp_path / "card/FER-EDGE-README.txt").read_text().splitlines()
    assert len(lines) == 10
    assert any(" ".join(CMDLINE_WORDS) in line for line in lines)


@pytest.mark.parametrize("release", ["trixie", "bookworm"])
def test_the_passphrase_is_nowhere_and_its_key_only_where_the_owner_reads(
    base: list[str], tmp_path: Path, release: str
) -> None:
    (tmp_path / "passphrase").write_text("correct horse\n")
    (tmp_path / "key.pub").write_text(f"# mine\n{KEY}\n")
    command = base if release == "trixie" else for_bookworm(base)
    command = [*command, "--wifi", "IEEE", "--wifi-country", "gb", "--user", "ada", "--password-hash", HASH]
    command += ["--wifi-passphrase-file", str(tmp_path / "passphrase"), "--ssh-key", str(tmp_path / "key.pub")]
    assert main(command) == 0
    card = tmp_path / "card"
    psk = wpa_psk("IEEE", "correct horse").encode()
    holders = [path for path in card.rglob("*") if path.is_file() and (psk in path.read_bytes())]
    assert [path.name for path in holders] == ["network-config" if release == "trixie" else "settings.sh"]
    assert all(path.stat().st_mode & 0o77 == 0 for path in [*holders, card])
    texts = [path.read_bytes() for path in card.rglob("*") if path.is_file() and path.suffix != ".whl"]
    assert not any(b"correct horse" in text for text in texts)
    users = (card / "user-data" if release == "trixie" else card / "fer-edge/settings.sh").read_text()
    assert KEY in users
    assert HASH in users


def test_a_known_key_is_derived() -> None:
    # IEEE 802.11-2020, annex J.4.2, its first test case.
    assert wpa_psk("IEEE", "password") == "f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e"
    ready = wifi_network("IEEE", "AB" * 32, "de")
    assert (ready.psk, ready.country) == ("ab" * 32, "DE")


@pytest.mark.parametrize(
    ("ssid", "passphrase", "country", "complaint"),
    [
        ("", "password", "DE", "1 to 32 bytes"),
        ("ü" * 17, "password", "DE", "1 to 32 bytes"),
        ("two\nlines", "password", "DE", "printable"),
        ("home", "short", "DE", r"8 to 63 .*\(this one: 5\)"),
        ("home", "pässword", "DE", "ASCII"),
        ("home", "password", "Germany", "two letters"),
    ],
)
def test_what_cannot_be_a_network_is_refused(ssid: str, passphrase: str, country: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint) as caught:
        wifi_network(ssid, passphrase, country)
    assert passphrase not in str(caught.value) or passphrase == "password"


@pytest.mark.parametrize(
    ("ssid", "keyfile"),
    [("My WLAN-2.4", "My WLAN-2.4"), ("a;b", "97;59;98;"), (" x", "32;120;"), ("é", "195;169;"), ("$(id)", None)],
)
def test_names_of_networks_survive_the_keyfile(ssid: str, keyfile: str | None) -> None:
    assert keyfile_ssid(ssid) == (keyfile or "".join(f"{byte};" for byte in ssid.encode()))


def test_settings_reach_the_shell_as_they_are(base: list[str], tmp_path: Path) -> None:
    nasty = 'ssh-ed25519 AAAA it\'s "$HOME" `id`'
    (tmp_path / "key.pub").write_text(f"{nasty}\n")
    assert main([*for_bookworm(base), "--user", "ada", "--ssh-key", str(tmp_path / "key.pub")]) == 0
    script = f'. {tmp_path}/card/fer-edge/settings.sh; printf \'%s|%s|%s\' "$SSH_KEYS" "$USER_NAME" "$KIOSK"'
    printed = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert printed == f"{nasty}|ada|yes"


def test_a_bundle_that_is_there_is_kept_unless_told_otherwise(
    base: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(base) == 0
    assert "--overwrite" in refused(capsys, base)
    (tmp_path / "card/fer-edge/stale").touch()
    assert main([*base, "--overwrite", "--hostname", "second"]) == 0
    assert not (tmp_path / "card/fer-edge/stale").exists()
    assert "second" in (tmp_path / "card/user-data").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"card"}, "something was left beside it"


def test_a_folder_that_is_no_bundle_is_never_replaced(
    base: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "card").mkdir()
    (tmp_path / "card/thesis.tex").touch()
    assert "is not a bundle" in refused(capsys, [*base, "--overwrite"])
    assert (tmp_path / "card/thesis.tex").exists()


def test_a_failure_leaves_the_former_bundle_and_nothing_else(
    base: list[str], wheelhouse: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(base) == 0
    before = (tmp_path / "card/fer-edge/manifest.json").read_bytes()
    poor = tmp_path / "poor"
    poor.mkdir()
    for name in ("fer_edge-0.1.0-py3-none-any.whl", "pip-26.0-py3-none-any.whl"):
        shutil.copy(wheelhouse / name, poor)
    line = refused(capsys, [*base[:-1], str(poor), "--overwrite"])
    assert "there is no wheel for that card of: numpy; add what is missing to the folder" in line
    assert (tmp_path / "card/fer-edge/manifest.json").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"card", "poor"}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--ssh-key", "/nowhere.pub"], "need --user"),
        (["--user", "ada"], "could not log in"),
        (["--user", "ada", "--password-hash", "secret"], "is not a hash"),
        (["--user", "ada", "--ssh-key", "/nowhere.pub"], "/nowhere.pub: cannot be read"),
        (["--wifi", "home"], "--wifi-country"),
        (["--wifi-country", "DE"], "need --wifi SSID"),
        (["--wifi", "home", "--wifi-country", "DE"], "needs a passphrase"),
        (["--config", "/nowhere.toml"], "/nowhere.toml"),
        (["--model", "/nowhere.tflite"], "/nowhere.tflite"),
        (["--debs", "/nowhere"], "/nowhere: there is no such folder"),
        (["--no-kiosk", "--with-kiosk"], "do not go together"),
        (["--cmdline", "/nowhere.txt"], "--cmdline is for Bookworm"),
    ],
)
def test_what_could_not_work_is_refused_in_one_line(
    base: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    assert complaint in refused(capsys, [*base, *arguments])
    assert list(tmp_path.iterdir()) == []


def test_a_faulty_configuration_is_found_before_the_card_is_in_the_ceiling(
    base: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.toml").write_text('[source]\nspeck = "auto"\n')
    assert "speck" in refused(capsys, [*base, "--config", str(tmp_path / "config.toml")])


def test_a_private_key_is_refused(base: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "id").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n")
    line = refused(capsys, [*base, "--user", "ada", "--ssh-key", str(tmp_path / "id")])
    assert "no public key" in line


def test_the_cards_cmdline_gets_the_words_once(base: list[str], tmp_path: Path) -> None:
    (tmp_path / "cmdline.txt").write_text(CMDLINE)
    command = [*for_bookworm(base), "--cmdline", str(tmp_path / "cmdline.txt")]
    assert main(command) == 0
    text = (tmp_path / "card/cmdline.txt").read_text()
    assert text == f"{CMDLINE.rstrip()} {' '.join(CMDLINE_WORDS)}\n"
    (tmp_path / "cmdline.txt").write_text(text)
    assert main([*command, "--overwrite"]) == 0
    assert (tmp_path / "card/cmdline.txt").read_text() == text


def test_another_file_is_no_cmdline(base: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.txt").write_text("dtparam=audio=on\narm_64bit=1\n")
    line = refused(capsys, [*for_bookworm(base), "--cmdline", str(tmp_path / "config.txt")])
    assert "is not the cmdline.txt" in line


def test_firstrun_takes_its_words_out_again(base: list[str], tmp_path: Path) -> None:
    assert main(for_bookworm(base)) == 0
    card = tmp_path / "card"
    (card / "cmdline.txt").write_text(f"{CMDLINE.rstrip()} {' '.join(CMDLINE_WORDS)} quiet\n")
    # A first-boot.sh that can be "armed" anywhere: the real one is for root of a booted machine.
    (card / "fer-edge/first-boot.sh").write_text("exit 0\n")
    subprocess.run(["bash", card / "firstrun.sh"], check=True, capture_output=True)
    assert (card / "cmdline.txt").read_text() == f"{CMDLINE.rstrip()} quiet\n"
    assert not (card / "firstrun.sh").exists()


def test_firstrun_gives_up_after_three_attempts_rather_than_restart_for_ever(base: list[str], tmp_path: Path) -> None:
    assert main(for_bookworm(base)) == 0
    card = tmp_path / "card"
    (card / "fer-edge/first-boot.sh").write_text("exit 1\n")
    (card / "cmdline.txt").write_text(f"{CMDLINE.rstrip()} {' '.join(CMDLINE_WORDS)}\n")
    texts = []
    for _ in range(3):
        done = subprocess.run(["bash", card / "firstrun.sh"], check=False, capture_output=True)
        assert done.returncode == 0, "systemd would switch the machine off"
        texts.append((card / "cmdline.txt").read_text())
    assert ["systemd.run" in text for text in texts] == [True, True, False]


def test_user_data_is_what_cloud_init_wants(base: list[str], tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    (tmp_path / "key.pub").write_text(f"{KEY}\n")
    command = [*base, "--hostname", "no", "--user", "ada", "--ssh-key", str(tmp_path / "key.pub")]
    assert main([*command, "--wifi", 'a: "b" #c\\', "--wifi-country", "no", "--wifi-passphrase-file", os.devnull]) == 2
    (tmp_path / "passphrase").write_text("correct horse")
    command += ["--wifi", 'a: "b" #c\\', "--wifi-country", "no", "--wifi-passphrase-file", str(tmp_path / "passphrase")]
    assert main(command) == 0
    card = tmp_path / "card"
    assert (card / "user-data").read_text().startswith("#cloud-config\n")
    user_data = yaml.safe_load((card / "user-data").read_text())
    assert user_data["hostname"] == "no"
    assert user_data["users"][0]["ssh_authorized_keys"] == [KEY]
    assert user_data["users"][0]["lock_passwd"] is True
    assert user_data["bootcmd"][0][0] == "sh"
    meta = yaml.safe_load((card / "meta-data").read_text())
    assert meta["dsmode"] == "local"
    wlan = yaml.safe_load((card / "network-config").read_text())["network"]["wifis"]["wlan0"]
    assert wlan["optional"] is True
    assert wlan["regulatory-domain"] == "NO"
    assert wlan["access-points"] == {'a: "b" #c\\': {"password": wpa_psk('a: "b" #c\\', "correct horse")}}


def test_another_bundle_is_another_instance(base: list[str], tmp_path: Path) -> None:
    ids = []
    for name in ("one", "two", "two"):
        assert main([*base, "--overwrite", "--hostname", name]) == 0
        ids.append((tmp_path / "card/meta-data").read_text().splitlines()[0])
    assert ids[0] != ids[1]
    assert ids[1] == ids[2], "the same bundle copied again must not set the machine up again"


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed (Debian: dpkg)")
def test_packages_come_with_an_index_for_the_cards_apt(base: list[str], tmp_path: Path) -> None:
    tree = tmp_path / "tree/DEBIAN"
    tree.mkdir(parents=True)
    control = "Package: cage\nVersion: 1:2.0\nArchitecture: all\nMaintainer: nobody <n@example>\nDescription: none\n"
    (tree / "control").write_text(control)
    (tmp_path / "debs").mkdir()
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-b", tree.parent, tmp_path / "debs"], check=True, capture_output=True
    )
    assert main([*base, "--debs", str(tmp_path / "debs")]) == 0
    debs = tmp_path / "card/fer-edge/debs"
    (package,) = debs.glob("*.deb")
    assert package.name == "cage_1.2.0_all.deb", "FAT has no colons"
    index = (debs / "Packages").read_text()
    assert f"Filename: ./{package.name}\n" in index
    assert hashlib.sha256(package.read_bytes()).hexdigest() in index
    assert (debs / "wanted").read_text() == "cage\n"


def test_a_picture_called_bundle_is_still_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(Path(__file__).parents[2] / "edge/fer_edge/data/astronaut.jpg", tmp_path / "bundle")
    monkeypatch.chdir(tmp_path)
    assert main(["image", "./bundle"]) == 0
    with pytest.raises(SystemExit) as caught:
        main(["--log-level", "error", "image", "bundle"])
    assert caught.value.code == 2, "without --release and --out it is no bundle either"


def test_the_scripts_of_the_first_boot_are_clean() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    scripts = sorted((SYSTEMD / "first-boot").iterdir())
    done = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert {script.name for script in scripts} == {"first-boot.sh", "firstrun.sh"}
