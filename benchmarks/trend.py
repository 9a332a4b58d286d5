"""Whether a series of measurements grows: Sen's slope with its confidence interval, and the test of Mann and Kendall.

Both look at the order of pairs only, so neither a stair nor an outlier in a curve of memory misleads them, and no
distribution is assumed. Neighbouring samples of one process are alike, which would make any test too sure: the series
is cut into blocks first, and each block counts once, as its median.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BLOCKS = 20
_Z95 = 1.959964
"""The 97.5 % quantile of the normal distribution."""


@dataclass(frozen=True)
class Trend:
    """How fast a series grows."""

    slope: float
    """Sen's: the median of the slopes of all pairs, in units of y a unit of x."""
    low: float
    """Lower end of its 95 % interval."""
    high: float
    """Upper end."""
    p: float
    """Two-sided probability of so much order without a trend (Mann and Kendall)."""
    blocks: int

    @property
    def none(self) -> bool:
        """Whether the slope cannot be told from 0."""
        return self.low <= 0.0 <= self.high


def trend(x: Sequence[float], y: Sequence[float], blocks: int = BLOCKS) -> Trend:
    """Return the trend of ``y`` over ``x``.

    The interval is that of Gilbert, Statistical Methods for Environmental Pollution Monitoring (1987), section 16.5;
    the variance with ties is Kendall's.

    Raises:
        ValueError: if there are fewer samples than blocks, or fewer than four blocks.
    """
    if len(x) != len(y) or len(x) < blocks or blocks < 4:
        raise ValueError(f"{len(x)} and {len(y)} samples are no {blocks} blocks")
    xs = [float(np.median(part)) for part in np.array_split(np.asarray(x, float), blocks)]
    ys = [float(np.median(part)) for part in np.array_split(np.asarray(y, float), blocks)]
    pairs = [(i, j) for i in range(blocks) for j in range(i + 1, blocks)]
    slopes = sorted((ys[j] - ys[i]) / (xs[j] - xs[i]) for i, j in pairs)
    order = sum((ys[j] > ys[i]) - (ys[j] < ys[i]) for i, j in pairs)
    ties = sum(n * (n - 1) * (2 * n + 5) for n in Counter(ys).values())
    deviation = math.sqrt((blocks * (blocks - 1) * (2 * blocks + 5) - ties) / 18)
    z = (order - (order > 0) + (order < 0)) / deviation if deviation else 0.0
    reach = _Z95 * deviation
    low = slopes[max(0, math.floor((len(slopes) - reach) / 2))]
    high = slopes[min(len(slopes) - 1, math.ceil((len(slopes) + reach) / 2))]
    return Trend(float(np.median(slopes)), low, high, math.erfc(abs(z) / math.sqrt(2)), blocks)
