"""What a first-boot bundle is made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fer_edge.bundle.network import Wifi


@dataclass(frozen=True, slots=True)
class Release:
    """A release of Raspberry Pi OS, as far as a bundle depends on it.

    Attributes:
        name: Debian's code name.
        python: version of ``/usr/bin/python3``.
        glibc: minor version of its glibc 2; wheels tagged manylinux_2_X up to it can be used.
        uses_cloud_init: what reads the bundle at the first boot: cloud-init, or systemd.run= in cmdline.txt.
    """

    name: str
    python: str
    glibc: int
    uses_cloud_init: bool


RELEASES: Final = {
    "trixie": Release("trixie", "3.13", 41, uses_cloud_init=True),
    "bookworm": Release("bookworm", "3.11", 36, uses_cloud_init=False),
}

ARCHITECTURES: Final = {"arm64": "aarch64", "amd64": "x86_64"}
"""Debian's name of an architecture -> that of wheels. amd64 is for trying a bundle in a virtual machine."""


@dataclass(frozen=True, slots=True)
class User:
    """The person who may log in.

    Attributes:
        name: login name.
        password_hash: as in /etc/shadow; empty: no password, keys only.
        ssh_keys: lines for authorized_keys.
    """

    name: str
    password_hash: str = ""
    ssh_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BundleOptions:
    """All that a bundle is made from.

    Attributes:
        release: what is on the card.
        architecture: a key of ``ARCHITECTURES``.
        out: the folder to make.
        overwrite: replace a bundle that is there.
        wheelhouse: folder to take wheels from, without a network; None: build and download them.
        config: configuration of the service; None: the one that the installer brings.
        models: model files to take along; the first one is used.
        kiosk: show the kiosk page on the screen.
        with_kiosk: gather the kiosk's .deb packages from the archive, too.
        debs: folder with .deb packages to take along.
        hostname: name of the machine; empty: that of the image.
        user: who may log in; None: nobody.
        wifi: network to join; None: none.
        cmdline: the card's cmdline.txt, of which the bundle is to hold a changed copy (Bookworm).
    """

    release: Release
    architecture: str
    out: Path
    overwrite: bool = False
    wheelhouse: Path | None = None
    config: Path | None = None
    models: tuple[Path, ...] = ()
    kiosk: bool = True
    with_kiosk: bool = False
    debs: Path | None = None
    hostname: str = ""
    user: User | None = None
    wifi: Wifi | None = None
    cmdline: Path | None = None
