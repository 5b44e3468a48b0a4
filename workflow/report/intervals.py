"""Intervals, all at LEVEL; docs/method.md says which belongs to which quantity.

A bootstrap over three seeds covers 75% at best, so there is none. `tests/test_intervals.py` checks
the coverage of each by simulation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import stats

from workflow.bench.measure import statistics

# Two looks at the claims, `all` and `decide`, each at this level, err together in at most 5%.
ENOUGH = 3  # seeds or repeats that a verdict needs
LEVEL = 0.975
Z = float(stats.norm.ppf((1 + LEVEL) / 2))
DRAWS = 2000
FAMILY_ERROR = 1e-4  # chance that any control of a whole run is called off by bad luck


class Interval(NamedTuple):
    """A value with its bounds; the bounds are NaN where the data cannot give any."""

    value: float
    low: float
    high: float


def wilson(right: float, n: float) -> Interval:
    """Return a share of `right` among `n` with Wilson's interval; n may be an effective number."""
    return Interval(right / n, *statistics.wilson(right, n, Z))


def accuracy(right_by_sequence: Sequence[int], symbols_a_sequence: float) -> Interval:
    """Return Wilson's interval with the sequences as units: n is divided by the design effect
    (Kish), 1 at least. One sequence tells nothing of how they differ: it counts as one symbol."""
    shares = np.asarray(right_by_sequence, dtype=float) / symbols_a_sequence
    n, share = len(shares) * symbols_a_sequence, float(shares.mean())
    if len(shares) < 2:
        return wilson(share, 1)
    independent = share * (1 - share) / symbols_a_sequence
    effect = float(shares.var(ddof=1)) / independent if independent > 0 else 1.0
    effective = n / max(1.0, effect)
    return wilson(share * effective, effective)


def difference(right: float, n: float, other_right: float, other_n: float) -> Interval:
    """Return the difference of two independent shares with Newcombe's hybrid score (1998)."""
    one, other = wilson(right, n), wilson(other_right, other_n)
    value = one.value - other.value
    below = math.hypot(one.value - one.low, other.high - other.value)
    above = math.hypot(one.high - one.value, other.value - other.low)
    return Interval(value, value - below, value + above)


def _t(freedom: int) -> float:
    return float(stats.t.ppf((1 + LEVEL) / 2, freedom))


def mean(values: Sequence[float]) -> Interval:
    """Return the mean of several values with Student's t interval."""
    centre = float(np.mean(values))
    half = _t(len(values) - 1) * float(stats.sem(values))
    return Interval(centre, centre - half, centre + half)


def exponent(lengths: Sequence[float], values: Sequence[float]) -> Interval:
    """Return b of values ~ N^b by least squares on logarithms; no bounds for two points."""
    fit = stats.linregress(np.log(lengths), np.log(values))
    slope, freedom = float(fit.slope), len(lengths) - 2
    half = _t(freedom) * float(fit.stderr) if freedom else math.nan
    return Interval(slope, slope - half, slope + half)


def exponent_over(repeats: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Interval:
    """Return the exponent of repeats (lengths, values): t over their slopes, or the fit of one."""
    slopes = [exponent(lengths, values) for lengths, values in repeats]
    return slopes[0] if len(slopes) == 1 else mean([slope.value for slope in slopes])


def predictions(
    lengths: Sequence[float], values: Sequence[float], at: Sequence[float]
) -> list[Interval]:
    """Return what a fit of values ~ N^b predicts for a single new run at other lengths, with its
    prediction interval. Needs four points at two lengths."""
    x, y = np.log(np.asarray(lengths, dtype=float)), np.log(np.asarray(values, dtype=float))
    fit = stats.linregress(x, y)
    freedom = len(x) - 2
    spread = math.sqrt(float(np.square(y - fit.intercept - fit.slope * x).sum()) / freedom)
    around = float(np.square(x - x.mean()).sum())
    found = []
    for length in at:
        place = math.log(length)
        centre = float(fit.intercept + fit.slope * place)
        wider = math.sqrt(1 + 1 / len(x) + (place - float(x.mean())) ** 2 / around)
        half = _t(freedom) * spread * wider
        found.append(Interval(math.exp(centre), math.exp(centre - half), math.exp(centre + half)))
    return found


def is_plausible(
    right: int, n: int, share: float, family: int, alternative: str = "two-sided"
) -> bool:
    """Return whether a share (alternative "greater": an upper bound) explains `right` of `n`: exact
    binomial test, FAMILY_ERROR shared by the family."""
    pvalue = stats.binomtest(right, n, share, alternative=alternative).pvalue
    return float(pvalue) >= FAMILY_ERROR / max(1, family)


@lru_cache
def counting(symbols: int, seen: int) -> float:
    """Return the accuracy of naming the commonest of `seen` uniform symbols, by seeded simulation:
    the most that is possible without order, 0.05 for many of 20 symbols, 0.069 for 513."""
    drawn = np.random.default_rng(0).multinomial(seen, [1 / symbols] * symbols, size=DRAWS)
    return float(drawn.max(axis=1).mean()) / seen
