"""The .deb packages of a bundle, as a small archive that the card's apt installs from without a network."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fer_edge.bundle.options import BundleOptions
from fer_edge.errors import OutputError, UsageError

KIOSK_PACKAGES: Final = ("cage", "xwayland", "chromium")
"""cage does not start without Xwayland, and Bookworm's package does not say so."""

CAMERA_PACKAGE: Final = "python3-picamera2"
"""Only Raspberry Pi's archive has it; images with a desktop bring it along, Lite does not."""

_DEBIAN: Final = "http://deb.debian.org/debian"
_RASPBERRY_PI: Final = "http://archive.raspberrypi.com/debian"
_KEYRINGS: Final = Path("/usr/share/keyrings")


def gather_debs(options: BundleOptions, folder: Path) -> list[str]:
    """Fill ``folder`` with packages, their index ``Packages``, and ``wanted``: the names that the card is to install.

    Returns:
        The packages' files.

    Raises:
        UsageError: if this machine has no apt, or the folder of ``--debs`` no packages.
        OutputError: if packages cannot be had or read.
    """
    _need_programs("dpkg-deb", *(("apt-get", "apt-cache") if options.with_kiosk else ()))
    folder.mkdir(parents=True)
    wanted: list[str] = []
    if options.debs is not None:
        given = sorted(options.debs.glob("*.deb"))
        if not given:
            raise UsageError(f"--debs {options.debs}: holds no .deb file")
        wanted += [_keep(path, folder) for path in given]
    if options.with_kiosk:
        wanted += _download(options, folder)
    (folder / "Packages").write_text("".join(_index_entry(path) for path in sorted(folder.glob("*.deb"))))
    (folder / "wanted").write_text("".join(f"{name}\n" for name in dict.fromkeys(wanted)))
    return sorted(path.name for path in folder.glob("*.deb"))


def _need_programs(*names: str) -> None:
    if missing := [name for name in names if shutil.which(name) is None]:
        raise UsageError(f"{', '.join(missing)} missing: packages can be gathered on Debian or Ubuntu only")


def _keep(path: Path, folder: Path) -> str:
    """Copy a package under a name that every file system takes, and return the package's name."""
    name, version, architecture = _run(
        ["dpkg-deb", "--showformat=${Package}\n${Version}\n${Architecture}", "--show", str(path)]
    ).split("\n")
    shutil.copyfile(path, folder / f"{name}_{version.replace(':', '.')}_{architecture}.deb")
    return name


def _index_entry(path: Path) -> str:
    fields = _run(["dpkg-deb", "--field", str(path)]).rstrip("\n")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{fields}\nFilename: ./{path.name}\nSize: {path.stat().st_size}\nSHA256: {digest}\n\n"


def _download(options: BundleOptions, folder: Path) -> list[str]:
    """Download the kiosk's packages with all that a small installation lacks; return the names to install."""
    release, architecture = options.release.name, options.architecture
    raspberry_pi = _keyring("raspberrypi") if architecture == "arm64" else None
    with tempfile.TemporaryDirectory(prefix="fer-edge-debs-") as scratch:
        apt = _Apt(Path(scratch), architecture, sources(release, _need_keyring("debian"), raspberry_pi))
        wanted = [*KIOSK_PACKAGES, *((CAMERA_PACKAGE,) if raspberry_pi else ())]
        apt.pretend_installed(apt.simulated(apt.required_packages()))
        for path in apt.downloaded(wanted):
            _keep(path, folder)
    return wanted


def sources(release: str, debian: Path, raspberry_pi: Path | None) -> str:
    """Return apt's sources of a release.

    Args:
        release: Debian's code name.
        debian: keyring of Debian's archive.
        raspberry_pi: keyring of Raspberry Pi's archive; None: do without.
    """
    lines = [
        f"deb [signed-by={debian}] {_DEBIAN} {release} main",
        f"deb [signed-by={debian}] {_DEBIAN} {release}-updates main",
        f"deb [signed-by={debian}] {_DEBIAN}-security {release}-security main",
    ]
    lines += [f"deb [signed-by={raspberry_pi}] {_RASPBERRY_PI} {release} main"] if raspberry_pi else []
    return "\n".join([*lines, ""])


def _keyring(owner: str) -> Path | None:
    candidates = (_KEYRINGS / f"{owner}-archive-keyring.{suffix}" for suffix in ("pgp", "gpg"))
    return next((path for path in candidates if path.is_file()), None)


def _need_keyring(owner: str) -> Path:
    if (path := _keyring(owner)) is None:
        raise UsageError(
            f"{_KEYRINGS}/{owner}-archive-keyring is missing; run  sudo apt install {owner}-archive-keyring"
        )
    return path


class _Apt:
    """apt for another machine: its own sources, its own idea of what is installed.

    Args:
        root: an empty folder.
        architecture: of the other machine.
        sources: text of its sources.list.
    """

    def __init__(self, root: Path, architecture: str, sources: str) -> None:
        self._root = root
        for name in ("etc", "lists/partial", "cache/archives/partial"):
            (root / name).mkdir(parents=True)
        (root / "status").touch()
        (root / "etc/sources.list").write_text(sources)
        settings = {
            "APT::Architecture": architecture,
            "APT::Architectures": architecture,
            "APT::Sandbox::User": "root",
            "APT::Install-Recommends": "false",
            "Dir::Etc::SourceList": root / "etc/sources.list",
            "Dir::Etc::SourceParts": "-",
            "Dir::Etc::Preferences": "-",
            "Dir::Etc::PreferencesParts": "-",
            "Dir::State": root,
            "Dir::State::Lists": root / "lists",
            "Dir::State::Status": root / "status",
            "Dir::Cache": root / "cache",
            "Debug::NoLocking": "true",
            "Acquire::Languages": "none",
        }
        self._options = [f"--option={name}={value}" for name, value in settings.items()]
        self._get("update", "--error-on=any")

    def required_packages(self) -> list[str]:
        """Return what every installation has: the priority "required", and apt.

        Not "important" as well: that is what debootstrap installs, but nobody promises that an image was made by it.
        """
        stanzas = _run(["apt-cache", *self._options, "dumpavail"]).split("\n\n")
        names = [
            fields[0].removeprefix("Package: ")
            for stanza in stanzas
            if (fields := stanza.split("\n")) and "Priority: required" in fields
        ]
        return [*names, "apt"]

    def simulated(self, packages: Sequence[str]) -> dict[str, str]:
        """Return name and version of all that an installation of ``packages`` would bring."""
        lines = self._get("install", "--simulate", *packages).splitlines()
        words = [line.split() for line in lines if line.startswith("Inst ")]
        return {name.split(":")[0]: version.removeprefix("(") for _, name, version, *_ in words}

    def pretend_installed(self, packages: dict[str, str]) -> None:
        """From now on take ``packages`` for installed."""
        stanzas: list[str] = []
        for stanza in _run(["apt-cache", *self._options, "show", *packages]).split("\n\n"):
            fields = dict(line.split(": ", 1) for line in stanza.split("\n") if ": " in line and line[0] != " ")
            if fields.get("Package") and packages.get(fields["Package"]) == fields["Version"]:
                stanzas.append(stanza.replace("\n", "\nStatus: install ok installed\n", 1))
        (self._root / "status").write_text("\n\n".join([*stanzas, ""]))

    def downloaded(self, packages: Sequence[str]) -> list[Path]:
        """Download ``packages`` with what they need and is not installed."""
        self._get("install", "--download-only", "--yes", *packages)
        return sorted((self._root / "cache/archives").glob("*.deb"))

    def _get(self, action: str, *arguments: str) -> str:
        return _run(["apt-get", *self._options, "--quiet", action, *arguments])


def _run(command: list[str]) -> str:
    """Run a program and return what it prints.

    Raises:
        OutputError: if it fails; with its last words.
    """
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise OutputError(f"packages cannot be gathered: {command[0]}: {reason}; see to the network, or leave them out")
    return done.stdout
