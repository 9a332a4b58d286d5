"""Folders of training runs: their page belongs to the training room."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path
from typing import Final

from fer_convert.report.splice import NETWORKS, splice, spliced
from fer_edge.contract.files import write_text
from fer_edge.errors import MissingExtraError, UsageError

_NOT_FOR_RUNS: Final = ("csv", "json", "plot", "split", "threads", "against", "relative_to")
_FOR_RUNS: Final = ("data", "private", "ferplus", "keep_rows")
DEFAULT_PAGE: Final = Path("report.html")


def are_runs(paths: list[Path]) -> bool:
    """Whether ``paths`` are folders of training runs, rather than results.

    Raises:
        UsageError: if they are both, or a folder is no run.
    """
    folders = [path for path in paths if path.is_dir()]
    for folder in folders:
        if not (folder / "training.json").is_file():
            raise UsageError(f"{folder}: holds no training.json; name the folder of a finished run, or result files")
    if folders and len(folders) < len(paths):
        other = next(path for path in paths if path not in folders)
        raise UsageError(f"{folders[0]} is a training run and {other} is not: report them one after the other")
    return bool(folders)


def refuse_options_of_runs(args: argparse.Namespace) -> None:
    """Refuse what only training runs have a use for.

    Raises:
        UsageError: if it was given.
    """
    for name in _FOR_RUNS:
        if getattr(args, name):
            raise UsageError(
                f"--{name.replace('_', '-')} is for folders of training runs; results tell what they were measured on"
            )


def report_runs(args: argparse.Namespace) -> int:
    """Write the page of training runs to ``--html``, to ``--out``'s report.html or here, and their table as Markdown.

    Raises:
        UsageError: if something else than these was asked for.
        MissingExtraError: if the training room cannot make it.
    """
    for name in _NOT_FOR_RUNS:
        if getattr(args, name):
            raise UsageError(
                f"--{name.replace('_', '-')} is for results; of training runs there is a page, --html FILE, and a "
                "table, --markdown FILE"
            )
    try:
        training = import_module("fer_train.run_report")
    except ModuleNotFoundError as error:
        raise MissingExtraError("report RUN", "train", error.name or "keras") from error
    from rich.console import Console

    page = args.html or (args.out / DEFAULT_PAGE if args.out else None)
    if page is None and not args.markdown and not args.splice:
        page = DEFAULT_PAGE
    if args.keep_rows and not args.splice:
        raise UsageError("--keep-rows is about the table that --splice replaces: name its file with --splice")
    earlier = ""
    if args.splice:
        # It is known now, and not after an hour of measuring, whether the table has a place.
        earlier = spliced(args.splice, NETWORKS)
    console = Console(stderr=True, highlight=False)
    with console.status("reading the runs") as status:
        report = training.report_on(
            args.paths, args.data, private=args.private, ferplus=args.ferplus, say=status.update
        )
    if page is not None:
        report.write_page(page)
    if args.markdown:
        write_text(args.markdown, report.table())
    if args.splice:
        write_text(args.splice, splice(args.splice, report.table(earlier if args.keep_rows else ""), NETWORKS))
    for path in (page, args.markdown, args.splice):
        if path is not None:
            print(path)
    return 0
