"""``fer-edge data report``: what is wrong with the images of a FER2013."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

NAME = "data"
HELP = "report duplicates, leaks, blank images and contradictions in FER2013"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``fer-edge data``."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    report = actions.add_parser(
        "report",
        help=HELP,
        description="Look for equal and nearly equal images within and across the splits, blank images, non-faces "
        "and equal images with different labels; write report.json (row numbers), report.html and contact sheets. "
        "Nothing is changed: a recipe's `drop = [...]` leaves images out of Training.",
    )
    report.add_argument("--data", metavar="FER2013", type=Path, required=True, help="CSV, folder tree, zip or npz")
    report.add_argument("--ferplus", metavar="FILE", type=Path, help="FER+ votes, which know what is no face")
    report.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder for the report and its pictures")
    report.add_argument("--json", action="store_true", help="print the JSON document instead of a table")


def run(args: argparse.Namespace) -> int:
    """Inspect, write and print the counts."""
    import json

    from fer_train.fer2013 import load
    from fer_train.fer2013.ferplus import load_votes
    from fer_train.quality_report import write_quality_report

    data = load(args.data)
    votes = None if args.ferplus is None else load_votes(args.ferplus, data)
    document = write_quality_report(data, args.out, votes, args.ferplus)
    if args.json:
        print(json.dumps(document))
    else:
        _print(document, args.out)
    return 0


def _print(document: dict[str, Any], out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    pairs = Table(title="pairs of images", title_justify="left")
    pairs.add_column("splits")
    pairs.add_column("equal", justify="right")
    pairs.add_column("near-duplicate", justify="right")
    for name, count in document["pairs"]["identical"].items():
        pairs.add_row(name, f"{count:,}", f"{document['pairs']['near'][name]:,}")
    console.print(pairs)
    counts, drops = document["counts"], document["drops_from_training"]
    console.print(
        f"{counts['identical']:,} groups of equal images ({document['images_in_groups']['identical']:,} images), "
        f"{counts['conflicts']:,} of them with different labels; {counts['constant']:,} blank images"
    )
    leaked = document["test_images_also_in_training"]
    console.print("also in Training: " + ", ".join(f"{count:,} images of {name}" for name, count in leaked.items()))
    if "not_faces" in counts:
        console.print(f"FER+: {counts['not_faces']:,} show no face, {counts['unclear']:,} no clear expression")
    else:
        console.print("what is no face is not known without --ferplus")
    if drops:
        console.print(
            "a recipe's drop would leave out of Training: " + ", ".join(f"{k} {n:,}" for k, n in drops.items())
        )
    console.print(f"{out / 'report.html'}")
