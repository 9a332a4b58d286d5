"""``fer-edge models``: the models that can be asked for by name, and whether a file can be used at all."""

from __future__ import annotations

import argparse

NAME = "models"
HELP = "list the bundled models with their cards; `verify` checks a file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``fer-edge models``."""
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of a table")
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    verify = actions.add_parser(
        "verify",
        help="check a model file",
        description="Check a .tflite file: size, structure, operators, card, checksum, labels and tensors, then one "
        "inference in a process of its own. A file that is damaged, or made to harm, is refused with exit code 78.",
    )
    verify.add_argument("model", metavar="FILE", help="a .tflite file, or the name of a bundled model")
    # Without a default: else the one of `verify` would take back a --json that stands before it.
    verify.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Do what was asked for.

    Raises:
        ModelError: if a model is not in order.
    """
    return _verify(args.model, args.json) if args.action == "verify" else _list(args)


def _list(args: argparse.Namespace) -> int:
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


def _verify(name: str, as_json: bool) -> int:
    """Check one file and tell what was checked."""
    import json
    from dataclasses import asdict

    from fer_edge.contract.smoke import smoke_inference
    from fer_edge.contract.tflite_file import read_model_file
    from fer_edge.contract.verify import verify_model
    from fer_edge.model_store import find_model

    path = find_model(name)
    file = read_model_file(path)
    graph = verify_model(file.data, str(path))
    smoke = smoke_inference(path)
    card = file.card
    if as_json:
        document = {
            "path": str(path),
            "valid": True,
            "name": card.name,
            "version": card.version,
            "sha256": file.sha256,
            "bytes": len(file.data),
            "tensors": len(graph.tensors),
            "operators": len(graph.operators),
            "labels": list(card.labels),
            "smoke": asdict(smoke),
        }
        print(json.dumps(document))
        return 0
    # ASCII, because a Pi's console may not have more.
    ends = card.quantization
    print(f"{path}: in order")
    print(f"  structure   {len(file.data)} bytes, {len(graph.tensors)} tensors, {len(graph.operators)} operators")
    print(f"  card        {card.name} {card.version} ({card.network}, {ends.recipe})")
    print(f"  checksum    fits; sha256 {file.sha256}")
    print(f"  labels      {', '.join(card.labels)}")
    print(
        f"  tensors     {ends.input.dtype} {ends.input.shape} to {ends.output.dtype} {ends.output.shape}, as the card"
    )
    print(f"  inference   {smoke.invoke_ms:.1f} ms the first time, loaded in {smoke.load_ms:.0f} ms ({smoke.runtime})")
    return 0
