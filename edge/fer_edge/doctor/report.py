"""The doctor's findings as a table for people and as a document for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

import fer_edge
from fer_edge.doctor.check import Check, Status, failed

MARKS: Final[dict[Status, tuple[str, str]]] = {
    "ok": ("ok", "green"),
    "warn": ("warn", "yellow"),
    "fail": ("FAIL", "bold red"),
    "skip": ("-", "dim"),
}
"""Word and colour of each status; the word alone says it all, for terminals and eyes without colour."""


def print_table(checks: Sequence[Check], console: Console) -> None:
    """Print what was found, then what to do: commands stand on lines of their own, which are never wrapped."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for column in ("status", "name"):
        table.add_column(column, no_wrap=True)
    table.add_column("found", overflow="fold")
    for check in checks:
        word, style = MARKS[check.status]
        table.add_row(Text(word, style), Text(check.name), Text(check.found))
    console.print(table)
    for check in checks:
        if check.advice:
            word, style = MARKS[check.status]
            console.print(Text.assemble("\n", (check.name, style), f": {check.advice}"), soft_wrap=True)
    console.print(Text(f"\n{summary(checks)}"), soft_wrap=True)


def summary(checks: Sequence[Check]) -> str:
    """Return the one line that matters most."""
    failures = sum(check.status == "fail" for check in checks)
    warnings = sum(check.status == "warn" for check in checks)
    if failures:
        return f"fer-edge cannot run as it should: {failures} of {len(checks)} checks failed, {warnings} warned."
    if warnings:
        return f"fer-edge can run; {warnings} of {len(checks)} checks warned."
    return "fer-edge can run; all is well."


def document(checks: Sequence[Check]) -> dict[str, Any]:
    """Return the JSON-able form: ``{"version", "ok", "checks": [{"name", "status", "found", "advice"}]}``."""
    return {
        "version": fer_edge.__version__,
        "ok": not failed(checks),
        "checks": [
            {"name": check.name, "status": check.status, "found": check.found, "advice": check.advice}
            for check in checks
        ],
    }
