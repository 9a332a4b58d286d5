"""Has a model become slower or less accurate than it was?

Models are compared by checksum or else by name; latency between equal machines alone, accuracy between equal splits
with as many images. A model counts as slower if its p50 has grown by more than the limit and the 95 % interval of the
ratio lies above 1; as less accurate if its accuracy has fallen by more than the limit. The interval of that fall is
told but decides nothing: both figures come from the same images, and an interval that does not know which image each
got right is far wider than the truth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fer_convert.report.columns import digits, percent
from fer_convert.report.evidence import Z_95, Accuracy, Latency, Measurement, Model
from fer_edge.errors import UsageError


@dataclass(frozen=True, slots=True)
class Limits:
    """What is allowed."""

    slowdown: float
    """Share by which p50 may grow."""
    drop: float
    """Percentage points by which accuracy may fall."""
    relative_to: str | None = None
    """Name of the model that latencies are divided by."""

    @classmethod
    def parse(cls, slowdown: str, drop: float, relative_to: str | None = None) -> Limits:
        """Parse the words of the command line.

        Raises:
            UsageError: if they are no amounts.
        """
        try:
            share = float(slowdown.removesuffix("%")) / 100
        except ValueError:
            share = -1.0
        if not (slowdown.endswith("%") and 0 <= share < math.inf):
            raise UsageError(f"--max-slowdown must be a percentage, such as 10%, not {slowdown!r}")
        if not 0 <= drop <= 100:
            raise UsageError(f"--max-drop must be percentage points from 0 to 100, such as 0.5, not {drop}")
        return cls(share, drop, relative_to)


@dataclass(frozen=True, slots=True)
class Change:
    """A figure then and now."""

    name: str
    what: str
    text: str
    regressed: bool


@dataclass(frozen=True, slots=True)
class Regressions:
    """What came out of a comparison."""

    changes: tuple[Change, ...]
    not_compared: tuple[str, ...]

    @property
    def regressed(self) -> bool:
        """Whether any figure is worse than allowed."""
        return any(change.regressed for change in self.changes)


def compare_models(now: Sequence[Model], before: Sequence[Model], limits: Limits) -> Regressions:
    """Compare all models that both have.

    Raises:
        UsageError: if they have none in common, or lack the model that latencies are to be divided by.
    """
    pairs = [(model, old) for model in now if (old := _counterpart(model, before)) is not None]
    if not pairs:
        raise UsageError(
            f"--against: no model in common; there were {_names(before)}, there are {_names(now)}: name the results of "
            "the same models"
        )
    references: tuple[Model, Model] | None = None
    if limits.relative_to is not None:
        references = _named(now, limits.relative_to), _named(before, limits.relative_to)
    changes: list[Change] = []
    silent: list[str] = []
    for model, old in pairs:
        for part, reasons in (_accuracies(model, old, limits), _latencies(model, old, limits, references)):
            changes += part
            silent += [f"{model.title}: {reason}" for reason in reasons]
    found = {id(old) for _, old in pairs}
    silent += [f"{model.title}: was not measured this time" for model in before if id(model) not in found]
    matched = {model.sha256 for model, _ in pairs}
    silent += [f"{model.title}: was not measured then" for model in now if model.sha256 not in matched]
    return Regressions(tuple(changes), tuple(silent))


def told(result: Regressions, name: str, limits: Limits) -> str:
    """Return a comparison for people, what regressed first.

    Args:
        result: of :func:`compare_models`.
        name: of the earlier document.
        limits: that it was made with.
    """
    allowed = f"allowed: {100 * limits.slowdown:g} % slower, {limits.drop:g} points less accurate"
    lines = [f"against {name} ({allowed})"]
    lines += [
        f"  {'REGRESSED' if change.regressed else 'ok':9}  {change.name}: {change.what}: {change.text}"
        for change in sorted(result.changes, key=lambda change: not change.regressed)
    ]
    lines += [f"  not compared: {reason}" for reason in result.not_compared]
    bad = sum(change.regressed for change in result.changes)
    lines.append(f"{bad} of {len(result.changes)} figures regressed" if result.changes else "nothing was compared")
    return "\n".join(lines)


def _counterpart(model: Model, others: Sequence[Model]) -> Model | None:
    """Return the very file, or else the model of the same name; of several, the one measured last."""
    same = [other for other in others if other.sha256 == model.sha256 or other.title == model.title]
    return max(same, key=lambda other: (other.sha256 == model.sha256, _newest(other)), default=None)


def _newest(model: Model) -> str:
    return max((one.started for one in model.measurements), default="")


def _accuracies(model: Model, old: Model, limits: Limits) -> tuple[list[Change], list[str]]:
    changes: list[Change] = []
    reasons: list[str] = []
    for split in dict.fromkeys(one.split for one in old.accuracies):
        now, then = model.accuracy(split), old.accuracy(split)
        assert then is not None
        if now is None:
            reasons.append(f"accuracy on {split} was not measured this time")
        elif now.n != then.n:
            reasons.append(f"accuracy on {split} is of {now.n:,} images, then of {then.n:,}")
        else:
            changes.append(_accuracy_change(model.title, now, then, limits))
    return changes, reasons


def _accuracy_change(name: str, now: Accuracy, then: Accuracy, limits: Limits) -> Change:
    change = 100 * (now.accuracy - then.accuracy)
    low, high = (100 * bound for bound in difference_interval(now, then))
    text = (
        f"{percent(then.accuracy)} % -> {percent(now.accuracy)} %, {change:+.2f} points "
        f"(unpaired 95 %: {low:+.2f} to {high:+.2f})"
    )
    # Half an image, so that a drop of exactly the limit does not fail by a rounding.
    return Change(name, f"accuracy on {now.split}", text, change < -limits.drop - 50 / now.n * 1e-6)


def _latencies(
    model: Model, old: Model, limits: Limits, references: tuple[Model, Model] | None
) -> tuple[list[Change], list[str]]:
    changes: list[Change] = []
    reasons: list[str] = []
    for now in _by_hardware(model):
        then = max(
            (one for one in _by_hardware(old) if one.machine.hardware == now.machine.hardware),
            key=lambda one: (one.machine.name == now.machine.name, one.started),
            default=None,
        )
        if then is None:
            there = "; ".join(sorted({one.machine.hardware for one in old.measurements})) or "nowhere"
            reasons.append(f"latency was measured on {now.machine.hardware}, then on {there}: not the same machine")
        elif reason := _not_counting(now, "this time") or _not_counting(then, "then"):
            reasons.append(f"latency on {now.machine.hardware}: {reason}")
        else:
            for latency in now.latencies:
                if (earlier := then.at(latency.threads)) is not None:
                    change = _latency_change(model, (now, latency), (then, earlier), limits, references)
                    if isinstance(change, str):
                        reasons.append(change)
                    else:
                        changes.append(change)
    return changes, reasons


def _by_hardware(model: Model) -> list[Measurement]:
    """Return the newest valid measurement on each machine and system."""
    names = dict.fromkeys(one.machine.name for one in model.measurements)
    return [one for name in names if (one := model.measurement(name)) is not None]


def _not_counting(one: Measurement, when: str) -> str:
    if one.machine.emulated:
        return "emulated, which tells nothing about speed"
    return "" if one.valid else f"INVALID {when} ({'; '.join(one.invalid_because)})"


def _latency_change(
    model: Model,
    now: tuple[Measurement, Latency],
    then: tuple[Measurement, Latency],
    limits: Limits,
    references: tuple[Model, Model] | None,
) -> Change | str:
    ratio, error = _ratio(now[1], then[1])
    unit = "ms"
    if references is not None:
        bases = [
            _in_run(reference, measurement, latency.threads)
            for reference, (measurement, latency) in zip(references, (now, then), strict=True)
        ]
        if bases[0] is None or bases[1] is None:
            return f"{limits.relative_to} was not measured in the same run"
        base, base_error = _ratio(bases[0], bases[1])
        ratio, error = ratio / base, math.hypot(error, base_error)
        unit = f"ms, over {limits.relative_to}"
    low, high = ratio * math.exp(-Z_95 * error), ratio * math.exp(Z_95 * error)
    threads = f"{now[1].threads} thread{'s' * (now[1].threads != 1)}"
    text = f"{digits(then[1].p50)} -> {digits(now[1].p50)} {unit}, ratio {ratio:.3f} (95 %: {low:.3f} to {high:.3f})"
    slower = ratio > 1 + limits.slowdown
    if slower and low <= 1:
        text += "; within the noise, measure longer"
    text += _circumstances(now[0], then[0])
    return Change(model.title, f"p50, {threads}, {now[0].machine.hardware}", text, slower and low > 1)


def _ratio(now: Latency, then: Latency) -> tuple[float, float]:
    """Return the ratio of two medians and the standard error of its logarithm."""
    errors = [math.log(max(one.p50_high, one.p50) / min(one.p50_low, one.p50)) / (2 * Z_95) for one in (now, then)]
    return now.p50 / then.p50, math.hypot(*errors)


def _in_run(model: Model, run: Measurement, threads: int) -> Latency | None:
    same = (one for one in model.measurements if one.started == run.started and one.machine == run.machine)
    return next((latency for one in same if (latency := one.at(threads)) is not None), None)


_CIRCUMSTANCES: Final = ("os", "kernel", "python", "numpy", "runtime")


def _circumstances(now: Measurement, then: Measurement) -> str:
    """Tell what else has changed on the machine."""
    pairs = [(name, getattr(then.machine, name), getattr(now.machine, name)) for name in _CIRCUMSTANCES]
    pairs.append(("governor", then.governor, now.governor))
    changed = [f"{name} {old} -> {new}" for name, old, new in pairs if old != new]
    return f"; also changed: {', '.join(changed)}" if changed else ""


def difference_interval(now: Accuracy, then: Accuracy) -> tuple[float, float]:
    """Return the 95 % interval of the difference of two shares as if of different images (Newcombe 1998, method 10)."""
    difference = now.accuracy - then.accuracy
    (low_now, high_now), (low_then, high_then) = now.interval, then.interval
    down = math.hypot(now.accuracy - low_now, high_then - then.accuracy)
    up = math.hypot(high_now - now.accuracy, then.accuracy - low_then)
    return difference - down, difference + up


def _named(models: Sequence[Model], name: str) -> Model:
    for model in models:
        if name in (model.title, model.name):
            return model
    raise UsageError(f"--relative-to {name}: there is no such model among {_names(models)}")


def _names(models: Sequence[Model]) -> str:
    return ", ".join(dict.fromkeys(model.title for model in models)) or "none"
