"""``fer-edge run``: watch a source and give the expressions of its faces out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from fer_edge.configuration import Resolved
    from fer_edge.outputs import OutputSettings
    from fer_edge.runtime import OutputPlan, Parts, RunSummary

NAME = "run"
HELP = "watch a camera, stream, video or folder and give the expressions of its faces out"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments; most of them override one key of the configuration."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="default: the first of `fer-edge config default`")
    parser.add_argument(
        "--source",
        metavar="S",
        help="auto, picamera2[:N], a camera's number, v4l2:DEVICE, rtsp://..., http://..., a video, picture or folder",
    )
    parser.add_argument("--model", metavar="M", help="name of a bundled model or path of a .tflite file")
    parser.add_argument(
        "--output",
        action="append",
        metavar="O",
        dest="outputs",
        help="where results go; may be repeated: jsonl[:PATH], csv:PATH, aggregate[:PATH], mqtt[:HOST[:PORT]], "
        "metrics[:[HOST:]PORT], web[:[HOST:]PORT], video:PATH, window. Default: those of the configuration; else a "
        "table on a terminal, jsonl elsewhere",
    )
    parser.add_argument("--frames", type=_count, metavar="N", help="end after N processed frames")
    parser.add_argument("--summary", type=Path, metavar="FILE", help="write figures of the run as JSON when it ends")
    parser.add_argument("--realtime", action="store_true", help="read a file at its own pace")
    parser.add_argument("--loop", action="store_true", help="read a file again and again")
    parser.add_argument(
        "--wait-for-source",
        action="store_true",
        help="a camera that is missing at the start is waited for, as one that is lost later (for services)",
    )
    parser.add_argument("--threads", type=_count, metavar="N", help="processor threads of one classification")
    parser.add_argument("--budget-ms", type=_milliseconds, metavar="MS", help="what detection may cost in a frame")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="settings",
        help="override any key of the configuration, such as  --set detection.profile=true",
    )


def run(args: argparse.Namespace) -> int:
    """Run until the source ends or SIGTERM or Ctrl-C comes; SIGHUP reloads the configuration.

    Raises:
        FerEdgeError: see the exit codes in :mod:`fer_edge.errors`.
    """
    from fer_edge.errors import FerEdgeError
    from fer_edge.notify import ServiceNotifier
    from fer_edge.runtime import Runtime

    if args.summary is not None:
        _check_writable(args.summary)
    runtime = Runtime(
        _assemble(args),
        frames=args.frames,
        wait_for_source=args.wait_for_source,
        reload=lambda: _assemble(args),
        notifier=ServiceNotifier(),
    )
    try:
        summary = runtime.run()
        _report(summary, args.summary)
    except FerEdgeError as error:
        if runtime.left_hanging:
            _leave(error.exit_code, f"fer-edge: error: {error}")
        raise
    if runtime.left_hanging:
        _leave(0)
    return 0


def _resolve(args: argparse.Namespace) -> Resolved:
    """Read the configuration with what the command line overrides.

    Raises:
        UsageError: if the command line is at fault.
        ConfigError: if the file or the environment is.
    """
    from fer_edge.configuration import resolve_config
    from fer_edge.errors import ConfigError, UsageError

    overrides: dict[str, object] = {}
    for setting in args.settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"--set {setting}: write KEY=VALUE, such as  --set detection.profile=true")
        overrides[key.strip()] = value.strip()
    flags = {
        "source.spec": args.source,
        "model.name": args.model,
        "model.threads": args.threads,
        "detection.budget_ms": args.budget_ms,
        "outputs.enabled": args.outputs,
    }
    overrides |= {key: value for key, value in flags.items() if value is not None}
    try:
        return resolve_config(args.config, overrides=overrides)
    except ConfigError as error:
        if str(error).startswith("command line: "):
            raise UsageError(str(error)) from error
        raise


def _assemble(args: argparse.Namespace) -> Parts:
    """Read the configuration and make the parts of the run."""
    import logging
    import sys

    from fer_edge.runtime import OutputPlan, assemble

    resolved = _resolve(args)
    if args.log_level == "info":  # the flag's default; another one goes before the configuration
        logging.getLogger().setLevel(resolved.config.log.level.upper())
    nobody_chose = resolved.origins["outputs.enabled"].kind == "default"
    on_terminal = sys.stdout is not None and sys.stdout.isatty()
    if not (nobody_chose and on_terminal) or resolved.config.privacy.aggregate_only:
        return assemble(resolved, realtime=args.realtime, loop=args.loop)

    def table(settings: OutputSettings) -> tuple[OutputPlan, ...]:
        from fer_edge.commands.live_table import LiveTable

        return (OutputPlan("table", settings, lambda control: LiveTable()),)  # noqa: ARG005

    return assemble(resolved, realtime=args.realtime, loop=args.loop, plan_outputs=table)


def _report(summary: RunSummary, file: Path | None) -> None:
    import json
    import logging

    from fer_edge.contract.files import write_text

    logging.getLogger(__name__).info("%s", summary.sentence())
    if file is not None:
        write_text(file, json.dumps(summary.document(), indent=2) + "\n")


def _check_writable(file: Path) -> None:
    """Find out before the run, not after it, that its summary could not be written.

    Raises:
        OutputError: if so.
    """
    import os

    from fer_edge.errors import OutputError

    if file.is_dir():
        raise OutputError(f"{file}: is a folder; name a file for the summary")
    folder = next(parent for parent in file.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{file}: cannot be written, because of {folder}; name another place for the summary")


def _leave(code: int, message: str = "") -> NoReturn:
    """End the process at once.

    A thread hangs in a camera's driver. The interpreter would tear native libraries down around it, which crashes.
    """
    import logging
    import os
    import sys

    if message:
        print(message, file=sys.stderr)
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(code)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 up")
    return int(text)


def _milliseconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.5 <= value <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of milliseconds from 0.5 to 10000")
    return value
