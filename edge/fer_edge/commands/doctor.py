"""``fer-edge doctor``: look at the machine, try out libraries and cameras, and say what mends what."""

from __future__ import annotations

import argparse
from pathlib import Path

NAME = "doctor"
HELP = "check this machine: libraries, model, cameras, permissions, power, temperature, disk, clock, service"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="default: the first that is found")
    parser.add_argument("--json", action="store_true", help="one JSON document")


def run(args: argparse.Namespace) -> int:
    """Examine the machine; 1 if a check failed."""
    import json

    from rich.console import Console

    from fer_edge.doctor import Check, examine, failed
    from fer_edge.doctor.report import document, print_table

    checks: list[Check] = []
    # The wait for a camera is long enough to wonder; the spinner shows on a terminal only.
    with Console(stderr=True).status("looking ...") as status:
        for check in examine(args.config):
            checks.append(check)
            status.update(f"looking ... {check.name}")
    if args.json:
        print(json.dumps(document(checks), indent=2, ensure_ascii=False))
    else:
        print_table(checks, Console())
    return 1 if failed(checks) else 0
