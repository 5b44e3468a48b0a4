"""Intervals, all at 95% unless told otherwise: what a difference has to exceed before it is called one.

- accuracies: Wilson (1927); where the right symbols of each sequence are known, on the effective number of symbols,
  because the symbols of one sequence stand or fall together (Kish's design effect)
- over seeds: Student's t. A bootstrap over three seeds covers 75% at best, so there is none
- ratios of paired repeats: t on the logarithm of the ratios, and a paired bootstrap from BOOTSTRAP_FROM pairs on
- exponents over N: least squares on logarithms; over several repeats t over the repeats' slopes, for what disturbs one
  repeat disturbs all its lengths
`tests/test_intervals.py` checks the coverage of each by simulation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint
from statsmodels.tools.tools import add_constant

LEVEL = 0.95
BOOTSTRAP_FROM = 15  # pairs; below, percentiles of resampled pairs are too narrow
RESAMPLES = 2000
FAMILY_ERROR = 1e-4  # chance that any control of a whole run is called off by bad luck


@dataclass(frozen=True)
class Interval:
    """A value with its bounds; the bounds are NaN where the data cannot give any."""

    value: float
    low: float
    high: float

    def holds(self, level: float) -> bool:
        """Whether `level` lies inside."""
        return self.low <= level <= self.high


def wilson(right: float, n: float) -> Interval:
    """A share of `right` among `n`; n may be an effective number."""
    low, high = proportion_confint(right, n, alpha=1 - LEVEL, method="wilson")
    return Interval(right / n, float(low), float(high))


def accuracy(right_by_sequence: Sequence[int], symbols_a_sequence: float) -> Interval:
    """Wilson's interval with the sequences as units: n is divided by the design effect, never taken below 1.

    One sequence tells nothing of how sequences differ: it counts as one symbol, however many it has.
    """
    shares = np.asarray(right_by_sequence, dtype=float) / symbols_a_sequence
    n, share = len(shares) * symbols_a_sequence, float(shares.mean())
    if len(shares) < 2:
        return wilson(share, 1)
    independent = share * (1 - share) / symbols_a_sequence
    effect = float(shares.var(ddof=1)) / independent if independent > 0 else 1.0
    effective = n / max(1.0, effect)
    return wilson(share * effective, effective)


def difference(right: float, n: float, other_right: float, other_n: float) -> Interval:
    """Newcombe's interval (1998, hybrid score) for the difference of two independent shares."""
    low, high = confint_proportions_2indep(right, n, other_right, other_n, method="newcomb", alpha=1 - LEVEL)
    return Interval(right / n - other_right / other_n, float(low), float(high))


def mean(values: Sequence[float], least: float = -math.inf, most: float = math.inf) -> Interval:
    """Student's t over the values; no bounds for fewer than two. `least` and `most` are what no value can be beyond."""
    centre = float(np.mean(values))
    if len(values) < 2:
        return Interval(centre, math.nan, math.nan)
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1)) * float(stats.sem(values))
    return Interval(centre, max(least, centre - half), min(most, centre + half))


def ratio(ratios: Sequence[float]) -> Interval:
    """The ratio that paired repeats agree on: geometric mean, t on logarithms; many pairs: median, paired bootstrap."""
    if len(ratios) >= BOOTSTRAP_FROM:
        return _bootstrap(np.asarray(ratios, dtype=float))
    logs = mean([math.log(value) for value in ratios])
    return Interval(math.exp(logs.value), math.exp(logs.low), math.exp(logs.high))


def _bootstrap(ratios: np.ndarray) -> Interval:
    """Percentile bootstrap of the median, each pair resampled as a whole; seeded, so that a report is reproducible."""
    generator = np.random.default_rng(0)
    drawn = np.median(generator.choice(ratios, size=(RESAMPLES, len(ratios))), axis=1)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(np.median(ratios)), float(low), float(high))


def exponent(lengths: Sequence[float], values: Sequence[float]) -> Interval:
    """b of values ~ N^b, by least squares on logarithms; no bounds for fewer than three points."""
    x, y = np.log(np.asarray(lengths, dtype=float)), np.log(np.asarray(values, dtype=float))
    if len(set(x)) < 2:
        return Interval(math.nan, math.nan, math.nan)
    if len(x) < 3:
        return Interval(float((y[-1] - y[0]) / (x[-1] - x[0])), math.nan, math.nan)
    fit = OLS(y, add_constant(x)).fit()
    low, high = fit.conf_int(alpha=1 - LEVEL)[1]
    return Interval(float(fit.params[1]), float(low), float(high))


def exponent_over(repeats: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Interval:
    """The exponent that repeats (lengths, values) agree on: t over their slopes, or the fit's own bounds of a single
    one."""
    slopes = [exponent(lengths, values) for lengths, values in repeats]
    return slopes[0] if len(slopes) == 1 else mean([slope.value for slope in slopes])


def chance_is_plausible(right: int, n: int, chance: float, family: int) -> bool:
    """Whether guessing explains `right` of `n`: exact binomial test, FAMILY_ERROR shared by the family of tests."""
    return float(stats.binomtest(right, n, chance).pvalue) >= FAMILY_ERROR / max(1, family)


def at_most_is_plausible(right: int, n: int, level: float, family: int) -> bool:
    """Whether a share of at most `level` explains `right` of `n`: the same test, one-sided."""
    pvalue = stats.binomtest(right, n, level, alternative="greater").pvalue
    return float(pvalue) >= FAMILY_ERROR / max(1, family)


@lru_cache
def counting(symbols: int, seen: int) -> float:
    """Accuracy of naming the commonest of `seen` uniform symbols: the most that is to be had from them without order.

    A target that is one of them, and of which nothing else is known, is that symbol with this probability on average.
    By seeded simulation: 0.05 for many of 20 symbols, 0.069 for 513.
    """
    drawn = np.random.default_rng(0).multinomial(seen, [1 / symbols] * symbols, size=RESAMPLES)
    return float(drawn.max(axis=1).mean()) / seen
