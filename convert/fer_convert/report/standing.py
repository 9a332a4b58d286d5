"""Which models are worth deploying on a machine: one table a machine, and on it the Pareto front.

A model is dominated if another one, measured on the same machine with as many threads, is at least as fast and at least
as accurate, and better in one of the two. Point estimates decide; the intervals stand beside them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from fer_convert.report.evidence import Accuracy, Latency, Machine, Measurement, Model
from fer_edge.errors import UsageError

SPLITS: Final = ("PublicTest", "PrivateTest")
"""The splits that a table shows; PublicTest chose the checkpoint, PrivateTest decided nothing."""

Standing = Literal["front", "dominated", "left out"]


@dataclass(frozen=True, slots=True)
class Row:
    """A model on a machine."""

    name: str
    """Unique within the report."""
    model: Model
    measurement: Measurement | None
    accuracies: dict[str, Accuracy]
    """By split, as far as measured."""
    standing: Standing
    dominated_by: tuple[str, ...] = ()
    """Names of the models on the front that dominate it."""
    because: str = ""
    """Why it was left out of the comparison."""

    def latency(self, threads: int) -> Latency | None:
        """Return the latency with so many threads, if it was measured."""
        return None if self.measurement is None else self.measurement.at(threads)

    @property
    def first(self) -> Latency | None:
        """Latency with the fewest threads: memory and start are told of it."""
        return None if self.measurement is None else min(self.measurement.latencies, key=lambda one: one.threads)


@dataclass(frozen=True, slots=True)
class MachineTable:
    """All models measured on a machine."""

    machine: Machine | None
    """None for the models that were measured on none."""
    split: str
    """Of the accuracy that the front is drawn from."""
    threads: int
    """Of the latency that it is drawn from."""
    all_threads: tuple[int, ...]
    rows: tuple[Row, ...]
    """Fastest first."""

    @property
    def title(self) -> str:
        """What a heading says."""
        return "Accuracy only: measured on no machine" if self.machine is None else self.machine.name

    @property
    def front(self) -> list[Row]:
        """The models that no other dominates, fastest first."""
        return [row for row in self.rows if row.standing == "front"]

    @property
    def notes(self) -> list[str]:
        """What has to be said under the table."""
        notes = []
        if self.machine is not None and self.machine.emulated:
            notes.append("EMULATED: these figures tell of correctness, not of the speed of any machine.")
        reasons = {reason for row in self.rows if (m := row.measurement) for reason in m.invalid_because}
        notes += [f"INVALID: {reason}." for reason in sorted(reasons)]
        if any(not one.stable for row in self.rows if row.measurement for one in row.measurement.latencies):
            notes.append("* the warm-up never became stable: something else used the machine.")
        runs = {row.measurement.started for row in self.rows if row.measurement}
        if len(runs) > 1:
            notes.append(f"The latencies come from {len(runs)} runs: ratios within one run are surer.")
        return notes


def tabulate(models: Sequence[Model], split: str | None = None, threads: int | None = None) -> tuple[MachineTable, ...]:
    """Return a table for each machine, real ones first, and one for the models that were measured on none.

    Args:
        models: joined by :func:`fer_convert.report.evidence.merge`.
        split: whose accuracy draws the front; None for PrivateTest if any model has it, else PublicTest.
        threads: whose latency draws the front; None for the fewest that were measured.

    Raises:
        UsageError: if nothing was measured with so many threads or on that split.
    """
    names = unique_names(models)
    split = _split(models, split)
    machines = {one.machine.name: one.machine for model in models for one in model.measurements}
    tables = [_table(machine, models, names, split, threads) for machine in machines.values()]
    # Those that tell what to deploy come first, emulated ones last; within each, the order of the files stays.
    tables.sort(key=lambda table: (table.machine is not None and table.machine.emulated, not table.front))
    if threads is not None and tables and not any(threads in table.all_threads for table in tables):
        raise UsageError(f"--threads {threads}: nothing was measured with so many threads")
    homeless = [model for model in models if not model.measurements]
    if homeless:
        rows = [
            Row(names[model.sha256], model, None, _accuracies(model), "left out", because="no latency")
            for model in homeless
        ]
        rows.sort(key=lambda row: -_share(row, split))
        tables.append(MachineTable(None, split, 0, (), tuple(rows)))
    return tuple(tables)


def unique_names(models: Sequence[Model]) -> dict[str, str]:
    """Return checksum -> title; files that share a title are told apart by the start of their checksums."""
    titles = Counter(model.title for model in models)
    return {
        model.sha256: model.title if titles[model.title] == 1 else f"{model.title} ({model.sha256[:8]})"
        for model in models
    }


def _split(models: Sequence[Model], wanted: str | None) -> str:
    measured = {one.split for model in models for one in model.accuracies}
    if wanted is not None:
        if wanted not in measured:
            raise UsageError(
                f"--split {wanted}: no accuracy was measured on it, only on {', '.join(sorted(measured)) or 'none'}"
            )
        return wanted
    return next((split for split in reversed(SPLITS) if split in measured), min(measured, default=SPLITS[-1]))


def _table(
    machine: Machine, models: Sequence[Model], names: dict[str, str], split: str, wanted: int | None
) -> MachineTable:
    pairs = [(model, model.measurement(machine.name)) for model in models]
    found = [(model, measurement) for model, measurement in pairs if measurement is not None]
    every = tuple(sorted({latency.threads for _, one in found for latency in one.latencies}))
    threads = wanted if wanted in every else every[0]
    images = max((one.n for model, _ in found if (one := model.accuracy(split))), default=0)
    rows = [
        Row(
            names[model.sha256],
            model,
            measurement,
            _accuracies(model),
            standing="left out" if (because := _left_out(model, measurement, split, threads, images)) else "front",
            because=because,
        )
        for model, measurement in found
    ]
    rows.sort(key=lambda row: (_p50(row, threads), -_share(row, split)))
    candidates = [row for row in rows if row.standing == "front"]
    front = [row for row in candidates if not _dominators(row, candidates, split, threads)]
    judged = [_judged(row, front, split, threads) for row in rows]
    return MachineTable(machine, split, threads, every, tuple(judged))


def _left_out(model: Model, measurement: Measurement, split: str, threads: int, images: int) -> str:
    """Return why a model cannot be compared with the others, or nothing."""
    if measurement.machine.emulated:
        return "emulated"
    if not measurement.valid:
        return "INVALID"
    if measurement.at(threads) is None:
        return f"no latency with {threads} thread{'s' * (threads != 1)}"
    accuracy = model.accuracy(split)
    if accuracy is None:
        return f"no {split} accuracy"
    if accuracy.n != images:
        return f"accuracy of {accuracy.n} images, others of {images}"
    return ""


def _judged(row: Row, front: Sequence[Row], split: str, threads: int) -> Row:
    if row.standing != "front":
        return row
    by = _dominators(row, front, split, threads)
    standing: Standing = "dominated" if by else "front"
    return Row(row.name, row.model, row.measurement, row.accuracies, standing, tuple(one.name for one in by))


def _dominators(row: Row, others: Sequence[Row], split: str, threads: int) -> list[Row]:
    here = _p50(row, threads), _share(row, split)
    found = []
    for other in others:
        there = _p50(other, threads), _share(other, split)
        if there[0] <= here[0] and there[1] >= here[1] and there != here:
            found.append(other)
    return found


def _accuracies(model: Model) -> dict[str, Accuracy]:
    splits = dict.fromkeys((*SPLITS, *(one.split for one in model.accuracies)))
    return {split: one for split in splits if (one := model.accuracy(split)) is not None}


def _p50(row: Row, threads: int) -> float:
    latency = row.latency(threads)
    return float("inf") if latency is None else latency.p50


def _share(row: Row, split: str) -> float:
    accuracy = row.accuracies.get(split)
    return -1.0 if accuracy is None else accuracy.accuracy
