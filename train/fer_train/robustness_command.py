"""``fer-edge robustness``: how accuracy falls with other crops, light and focus."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from fer_train.robustness import Robustness

NAME = "robustness"
HELP = "measure how a model's accuracy falls with other crops, light and focus"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``fer-edge robustness``."""
    parser.add_argument("models", metavar="MODEL", nargs="+", help=".tflite or .keras files, or names of models")
    parser.add_argument("--data", metavar="FER2013", type=Path, required=True, help="CSV, folder tree, zip or npz")
    parser.add_argument("--split", default="PrivateTest", help="Training, PublicTest or PrivateTest (default)")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N images")
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="threads of the TFLite runtime (default: 1)"
    )
    parser.add_argument("--plot", metavar="FILE.svg", type=Path, help="draw the curves (needs the train extra)")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of tables")


def run(args: argparse.Namespace) -> int:
    """Measure and print; exits with 0."""
    import json
    from functools import partial

    from rich.console import Console
    from rich.progress import Progress

    from fer_edge.errors import MissingExtraError, UsageError
    from fer_edge.model_store import find_model
    from fer_train.classifiers import load_classifier
    from fer_train.evaluation import truth_for
    from fer_train.fer2013 import SPLITS, load
    from fer_train.robustness import draw, measure, to_builtins

    if args.split not in SPLITS:
        raise UsageError(f"FER2013 has no split {args.split!r}: choose one of {', '.join(SPLITS)}")
    if args.limit is not None and args.limit < 1:
        raise UsageError(f"--limit must be at least 1, not {args.limit}")
    data = load(args.data).split(args.split)
    results: list[tuple[str, Robustness]] = []
    for name in args.models:
        classifier = load_classifier(find_model(name), args.threads, NAME)
        truth = truth_for(classifier, data, limit=args.limit)
        with Progress(console=Console(stderr=True), transient=True) as bars:
            task = bars.add_task(f"{name}: changes")
            show = partial(bars.update, task)
            result = measure(classifier, truth, lambda done, total: show(completed=done, total=total))  # noqa: B023
        results.append((name, result))
    if args.plot is not None:
        try:
            draw(results, args.plot)
        except ModuleNotFoundError as error:
            raise MissingExtraError("robustness --plot", "train", error.name or "matplotlib") from error
    if args.json:
        print(json.dumps({name: {"split": args.split, **to_builtins(result)} for name, result in results}))
    else:
        for name, result in results:
            Console(highlight=False).print(_table(name, args.split, result))
    return 0


def _table(name: str, split: str, result: Robustness) -> Table:
    from rich.table import Table

    from fer_train.robustness import UNITS

    title = f"{name} on {split}, n = {result.n:,}: {result.clean_accuracy:.2%} clean"
    caption = (
        f"largest drop within the limits (marked *): {result.worst.drop_points:.2f} points, "
        f"{result.worst.change} {result.worst.amount:g} {UNITS[result.worst.change]}"
    )
    table = Table(title=title, caption=caption)
    table.add_column("change")
    table.add_column("amount", justify="right")
    table.add_column("accuracy", justify="right")
    table.add_column("drop, points", justify="right")
    for cell in result.cells:
        amount = f"{cell.amount:g} {UNITS[cell.change]}{' *' if cell.within_limits else '  '}"
        table.add_row(cell.change, amount, f"{cell.accuracy:.2%}", f"{cell.drop_points:+.2f}")
    return table
