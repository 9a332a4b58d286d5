"""``fer-edge evaluate``: accuracy, calibration and latency of a model on FER2013."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

    from fer_train.evaluation import Evaluation

NAME = "evaluate"
HELP = "measure a model's accuracy and latency on FER2013"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``fer-edge evaluate``."""
    parser.add_argument("model", metavar="MODEL", help="a .tflite or .keras file, or the name of a bundled model")
    parser.add_argument("--data", metavar="FER2013", type=Path, required=True, help="CSV, folder tree, zip or npz")
    parser.add_argument("--split", default="PrivateTest", help="Training, PublicTest or PrivateTest (default)")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N images")
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="threads of the TFLite runtime (default: 1)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of tables")


def run(args: argparse.Namespace) -> int:
    """Evaluate and print."""
    import json

    from fer_edge.model_store import find_model
    from fer_train.evaluation import evaluate_model

    result = evaluate_model(find_model(args.model), args.data, args.split, args.limit, args.threads)
    if args.json:
        print(json.dumps(result.to_builtins()))
    else:
        from rich.console import Console

        console = Console(highlight=False)
        for part in _tables(result):
            console.print(part)
    return 0


def _tables(result: Evaluation) -> list[RenderableType]:
    from rich.table import Table

    figures, latency = result.figures, result.latency_ms
    classes = Table(title="by expression", title_justify="left")
    classes.add_column("expression")
    for name in ("precision", "recall", "F1", "images"):
        classes.add_column(name, justify="right")
    for label, one in figures.per_class.items():
        classes.add_row(label, f"{one.precision:.1%}", f"{one.recall:.1%}", f"{one.f1:.1%}", str(one.support))
    matrix = Table(title="confusion matrix (rows: truth, columns: reported)", title_justify="left")
    matrix.add_column("")
    for label in result.labels:
        matrix.add_column(label, justify="right")
    for label, row in zip(result.labels, figures.confusion_matrix.tolist(), strict=True):
        matrix.add_row(label, *(f"[bold]{n}[/]" if result.labels[i] == label else str(n) for i, n in enumerate(row)))
    return [
        f"{result.model} on {result.split} ({figures.n} images)",
        f"accuracy [bold]{figures.accuracy:.2%}[/]   balanced {figures.balanced_accuracy:.2%}   "
        f"macro F1 {figures.macro_f1:.2%}   ECE {figures.ece:.3f}",
        f"one face: p50 {latency['p50']:.2f} ms, p95 {latency['p95']:.2f} ms, p99 {latency['p99']:.2f} ms   "
        f"({result.runtime}, {result.threads} thread{'s' * (result.threads != 1)}, on this machine)",
        classes,
        matrix,
    ]
