"""``fer-edge bundle``, or ``fer-edge image bundle``: a folder that makes a fresh card install fer-edge itself."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fer_edge.bundle.network import Wifi
    from fer_edge.bundle.options import BundleOptions, User

NAME = "bundle"
HELP = "make a first-boot bundle: flash a card, copy this folder onto it, and the Raspberry Pi installs itself"

PASSPHRASE_VARIABLE = "FER_EDGE_WIFI_PASSPHRASE"
"""Environment variable with the Wi-Fi passphrase. Not an option: every user of a machine sees each command line."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``fer-edge bundle``."""
    parser.add_argument("--release", required=True, choices=("trixie", "bookworm"), help="Raspberry Pi OS on the card")
    parser.add_argument(
        "--arch", default="arm64", choices=("arm64", "amd64"), help="default: arm64; amd64 is for virtual machines"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="the folder to make")
    parser.add_argument("--overwrite", action="store_true", help="replace a bundle that is there")
    parser.add_argument("--wheelhouse", type=Path, metavar="DIR", help="take the wheels from DIR, without a network")
    parser.add_argument("--config", type=Path, metavar="F", help="configuration of the service (config.toml)")
    parser.add_argument(
        "--model", action="append", default=[], metavar="M", help="a .tflite file to take along; the first one is used"
    )
    parser.add_argument("--no-kiosk", action="store_true", help="recognition only: leave the screen alone")
    parser.add_argument(
        "--with-kiosk",
        action="store_true",
        help="take cage and Chromium along (about 200 MB), for Raspberry Pi OS Lite that never sees a network",
    )
    parser.add_argument("--debs", type=Path, metavar="DIR", help="take the .deb packages in DIR along")
    parser.add_argument("--hostname", type=_hostname, metavar="NAME", help="name of the machine")
    login = parser.add_argument_group("who may log in (default: nobody)")
    login.add_argument("--user", type=_user_name, metavar="NAME", help="login name")
    login.add_argument("--ssh-key", type=Path, metavar="FILE", help="public key or authorized_keys; turns ssh on")
    login.add_argument("--password-hash", metavar="HASH", help="as `openssl passwd -6` prints it")
    wifi = parser.add_argument_group("Wi-Fi (default: none)")
    wifi.add_argument("--wifi", metavar="SSID", help="network to join; WPA2, or WPA2 and WPA3 mixed")
    wifi.add_argument(
        "--wifi-passphrase-file",
        type=Path,
        metavar="FILE",
        help=f"its passphrase; default: ${PASSPHRASE_VARIABLE}, or asked for. Only a key derived from it is kept",
    )
    wifi.add_argument("--wifi-country", metavar="CC", help="country of use, such as DE or GB")
    wifi.add_argument("--wifi-hidden", action="store_true", help="the network does not announce its name")
    parser.add_argument(
        "--cmdline", type=Path, metavar="FILE", help="Bookworm: the card's cmdline.txt, to put a changed copy in"
    )


def run(args: argparse.Namespace) -> int:
    """Make the bundle and say what to do with it.

    Raises:
        FerEdgeError: as :func:`fer_edge.bundle.build.make_bundle` does.
    """
    from fer_edge.bundle import build
    from fer_edge.commands.service import installer

    options = _options(args)
    bundle = build.make_bundle(options, installer().parent)
    wheels, packages = len(bundle.manifest["wheels"]), len(bundle.manifest["debs"])
    debs = f", {packages} packages" if packages else ""
    print(f"{bundle.folder}: {wheels} wheels{debs}, {bundle.size / 1e6:.0f} MB, for {options.release.name}")
    if bundle.size > build.BOOT_PARTITION_BYTES:
        print("note: a card's boot partition of 512 MB may be too small for it")
    if options.kiosk and not packages:
        print(
            "note: images with a desktop have Chromium, but no cage; without a network the screen shows a status line,"
        )
        print("      not the page. --with-kiosk takes both along.")
    if options.user is None:
        print("note: nobody can log in to this machine; --user NAME with --ssh-key FILE lets somebody")
    print(f"next: {bundle.folder}/FER-EDGE-README.txt")
    return 0


def _options(args: argparse.Namespace) -> BundleOptions:
    """Turn the command line into what a bundle is made from.

    Raises:
        UsageError: if arguments do not fit together.
    """
    from fer_edge.bundle.options import RELEASES, BundleOptions
    from fer_edge.errors import UsageError
    from fer_edge.model_store import find_model

    if args.no_kiosk and args.with_kiosk:
        raise UsageError("--with-kiosk and --no-kiosk do not go together")
    return BundleOptions(
        release=RELEASES[args.release],
        architecture=args.arch,
        out=args.out,
        overwrite=args.overwrite,
        wheelhouse=args.wheelhouse,
        config=args.config,
        models=tuple(find_model(name) for name in args.model),
        kiosk=not args.no_kiosk,
        with_kiosk=args.with_kiosk,
        debs=args.debs,
        hostname=args.hostname or "",
        user=_user(args),
        wifi=_wifi(args),
        cmdline=args.cmdline,
    )


def _user(args: argparse.Namespace) -> User | None:
    from fer_edge.bundle.options import User
    from fer_edge.errors import UsageError

    if args.user is None:
        if args.ssh_key is not None or args.password_hash is not None:
            raise UsageError("--ssh-key and --password-hash need --user NAME")
        return None
    if args.ssh_key is None and args.password_hash is None:
        raise UsageError(f"--user {args.user}: could not log in; add --ssh-key FILE or --password-hash HASH")
    # $id$salt$hash: see crypt(5).
    if args.password_hash is not None and not args.password_hash.startswith("$"):
        raise UsageError(
            "--password-hash: is not a hash but maybe the password; `openssl passwd -6` makes a hash of it"
        )
    keys: tuple[str, ...] = ()
    if args.ssh_key is not None:
        lines = (line.strip() for line in _text(args.ssh_key, "--ssh-key").splitlines())
        keys = tuple(line for line in lines if line and not line.startswith("#"))
        if not keys or any("PRIVATE KEY" in key or " " not in key for key in keys):
            raise UsageError(f"--ssh-key {args.ssh_key}: holds no public key; name the file that ends in .pub")
    return User(args.user, args.password_hash or "", keys)


def _wifi(args: argparse.Namespace) -> Wifi | None:
    import getpass
    import os
    import sys

    from fer_edge.bundle.network import wifi_network
    from fer_edge.errors import UsageError

    if args.wifi is None:
        if args.wifi_passphrase_file is not None or args.wifi_country is not None or args.wifi_hidden:
            raise UsageError("--wifi-passphrase-file, --wifi-country and --wifi-hidden need --wifi SSID")
        return None
    if args.wifi_country is None:
        raise UsageError(
            "--wifi needs --wifi-country CC: Raspberry Pi OS keeps the radio off until it knows the country"
        )
    if args.wifi_passphrase_file is not None:
        passphrase = _text(args.wifi_passphrase_file, "--wifi-passphrase-file").rstrip("\r\n")
    elif PASSPHRASE_VARIABLE in os.environ:
        passphrase = os.environ[PASSPHRASE_VARIABLE]
    elif sys.stdin.isatty():
        passphrase = getpass.getpass(f"Passphrase of {args.wifi}: ")
    else:
        raise UsageError(f"--wifi needs a passphrase: --wifi-passphrase-file FILE, or ${PASSPHRASE_VARIABLE}")
    return wifi_network(args.wifi, passphrase, args.wifi_country, hidden=args.wifi_hidden)


def _text(path: Path, option: str) -> str:
    from fer_edge.errors import UsageError

    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{option} {path}: cannot be read as text") from error


def _hostname(text: str) -> str:
    import re

    # RFC 1123, one label.
    if not re.fullmatch("[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a host name: letters, digits and inner hyphens, 63 at most")
    return text


def _user_name(text: str) -> str:
    import re

    if text == "root" or not re.fullmatch("[a-z_][a-z0-9_-]{0,31}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a login name: small letters, digits, - and _; not root")
    return text
