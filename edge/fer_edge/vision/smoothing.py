"""Steady expressions: each face's probabilities are smoothed over time, and its label changes only for a reason."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract.labels import UNCERTAIN


@dataclass(frozen=True, slots=True)
class SmoothingSettings:
    """How strongly and how stubbornly expressions are smoothed."""

    time_constant_s: float = 0.4
    """Time after which a lasting change has arrived to 63 %, in seconds; 0 smooths nothing."""
    margin: float = 0.08
    """By how much the smoothed probability of another label must lead before the reported label changes."""
    uncertain_below: float = 0.4
    """A best smoothed probability under this is reported as ``uncertain``; 0 never is."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.time_constant_s) and self.time_constant_s >= 0):
            raise ValueError(f"time_constant_s must be 0 or more seconds, not {self.time_constant_s}")
        for name, value in (("margin", self.margin), ("uncertain_below", self.uncertain_below)):
            if not 0.0 <= value < 1.0:
                raise ValueError(f"{name} must be at least 0 and under 1, not {value}")


class Expression(NamedTuple):
    """The smoothed expression of one face."""

    label: str
    """One of the model's labels, or ``uncertain``."""
    score: float
    """Smoothed probability of the most probable label, 0 to 1."""
    probabilities: NDArray[np.float32]
    """(labels,) float32, smoothed; adds up to 1. A copy: the caller may keep it."""


@dataclass(slots=True)
class _State:
    probabilities: NDArray[np.float32]
    label: int
    """Index of the label that the face has now, reported or hidden behind ``uncertain``."""
    updated: float


class ExpressionSmoother:
    """Exponential smoothing for each track, with hysteresis on the label.

    The weight of a new measurement is ``1 - exp(-dt / time_constant_s)``, the exact discretisation of a first-order
    low-pass filter: the outcome depends on the time that passes, not on the frame rate.

    Args:
        labels: the model's labels, in the order of its output.
        settings: how much to smooth.
    """

    def __init__(self, labels: Sequence[str], settings: SmoothingSettings | None = None) -> None:
        if not labels:
            raise ValueError("there must be at least one label")
        self._labels = tuple(labels)
        self._settings = settings or SmoothingSettings()
        self._states: dict[int, _State] = {}

    def __len__(self) -> int:
        """Return the number of faces remembered."""
        return len(self._states)

    def update(self, track_id: int, probabilities: NDArray[np.float32], now: float) -> Expression:
        """Take a face's new probabilities in.

        Args:
            track_id: the face.
            probabilities: (labels,), from the classifier.
            now: when the frame was taken, in seconds. Time that stands still or runs backwards (a clip that starts
                again) leaves the face as it is, but for the first measurement.

        Returns:
            The expression to report.

        Raises:
            ValueError: if there is not one probability a label.
        """
        measured = np.asarray(probabilities, dtype=np.float32)
        if measured.shape != (len(self._labels),):
            raise ValueError(f"{len(self._labels)} labels need as many probabilities, not an array {measured.shape}")
        state = self._states.get(track_id)
        if state is None:
            state = _State(measured.copy(), int(measured.argmax()), now)
            self._states[track_id] = state
        else:
            state.probabilities += np.float32(self._weight(now - state.updated)) * (measured - state.probabilities)
            state.updated = now
            self._choose(state)
        return self._expression(state)

    def current(self, track_id: int) -> Expression | None:
        """Return a face's expression as it was last reported, or None for a face never updated."""
        state = self._states.get(track_id)
        return None if state is None else self._expression(state)

    def forget(self, alive: Collection[int]) -> None:
        """Drop every face whose id is not in ``alive``."""
        self._states = {track_id: state for track_id, state in self._states.items() if track_id in alive}

    def _weight(self, elapsed_s: float) -> float:
        if self._settings.time_constant_s == 0.0:
            return 1.0
        return 1.0 - math.exp(-max(0.0, elapsed_s) / self._settings.time_constant_s)

    def _choose(self, state: _State) -> None:
        best = int(state.probabilities.argmax())
        if state.probabilities[best] - state.probabilities[state.label] > self._settings.margin:
            state.label = best

    def _expression(self, state: _State) -> Expression:
        score = float(state.probabilities.max())
        label = UNCERTAIN if score < self._settings.uncertain_below else self._labels[state.label]
        return Expression(label, score, state.probabilities.copy())
