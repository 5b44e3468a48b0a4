"""Intervals: known values, and coverage by simulation: a 97.5% interval must hold the truth in
about 97.5 of 100 worlds."""

import itertools
import math

import numpy as np
import pytest

from workflow.report import intervals

WORLDS = 1500


def coverage(holds: list[bool]) -> float:
    return sum(holds) / len(holds)


def test_wilson_at_the_papers_800_symbols() -> None:
    found = intervals.wilson(762, 800)  # 95.25%
    assert (round(100 * found.low, 2), round(100 * found.high, 2)) == (93.26, 96.67)


def test_difference_of_the_papers_accuracies_holds_zero() -> None:
    found = intervals.difference(762, 800, 758, 800)
    assert 100 * found.value == pytest.approx(0.5)
    assert (100 * found.low, 100 * found.high) == pytest.approx((-1.6, 2.6), abs=0.5)
    assert found.holds(0.0)


@pytest.mark.parametrize(("truth", "n"), [(0.05, 800), (0.95, 800), (0.5, 100)])
def test_wilson_covers(truth: float, n: int) -> None:
    generator = np.random.default_rng(1)
    right = generator.binomial(n, truth, size=WORLDS)
    assert 0.955 <= coverage([intervals.wilson(int(k), n).holds(truth) for k in right]) <= 0.99


def test_sequences_are_the_units_where_symbols_fall_together() -> None:
    generator = np.random.default_rng(2)
    naive, units = [], []
    for _ in range(WORLDS):
        shares = generator.beta(
            16, 4, size=20
        )  # accuracy varies from sequence to sequence around 80%
        right = generator.binomial(512, shares)
        naive.append(intervals.wilson(int(right.sum()), 20 * 512).holds(0.8))
        units.append(intervals.accuracy(list(right), 512).holds(0.8))
    assert coverage(naive) < 0.5
    assert 0.94 <= coverage(units) <= 0.99


def test_one_long_sequence_is_one_unit() -> None:
    alone = intervals.accuracy([9_990], 10_000)
    assert alone == intervals.wilson(0.999, 1)
    assert alone.high - alone.low > 0.5


def test_t_covers_at_three_seeds_where_a_bootstrap_does_not() -> None:
    generator = np.random.default_rng(3)
    t, bootstrap = [], []
    for _ in range(WORLDS):
        seeds = generator.normal(1.0, 0.1, size=3)
        t.append(intervals.mean(list(seeds)).holds(1.0))
        drawn = generator.choice(seeds, size=(400, 3)).mean(axis=1)
        low, high = np.quantile(drawn, [0.025, 0.975])
        bootstrap.append(low <= 1.0 <= high)
    assert 0.96 <= coverage(t) <= 0.99
    assert coverage(bootstrap) < 0.80


@pytest.mark.parametrize("pairs", [3, 5, 20])
def test_the_ratio_of_paired_repeats_covers(pairs: int) -> None:
    generator = np.random.default_rng(pairs)
    holds = [
        intervals.ratio(list(np.exp(generator.normal(math.log(2.0), 0.1, size=pairs)))).holds(2.0)
        for _ in range(500)
    ]
    assert 0.955 <= coverage(holds) <= 0.995


def test_the_exponent_is_found_and_covered() -> None:
    generator = np.random.default_rng(4)
    lengths = np.repeat([256, 512, 1024, 2048], 3)
    holds = [
        intervals.exponent(lengths, lengths**1.4 * np.exp(generator.normal(0, 0.05, 12))).holds(1.4)
        for _ in range(500)
    ]
    assert 0.955 <= coverage(holds) <= 0.99
    assert intervals.exponent([256, 512, 1024], [1, 4, 16]).value == pytest.approx(2.0)


def test_an_exponent_over_repeats_is_covered_where_a_repeat_drifts_as_a_whole() -> None:
    """What makes one repeat's long lengths slow disturbs all of them: as 12 points of one fit they
    cover too little."""
    generator, lengths = np.random.default_rng(5), np.array([256, 512, 1024, 2048])

    def drifting() -> list[tuple[list[float], list[float]]]:
        tilts = generator.normal(0.0, 0.03, 3)
        return [(list(lengths), list(lengths**1.4 * (lengths / 724) ** tilt)) for tilt in tilts]

    worlds = [drifting() for _ in range(500)]
    pooled = [
        intervals.exponent(*(list(itertools.chain(*axis)) for axis in zip(*w, strict=True)))
        for w in worlds
    ]
    assert (
        0.955 <= coverage([intervals.exponent_over(world).holds(1.4) for world in worlds]) <= 0.99
    )
    assert coverage([interval.holds(1.4) for interval in pooled]) < 0.9
    assert intervals.exponent_over(worlds[0][:1]) == intervals.exponent(*worlds[0][0])


def test_what_has_no_interval_says_so() -> None:
    assert math.isnan(intervals.mean([1.0]).low)
    assert math.isnan(intervals.exponent([256, 512], [1.0, 2.0]).low)
    assert intervals.exponent([256, 512], [1.0, 2.0]).value == pytest.approx(1.0)
    assert math.isnan(intervals.exponent([256], [1.0]).value)


def test_bounds_of_a_mean_stay_where_values_can_lie() -> None:
    values = [0.5, 1.0, 8.0]
    assert intervals.mean(values).low < 0
    bounded = intervals.mean(values, least=0.0)
    assert (bounded.low, bounded.high) == (0.0, intervals.mean(values).high)
