"""``fer-edge card``: write the page about a model, with its figures measured anew."""

from __future__ import annotations

import argparse
from pathlib import Path

NAME = "card"
HELP = "write a model's card as Markdown, with all figures measured anew"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``fer-edge card``."""
    parser.add_argument("model", metavar="MODEL", help="a .tflite file, or the name of a model")
    parser.add_argument("--data", metavar="FER2013", type=Path, required=True, help="the whole of it, in any form")
    parser.add_argument("--ferplus", metavar="FILE", type=Path, help="FER+ votes, for figures by their majority")
    parser.add_argument("--out", metavar="FILE.md", type=Path, required=True, help="where to write; replaces the file")


def run(args: argparse.Namespace) -> int:
    """Measure and write."""
    from rich.console import Console

    from fer_edge.contract.files import write_text
    from fer_edge.errors import UsageError
    from fer_edge.model_store import find_model
    from fer_train.model_card import measure_all, render

    path = find_model(args.model)
    if path.suffix != ".tflite":
        raise UsageError(f"{path}: a card is about the file that is deployed; convert it to .tflite first")
    console = Console(stderr=True, highlight=False)
    with console.status("measuring") as status:
        measured = measure_all(path, args.data, args.ferplus, lambda what: status.update(f"measuring {what}"))
    votes = " --ferplus fer2013new.csv" if args.ferplus else ""
    command = f"fer-edge card {args.model} --data fer2013.csv{votes} --out {args.out.name}"
    write_text(args.out, render(path, measured, command))
    console.print(f"{args.out}: {measured.by_split['PrivateTest'].figures.accuracy:.2%} on PrivateTest")
    return 0
