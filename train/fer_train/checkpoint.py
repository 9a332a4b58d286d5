"""The state of a training run between two epochs, kept so that a run killed at any moment goes on."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract.files import atomic_write
from fer_edge.errors import DataError

Arrays = list[NDArray[Any]]


@dataclass(slots=True)
class RunState:
    """Everything that the next epoch depends on, besides the recipe and the data."""

    fingerprint: str
    """Digest of recipe, data and backend; a checkpoint of another run is refused."""
    epoch: int = 0
    """Epochs finished."""
    weights: Arrays = field(default_factory=list)
    optimizer: Arrays = field(default_factory=list)
    average: Arrays = field(default_factory=list)
    """Moving average of ``weights``."""
    best: Arrays = field(default_factory=list)
    """The averages of the epoch that did best on PublicTest."""
    best_epoch: int = 0
    answers: Arrays = field(default_factory=list)
    """What teachers answered to the views that a recipe repeats, so that a run that goes on need not ask again."""
    history: list[dict[str, float]] = field(default_factory=list)
    """One entry an epoch."""
    public_logits: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32), init=False)
    """(m, classes), what the average of the last epoch answers to PublicTest; not kept in the file."""

    def save(self, path: Path) -> None:
        """Write to one .npz file, atomically.

        Raises:
            OutputError: if it cannot be written; the checkpoint before it stays.
        """
        meta = {
            "fingerprint": self.fingerprint,
            "epoch": self.epoch,
            "best_epoch": self.best_epoch,
            "history": self.history,
        }
        arrays: dict[str, Any] = {"meta": np.frombuffer(json.dumps(meta).encode(), np.uint8)}
        for group in _GROUPS:
            arrays |= {f"{group}{i:04d}": array for i, array in enumerate(getattr(self, group))}
        with atomic_write(path) as partial:
            np.savez(partial, **arrays)

    @classmethod
    def load(cls, path: Path) -> RunState:
        """Read what :meth:`save` wrote.

        Raises:
            DataError: if the file is damaged.
        """
        try:
            return cls.decode(path.read_bytes(), str(path))
        except OSError as error:
            raise DataError(f"{path}: damaged checkpoint ({error}); delete it to start this run anew") from error

    @classmethod
    def decode(cls, data: bytes, where: str) -> RunState:
        """Read the bytes of a file that :meth:`save` wrote; ``where`` they are from is told in errors.

        Raises:
            DataError: if they are damaged.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as stored:
                meta = json.loads(bytes(stored["meta"]))
                groups = {g: [stored[k] for k in sorted(stored.files) if k.startswith(g)] for g in _GROUPS}
                return cls(
                    fingerprint=meta["fingerprint"],
                    epoch=meta["epoch"],
                    best_epoch=meta["best_epoch"],
                    history=meta["history"],
                    **groups,
                )
        except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
            raise DataError(f"{where}: damaged checkpoint ({error}); delete it to start this run anew") from error


_GROUPS: Sequence[str] = ("weights", "optimizer", "average", "best", "answers")
