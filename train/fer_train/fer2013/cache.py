"""What was read once is kept as an .npz in the user's cache, under the digest of its source."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Final

import numpy as np

from fer_edge.contract.files import atomic_write
from fer_edge.errors import DataError, OutputError
from fer_train.fer2013.arrays import read_arrays
from fer_train.fer2013.dataset import SPLITS, Fer2013Warning, ImageTable

_VERSION: Final = 1
"""Raised when a reader changes what it makes of a source, so that older caches are left alone."""


def cache_path(sha256: str) -> Path | None:
    """Return where the data set with this digest is kept, or None if the user has no home (XDG Base Directory 0.8)."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        root = named if named.is_absolute() else Path.home() / ".cache"
    except RuntimeError:
        return None
    return root / "fer-edge" / f"fer2013-v{_VERSION}-{sha256}.npz"


def read_cache(path: Path) -> ImageTable | None:
    """Return what is kept at ``path``; None, with a warning if it is damaged, where the source has to be read."""
    try:
        return read_arrays(path) if path.exists() else None
    except (DataError, OSError) as error:
        warnings.warn(f"the cache cannot be used and is made again: {error}", Fer2013Warning, stacklevel=3)
        return None


def write_cache(path: Path, table: ImageTable) -> None:
    """Keep ``table`` at ``path``, whole or not at all; failing to is only a warning."""
    try:
        with atomic_write(path) as partial:
            np.savez(
                partial,
                pixels=table.pixels,
                emotion=table.labels,
                usage=np.array(SPLITS)[table.splits],
                notes=np.array(table.notes, dtype=np.str_),
            )
    except OutputError as error:
        warnings.warn(
            f"FER2013 is not cached, and is read from its source each time: {error}", Fer2013Warning, stacklevel=3
        )
