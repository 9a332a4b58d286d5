"""The configuration in force, with the origin of each value and without secrets."""

from __future__ import annotations

from typing import Any

import msgspec

from fer_edge.configuration.keys import Key, keys
from fer_edge.configuration.load import DEFAULT, Resolved
from fer_edge.configuration.redact import HIDDEN, redact
from fer_edge.configuration.toml import toml_value


def show_toml(resolved: Resolved, *, changed_only: bool = False) -> str:
    """Return the configuration as TOML, the origin of each value in a comment.

    Args:
        resolved: what to show.
        changed_only: leave out what nobody set.
    """
    lines = [f"# file: {resolved.file or 'none found'}"]
    section = ""
    for name, key in keys().items():
        if changed_only and resolved.origins[name] == DEFAULT:
            continue
        table, _, last = name.rpartition(".")
        if table != section:
            section = table
            lines += ["", f"[{table}]"]
        value = public_value(resolved, key)
        assignment = f"#{last} is unset" if value is None else f"{last} = {toml_value(value)}"
        lines.append(f"{assignment:<40}  # {resolved.origins[name].place}")
    return "\n".join(lines) + "\n"


def show_document(resolved: Resolved, *, changed_only: bool = False) -> dict[str, Any]:
    """Return the configuration as a JSON-able document: ``{"file", "values": {key: {"value", "origin", "place"}}}``."""
    return {
        "file": None if resolved.file is None else str(resolved.file),
        "values": {
            name: {
                "value": public_value(resolved, key),
                "origin": resolved.origins[name].kind,
                "place": resolved.origins[name].place,
            }
            for name, key in keys().items()
            if not (changed_only and resolved.origins[name] == DEFAULT)
        },
    }


def public_value(resolved: Resolved, key: Key) -> object:
    """Return the value of ``key`` with everything secret in it hidden."""
    value: object = resolved.config
    for part in key.name.split("."):
        value = getattr(value, part)
    if key.secret and value is not None:
        return HIDDEN
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, tuple):
        return [redact(item) for item in value]
    return value


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a configuration file (draft 2020-12), for editors that complete and check TOML."""
    from fer_edge.configuration.schema import Config

    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(Config)}
