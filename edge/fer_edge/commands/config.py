"""``fer-edge config``: show, check and explain the configuration."""

from __future__ import annotations

import argparse
from pathlib import Path

NAME = "config"
HELP = "show where each setting comes from, check a file, print the defaults or the JSON schema"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = actions.add_parser("show", help="the configuration in force and where each value comes from")
    show.add_argument("--config", type=Path, metavar="FILE", help="default: the first that is found, see `default`")
    show.add_argument("--changed", action="store_true", help="only what somebody set")
    show.add_argument("--json", action="store_true", help="one JSON document")
    check = actions.add_parser("check", help="list every fault; exit code 78 if there is one")
    check.add_argument("file", type=Path, nargs="?", metavar="FILE", help="default: the first that is found")
    check.add_argument("--config", type=Path, dest="file", default=argparse.SUPPRESS, metavar="FILE", help="the same")
    check.add_argument("--json", action="store_true", help="one JSON document")
    actions.add_parser("default", help="the default file, every key commented")
    actions.add_parser("schema", help="the JSON schema of a configuration file")


def run(args: argparse.Namespace) -> int:
    """Do the action.

    Raises:
        ConfigError: from ``show``, if the configuration cannot be used.
    """
    if args.action == "show":
        return _show(args)
    if args.action == "check":
        return _check(args)
    return _default() if args.action == "default" else _schema()


def _show(args: argparse.Namespace) -> int:
    from fer_edge.configuration import resolve_config
    from fer_edge.configuration.show import show_document, show_toml

    resolved = resolve_config(args.config)
    if args.json:
        _print_json(show_document(resolved, changed_only=args.changed))
    else:
        print(show_toml(resolved, changed_only=args.changed), end="")
    return 0


def _check(args: argparse.Namespace) -> int:
    import os
    import sys

    from fer_edge.configuration import find_config, find_faults
    from fer_edge.errors import ConfigError

    file = find_config(os.environ) if args.file is None else args.file
    try:
        faults = find_faults(file)
    except ConfigError as error:
        faults = [str(error)]
    if args.json:
        _print_json({"file": None if file is None else str(file), "usable": not faults, "faults": faults})
    else:
        for fault in faults:
            print(f"fer-edge: error: {fault}", file=sys.stderr)
        if not faults:
            print(f"{file}: good" if file is not None else "no configuration file found: the defaults are good")
    return ConfigError.exit_code if faults else 0


def _default() -> int:
    from fer_edge.configuration.default_file import default_toml

    print(default_toml(), end="")
    return 0


def _schema() -> int:
    from fer_edge.configuration.show import json_schema

    _print_json(json_schema())
    return 0


def _print_json(document: object) -> None:
    import json

    print(json.dumps(document, indent=2, ensure_ascii=False))
