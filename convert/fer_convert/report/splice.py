"""Putting the report into a Markdown file that people write the rest of."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fer_edge.errors import DataError, UsageError

BEGIN: Final = "<!-- fer-edge report: begin -->"
END: Final = "<!-- fer-edge report: end -->"


def splice(path: Path, text: str) -> str:
    """Return the content of a Markdown file with ``text`` between its two markers, which stay.

    Args:
        path: the file.
        text: what takes the place of what stood there.

    Raises:
        UsageError: if the file cannot be read.
        DataError: if it does not hold both markers, in order and once.
    """
    try:
        # Line ends stay what they are.
        before = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--splice {path}: cannot be read ({error}); name a Markdown file") from error
    if before.count(BEGIN) != 1 or before.count(END) != 1 or before.index(END) < before.index(BEGIN):
        raise DataError(f"{path}: must hold the lines {BEGIN} and {END}, in this order and once; put them in")
    head, _, rest = before.partition(BEGIN)
    _, _, tail = rest.partition(END)
    # No name of a model may close the block.
    body = text.strip().replace("<!--", "<! --")
    newline = "\r\n" if "\r\n" in before else "\n"
    return f"{head}{BEGIN}{newline}" + body.replace("\n", newline) + f"{newline}{END}{tail}"
