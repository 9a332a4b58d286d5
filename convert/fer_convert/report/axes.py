"""Ticks of the plot's axes."""

from __future__ import annotations

import math
from typing import Final

_STEPS: Final = ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 5.0, 7.0))
_LINEAR_STEPS: Final = (1.0, 2.0, 2.5, 5.0)


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """Return round values from ``low`` to ``high`` for a logarithmic axis, at most ``most`` and at least two.

    Args:
        low: above 0.
        high: above ``low``.
        most: at least 2.
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    best: list[float] = []
    for steps in _STEPS:
        ticks = [step * 10.0**decade for decade in decades for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= most:
            best = ticks
    # Within less than an octave even the finest of these leaves too few.
    return best if len(best) >= 3 else linear_ticks(low, high, most)


def linear_ticks(low: float, high: float, most: int) -> list[float]:
    """Return round, evenly spaced values from ``low`` to ``high``, at most ``most``.

    Args:
        low: lower end.
        high: above ``low``.
        most: at least 2.
    """
    size = 10.0 ** math.floor(math.log10((high - low) / most))
    candidates = [step * size * scale for scale in (1.0, 10.0, 100.0) for step in _LINEAR_STEPS]
    for step in candidates:
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first + 1 <= most:
            return [n * step for n in range(first, last + 1)]
    return []
