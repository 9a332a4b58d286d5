"""The commented default file, written from the schema."""

from __future__ import annotations

import inspect
import textwrap
from importlib import resources

from fer_edge.configuration.keys import Key, keys, sections
from fer_edge.configuration.toml import toml_value

_WIDTH = 120

_HEADER = """\
# Configuration of fer-edge: every key, with its default.
#
# A key may be left out: the default holds. A line that starts with # and a key, such as #width = 640, shows a key that
# is unset by default. `fer-edge config check FILE` checks a file, `fer-edge config show` tells where each value comes
# from. The environment wins over this file (FER_EDGE_SOURCE__SPEC=0), the command line over both (--source 0).
# The first of these is read: --config FILE, $XDG_CONFIG_HOME/fer-edge/config.toml, /etc/fer-edge/config.toml.
"""


def default_toml() -> str:
    """Return the shipped default file.

    It is a file of the package, not made on the fly, so that people can read it without running anything; a test holds
    that it is what :func:`render_default` writes.
    """
    return resources.files("fer_edge").joinpath("data", "default.toml").read_text(encoding="utf-8")


def render_default() -> str:
    """Write every section and key of the schema, with its description, what it takes, and its default."""
    by_section: dict[str, list[Key]] = {name: [] for name in sections() if name}
    for name, key in keys().items():
        by_section[name.rpartition(".")[0]].append(key)
    parts = [_HEADER]
    for name, members in by_section.items():
        doc = inspect.getdoc(sections()[name]) or ""
        parts.append("\n" + _comment(doc.replace("\n", " ")) + f"[{name}]\n")
        parts += [_entry(key) for key in members]
    return "".join(parts)


def _entry(key: Key) -> str:
    last = key.name.rpartition(".")[2]
    assignment = f"#{last} = {toml_value(key.example)}" if key.optional else f"{last} = {toml_value(key.default)}"
    limits = _limits(key)
    return _comment(key.description) + assignment + (f"  # {limits}" if limits else "") + "\n\n"


def _limits(key: Key) -> str:
    """The range or the choices; "" where the value itself says what kind it is."""
    for words in ("an integer from ", "a number from ", "one of "):
        if key.allowed.startswith(words):
            return key.allowed.removeprefix(words)
    return ""


def _comment(text: str) -> str:
    lines = textwrap.wrap(text, _WIDTH - 2, break_long_words=False, break_on_hyphens=False)
    return "".join(f"# {line}\n" for line in lines)


if __name__ == "__main__":
    print(render_default(), end="")
