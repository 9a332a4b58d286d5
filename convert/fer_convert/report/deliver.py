"""Making all that was asked for, and only then writing it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fer_convert.report.documents import read_models
from fer_convert.report.drawing import Drawing
from fer_convert.report.evidence import Model
from fer_convert.report.page import html_page
from fer_convert.report.plot import pareto_plot
from fer_convert.report.png import can_write_png, write_png
from fer_convert.report.regression import Limits, compare_models, told
from fer_convert.report.splice import splice
from fer_convert.report.standing import MachineTable, tabulate
from fer_convert.report.svg import svg
from fer_convert.report.text_tables import csv_text, json_text, markdown
from fer_edge.contract.files import atomic_write, write_text
from fer_edge.errors import MissingExtraError, UsageError

PLOT_FORMATS: Final = (".svg", ".png")


def deliver(args: argparse.Namespace) -> int:
    """Read, join, write, compare.

    Returns:
        0, or 1 if something regressed.

    Raises:
        UsageError: if what was asked for does not fit together; nothing is written then.
        DataError: if a document is malformed; nothing is written then.
        OutputError: if a file cannot be written.
    """
    _check_targets(args)
    limits = Limits.parse(args.max_slowdown, args.max_drop, args.relative_to)
    models = read_models(args.paths)
    tables = tabulate(models, args.split, args.threads)
    earlier = [read_models([path]) for path in args.against]
    plot = pareto_plot(tables)
    plots: list[Path] = list(args.plot)
    if args.out is not None:
        plots += [args.out / "report.svg"] + ([args.out / "report.png"] if can_write_png() else [])
    linked = next((path for path in plots if path.suffix == ".svg"), plots[0] if plots else None)
    texts = _texts(args, models, tables, None if plot is None else linked)
    for path, text in texts.items():
        write_text(path, text)
    _write_plots(plot, plots)
    if args.out is not None and not can_write_png():
        print(
            "fer-edge: no report.png: it needs the train extra (matplotlib); report.svg shows the same", file=sys.stderr
        )
    comparisons = [compare_models(models, before, limits) for before in earlier]
    for path, comparison in zip(args.against, comparisons, strict=True):
        print(told(comparison, path.name, limits))
    if not (texts or plots or args.against):
        print(markdown(tables), end="")
    return 1 if any(comparison.regressed for comparison in comparisons) else 0


def _check_targets(args: argparse.Namespace) -> None:
    for path in args.plot:
        if path.suffix not in PLOT_FORMATS:
            raise UsageError(f"--plot {path}: a plot is written as {' or '.join(PLOT_FORMATS)}")
        if path.suffix == ".png" and not can_write_png():
            raise MissingExtraError("report --plot FILE.png", "train", "matplotlib")
    if args.threads is not None and args.threads < 1:
        raise UsageError(f"--threads must be at least 1, not {args.threads}")
    named = [args.html, args.markdown, args.csv, args.json, *args.plot, args.splice]
    targets = [path.resolve() for path in named if path is not None]
    inputs = {path.resolve() for path in [*args.paths, *args.against]}
    for path in targets:
        if path in inputs:
            raise UsageError(f"{path.name}: is both read and written; write to another file")
        if targets.count(path) > 1:
            raise UsageError(f"{path.name}: is named for two things; write each to a file of its own")


def _texts(
    args: argparse.Namespace, models: Sequence[Model], tables: Sequence[MachineTable], plot: Path | None
) -> dict[Path, str]:
    """Return path -> content of all but the plots."""
    out: Path | None = args.out
    texts: dict[Path, str] = {}
    for given, suffix in ((args.html, "html"), (args.markdown, "md"), (args.csv, "csv"), (args.json, "json")):
        for path in (given, None if out is None else out / f"report.{suffix}"):
            if path is not None:
                texts[path] = _text(suffix, path, models, tables, plot)
    if args.splice is not None:
        texts[args.splice] = splice(args.splice, markdown(tables, _relative(plot, args.splice)))
    return texts


def _text(kind: str, path: Path, models: Sequence[Model], tables: Sequence[MachineTable], plot: Path | None) -> str:
    match kind:
        case "html":
            return html_page(tables)
        case "md":
            return markdown(tables, _relative(plot, path))
        case "csv":
            return csv_text(tables)
        case _:
            return json_text(models, tables)


def _relative(plot: Path | None, page: Path) -> str | None:
    """Return the link from a page to the plot."""
    import os

    return None if plot is None else Path(os.path.relpath(plot.resolve(), page.resolve().parent)).as_posix()


def _write_plots(plot: Drawing | None, paths: Sequence[Path]) -> None:
    if plot is None:
        if paths:
            print("fer-edge: no plot: no model has both accuracy and latency on one machine", file=sys.stderr)
        return
    for path in paths:
        with atomic_write(path) as partial:
            if path.suffix == ".png":
                write_png(plot, partial)
            else:
                partial.write_text(svg(plot), encoding="utf-8")
