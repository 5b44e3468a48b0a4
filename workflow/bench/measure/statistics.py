"""The interval of a proportion, and warnings on timings that disagree. Loads no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev

Z95 = 1.959963984540054  # the normal distribution's 97.5% point
# pyperf's limits for an unstable benchmark, as shares of the mean.
MOST_DEVIATION = 0.10  # standard deviation
MOST_EXCURSION = 0.50  # distance of the largest or smallest value


def wilson(right: float, n: float, z: float = Z95) -> tuple[float, float]:
    """Return Wilson's score interval of the proportion right / n (1927, JASA 22:209)."""
    p = right / n
    shrink = 1 + z * z / n
    centre = (p + z * z / (2 * n)) / shrink
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / shrink
    return max(0.0, centre - half), min(1.0, centre + half)


def ratio(logarithms: Sequence[float], level: float) -> tuple[float, float, float]:
    """Return the geometric mean of ratios and its Student's t interval at `level`; NaN for one."""
    from scipy import stats

    centre, count = fmean(logarithms), len(logarithms)
    if count < 2:
        return math.exp(centre), math.nan, math.nan
    half = float(stats.t.ppf((1 + level) / 2, count - 1)) * stdev(logarithms) / math.sqrt(count)
    return math.exp(centre), math.exp(centre - half), math.exp(centre + half)


def unstable(values: Sequence[float], quantity: str) -> list[str]:
    """Return warnings if positive timings of one quantity disagree; none for fewer than two."""
    if len(values) < 2:
        return []
    mean, count = fmean(values), len(values)
    deviation, above, below = stdev(values) / mean, max(values) / mean - 1, 1 - min(values) / mean
    warnings = []
    if deviation > MOST_DEVIATION:
        warnings.append(f"its standard deviation is {deviation:.0%} of the mean of {count}")
    if above > MOST_EXCURSION:
        warnings.append(f"the largest of {count} is {above:.0%} above their mean")
    if below > MOST_EXCURSION:
        warnings.append(f"the smallest of {count} is {below:.0%} below their mean")
    return [f"{quantity} varies: {warning}" for warning in warnings]
