"""What a finished training run says of itself: ``training.json`` and ``history.json`` in its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from fer_edge.errors import DataError

_T = TypeVar("_T")


class Epoch(msgspec.Struct, frozen=True):
    """One entry of ``history.json``; None stands for what was not a number."""

    epoch: float
    loss: float | None = None
    accuracy: float | None = None
    """On Training as it was augmented, while the weights were changing."""
    public_accuracy: float | None = None
    public_nll: float | None = None
    seconds: float = 0.0


class RecordedFigures(msgspec.Struct, frozen=True):
    """Figures of one split as the run itself noted them."""

    n: int
    accuracy: float
    macro_f1: float | None = None
    ece: float | None = None


class TrainingRecord(msgspec.Struct, frozen=True):
    """``training.json``."""

    model_sha256: str
    recipe: dict[str, Any]
    labels: tuple[str, ...]
    parameters: int
    epochs: int
    chosen_epoch: int
    temperature: float
    figures: dict[str, RecordedFigures]
    seconds: float
    finished: str
    multiply_accumulates: int | None = None
    chosen_by: str = ""
    data_sha256: str = ""
    environment: dict[str, Any] = {}
    command: str = ""
    """What started the run; runs of earlier versions did not note it."""


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run."""

    folder: Path
    name: str
    """Short, and different from the other runs of a report."""
    record: TrainingRecord
    history: tuple[Epoch, ...]

    @property
    def model(self) -> Path:
        """Path of the trained model."""
        return self.folder / "model.keras"

    @property
    def official(self) -> bool:
        """Whether it was trained by the official split, and not with the leak that a recipe can ask for."""
        return bool(self.record.recipe.get("protocol", "official") == "official")


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Read the records of finished runs.

    Raises:
        DataError: naming the file that is missing or damaged.
    """
    return [
        Run(
            folder,
            name,
            _read(folder / "training.json", TrainingRecord),
            _read(folder / "history.json", tuple[Epoch, ...]),
        )
        for folder, name in zip(folders, _names(folders), strict=True)
    ]


def _names(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart; equal paths are numbered."""
    parts = [folder.resolve().parts for folder in folders]
    for length in range(1, 1 + max((len(one) for one in parts), default=0)):
        names = ["/".join(one[-length:]).lstrip("/") or "/" for one in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{one[-1]} ({number})" for number, one in enumerate(parts, start=1)]


def _read(path: Path, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file; name the folder of a finished training run") from None
    except (OSError, msgspec.DecodeError) as error:
        raise DataError(f"{path}: not what a training run leaves ({error}); train it anew") from error
