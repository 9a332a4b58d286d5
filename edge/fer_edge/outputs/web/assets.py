"""The pages and what they need, read once from the package."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Final

MEDIA_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
"""Of the files that ``/static/NAME`` gives out."""


@cache
def static_files() -> dict[str, tuple[bytes, str]]:
    """Return name -> (content, media type) of each file for ``/static``; nothing else can be asked for."""
    found = {}
    for file in (files(__package__) / "static").iterdir():
        suffix = "." + file.name.rpartition(".")[2]
        if suffix in MEDIA_TYPES:
            found[file.name] = (file.read_bytes(), MEDIA_TYPES[suffix])
    return found


@cache
def page(name: str) -> bytes:
    """Return an HTML page or the OpenAPI document by its file name."""
    return (files(__package__) / "static" / name).read_bytes()
