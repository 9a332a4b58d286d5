"""``fer-edge evaluate``: accuracy, calibration and latency of a model on FER2013."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

    from fer_train.evaluation import Evaluation
    from fer_train.metrics import Figures

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
    parser.add_argument(
        "--labels",
        metavar="ferplus=FILE",
        help="the truth is what more than half of FER+'s voters saw, on the images where that is one of the labels",
    )
    parser.add_argument("--flip", action="store_true", help="report the average with the mirror image as well (TTA)")
    parser.add_argument(
        "--ensemble",
        metavar="MODEL",
        action="append",
        default=[],
        help="report the average with this model's answers as well; may be given several times",
    )
    parser.add_argument("--against", metavar="MODEL", help="another model, compared image by image (McNemar)")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of tables")
    parser.add_argument("--predictions", type=Path, metavar="FILE", help="write each image's probabilities as CSV")


def run(args: argparse.Namespace) -> int:
    """Evaluate and print."""
    import json

    from fer_edge.model_store import find_model
    from fer_train.evaluation import evaluate_model

    result = evaluate_model(
        find_model(args.model),
        args.data,
        args.split,
        args.limit,
        args.threads,
        ferplus=_ferplus(args.labels),
        flip=args.flip,
        ensemble=[find_model(member) for member in args.ensemble],
        against=None if args.against is None else find_model(args.against),
    )
    if args.predictions is not None:
        result.predictions.write_csv(args.predictions)
    if args.json:
        print(json.dumps({"command": args.command_line} | result.to_builtins()))
    else:
        from rich.console import Console

        console = Console(highlight=False)
        for part in _tables(result):
            console.print(part)
    return 0


def _ferplus(labels: str | None) -> Path | None:
    """Read ``--labels``."""
    from fer_edge.errors import UsageError

    if labels is None:
        return None
    kind, _, path = labels.partition("=")
    if kind != "ferplus" or not path:
        raise UsageError(f"--labels {labels!r}: write ferplus=FILE, with FER+'s fer2013new.csv")
    return Path(path)


def _tables(result: Evaluation) -> list[RenderableType]:
    from rich.table import Table

    from fer_train.significance import bootstrap_intervals

    figures, latency = result.figures, result.latency_ms
    classes = Table(title="by expression", title_justify="left")
    classes.add_column("expression")
    for name in ("precision", "recall", "F1", "average precision", "images"):
        classes.add_column(name, justify="right")
    for label, one in figures.per_class.items():
        shares = (one.precision, one.recall, one.f1, result.average_precision[label])
        classes.add_row(label, *(f"{share:.1%}" for share in shares), str(one.support))
    matrix = Table(title="confusion matrix (rows: truth, columns: reported)", title_justify="left")
    matrix.add_column("")
    for label in result.labels:
        matrix.add_column(label, justify="right")
    for label, row in zip(result.labels, figures.confusion_matrix.tolist(), strict=True):
        matrix.add_row(label, *(f"[bold]{n}[/]" if result.labels[i] == label else str(n) for i, n in enumerate(row)))
    low, high = bootstrap_intervals(figures.confusion_matrix)["accuracy"]
    return [
        f"{result.model} on {result.split} ({figures.n} images"
        f"{'' if result.truth == 'FER2013' else f', labels: {result.truth}'})",
        f"accuracy [bold]{figures.accuracy:.2%}[/] (95 %: {low:.2%} to {high:.2%})   balanced "
        f"{figures.balanced_accuracy:.2%}   macro F1 {figures.macro_f1:.2%}   ECE {figures.ece:.3f}",
        *_extras(result),
        f"one face: p50 {latency['p50']:.2f} ms, p95 {latency['p95']:.2f} ms, p99 {latency['p99']:.2f} ms   "
        f"({result.runtime}, {result.threads} thread{'s' * (result.threads != 1)}, on this machine)",
        classes,
        matrix,
    ]


def _extras(result: Evaluation) -> list[str]:
    """Lines about what was asked for, or is known, beyond the usual."""
    lines = []
    if result.ece_before_temperature is not None:
        lines.append(f"before its temperature of {result.temperature:.3f}: ECE {result.ece_before_temperature:.3f}")
    if result.flip_average is not None:
        lines.append(f"averaged with the mirror image (TTA): {_in_brief(result.flip_average)}")
    if result.ensemble_average is not None:
        with_flip = ", each with the mirror image" if result.flip_average is not None else ""
        names = ", ".join(result.ensemble)
        lines.append(f"averaged with {names}{with_flip} (ensemble): {_in_brief(result.ensemble_average)}")
    if result.paired is not None:
        paired = result.paired
        lines.append(
            f"against {result.against}: {paired.gain_points:+.2f} points (95 %: {paired.gain_low:+.2f} to "
            f"{paired.gain_high:+.2f}), right where the other is wrong {paired.only_ours}, the reverse "
            f"{paired.only_other}; McNemar exact p = {paired.p_value:.2g}"
        )
    return lines


def _in_brief(figures: Figures) -> str:
    return (
        f"accuracy {figures.accuracy:.2%}   balanced {figures.balanced_accuracy:.2%}   "
        f"macro F1 {figures.macro_f1:.2%}   ECE {figures.ece:.3f}"
    )
