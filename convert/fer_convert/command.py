"""``fer-edge convert``: quantize a trained model to a self-describing TFLite file."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

NAME = "convert"
HELP = "quantize a trained model to TFLite (needs the train extra)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``fer-edge convert``."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        type=Path,
        help="model.keras saved by `fer-edge train`, or a .tflite file whose weights are to be had in another format",
    )
    parser.add_argument("--data", metavar="FER2013", type=Path, required=True, help="CSV, folder tree, zip or npz")
    parser.add_argument(
        "--recipe",
        action="append",
        default=[],
        help="int8 (default), int8_equalized, int8_mixed, int8_16x8, dynamic_wi8, float16, float32, or a .toml file; "
        "repeatable",
    )
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder for NAME.RECIPE.tflite")
    parser.add_argument("--name", help="name in the card and of the file (default: the network's)")
    parser.add_argument("--version", default="1", help="version of the model in its card (default: 1)")
    parser.add_argument(
        "--sensitivity",
        action="store_true",
        help="convert nothing: quantize one layer at a time and draw what each one costs",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    parser.add_argument("--force", action="store_true", help="write the file though a gate fails; its card says so")


def run(args: argparse.Namespace) -> int:
    """Convert and print where the file is."""
    from fer_edge.errors import MissingExtraError, ModelError, UsageError

    if not args.model.is_file():
        raise ModelError(f"{args.model}: there is no such file; name the model.keras of a finished training run")
    # Only TensorFlow converts; a model trained on another backend loads on it.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import ai_edge_quantizer  # noqa: F401
        import keras  # noqa: F401
        import tensorflow  # noqa: F401, ICN001
    except ModuleNotFoundError as error:
        raise MissingExtraError("convert", "train", error.name or "tensorflow") from error
    from fer_convert.convert import convert_by_each, write_sensitivity
    from fer_convert.recipe import load_recipe

    recipes = [load_recipe(name) for name in args.recipe or ["int8"]]
    if args.sensitivity:
        if len(recipes) > 1:
            raise UsageError("--sensitivity is about one recipe: name one with --recipe")
        from rich.console import Console

        from fer_convert.sensitivity import as_table

        found, drawing = write_sensitivity(
            args.model, args.data, recipes[0], args.out, name=args.name, overwrite=args.overwrite
        )
        Console().print(as_table(found))
        print(drawing)
        return 0
    converted = convert_by_each(
        args.model,
        args.data,
        recipes,
        args.out,
        name=args.name,
        version=args.version,
        overwrite=args.overwrite,
        force=args.force,
        command=args.command_line,
    )
    for result in converted:
        print(result.path)
    return 0
