"""Settings of the outputs: one frozen class an output, units in the names.

They are cheap to import, so that the configuration can be read without loading what an output needs.
"""

from __future__ import annotations

from dataclasses import dataclass

from fer_edge.errors import ConfigError

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How the files of ``jsonl``, ``csv`` and ``aggregate`` are written."""

    max_bytes: int = 64 * MIB
    """Size at which a file is rotated (PATH becomes PATH.1), in bytes; 0: never. Results of a finite source
    are never rotated."""
    keep: int = 4
    """How many rotated files are kept beside the current one; 0: a full file is deleted."""
    flush_interval_s: float = 2.0
    """Lines are collected for up to so many seconds, to spare an SD card; 0: each is written at once."""

    def __post_init__(self) -> None:
        _at_least("max_bytes", self.max_bytes, 0)
        _at_least("keep", self.keep, 0)
        _at_least("flush_interval_s", self.flush_interval_s, 0)


def _at_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise ConfigError(f"{name} is {value}: it must be at least {least}")
