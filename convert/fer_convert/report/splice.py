"""Putting the report into a Markdown file that people write the rest of."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fer_edge.errors import DataError, UsageError

RESULTS: Final = "report"
NETWORKS: Final = "networks"


def splice(path: Path, text: str, block: str = RESULTS) -> str:
    """Return the content of a Markdown file with ``text`` between the two markers of a block, which stay.

    Args:
        path: the file.
        text: what takes the place of what stood there.
        block: name of the block, which its markers hold: one file can have several.

    Raises:
        UsageError: if the file cannot be read.
        DataError: if it does not hold both markers, in order and once.
    """
    before, head, _, tail = _parts(path, block)
    begin, end = _markers(block)
    # No name of a model may close the block.
    body = text.strip().replace("<!--", "<! --")
    newline = "\r\n" if "\r\n" in before else "\n"
    return f"{head}{begin}{newline}" + body.replace("\n", newline) + f"{newline}{end}{tail}"


def spliced(path: Path, block: str = RESULTS) -> str:
    """Return what stands between the two markers of a block of a Markdown file.

    Raises:
        UsageError: if the file cannot be read.
        DataError: if it does not hold both markers, in order and once.
    """
    return _parts(path, block)[2]


def _markers(block: str) -> tuple[str, str]:
    return f"<!-- fer-edge {block}: begin -->", f"<!-- fer-edge {block}: end -->"


def _parts(path: Path, block: str) -> tuple[str, str, str, str]:
    """Return the file's text, and what stands before, in and behind the block."""
    begin, end = _markers(block)
    try:
        # Line ends stay what they are.
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--splice {path}: cannot be read ({error}); name a Markdown file") from error
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(end) < text.index(begin):
        raise DataError(f"{path}: must hold the lines {begin} and {end}, in this order and once; put them in")
    head, _, rest = text.partition(begin)
    inside, _, tail = rest.partition(end)
    return text, head, inside, tail
