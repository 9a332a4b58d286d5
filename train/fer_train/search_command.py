"""``fer-edge search``: find better values for a recipe, with any number of workers."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

NAME = "search"
HELP = "search for a better recipe with Optuna, in one process or many (needs the train extra)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``fer-edge search``."""
    parser.add_argument("recipe", metavar="RECIPE", help="recipe to start from: a name or a .toml file")
    parser.add_argument("--data", metavar="FER2013", type=Path, required=True, help="CSV, folder tree, zip or npz")
    parser.add_argument("--study", metavar="NAME", required=True, help="the study to work on; begun if there is none")
    parser.add_argument(
        "--storage",
        metavar="FILE|URL",
        required=True,
        help="what the workers share: an SQLite file (.db), a journal for network file systems (.journal), "
        "or the URL of a database",
    )
    parser.add_argument("--out", metavar="DIR", type=Path, help="where trials and results are kept (default: ./NAME)")
    parser.add_argument("--trials", metavar="N", type=int, default=20, help="of the study as a whole (default: 20)")
    parser.add_argument("--space", metavar="FILE", type=Path, help="what to vary (default: the space that comes along)")
    parser.add_argument(
        "--pruning", choices=("median", "hyperband", "none"), default="median", help="when to give up on a trial"
    )
    parser.add_argument("--ferplus", metavar="FILE", type=Path, help="FER+ votes, for recipes that blend them in")
    parser.add_argument(
        "--teacher", metavar="DIR", type=Path, action="append", default=[], help="finished run to learn from"
    )
    parser.add_argument("--epochs", type=int, metavar="N", help="of each trial, instead of the recipe's")
    parser.add_argument("--threads", type=int, metavar="N", help="PyTorch's CPU threads (default: all cores)")
    parser.add_argument(
        "--heartbeat", metavar="SECONDS", type=int, default=30, help="after five without a sign a worker is dead (30)"
    )


def run(args: argparse.Namespace) -> int:
    """Work on the study until it has its trials, then write down what was found."""
    from fer_edge.errors import MissingExtraError, UsageError

    if args.trials < 1 or args.heartbeat < 1:
        raise UsageError("--trials and --heartbeat must be at least 1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import keras  # noqa: F401
        import optuna  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError("search", "train", error.name or "optuna") from error
    from rich.console import Console

    from fer_train.interruption import end, terminable
    from fer_train.recipe import load_recipe, with_changes
    from fer_train.run import RunFiles
    from fer_train.search import SearchSettings, search
    from fer_train.search_results import print_results, save_results
    from fer_train.search_space import load_space

    recipe = with_changes(load_recipe(args.recipe), epochs=args.epochs)
    space = load_space(args.space)
    out = args.out or Path(args.study)
    settings = SearchSettings(
        args.study, args.storage, args.trials, args.pruning, heartbeat_s=args.heartbeat, threads=args.threads
    )
    try:
        with terminable():
            study = search(recipe, space, RunFiles(args.data, out, args.ferplus, tuple(args.teacher)), settings)
    except KeyboardInterrupt as stop:
        again = "the trial under way is in the queue again: run the same command to go on, or leave it to the others"
        return end(stop, again)
    save_results(study, recipe, space, args.recipe, out)
    print_results(study, space, Console(highlight=False))
    print(f"{out / 'best.toml'}: fer-edge train --recipe {out / 'best.toml'} --data {args.data} --out DIR")
    return 0
