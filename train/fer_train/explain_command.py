"""``fer-edge explain``: which parts of a face made a model say what it said."""

from __future__ import annotations

import argparse
from pathlib import Path

NAME = "explain"
HELP = "show a model's surest mistakes and hits, and what in the face decided"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``fer-edge explain``."""
    parser.description = (
        "Write explain.html and explain.json: the surest mistakes and the surest hits of a model, each with a map of "
        "the places that decided: SmoothGrad for a .keras file, occlusion for the .tflite file that is deployed (which "
        "needs no Keras). The page holds images of the data set; it stays in the folder that you name."
    )
    parser.add_argument("model", metavar="MODEL", help="a .tflite or .keras file, or the name of a bundled model")
    parser.add_argument("--data", metavar="FER2013", type=Path, required=True, help="CSV, folder tree, zip or npz")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder for the page")
    parser.add_argument("--split", default="PublicTest", help="Training, PublicTest (default) or PrivateTest")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N images of the split")
    parser.add_argument("--mistakes", type=int, default=24, metavar="N", help="surest mistakes (default: 24)")
    parser.add_argument(
        "--per-class", type=int, default=4, metavar="N", help="surest hits and mistakes of each label (default: 4)"
    )
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="threads of the TFLite runtime (default: 1)"
    )
    parser.add_argument("--json", action="store_true", help="print the JSON document instead of the page's path")


def run(args: argparse.Namespace) -> int:
    """Explain, and print where the page is."""
    import json
    import sys

    from fer_edge.model_store import find_model
    from fer_train.explain import Selection, explain

    document = explain(
        find_model(args.model),
        args.data,
        args.out,
        Selection(args.split, args.limit, args.mistakes, args.per_class),
        args.threads,
        say=lambda line: print(line, file=sys.stderr),
    )
    print(json.dumps(document) if args.json else args.out / "explain.html")
    return 0
