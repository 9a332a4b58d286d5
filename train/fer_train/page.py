"""A self-contained HTML page: one file, no script, nothing fetched, light and dark."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np

from fer_edge.contract.files import write_text
from fer_edge.contract.preprocess import UInt8Array
from fer_edge.errors import OutputError


def write_page(path: Path, title: str, lead: str, parts: Iterable[str]) -> Path:
    """Write a page; return ``path``.

    Args:
        path: where to; an existing page is replaced as a whole.
        title: plain text.
        lead: plain text under the title.
        parts: HTML, most often from :func:`section`.

    Raises:
        OutputError: if it cannot be written.
    """
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; name the page, such as {path / 'report.html'}")
    style = (files("fer_train") / "page.css").read_text(encoding="utf-8")
    # The policy makes what the docstring says a promise that the browser keeps.
    write_text(
        path,
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f'<header><h1>{escape(title)}</h1><p class="lead">{escape(lead)}</p></header>\n<main>\n'
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n",
    )
    return path


def section(title: str, *parts: str, note: str = "") -> str:
    """Return a card of the page: a heading, an explanation (plain text), and HTML."""
    explained = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{explained}{''.join(parts)}</section>"


def columns(*parts: str) -> str:
    """Return HTML parts side by side where there is room; an empty one keeps its place free."""
    return f'<div class="columns">{"".join(f"<div>{part}</div>" for part in parts)}</div>'


def figure(title: str, *parts: str) -> str:
    """Return HTML parts under a small plain-text title."""
    return f'<figure class="plot"><figcaption>{escape(title)}</figcaption>{"".join(parts)}</figure>'


def tiles(values: Iterable[tuple[str, str, str]]) -> str:
    """Return large figures in a row: (name, value, what to know about it), plain text."""
    cells = (
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(detail)}</small></dd></div>"
        for name, value, detail in values
    )
    return f'<dl class="tiles">{"".join(cells)}</dl>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "", *, names: int = 1) -> str:
    """Return a table of plain text: one or two columns of ``names``, the others are numbers set to the right."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(
        f"<tr><th>{escape(row[0])}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in row[1:])}</tr>" for row in rows
    )
    under = f"<caption>{escape(caption)}</caption>" if caption else ""
    kind = ' class="named"' if names > 1 else ""
    return f'<div class="scroll"><table{kind}>{under}<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def definitions(pairs: Iterable[tuple[str, str]]) -> str:
    """Return names with their values, plain text."""
    rows = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in pairs)
    return f'<dl class="pairs">{rows}</dl>'


def gallery(pictures: Iterable[tuple[Sequence[str], str]], *, wide: bool = False) -> str:
    """Return pictures with captions.

    Args:
        pictures: (HTML of one or more ``img``, plain text) of each; a line break in the text breaks the line.
        wide: leave room for two images or more beside each other.
    """
    cells = (
        f'<figure><div class="faces">{"".join(images)}</div>'
        f"<figcaption>{'<br>'.join(escape(line) for line in caption.split(chr(10)))}</figcaption></figure>"
        for images, caption in pictures
    )
    return f'<div class="gallery{" wide" if wide else ""}">{"".join(cells)}</div>'


def heat_scale() -> str:
    """Return the legend of the saliency maps."""
    return (
        '<p class="note"><i class="heat-scale"></i> from what did not matter (left as it is) to what mattered most</p>'
    )


def picture(image: UInt8Array, alt: str, css_class: str = "face") -> str:
    """Return an ``img`` that holds a (H, W) grey or (H, W, 3) BGR uint8 image as PNG."""
    data = base64.b64encode(png(image)).decode("ascii")
    return f'<img class="{escape(css_class)}" alt="{escape(alt)}" src="data:image/png;base64,{data}">'


def png(image: UInt8Array) -> bytes:
    """Return a (H, W) grey or (H, W, 3) BGR uint8 image as PNG."""
    done, data = cv2.imencode(".png", np.ascontiguousarray(image))
    assert done, "PNG takes any 8-bit image"
    return bytes(data)
