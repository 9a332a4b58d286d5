"""``fer-edge train``: fine-tune or train a network on FER2013."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

NAME = "train"
HELP = "train a network on FER2013 (needs the train extra)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``fer-edge train``."""
    parser.add_argument("--model", metavar="NAME", help="network to train by its own recipe, such as vgg_lite")
    parser.add_argument(
        "--recipe", metavar="NAME|FILE", help="recipe to train by (default: the one called as the model)"
    )
    parser.add_argument("--data", metavar="FER2013", type=Path, required=True, help="CSV, folder tree, zip or npz")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="where the run is kept; resumes there")
    parser.add_argument("--ferplus", metavar="FILE", type=Path, help="FER+ votes, for recipes that blend them in")
    parser.add_argument("--epochs", type=int, metavar="N", help="instead of the recipe's")
    parser.add_argument("--batch-size", type=int, metavar="N", help="instead of the recipe's")
    parser.add_argument("--seed", type=int, metavar="N", help="instead of the recipe's")
    parser.add_argument("--threads", type=int, metavar="N", help="PyTorch's CPU threads (default: all cores)")


def run(args: argparse.Namespace) -> int:
    """Train, or go on with the run in ``--out``."""
    from fer_edge.errors import MissingExtraError, UsageError

    if not (args.recipe or args.model):
        raise UsageError("name a network with --model NAME or a recipe with --recipe NAME")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # Keras imports TensorFlow, where there is one, on any backend
    try:
        import keras  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError("train", "train", error.name or "keras") from error
    from fer_train.recipe import load_recipe, with_changes
    from fer_train.run import train

    recipe = with_changes(
        load_recipe(args.recipe or args.model),
        model=args.model,
        epochs=args.epochs,
        batch_size=args.batch_size,
        seed=args.seed,
    )
    train(recipe, args.data, args.out, threads=args.threads, ferplus=args.ferplus)
    return 0
