"""Holding what two machines say of the same faces against each other, face by face."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STEP = 1 / 256
"""The int8 softmax of a full-integer model gives probabilities in steps of this size."""


@dataclass(frozen=True)
class Opinion:
    """What one machine says of one face."""

    face: str
    label: str
    probabilities: tuple[float, ...]

    @property
    def lead(self) -> float:
        """How far the first answer is ahead of the second."""
        first, second = sorted(self.probabilities, reverse=True)[:2]
        return first - second


@dataclass(frozen=True)
class Agreement:
    """How far two machines agree on a number of faces."""

    faces: int
    same_label: int
    identical: int
    """Faces with the same probabilities to the last digit."""
    largest: float
    """The largest difference of a probability."""
    by_steps: dict[int, int]
    """Faces by their largest difference, in steps of the softmax, rounded."""
    disputed: tuple[tuple[Opinion, Opinion], ...]
    """The faces that have different labels."""

    @property
    def close_calls(self) -> int:
        """Of those disputed, the ones that either machine's own rounding decides: a lead of one step or none."""
        return sum(min(here.lead, there.lead) <= 1.5 * STEP for here, there in self.disputed)

    def __str__(self) -> str:
        steps = ", ".join(f"{count} by {step}" for step, count in sorted(self.by_steps.items()) if step)
        text = f"{self.same_label}/{self.faces} same label, {self.identical} identical, largest difference "
        return f"{text}{self.largest:.4f}" + (f" (steps of 1/256: {steps})" if steps else "")


def compare(here: Sequence[Opinion], there: Sequence[Opinion]) -> Agreement:
    """Hold the opinions of two machines on the same faces, in the same order, against each other."""
    assert [one.face for one in here] == [one.face for one in there]
    largest = [
        max(abs(a - b) for a, b in zip(x.probabilities, y.probabilities, strict=True))
        for x, y in zip(here, there, strict=True)
    ]
    disputed = tuple((x, y) for x, y in zip(here, there, strict=True) if x.label != y.label)
    return Agreement(
        faces=len(here),
        same_label=len(here) - len(disputed),
        identical=sum(difference == 0 for difference in largest),
        largest=max(largest),
        by_steps=dict(Counter(round(difference / STEP) for difference in largest)),
        disputed=disputed,
    )


def from_csv(path: Path) -> list[Opinion]:
    """Read what ``fer-edge evaluate --predictions`` wrote."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name.startswith("p_")]
    return [Opinion(row["row"], row["predicted"], tuple(float(row[name]) for name in names)) for row in rows]


def from_image(document: dict[str, Any]) -> list[Opinion]:
    """Read what ``fer-edge image --json`` printed; a face is known by its picture and its number in it."""
    return [
        Opinion(f"{Path(image['path']).name}#{n}", face["expression"], tuple(face["probabilities"].values()))
        for image in document["images"]
        for n, face in enumerate(image["faces"])
    ]


def boxes(document: dict[str, Any]) -> dict[str, list[list[int]]]:
    """Return the boxes that ``fer-edge image --json`` printed, by the name of the picture."""
    return {Path(image["path"]).name: [face["box"] for face in image["faces"]] for image in document["images"]}
