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
    begin, end = (f"<!-- fer-edge {block}: {side} -->" for side in ("begin", "end"))
    try:
        # Line ends stay what they are.
        before = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--splice {path}: cannot be read ({error}); name a Markdown file") from error
    if before.count(begin) != 1 or before.count(end) != 1 or before.index(end) < before.index(begin):
        raise DataError(f"{path}: must hold the lines {begin} and {end}, in this order and once; put them in")
    head, _, rest = before.partition(begin)
    _, _, tail = rest.partition(end)
    # No name of a model may close the block.
    body = text.strip().replace("<!--", "<! --")
    newline = "\r\n" if "\r\n" in before else "\n"
    return f"{head}{begin}{newline}" + body.replace("\n", newline) + f"{newline}{end}{tail}"
