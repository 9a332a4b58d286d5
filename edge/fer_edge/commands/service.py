"""``fer-edge service``: install, look at and remove the system service; the work is done by install.sh and systemd."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

NAME = "service"
HELP = "run at boot: install|status|logs|uninstall the system service"

UNITS: Final = ("fer-edge.service", "fer-edge-kiosk.service")

INSTALLED: Final = Path("/opt/fer-edge/current/share")
"""Where install.sh leaves itself for later."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the four actions and their arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    install = actions.add_parser("install", help="install or upgrade the service (as root)")
    install.add_argument("--wheelhouse", type=Path, metavar="DIR", help="install from wheels, without a network")
    install.add_argument("--kiosk", action="store_true", help="also show the kiosk page on the screen at boot")
    install.add_argument("--config", type=Path, metavar="FILE", help="the configuration to begin with")
    install.add_argument("--upgrade", action="store_true", help="replace the installed version; go back if it fails")
    install.add_argument("--no-start", action="store_true", help="start it at the next boot only")
    status = actions.add_parser("status", help="what systemd and the journal say of it")
    logs = actions.add_parser("logs", help="its messages")
    logs.add_argument("--follow", "-f", action="store_true", help="go on as they come")
    logs.add_argument("--lines", "-n", type=_count, default=50, metavar="N", help="how many of the last; default 50")
    uninstall = actions.add_parser("uninstall", help="remove everything but the configuration (as root)")
    uninstall.add_argument("--purge", action="store_true", help="the configuration, too")
    for action in (install, uninstall):
        action.add_argument("--dry-run", action="store_true", help="show every step, do nothing")
    for action in (status, logs):
        action.add_argument("--kiosk", action="store_true", help="the kiosk's screen instead of the recognition")


def run(args: argparse.Namespace) -> int:
    """Let install.sh, systemctl or journalctl do it; their exit status is ours.

    Raises:
        UsageError: if this machine has no systemd, or the installer is not at hand.
    """
    import subprocess
    import sys

    from fer_edge.errors import UsageError

    command = _command(args)
    sys.stdout.flush()
    try:
        return subprocess.run(command, check=False).returncode
    except FileNotFoundError as error:
        raise UsageError(
            f"{command[0]}: there is no such program; the service needs Debian or Raspberry Pi OS with systemd"
        ) from error
    except PermissionError as error:
        raise UsageError(f"{command[0]}: may not be run; say  sudo fer-edge service {args.action}") from error


def _command(args: argparse.Namespace) -> list[str]:
    """The program that does what was asked for, with its arguments."""
    if args.action == "install":
        given = [f"--{name}" for name in ("kiosk", "upgrade") if getattr(args, name)]
        given += ["--no-start"] if args.no_start else []
        for name in ("wheelhouse", "config"):
            if (value := getattr(args, name)) is not None:
                given += [f"--{name}", str(value)]
        return ["bash", str(installer()), *given, *_dry_run(args)]
    if args.action == "uninstall":
        # bash reads a script as it runs it, and this one removes the folder that it lies in: Linux keeps the open file.
        return ["bash", str(installer()), "--uninstall", *(["--purge"] if args.purge else []), *_dry_run(args)]
    unit = UNITS[args.kiosk]
    if args.action == "status":
        return ["systemctl", "status", "--no-pager", "--lines=15", "--full", unit]
    follow = ["--follow"] if args.follow else ["--no-pager"]
    return ["journalctl", f"--unit={unit}", f"--lines={args.lines}", *follow]


def installer(installed: Path = INSTALLED, package: Path | None = None) -> Path:
    """Return install.sh: that of the source tree if fer-edge runs from one, of the wheel, or of the installation.

    Args:
        installed: where the installed service keeps it.
        package: the folder of the package fer_edge; None: the one that runs.

    Raises:
        UsageError: if there is none.
    """
    from fer_edge.errors import UsageError

    package = Path(__file__).parents[1] if package is None else package
    places = (package.parents[1] / "systemd", package / "data" / "systemd", installed)
    for place in places:
        if (place / "install.sh").is_file() and (place / "fer-edge.service").is_file():
            return place / "install.sh"
    raise UsageError("install.sh is not part of this installation; run  systemd/install.sh  of fer-edge's source tree")


def _dry_run(args: argparse.Namespace) -> list[str]:
    return ["--dry-run"] if args.dry_run else []


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 up")
    return int(text)
