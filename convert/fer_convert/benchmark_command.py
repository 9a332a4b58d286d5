"""``fer-edge benchmark``: latency, memory and accuracy of .tflite files on the machine at hand."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fer_convert.benchmark import BenchmarkSettings, Candidate
    from fer_convert.latency_subject import Preprocessing

NAME = "benchmark"
HELP = "measure latency, memory and accuracy of models on this machine"

DEFAULT_THREADS = (1, 2, 4)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``fer-edge benchmark``."""
    parser.add_argument("models", nargs="+", metavar="MODEL", help="name of a bundled model or any .tflite file")
    parser.add_argument("--threads", metavar="N[,N]", help="default: 1,2,4 as far as there are cores")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="fresh processes a model (default: 5)")
    parser.add_argument("--samples", type=int, default=200, metavar="N", help="invocations a round (default: 200)")
    parser.add_argument(
        "--frames", type=int, default=50, metavar="N", help="frames for the stages; 0: none (default: 50)"
    )
    parser.add_argument("--sustained", type=float, default=0.0, metavar="MINUTES", help="then run each without a pause")
    parser.add_argument("--operators", action="store_true", help="time every operator as well")
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="write the result with its raw samples; alone: to stdout"
    )
    accuracy = parser.add_argument_group("accuracy")
    accuracy.add_argument("--data", type=Path, metavar="FER2013", help="CSV, folder tree, zip or npz")
    accuracy.add_argument("--split", default="PrivateTest", help="Training, PublicTest or PrivateTest (default)")
    accuracy.add_argument("--limit", type=int, metavar="N", help="only the first N images")
    strangers = parser.add_argument_group(
        "files without a card", "What such a file does not say of itself. Pixels are grey, 0 to 255."
    )
    strangers.add_argument("--labels", metavar="A,B,C", help="in the order of the output; needed for accuracy alone")
    strangers.add_argument("--input", metavar="HxWxC", help="default: what the input tensor says")
    strangers.add_argument("--scale", metavar="S[,O]", help="the network takes pixel * S + O, such as 1/127.5,-1")
    strangers.add_argument(
        "--resize", default="area", metavar="HOW", help="for accuracy: area (default), linear, cubic"
    )
    strangers.add_argument(
        "--describe",
        type=Path,
        metavar="FILE",
        help='JSON for several such files: {"name.tflite": {"labels": [...], "input": "48x48x1", "scale": "1/255"}}',
    )
    strangers.add_argument(
        "--unverified", action="store_true", help="run graphs with operators that fer-edge has no rule for"
    )


def run(args: argparse.Namespace) -> int:
    """Measure, print a table or the document, and write the document if asked to.

    Returns:
        0, or 1 if the board slowed itself down, so that the result must not count.
    """
    import json
    import sys

    from rich.console import Console

    from fer_convert.benchmark import run_benchmark

    console = Console(stderr=True, highlight=False)
    candidates, settings = _candidates(args), _settings(args)
    with console.status("looking at the models") as status:
        result = {"command": args.command_line} | run_benchmark(candidates, settings, status.update)
    text = json.dumps(result, allow_nan=False)
    if args.json == "-":
        print(text)
    else:
        from fer_convert.benchmark_table import print_tables

        print_tables(result, Console(highlight=False))
        if args.json is not None:
            from fer_edge.contract.files import write_text

            write_text(Path(args.json), text)
    if not result["valid"]:
        print(f"fer-edge: INVALID: {'; '.join(result['invalid_because'])}", file=sys.stderr)
    return 0 if result["valid"] else 1


def _settings(args: argparse.Namespace) -> BenchmarkSettings:
    from fer_convert.benchmark import BenchmarkSettings
    from fer_edge.errors import UsageError

    for name, least in (("rounds", 1), ("samples", 1), ("frames", 0), ("sustained", 0), ("limit", 1)):
        value = getattr(args, name)
        if value is not None and not least <= value < float("inf"):
            raise UsageError(f"--{name} must be at least {least}, not {value}")
    return BenchmarkSettings(
        threads=_threads(args.threads),
        rounds=args.rounds,
        samples=args.samples,
        frames=args.frames,
        sustained_minutes=args.sustained,
        operators=args.operators,
        data=args.data,
        split=args.split,
        limit=args.limit,
    )


def _threads(text: str | None) -> tuple[int, ...]:
    import os

    from fer_edge.errors import UsageError

    if text is None:
        return tuple(n for n in DEFAULT_THREADS if n <= len(os.sched_getaffinity(0))) or (1,)
    try:
        threads = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        threads = ()
    if not threads or not all(1 <= n <= 64 for n in threads):
        raise UsageError(f"--threads must be numbers from 1 to 64, such as 1,2,4, not {text!r}")
    return threads


def _candidates(args: argparse.Namespace) -> list[Candidate]:
    from fer_convert.benchmark import Candidate
    from fer_convert.latency_subject import preprocessing_of
    from fer_edge.model_store import find_model

    common = preprocessing_of(args.labels, args.input, args.scale, args.resize)
    described = _described(args.describe)
    paths = [find_model(name) for name in args.models]
    return [Candidate(path, described.get(path.name, common), args.unverified) for path in paths]


def _described(path: Path | None) -> dict[str, Preprocessing]:
    """Read the file that describes strangers' files."""
    import msgspec

    from fer_convert.latency_subject import Description, preprocessing_of
    from fer_edge.errors import UsageError

    if path is None:
        return {}
    try:
        entries = msgspec.json.decode(path.read_bytes(), type=dict[str, Description])
    except (OSError, msgspec.DecodeError) as error:
        raise UsageError(f"--describe {path}: cannot be used ({error})") from error
    return {name: preprocessing_of(",".join(d.labels), d.input, d.scale, d.resize) for name, d in entries.items()}
