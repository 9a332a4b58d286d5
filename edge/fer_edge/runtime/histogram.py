"""Percentiles over months in a few kilobytes."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from itertools import accumulate
from typing import Final

LEAST_MS: Final = 0.001
MOST_MS: Final = 1e6
"""Durations outside this range, a microsecond to 17 minutes, count as its ends."""

GROWTH: Final = 1.02
"""Ratio of a bucket's upper to its lower bound: what is reported is at most 1 % off."""

_LOG_GROWTH: Final = math.log(GROWTH)
_BUCKETS: Final = math.ceil(math.log(MOST_MS / LEAST_MS) / _LOG_GROWTH)


class DurationHistogram:
    """Counts durations in buckets whose bounds grow geometrically, as in DDSketch (Masson et al., VLDB 2019).

    The size is fixed (1,047 counters), nothing is sampled, and any percentile is known to 1 % of itself.
    """

    def __init__(self) -> None:
        # Not a list: its counts would become objects of their own, one by one, as they pass 256.
        self._counts = array("Q", bytes(8 * _BUCKETS))
        self._total = 0

    @property
    def count(self) -> int:
        """How many durations were added."""
        return self._total

    def add(self, duration_ms: float) -> None:
        """Count one duration in milliseconds."""
        bucket = int(math.log(max(duration_ms, LEAST_MS) / LEAST_MS) / _LOG_GROWTH)
        self._counts[min(bucket, _BUCKETS - 1)] += 1
        self._total += 1

    def percentile(self, percent: float) -> float | None:
        """Return the nearest-rank percentile in milliseconds; None if nothing was counted."""
        if not self._total:
            return None
        rank = max(1, math.ceil(percent / 100 * self._total))
        bucket = bisect_left(list(accumulate(self._counts)), rank)
        return float(LEAST_MS * GROWTH ** (bucket + 0.5))
