"""``fer-edge models``: the models that can be asked for by name."""

from __future__ import annotations

import argparse

NAME = "models"
HELP = "list the bundled models with their cards"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``fer-edge models``."""
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of a table")


def run(args: argparse.Namespace) -> int:
    """List the models; each file is verified on the way."""
    import json

    import msgspec

    from fer_edge.model_store import readable_models

    models = readable_models()
    if args.json:
        entries = [
            {
                "name": model.name,
                "path": str(model.path),
                "sha256": file.sha256,
                "bytes": len(file.data),
                "card": msgspec.to_builtins(file.card),
            }
            for model, file in models
        ]
        print(json.dumps({"models": entries}))
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for column in ("name", "version", "network", "format", "input", "PrivateTest", "size", "sha256"):
        table.add_column(column, justify="right" if column in ("PrivateTest", "size") else "left")
    for model, file in models:
        card = file.card
        measured = card.figures.get("PrivateTest")
        table.add_row(
            model.name,
            card.version,
            card.network,
            card.quantization.recipe,
            "x".join(str(n) for n in card.input.shape),
            f"{measured.accuracy:.2%}" if measured else "not measured",
            f"{len(file.data) / 1e6:.2f} MB",
            file.sha256[:12],
        )
    Console(highlight=False).print(table)
    return 0
