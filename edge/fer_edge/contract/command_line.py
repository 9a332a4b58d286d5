"""A command line as it is recorded in what the command made, and as it may be published."""

from __future__ import annotations

import shlex


def without_folders(command: str) -> str:
    """Shorten absolute paths to names: what is published tells nothing about the folders of who made it.

    Args:
        command: as typed; of ``--data=PATH`` and ``ferplus=PATH`` the path is shortened, too. A ``model.keras`` keeps
            the name of its run's folder, for all are called so.
    """
    try:
        words = shlex.split(command)
    except ValueError:  # an unbalanced quotation mark
        words = command.split()
    return shlex.join([_without_folder(word) for word in words])


def file_name(path: str) -> str:
    """Return the last part of a path of any system; the path itself where it has none."""
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2] or path


def _without_folder(word: str) -> str:
    option, equals, value = word.rpartition("=")
    if not value.startswith("/"):
        return word
    run, _, name = value.rpartition("/")
    kept = f"{file_name(run)}/{name}" if name == "model.keras" else file_name(value)
    return f"{option}{equals}{kept}"
