"""The generic rules of the ledger, and how the cells of a claim become one verdict. No rule knows a claim by name.

A cell is an estimate with its interval. A rule says of each: it HOLDS (the interval satisfies it wholly), only its
DIRECTION holds, it FAILS (the interval excludes it), or it stays OPEN (the interval straddles, or too few runs).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

ENOUGH = 3  # seeds or repeats that a verdict needs
STEP = " to "  # between two neighbours' labels


class Outcome(StrEnum):
    """What a rule says of one cell."""

    HOLDS = "holds"
    DIRECTION = "direction"
    FAILS = "fails"
    OPEN = "open"


class Verdict(StrEnum):
    """What is said of a claim; the last three stand for all claims of a run."""

    REPRODUCED = "reproduced"
    PARTIALLY = "partially"
    NOT_REPRODUCED = "not reproduced"
    INCONCLUSIVE = "inconclusive"
    NOT_TESTABLE = "not testable"
    INVALID = "invalid: controls off"
    UNSOUND = "invalid: rows unsound"
    SMOKE = "no verdict: smoke"


@dataclass(frozen=True)
class Estimate:
    """One cell. `runs` counts seeds or repeats; `exact` values (counted, computed) need no repetition."""

    label: str
    value: float
    low: float
    high: float
    runs: int = 1
    exact: bool = False
    paper: float | None = None
    open_because: str = ""
    series: str = ""  # cells of one series are neighbours for `monotone`: one machine's lengths

    def short_of(self) -> str:
        """Why no rule can judge this cell; empty where one can."""
        if self.open_because:
            return self.open_because
        if not self.exact and self.runs < ENOUGH:
            return f"{self.runs} of {ENOUGH} runs"
        return "" if math.isfinite(self.low) and math.isfinite(self.high) else "no interval"


def exactly(label: str, value: float, paper: float | None = None) -> Estimate:
    """A counted or computed value."""
    return Estimate(label, value, value, value, exact=True, paper=paper)


def missing(label: str, why: str, series: str = "") -> Estimate:
    """A cell that the claim is about and that has no value."""
    return Estimate(label, math.nan, math.nan, math.nan, runs=0, open_because=why, series=series)


@dataclass(frozen=True)
class Rule:
    """`kind` and its numbers, as the ledger states them; `value` None stands for the paper's own figure of the cell."""

    kind: str
    value: float | None = None
    margin: float = 0.0
    direction: float | None = None
    upper: float | None = None

    def judge(self, cells: Sequence[Estimate]) -> list[tuple[str, Outcome]]:
        """Cell label -> outcome. `monotone` judges neighbours, every other rule one cell at a time."""
        if self.kind == "monotone":
            return _monotone(cells)
        return [(cell.label, self._one(cell)) for cell in cells]

    def _one(self, cell: Estimate) -> Outcome:
        if cell.short_of():
            return Outcome.OPEN
        low, high = self.bounds(cell)
        outcome = _against(cell, low, high) if self.kind != "excludes" else _outside(cell, low, high)
        if outcome == Outcome.FAILS and self.direction is not None and self._direction_holds(cell, self.direction):
            return Outcome.DIRECTION
        return outcome

    def asked(self, cell: Estimate) -> float | None:
        """What the rule compares a cell with: its own value, else the paper's figure."""
        return cell.paper if self.value is None else self.value

    def bounds(self, cell: Estimate) -> tuple[float, float]:
        """The range that the rule asks for; `margin` is a fraction of the value."""
        value = self.asked(cell)
        if value is None:
            raise ValueError(f"rule {self.kind!r} has no value and the paper gives none for {cell.label}")
        slack = abs(value) * self.margin
        return {
            "at least": (value - slack, math.inf),
            "at most": (-math.inf, value + slack),
            "within": (value - slack, value + slack),
            "between": (value - slack, (self.upper if self.upper is not None else value) + slack),
            "includes": (value, value),
            "excludes": (value, value),
        }[self.kind]

    def _direction_holds(self, cell: Estimate, direction: float) -> bool:
        return cell.high < direction if self.kind == "at most" else cell.low > direction


def _against(cell: Estimate, low: float, high: float) -> Outcome:
    """The interval inside the range, outside it, or across its edge. A range of one point must lie in the interval."""
    if low == high:
        return Outcome.HOLDS if cell.low <= low <= cell.high else Outcome.FAILS
    if low <= cell.low and cell.high <= high:
        return Outcome.HOLDS
    return Outcome.FAILS if cell.high < low or cell.low > high else Outcome.OPEN


def _outside(cell: Estimate, low: float, high: float) -> Outcome:
    """The interval wholly above the level; below or across it fails, for the level is what guessing gives."""
    if cell.low > high:
        return Outcome.HOLDS
    return Outcome.FAILS


def _monotone(cells: Sequence[Estimate]) -> list[tuple[str, Outcome]]:
    """Each cell above the one before it; the ends give the direction."""
    found: list[tuple[str, Outcome]] = []
    for series in dict.fromkeys(cell.series for cell in cells):
        found += _rising([cell for cell in cells if cell.series == series])
    return found


def _rising(cells: Sequence[Estimate]) -> list[tuple[str, Outcome]]:
    found = []
    judged = [cell for cell in cells if not cell.short_of()]
    ends_rise = len(judged) > 1 and judged[-1].low > judged[0].high
    for before, after in itertools.pairwise(cells):
        if before.short_of() or after.short_of():
            outcome = Outcome.OPEN
        elif after.low > before.high:
            outcome = Outcome.HOLDS
        elif after.high < before.low:
            outcome = Outcome.DIRECTION if ends_rise else Outcome.FAILS
        else:
            outcome = Outcome.OPEN
        found.append((f"{before.label}{STEP}{after.label}", outcome))
    return found


def combine(outcomes: Sequence[Outcome]) -> Verdict:
    """The verdict over all cells of a claim."""
    seen = set(outcomes)
    if not seen:
        return Verdict.NOT_TESTABLE
    if seen == {Outcome.HOLDS}:
        return Verdict.REPRODUCED
    if seen & {Outcome.HOLDS, Outcome.DIRECTION} and seen & {Outcome.DIRECTION, Outcome.FAILS}:
        return Verdict.PARTIALLY
    return Verdict.NOT_REPRODUCED if seen == {Outcome.FAILS} else Verdict.INCONCLUSIVE
