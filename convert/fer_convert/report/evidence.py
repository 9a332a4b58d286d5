"""What has been measured, of which file, on which machine, by which command: what a report is made of.

A model is known by the SHA-256 of its file. Accuracy is a property of the file and may come from any machine; latency
is one of the file on a machine, and nothing here can hold it without that machine.
"""

from __future__ import annotations

import math
from typing import Annotated, Final, TypeVar

import msgspec

Z_95: Final = 1.959964
"""97.5 % quantile of the normal distribution."""

Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Milliseconds = Annotated[float, msgspec.Meta(gt=0.0, le=1e9)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Text = Annotated[str, msgspec.Meta(max_length=2000)]
Command = Annotated[str, msgspec.Meta(max_length=131_072)]
"""With hundreds of files; Linux gives a process no more in one argument."""


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a number comes from."""

    file: Text
    """Name of the document that it was read from."""
    command: Command
    """The command that printed it, paths shortened to names."""
    recorded: bool
    """Whether the document holds the command; otherwise it was put together from the settings in the document."""


class Machine(msgspec.Struct, frozen=True):
    """What a latency was measured on (:class:`fer_convert.latency_machine.Machine` as it stands in a document)."""

    board: Text | None
    cpu: Text
    architecture: Text
    cores: Positive
    memory_mb: Count
    os: Text
    kernel: Text
    python: Text
    numpy: Text
    runtime: Text
    emulated: bool

    @property
    def hardware(self) -> str:
        """Two machines are equal, and their latencies may be compared, if this is."""
        names = [self.board, self.cpu, self.architecture, f"{self.cores} core{'s' * (self.cores != 1)}"]
        return ", ".join(name for name in names if name) + (", EMULATED" if self.emulated else "")

    @property
    def name(self) -> str:
        """Hardware, system and runtime: what has a table of its own."""
        return f"{self.hardware}, {self.os}, {self.runtime}"


class Accuracy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file's figures on a split of FER2013."""

    split: Text
    n: Positive
    accuracy: Share
    source: Source
    macro_f1: Share | None = None
    balanced_accuracy: Share | None = None
    ece: Share | None = None
    recall: dict[Text, Share] = {}
    """By label; labels without an image are left out."""

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the accuracy."""
        return wilson_interval(self.accuracy, self.n)

    @property
    def worst(self) -> tuple[str, float] | None:
        """Label with the lowest recall, and that recall."""
        return min(self.recall.items(), key=lambda item: item[1], default=None)


class Latency(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Times of one invocation with a number of threads."""

    threads: Positive
    n: Positive
    p50: Milliseconds
    p50_low: Milliseconds
    p50_high: Milliseconds
    p90: Milliseconds
    p95: Milliseconds
    p99: Milliseconds
    max: Milliseconds
    stable: bool
    """Whether every warm-up settled; if not, something else used the machine."""
    cold_start_ms: Milliseconds | None
    first_inference_ms: Milliseconds | None
    peak_rss_mb: Milliseconds


class Measurement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One benchmark of a file on a machine."""

    machine: Machine
    started: Text
    """ISO 8601."""
    valid: bool
    """False if the board slowed itself down meanwhile."""
    invalid_because: tuple[Text, ...]
    latencies: Annotated[tuple[Latency, ...], msgspec.Meta(min_length=1)]
    source: Source
    governor: Text | None = None
    stages_ms: dict[Text, float] = {}
    """Mean milliseconds a frame of the demo scene by stage."""
    sustained_slowdown: float | None = None
    """Time of the last tenth of a run without a pause over that of the first."""

    @property
    def counts(self) -> bool:
        """Whether the latencies tell of the speed of a machine at all."""
        return self.valid and not self.machine.emulated

    def at(self, threads: int) -> Latency | None:
        """Return the latency with so many threads."""
        return next((one for one in self.latencies if one.threads == threads), None)


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file and all that was measured of it."""

    sha256: Sha256
    name: Text
    """From its card, or else from the name of the file."""
    recipe: Text | None = None
    network: Text | None = None
    version: Text | None = None
    parameters: Count | None = None
    multiplications: Count | None = None
    """Multiply-accumulates of an inference."""
    bytes: Count | None = None
    input: tuple[int, ...] | None = None
    accuracies: tuple[Accuracy, ...] = ()
    measurements: tuple[Measurement, ...] = ()

    @property
    def title(self) -> str:
        """Name and recipe."""
        return f"{self.name} {self.recipe}" if self.recipe and not self.name.endswith(self.recipe) else self.name

    def accuracy(self, split: str) -> Accuracy | None:
        """Return the figures on a split: those from the most images, and of such the ones that were given last."""
        # `max` takes the first of equals.
        found = [one for one in reversed(self.accuracies) if one.split == split]
        return max(found, key=lambda one: one.n, default=None)

    def measurement(self, machine: str) -> Measurement | None:
        """Return the measurement on a machine, known by :attr:`Machine.name`: the newest that is valid, if one is."""
        found = [one for one in reversed(self.measurements) if one.machine.name == machine]
        return max(found, key=lambda one: (one.valid, one.started), default=None)


_Figures = TypeVar("_Figures", Accuracy, Measurement)


def wilson_interval(share: float, n: int) -> tuple[float, float]:
    """Return the 95 % score interval of a binomial share (Wilson 1927).

    Args:
        share: of ``n`` cases, 0 to 1.
        n: at least 1.
    """
    centre = (share + Z_95**2 / (2 * n)) / (1 + Z_95**2 / n)
    half = Z_95 * math.sqrt(share * (1 - share) / n + Z_95**2 / (4 * n**2)) / (1 + Z_95**2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def merge(models: list[Model]) -> tuple[Model, ...]:
    """Join what was measured of the same file, in the order of first appearance.

    A name from a card (one that comes with a network) is preferred to the name of a file.
    """
    joined: dict[str, Model] = {}
    for model in models:
        before = joined.get(model.sha256)
        joined[model.sha256] = model if before is None else _join(before, model)
    return tuple(joined.values())


def _join(one: Model, other: Model) -> Model:
    better, worse = (one, other) if one.network or not other.network else (other, one)
    described = {
        name: getattr(better, name) if getattr(better, name) is not None else getattr(worse, name)
        for name in ("network", "version", "parameters", "multiplications", "bytes", "input")
    }
    return msgspec.structs.replace(
        better,
        **described,
        accuracies=_distinct((*one.accuracies, *other.accuracies)),
        measurements=_distinct((*one.measurements, *other.measurements)),
    )


def _distinct(items: tuple[_Figures, ...]) -> tuple[_Figures, ...]:
    kept: list[_Figures] = []
    for item in items:
        if item not in kept:
            kept.append(item)
    return tuple(kept)
