"""What detection costs on this board, learned as it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

_LEARNING_RATE: Final = 0.2
_INTERRUPTED: Final = 3.0
"""A piece that took so many times what was predicted was not alone on the processor."""
_MEAN_RATE: Final = 0.1


class CostModel:
    """Predicts the time of a piece of work from its size, by the times of earlier pieces.

    Times and sizes are averaged apart, so that a small piece, whose time is mostly overhead, says little about the
    cost of a large one.
    """

    def __init__(self) -> None:
        self._seconds = 0.0
        self._units = 0.0

    def seconds(self, units: float) -> float:
        """Return how long ``units`` of work should take; 0 before anything was learned."""
        return self._seconds * units / self._units if self._units else 0.0

    def units(self, seconds: float) -> float:
        """Return how much work fits into ``seconds``; infinite before anything was learned."""
        return seconds * self._units / self._seconds if self._seconds else float("inf")

    def learn(self, units: float, seconds: float) -> None:
        """Take in that ``units`` of work, more than 0, took ``seconds``."""
        if not self._seconds:
            self._seconds, self._units = seconds, units
            return
        # One piece that was interrupted by another process must not look like a slow board.
        plausible = min(seconds, _INTERRUPTED * self.seconds(units))
        self._seconds += _LEARNING_RATE * (plausible - self._seconds)
        self._units += _LEARNING_RATE * (units - self._units)


class FrameBudget:
    """The time that detection may take in a frame.

    Args:
        budget_s: seconds a frame.
        clock: monotonic seconds.
    """

    def __init__(self, budget_s: float, clock: Callable[[], float]) -> None:
        self._budget_s = budget_s
        self._clock = clock
        self._started = 0.0
        self._mean_s: float | None = None

    @property
    def mean_s(self) -> float:
        """Exponentially weighted mean of what a frame took, in seconds."""
        return self._mean_s or 0.0

    def begin(self) -> None:
        """Start the account of a frame."""
        self._started = self._clock()

    def spent(self) -> float:
        """Return the seconds spent on this frame so far."""
        return self._clock() - self._started

    def left(self, part: float = 1.0) -> float:
        """Return the seconds left of ``part`` of the budget; negative once it is overdrawn."""
        return part * self._budget_s - self.spent()

    def end(self) -> None:
        """Close the account of the frame."""
        spent = self.spent()
        self._mean_s = spent if self._mean_s is None else self._mean_s + _MEAN_RATE * (spent - self._mean_s)
