"""The one command, ``fer-edge``: finds the subcommand, runs it, and turns errors into one line and an exit code."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Final, Protocol, cast

from fer_edge import __version__
from fer_edge.errors import FerEdgeError

COMMANDS: Final[dict[str, str]] = {
    "demo": "fer_edge.commands.demo",
    "run": "fer_edge.commands.run",
    "image": "fer_edge.commands.image",
    "data": "fer_train.data_command",
    "train": "fer_train.command",
    "search": "fer_train.search_command",
    "convert": "fer_convert.command",
    "evaluate": "fer_train.evaluate_command",
    "robustness": "fer_train.robustness_command",
    "card": "fer_train.model_card_command",
    "explain": "fer_train.explain_command",
    "benchmark": "fer_convert.benchmark_command",
    "report": "fer_convert.report.command",
    "models": "fer_edge.commands.models",
    "model": "fer_edge.commands.model",
    "config": "fer_edge.commands.config",
    "doctor": "fer_edge.commands.doctor",
    "service": "fer_edge.commands.service",
    "bundle": "fer_edge.commands.bundle",
}
"""Subcommand -> module. Named as strings: the runtime never imports the training and conversion rooms itself."""


class Command(Protocol):
    """What a subcommand's module offers. It imports nothing heavy before ``run``."""

    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the subcommand's arguments."""

    def run(self, args: argparse.Namespace) -> int:
        """Do the work and return the exit code."""


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of all subcommands, or with the arguments of ``only`` one of them filled in."""
    parser = argparse.ArgumentParser(
        prog="fer-edge",
        description="Facial-expression recognition on small machines: train, convert, run.",
        epilog="`fer-edge COMMAND --help` explains a command. Exit codes: 0 done, 1 run-time failure, 2 usage, "
        "78 bad configuration or model.",
    )
    parser.add_argument("--version", action="version", version=f"fer-edge {__version__}")
    parser.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), default="info", help="default: info"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module_name in COMMANDS.items():
        module = cast(Command, import_module(module_name))
        sub = commands.add_parser(name, help=module.HELP, description=module.HELP)
        if only in (None, name):
            module.add_arguments(sub)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``fer-edge`` with ``argv`` (default: the process's arguments) and return the exit code."""
    args = build_parser().parse_args(_one_word(sys.argv[1:] if argv is None else argv))
    # Results tell the command that made them.
    args.command_line = shlex.join(["fer-edge", *(sys.argv[1:] if argv is None else argv)])
    logging.basicConfig(level=args.log_level.upper(), format="fer-edge: %(levelname)s: %(message)s", stream=sys.stderr)
    warnings.showwarning = _show_warning
    try:
        return cast(Command, import_module(COMMANDS[args.command])).run(args)
    except FerEdgeError as error:
        print(f"fer-edge: error: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output has gone (`fer-edge run | head`): that is no failure. Python would complain once
        # more when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("fer-edge: interrupted", file=sys.stderr)
        return 130


def _one_word(argv: Sequence[str]) -> list[str]:
    """Return ``argv`` with ``image bundle`` as ``bundle``: a card's image, for once, and not a picture.

    A picture called bundle is still ``fer-edge image ./bundle``.
    """
    words = list(argv)
    at = 0
    while at < len(words) and words[at].startswith("-"):
        at += 2 if words[at] == "--log-level" else 1
    return [*words[:at], *words[at + 1 :]] if words[at : at + 2] == ["image", "bundle"] else words


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning as one line, without the source line that Python adds."""
    print(f"fer-edge: warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
