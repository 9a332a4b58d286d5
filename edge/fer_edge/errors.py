"""The one tree of errors that fer-edge raises on purpose.

::

    FerEdgeError                 exit code 1   anything below
    ├── UsageError (ValueError)            2   the command line asks for something that does not exist
    │   └── MissingExtraError (ImportError)2   a subcommand needs an extra that is not installed
    ├── ConfigError (ValueError)          78   the configuration cannot be used
    ├── ModelError (ValueError)           78   the model file cannot be used
    ├── DataError (ValueError)             1   a data set is malformed
    ├── SourceError (OSError)              1   a camera, video, image or stream cannot be read
    └── OutputError (OSError)              1   a result cannot be written

Every message is one line that names the file or device, what was found there and the way out. Exit code 78
(``EX_CONFIG`` of BSD's sysexits.h) tells systemd not to restart: a person has to mend something first.
"""

from __future__ import annotations

from typing import ClassVar


class FerEdgeError(Exception):
    """Base class; ``exit_code`` is what the command line exits with."""

    exit_code: ClassVar[int] = 1


class UsageError(FerEdgeError, ValueError):
    """The command line asks for something that does not exist or does not fit together."""

    exit_code = 2


class MissingExtraError(UsageError, ImportError):
    """A subcommand needs an optional part of fer-edge that is not installed."""

    def __init__(self, command: str, extra: str, missing: str) -> None:
        super().__init__(
            f"`fer-edge {command}` needs the package {missing!r}, which is not installed: "
            f"run  python -m pip install 'fer-edge[{extra}]'"
        )


class ConfigError(FerEdgeError, ValueError):
    """The configuration cannot be used."""

    exit_code = 78


class ModelError(FerEdgeError, ValueError):
    """A model file cannot be used: damaged, without a card, or disagreeing with its card."""

    exit_code = 78


class DataError(FerEdgeError, ValueError):
    """A data set is malformed; the message names the file and the line."""


class SourceError(FerEdgeError, OSError):
    """A camera, video file, image or stream cannot be opened or read."""


class OutputError(FerEdgeError, OSError):
    """A result cannot be written."""
