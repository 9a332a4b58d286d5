"""Measuring how long something takes: warm-up, samples, and figures that say how sure they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

WINDOW_CALLS: Final = 10
WINDOW_S: Final = 0.05
STABLE_WINDOWS: Final = 3
STABLE_WITHIN: Final = 0.05
WARM_UP_LIMIT_S: Final = 10.0
"""The rule of the warm-up: calls are made in windows of at least 10 calls and 50 ms; it is over when the medians of
three windows in a row lie within 5 % of one another, and given up (and reported as not stable) after 10 s."""

PERCENTILES: Final = (50, 90, 95, 99)
BOOTSTRAPS: Final = 2000
CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True)
class WarmUp:
    """How a warm-up went."""

    calls: int
    seconds: float
    stable: bool


@dataclass(frozen=True, slots=True)
class Latency:
    """Figures of some samples, in milliseconds."""

    n: int
    p50: float
    p90: float
    p95: float
    p99: float
    max: float
    p50_low: float
    p50_high: float
    """95 % confidence interval of the median."""


def warm_up(call: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> WarmUp:
    """Make calls until their time is stable by the rule of :data:`WARM_UP_LIMIT_S`.

    Args:
        call: what is to be timed.
        clock: seconds.
    """
    started, calls = clock(), 0
    medians: list[float] = []
    while True:
        window: list[float] = []
        begun = clock()
        while len(window) < WINDOW_CALLS or clock() - begun < WINDOW_S:
            at = clock()
            call()
            window.append(clock() - at)
        calls += len(window)
        medians.append(float(np.median(window)))
        last = medians[-STABLE_WINDOWS:]
        if len(last) == STABLE_WINDOWS and max(last) <= min(last) * (1.0 + STABLE_WITHIN):
            return WarmUp(calls, clock() - started, True)
        if clock() - started > WARM_UP_LIMIT_S:
            return WarmUp(calls, clock() - started, False)


def sample(call: Callable[[], object], count: int, limit_s: float) -> list[float]:
    """Time ``count`` calls one by one, or as many as begin within ``limit_s`` seconds; return milliseconds."""
    times: list[float] = []
    end = time.perf_counter() + limit_s
    while len(times) < count:
        at = time.perf_counter_ns()
        call()
        times.append((time.perf_counter_ns() - at) / 1e6)
        if time.perf_counter() > end:
            break
    return times


def summarize(rounds: Sequence[Sequence[float]], seed: int = 0) -> Latency:
    """Summarize the samples of several rounds, each taken in a process of its own.

    The interval comes from a bootstrap in two stages (Davison and Hinkley 1997, section 3.8): rounds are drawn with
    replacement, then samples within them. Samples of one process share its memory layout and the state of the machine
    at that time; drawing them all alike would make the interval far too narrow.

    Args:
        rounds: milliseconds, at least one sample a round.
        seed: of the bootstrap.
    """
    arrays = [np.asarray(one, np.float64) for one in rounds]
    together = np.concatenate(arrays)
    low, high = np.quantile(_bootstrap(arrays, seed), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    p50, p90, p95, p99 = (float(np.percentile(together, p)) for p in PERCENTILES)
    return Latency(len(together), p50, p90, p95, p99, float(together.max()), float(low), float(high))


def _bootstrap(rounds: Sequence[NDArray[np.float64]], seed: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    medians = np.empty(BOOTSTRAPS)
    for i in range(BOOTSTRAPS):
        chosen = rng.integers(0, len(rounds), len(rounds))
        medians[i] = np.median(np.concatenate([rng.choice(rounds[n], len(rounds[n])) for n in chosen]))
    return medians
