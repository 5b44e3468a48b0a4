"""Intervals: known values, and coverage by simulation: 97.5 of 100 worlds hold the truth."""

import math

import numpy as np
import pytest
from scipy import stats

from workflow.bench.measure import statistics
from workflow.bench.measure.statistics import unstable, wilson
from workflow.report import intervals

WORLDS = 1500


def coverage(found, truth):
    """Return the share of intervals that hold the truth."""
    return sum(low <= truth <= high for _, low, high in found) / len(found)


def test_wilson_at_the_papers_800_symbols():
    found = intervals.wilson(762, 800)  # 95.25%
    assert (round(100 * found.low, 2), round(100 * found.high, 2)) == (93.26, 96.67)


def test_difference_of_the_papers_accuracies_holds_zero():
    found = intervals.difference(762, 800, 758, 800)
    assert 100 * found.value == pytest.approx(0.5)
    assert (100 * found.low, 100 * found.high) == pytest.approx((-1.6, 2.6), abs=0.5)


@pytest.mark.parametrize(("truth", "n"), [(0.05, 800), (0.95, 800), (0.5, 100)])
def test_wilson_covers(truth, n):
    generator = np.random.default_rng(1)
    right = generator.binomial(n, truth, size=WORLDS)
    assert 0.955 <= coverage([intervals.wilson(int(k), n) for k in right], truth) <= 0.99


def test_sequences_are_the_units_where_symbols_fall_together():
    generator = np.random.default_rng(2)
    naive, units = [], []
    for _ in range(WORLDS):
        # Accuracy varies from sequence to sequence around 80%.
        shares = generator.beta(16, 4, size=20)
        right = generator.binomial(512, shares)
        naive.append(intervals.wilson(int(right.sum()), 20 * 512))
        units.append(intervals.accuracy(list(right), 512))
    assert coverage(naive, 0.8) < 0.5
    assert 0.94 <= coverage(units, 0.8) <= 0.99
    alone = intervals.accuracy([9_990], 10_000)  # one sequence is one unit
    assert alone == intervals.wilson(0.999, 1)
    assert alone.high - alone.low > 0.5


def test_t_covers_at_three_seeds_where_a_bootstrap_does_not():
    generator = np.random.default_rng(3)
    t, bootstrap = [], []
    for _ in range(WORLDS):
        seeds = generator.normal(1.0, 0.1, size=3)
        t.append(intervals.mean(list(seeds)))
        drawn = generator.choice(seeds, size=(400, 3)).mean(axis=1)
        bootstrap.append((1.0, *np.quantile(drawn, [0.025, 0.975])))
    assert 0.96 <= coverage(t, 1.0) <= 0.99
    assert coverage(bootstrap, 1.0) < 0.80


@pytest.mark.parametrize("pairs", [3, 5, 20])
def test_the_ratio_of_paired_repeats_covers(pairs):
    generator = np.random.default_rng(pairs)
    worlds = generator.normal(math.log(2.0), 0.1, size=(500, pairs))
    found = [statistics.ratio(list(world), intervals.LEVEL) for world in worlds]
    assert 0.955 <= coverage(found, 2.0) <= 0.995


def test_the_exponent_is_found_and_covered():
    generator = np.random.default_rng(4)
    lengths = np.repeat([256, 512, 1024, 2048], 3)
    worlds = lengths**1.4 * np.exp(generator.normal(0, 0.05, (500, 12)))
    found = [intervals.exponent(lengths, world) for world in worlds]
    assert 0.955 <= coverage(found, 1.4) <= 0.99
    assert intervals.exponent([256, 512, 1024], [1, 4, 16]).value == pytest.approx(2.0)
    two = intervals.exponent([256, 512], [1.0, 2.0])
    assert (two.value, math.isnan(two.low)) == (pytest.approx(1.0), True)


def test_an_exponent_over_repeats_is_covered_where_a_repeat_drifts_as_a_whole():
    """What slows one repeat disturbs all its lengths: 12 points of one fit cover too little."""
    generator, lengths = np.random.default_rng(5), np.array([256, 512, 1024, 2048])

    def drifting():
        tilts = generator.normal(0.0, 0.03, 3)
        return [(list(lengths), list(lengths**1.4 * (lengths / 724) ** tilt)) for tilt in tilts]

    worlds = [drifting() for _ in range(500)]
    over = [intervals.exponent_over(world) for world in worlds]
    pooled = [intervals.exponent(*np.hstack(world).tolist()) for world in worlds]
    assert 0.955 <= coverage(over, 1.4) <= 0.99
    assert coverage(pooled, 1.4) < 0.9
    assert intervals.exponent_over(worlds[0][:1]) == intervals.exponent(*worlds[0][0])


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([100.0, 101.0, 99.0, 102.0], []),
        ([100.0], []),
        ([], []),
        ([100.0, 130.0, 100.0, 130.0], ["its standard deviation is 15% of the mean of 4"]),
        ([100.0] * 200 + [160.0], ["the largest of 201 is 60% above their mean"]),
        ([100.0] * 200 + [40.0], ["the smallest of 201 is 60% below their mean"]),
    ],
)
def test_spread_and_one_excursion_among_many_are_told_in_numbers(values, told):
    assert unstable(values, "step") == [f"step varies: {warning}" for warning in told]


@pytest.mark.parametrize(
    ("right", "n"), [(0, 10), (3, 10), (10, 10), (762, 800), (9_999, 10_000), (519, 10_000)]
)
def test_the_wilson_interval_is_that_of_scipy(right, n):
    found = {0.95: wilson(right, n), intervals.LEVEL: intervals.wilson(right, n)[1:]}
    for level, bounds in found.items():
        known = stats.binomtest(right, n).proportion_ci(level, method="wilson")
        assert bounds == pytest.approx((known.low, known.high), abs=1e-12)
