"""``fer-edge model``: choose the model of the runs that name none, also of one that is under way."""

from __future__ import annotations

import argparse
from pathlib import Path

NAME = "model"
HELP = "choose the model of a running or later `fer-edge run`, show or withdraw the choice"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    use = actions.add_parser(
        "use",
        help="choose a model",
        description="Check a model and choose it. A run that watches a camera takes it over within some seconds, "
        "between two frames; a run that was told its model by --model keeps that one.",
    )
    use.add_argument("model", metavar="NAME|PATH", help="name of a bundled model or path of a .tflite file")
    actions.add_parser("unset", help="withdraw the choice: the configured model is used")
    actions.add_parser("show", help="print the choice, if there is one")


def run(args: argparse.Namespace) -> int:
    """Do the action.

    Raises:
        UsageError: if there is no such model.
        ModelError: if it cannot be used.
        OutputError: if the choice cannot be written.
    """
    from fer_edge.runtime.selection import read_selection, remove_selection, selection_file

    file = selection_file()
    if args.action == "use":
        return _use(args.model, file)
    if args.action == "unset":
        removed = remove_selection(file)
        print("the configured model is used" if removed else "no model was chosen: the configured one is used")
        return 0
    chosen = read_selection(file)
    print("no model was chosen: the configured one is used" if chosen is None else chosen)
    return 0


def _use(name: str, file: Path) -> int:
    from fer_edge.contract.interpreter import load_model
    from fer_edge.model_store import PACKAGE_FOLDER, find_model
    from fer_edge.runtime.selection import write_selection

    path = find_model(name)
    model = load_model(path)
    # A bundled model is kept by its name: its path changes when fer-edge is upgraded.
    write_selection(file, name if path.parent == PACKAGE_FOLDER else str(path.absolute()))
    print(f"{model.card.name} {model.card.version} (sha256 {model.file.sha256[:12]}) is chosen, in {file}")
    return 0
