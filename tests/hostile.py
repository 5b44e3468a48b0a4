"""Hostile input for the fuzzing tests: values, texts and names that have broken programs, and
counted cases."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

TALLY: pytest.StashKey[dict[str, int]] = pytest.StashKey()
QUICK, DEEP = 1, 20  # deep runs (--full) take this many times the cases

# fmt: off
TEXTS = (
    "", " ", ".", "..", "../../etc/passwd", "/etc/passwd", "a/b", "~", "-", "--help",
    "x; touch pwned", "$(touch pwned)", "`touch pwned`", "a' b\" c", "x\ny", "x\x00y", "\ud800",
    "\u202epointer", "роinter", "poınter", "𝟙", "١", "null", "true", "nan", "NaN", "Infinity",
    "1e999", "0x10", "1_000", "9" * 30, "9" * 5000, "{x}", "{{x}}", "%s%n", "é" * 300,
    "!!python/object:os.system", "<script>", "pointer\n", "None", "[]", "__class__", "*",
    "x=os:system", "x=../../x:Y", "x=no.such.module:Z", "=", "a=b=c", "x=:",
)
NUMBERS = (
    0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**40, 0.0, -0.0, 0.5, 1.0, 2.0, 1e-320, 1e308,
    math.nan, math.inf, -math.inf,
)
OTHERS = (
    None, True, False, [], {}, [[]], {"a": {"b": [1]}}, [None], {"": 0}, [1, 1], ["x", 1],
    {"__proto__": 1},
)
# fmt: on

values = st.one_of(
    st.sampled_from(TEXTS),
    st.sampled_from(NUMBERS),
    st.sampled_from(OTHERS),
    st.text(max_size=12),
    st.integers(),
    st.floats(),
    st.lists(st.one_of(st.integers(-2, 5), st.text(max_size=3), st.floats()), max_size=3),
)


def places(content: Any, prefix: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of keys to every entry of a nested value."""
    if prefix:
        yield prefix
    if isinstance(content, list):
        content = dict(enumerate(content))
    if isinstance(content, dict):
        for key, entry in content.items():
            yield from places(entry, (*prefix, key))


def changed(content: Any, place: tuple[Any, ...], value: Any) -> Any:
    """Return a copy of a nested value with another value at the path `place`."""
    result = copy.deepcopy(content)
    inner = result
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return result


class Counted:
    """Check a property on a number of cases, twenty times as many under --full, and tally them."""

    def __init__(self, config: pytest.Config, name: str) -> None:
        self.tally = config.stash.setdefault(TALLY, {})
        self.name, self.times = name, DEEP if config.getoption("--full") else QUICK

    def __call__(
        self, cases: int, strategy: st.SearchStrategy[Any], check: Callable[[Any], None]
    ) -> None:
        """Fail as the property does, with the smallest case that hypothesis finds."""
        seen = [0]

        @settings(
            max_examples=cases * self.times,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.explicit, Phase.generate, Phase.shrink),
        )
        @given(strategy)
        def run(case: Any) -> None:
            seen[0] += 1
            check(case)

        run()
        assert seen[0] >= 0.9 * cases * self.times, (
            f"{seen[0]} of {cases * self.times} cases: too narrow a strategy"
        )
        self.tally[self.name] = self.tally.get(self.name, 0) + seen[0]
