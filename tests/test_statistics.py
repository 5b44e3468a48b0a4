"""The interval of a proportion; warnings on timings that disagree: at pyperf's limits, and silent
below them."""

import pytest
from scipy import stats

from workflow.bench.measure.statistics import unstable, wilson


def test_spread_is_told_in_numbers() -> None:
    for values in ([100.0, 101.0, 99.0, 102.0], [100.0], []):
        assert unstable(values, "step") == []
    (warning,) = unstable([100.0, 130.0, 100.0, 130.0], "step")
    assert warning == "step varies: its standard deviation is 15% of the mean of 4"


def test_one_excursion_among_many_is_told() -> None:
    slow, fast = unstable([100.0] * 200 + [160.0], "step"), unstable([100.0] * 200 + [40.0], "step")
    assert slow == ["step varies: the largest of 201 is 60% above their mean"]
    assert fast == ["step varies: the smallest of 201 is 60% below their mean"]


@pytest.mark.parametrize(
    ("right", "n"), [(0, 10), (3, 10), (10, 10), (762, 800), (9_999, 10_000), (519, 10_000)]
)
def test_the_wilson_interval_is_that_of_scipy(right: int, n: int) -> None:
    known = stats.binomtest(right, n).proportion_ci(method="wilson")
    assert wilson(right, n) == pytest.approx((known.low, known.high), abs=1e-12)
