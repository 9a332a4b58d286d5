"""``fer-edge train``: fine-tune or train a network on FER2013."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
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
    parser.add_argument("--out", metavar="DIR", type=Path, help="where the run is kept; resumes there")
    parser.add_argument("--ferplus", metavar="FILE", type=Path, help="FER+ votes, for recipes that blend them in")
    parser.add_argument(
        "--teacher",
        metavar="DIR|MODEL",
        type=Path,
        action="append",
        default=[],
        help="finished run, .tflite file or bundled model to learn from; repeatable",
    )
    parser.add_argument(
        "--weights",
        metavar="imagenet|FILE|MODEL",
        help="what to start from, instead of the recipe's: ImageNet's weights, a file, or a bundled model's name",
    )
    parser.add_argument("--classes", metavar="A,B,...", help="tell apart these labels only, such as happy,sad,neutral")
    parser.add_argument(
        "--tensorboard", metavar="DIR|on", help="write TensorBoard's logs there; on: tensorboard/ in the run's folder"
    )
    parser.add_argument("--parallel", choices=("none", "data"), help="instead of the recipe's")
    parser.add_argument(
        "--processes", type=int, metavar="N", help="start N processes here that train together (--parallel data)"
    )
    parser.add_argument("--dry-run", action="store_true", help="one batch through everything; writes nothing")
    parser.add_argument("--epochs", type=int, metavar="N", help="instead of the recipe's")
    parser.add_argument("--batch-size", type=int, metavar="N", help="instead of the recipe's")
    parser.add_argument("--seed", type=int, metavar="N", help="instead of the recipe's")
    parser.add_argument("--threads", type=int, metavar="N", help="PyTorch's CPU threads (default: all cores)")


def run(args: argparse.Namespace) -> int:
    """Train, or go on with the run in ``--out``."""
    from fer_edge.errors import MissingExtraError, UsageError

    if not (args.recipe or args.model):
        raise UsageError("name a network with --model NAME or a recipe with --recipe NAME")
    if args.out is None and not args.dry_run:
        raise UsageError("name the folder of the run with --out DIR")
    if args.processes is not None and "WORLD_SIZE" not in os.environ:
        from fer_train.launch import launch

        if args.processes < 1:
            raise UsageError("--processes must be at least 1")
        return launch(shlex.split(args.command_line)[1:], args.processes, args.threads)
    from fer_train.launch import end_with_launcher

    end_with_launcher()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # Keras imports TensorFlow, where there is one, on any backend
    try:
        import keras  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError("train", "train", error.name or "keras") from error
    logging.getLogger("jax._src.xla_bridge").setLevel(logging.WARNING)  # it tells which accelerators there are not
    from fer_edge.model_store import named_model
    from fer_train.interruption import end, terminable
    from fer_train.recipe import load_recipe, with_changes
    from fer_train.run import RunFiles, how_to_go_on, train

    recipe = with_changes(
        load_recipe(args.recipe or args.model),
        model=args.model,
        epochs=args.epochs,
        batch_size=args.batch_size,
        seed=args.seed,
        pretrained=None if args.weights is None else str(named_model(args.weights) or args.weights),
        parallel=args.parallel or ("data" if args.processes else None),
        classes=[name.strip() for name in args.classes.split(",")] if args.classes else None,
    )
    out = args.out or Path()
    logs = out / "tensorboard" if args.tensorboard == "on" else Path(args.tensorboard) if args.tensorboard else None
    files = RunFiles(args.data, out, args.ferplus, tuple(args.teacher), logs, args.command_line)
    try:
        with terminable():
            train(recipe, files, threads=args.threads, dry_run=args.dry_run)
    except KeyboardInterrupt as stop:
        kept = "nothing was written" if args.dry_run else how_to_go_on(files.out)
        return end(stop, kept if os.environ.get("RANK", "0") == "0" else None)
    return 0
