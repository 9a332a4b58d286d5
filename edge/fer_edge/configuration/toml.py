"""Reading TOML with the line of each key, and writing single values."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from fer_edge.errors import ConfigError

_HEADER = re.compile(r"\s*\[\[?\s*([\w\s.\"'-]+?)\s*\]\]?\s*(#.*)?$")
_ASSIGNMENT = re.compile(r"\s*([\w.\"'-]+(?:\s*\.\s*[\w\"'-]+)*)\s*=")


def read_toml(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Read a TOML file.

    Returns:
        The document, and the line (from 1) of each dotted key and table as far as they are written one a line.

    Raises:
        ConfigError: if the file cannot be read or is not TOML.
    """
    try:
        # utf-8-sig: an editor on Windows, where SD cards get prepared, may put a byte order mark first.
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); name another file with --config") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    try:
        return tomllib.loads(text), key_lines(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}; a text needs quotes, a list brackets") from error


def key_lines(text: str) -> dict[str, int]:
    """Return the line (from 1) of each dotted key and table in ``text``.

    tomllib keeps no positions. This scan knows what people write (tables and ``key = value`` lines); keys inside
    inline tables are absent, and lines inside a multi-line string are skipped.
    """
    lines: dict[str, int] = {}
    table = ""
    closing: str | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if closing is not None:
            closing = None if closing in line else closing
            continue
        if header := _HEADER.match(line):
            table = _dotted(header[1]) + "."
            lines.setdefault(table[:-1], number)
        elif assignment := _ASSIGNMENT.match(line):
            lines.setdefault(table + _dotted(assignment[1]), number)
            value = line[assignment.end() :].strip()
            for quotes in ('"""', "'''"):
                if value.startswith(quotes) and quotes not in value[3:]:
                    closing = quotes
    return lines


def _dotted(written: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in written.split("."))


def toml_value(value: object) -> str:
    """Return ``value`` (bool, int, float, str, or a list or tuple of them) as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    raise TypeError(f"no TOML for {type(value).__name__}")
