"""``fer-edge report``: what was measured, joined by the files' checksums, as tables, plot and page."""

from __future__ import annotations

import argparse
from pathlib import Path

NAME = "report"
HELP = "join results of benchmark, evaluate and convert, or describe training runs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``fer-edge report``."""
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="results of `benchmark --json`, `evaluate --json` or `report --json` and records of `convert`; or folders "
        "of training runs",
    )
    where = parser.add_argument_group("what to write", "Without any of these, the tables go to stdout as Markdown.")
    where.add_argument("--out", type=Path, metavar="DIR", help="everything: report.html, .md, .csv, .json, .svg, .png")
    where.add_argument("--html", type=Path, metavar="FILE", help="one page that holds all it needs")
    where.add_argument("--markdown", type=Path, metavar="FILE")
    where.add_argument("--csv", type=Path, metavar="FILE")
    where.add_argument("--json", type=Path, metavar="FILE", help="for --against and for later reports")
    where.add_argument(
        "--plot", type=Path, action="append", default=[], metavar="FILE", help=".svg, or .png (needs the train extra)"
    )
    where.add_argument(
        "--splice",
        type=Path,
        metavar="FILE.md",
        help="put tables and plot between the lines <!-- fer-edge report: begin --> and <!-- fer-edge report: end -->; "
        "of training runs, between those that say `networks`",
    )
    front = parser.add_argument_group("Pareto front")
    front.add_argument("--split", help="whose accuracy draws it (default: PrivateTest)")
    front.add_argument("--threads", type=int, metavar="N", help="whose latency draws it (default: the fewest measured)")
    runs = parser.add_argument_group(
        "training runs",
        "If all paths are folders of them, `--html` or `--out` makes a page, `--markdown` or `--splice` a table.",
    )
    runs.add_argument("--data", type=Path, metavar="FER2013", help="measure and explain the models on PublicTest")
    runs.add_argument("--private", action="store_true", help="on PrivateTest too: for the end of the work")
    runs.add_argument(
        "--keep-rows", action="store_true", help="with --splice: rows of runs that are not named now stay as they are"
    )
    runs.add_argument("--ferplus", type=Path, metavar="FILE", help="FER+ votes, to measure by their majority as well")
    check = parser.add_argument_group("regression check", "Exits with 1 if a model has become slower or less accurate.")
    check.add_argument(
        "--against", type=Path, action="append", default=[], metavar="EARLIER.json", help="any of the results above"
    )
    check.add_argument("--max-slowdown", default="10%", metavar="P%", help="of the p50 latency (default: 10%%)")
    check.add_argument("--max-drop", type=float, default=0.5, metavar="POINTS", help="of accuracy (default: 0.5)")
    check.add_argument(
        "--relative-to",
        metavar="MODEL",
        help="compare latencies over that of this model in the same run: a machine that is slower as a whole today "
        "does not count",
    )


def run(args: argparse.Namespace) -> int:
    """Write what was asked for, and compare with earlier results.

    Returns:
        0, or 1 if something regressed.
    """
    from fer_convert.report.runs import are_runs, refuse_options_of_runs, report_runs

    if are_runs(args.paths):
        return report_runs(args)
    refuse_options_of_runs(args)
    from fer_convert.report.deliver import deliver

    return deliver(args)
