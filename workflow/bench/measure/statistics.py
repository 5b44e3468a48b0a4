"""Do repeated timings agree well enough to be believed? The two limits are those of pyperf's instability warnings.

Of the units inside a row (workflow.bench.measure.efficiency) and of the repeats of a cell (workflow.report) alike.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

MOST_DEVIATION = 0.10  # standard deviation, as a share of the mean
MOST_EXCURSION = 0.50  # distance of the largest or smallest value from the mean, as a share of it


def unstable(values: Sequence[float], what: str) -> list[str]:
    """Warnings on positive values of one quantity, `what` in words; empty where they agree or are fewer than two."""
    if len(values) < 2:
        return []
    mean = statistics.fmean(values)
    deviation, most, least = statistics.stdev(values) / mean, max(values) / mean - 1, 1 - min(values) / mean
    found = []
    if deviation > MOST_DEVIATION:
        found.append(f"{what} varies: its standard deviation is {deviation:.0%} of the mean of {len(values)}")
    if most > MOST_EXCURSION:
        found.append(f"{what} varies: the largest of {len(values)} is {most:.0%} above their mean")
    if least > MOST_EXCURSION:
        found.append(f"{what} varies: the smallest of {len(values)} is {least:.0%} below their mean")
    return found
