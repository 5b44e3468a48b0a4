"""The rules that judge a claim, and how the cells of a claim become one verdict. No rule knows a
claim by name.

A cell is a number with its interval. A rule says of each cell that it HOLDS (the interval satisfies
it wholly), that only its DIRECTION holds (also where the interval straddles the size), that it
FAILS (the interval excludes it), or that it stays OPEN (the interval straddles the bound, or there
are too few runs). Each machine is judged by itself; the machines that decide are then combined.
More evidence never makes a verdict weaker than less of the same (tests/test_rules.py)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from workflow.report.intervals import ENOUGH

KINDS = ("at least", "at most", "above", "below", "within", "between", "includes")


class NotTestable(Exception):
    """A claim that these rows cannot judge: what is missing, and how it ended where it was
    tried."""

    def __init__(self, what: str, reason: str = "") -> None:
        super().__init__(f"{what}: {reason}" if reason else what)
        self.what = what
        self.reason = reason


class Outcome(StrEnum):
    """What a rule says of one cell."""

    HOLDS = "holds"
    DIRECTION = "direction"
    FAILS = "fails"
    OPEN = "open"


class Verdict(StrEnum):
    """The verdict on a claim in words, with the mark that stands for it. The last three are of all
    claims of a run."""

    mark: str

    def __new__(cls, words: str, mark: str) -> Self:
        """Make a member whose value is its words."""
        member = str.__new__(cls, words)
        member._value_ = words
        member.mark = mark
        return member

    REPRODUCED = "reproduced", "✓"
    PARTIALLY = "partially", "◐"
    NOT_REPRODUCED = "not reproduced", "✗"
    INCONCLUSIVE = "inconclusive", "?"
    NOT_TESTABLE = "not testable", "–"
    INVALID = "invalid: controls off", "!"
    UNSOUND = "invalid: rows unsound", "!"
    SMOKE = "no verdict: smoke", "·"


# Of a reading that takes more than the paper describes.
ATTAINED = {
    Verdict.REPRODUCED: "attainable",
    Verdict.PARTIALLY: "partly attainable",
    Verdict.NOT_REPRODUCED: "not attained",
}
DECIDED = (Verdict.REPRODUCED, Verdict.PARTIALLY, Verdict.NOT_REPRODUCED)


@dataclass(frozen=True)
class Cell:
    """A number that a rule judges.

    runs: seeds or repeats; exact: counted or computed, so that one run is enough; paper: the level
    that a rule without a value of its own compares with; open_because: why the cell decides
    nothing; place: the machine that it was timed on, "" for what no machine changes; rows: the row
    files, parted by "; "; unit: of the value.
    """

    label: str
    value: float
    low: float
    high: float
    runs: int = 1
    exact: bool = False
    paper: float | None = None
    open_because: str = ""
    place: str = ""
    rows: str = ""
    unit: str = ""

    def short_of(self) -> str:
        """Return why no rule can judge this cell; "" where one can."""
        if self.open_because:
            return self.open_because
        if not self.exact and self.runs < ENOUGH:
            return f"{self.runs} of {ENOUGH} runs"
        return "" if math.isfinite(self.low) and math.isfinite(self.high) else "no interval"


def exactly(label: str, value: float, paper: float | None = None) -> Cell:
    """Return a cell of a counted or computed value."""
    return Cell(label, value, value, value, exact=True, paper=paper)


def missing(label: str, reason: str, place: str = "") -> Cell:
    """Return a cell that the claim is about and that has no value."""
    return Cell(label, math.nan, math.nan, math.nan, runs=0, open_because=reason, place=place)


@dataclass(frozen=True)
class Rule:
    """A rule of KINDS with its numbers; without `value` it compares with the paper's own figure of
    the cell.

    margin: slack, a fraction of the value; direction: what must hold for "partially" where the size
    does not."""

    kind: str
    value: float | None = None
    margin: float = 0.0
    direction: float | None = None
    upper: float | None = None

    def judge(self, cells: Sequence[Cell]) -> list[tuple[str, Outcome]]:
        """Return label and outcome of each cell."""
        return [(cell.label, self._judge(cell)) for cell in cells]

    def level(self, cell: Cell) -> float | None:
        """Return what a cell is compared with."""
        return cell.paper if self.value is None else self.value

    def _judge(self, cell: Cell) -> Outcome:
        level = self.level(cell)
        if cell.short_of() or level is None:
            return Outcome.OPEN
        if self.kind == "includes":
            return Outcome.HOLDS if cell.low <= level <= cell.high else Outcome.FAILS
        if self.kind in ("above", "below") and cell.low == cell.high == level:
            return Outcome.OPEN  # no difference at all shows nothing
        slack = abs(level) * self.margin
        low, high = level - slack, (level if self.upper is None else self.upper) + slack
        if self.kind in ("at least", "above"):
            high = math.inf
        elif self.kind in ("at most", "below"):
            low, high = -math.inf, level + slack
        if low <= cell.low and cell.high <= high:
            return Outcome.HOLDS
        if self.direction is not None:
            at_most = self.kind == "at most"
            right = cell.high < self.direction if at_most else cell.low > self.direction
            if right:
                return Outcome.DIRECTION
        straddles = cell.high >= low and cell.low <= high
        return Outcome.OPEN if straddles else Outcome.FAILS


def combine(outcomes: Sequence[Outcome]) -> Verdict:
    """Return the verdict over all cells of a claim on one machine."""
    seen = set(outcomes)
    if not seen:
        return Verdict.NOT_TESTABLE
    if seen == {Outcome.HOLDS}:
        return Verdict.REPRODUCED
    if seen & {Outcome.HOLDS, Outcome.DIRECTION} and seen & {Outcome.DIRECTION, Outcome.FAILS}:
        return Verdict.PARTIALLY
    return Verdict.NOT_REPRODUCED if seen == {Outcome.FAILS} else Verdict.INCONCLUSIVE


def over_machines(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the verdict over machines: what those that decide agree on, else that it holds in
    part; one that decides nothing changes nothing."""
    decided = {verdict for verdict in verdicts if verdict in DECIDED}
    if len(decided) == 1:
        return decided.pop()
    if decided:
        return Verdict.PARTIALLY
    return Verdict.INCONCLUSIVE if verdicts else Verdict.NOT_TESTABLE
