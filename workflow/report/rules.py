"""The rules that judge a claim, and how the cells of a claim become one verdict.

A rule says of a cell that it HOLDS (the interval satisfies it), that only its DIRECTION holds, that
it FAILS (the interval excludes it), or that it stays OPEN (it straddles the bound, or runs lack).
More evidence never makes a verdict weaker than less of the same (tests/test_rules.py)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from workflow.bench.validation import Closed, Number
from workflow.report.intervals import ENOUGH


class NotTestable(Exception):
    """A claim that these rows cannot judge: what is missing, and how it ended."""


class Outcome(StrEnum):
    """What a rule says of one cell."""

    HOLDS = "holds"
    DIRECTION = "direction"
    FAILS = "fails"
    OPEN = "open"


class Verdict(StrEnum):
    """The verdict on a claim in words. The last three are of all claims of a run."""

    REPRODUCED = "reproduced"
    PARTIALLY = "partially"
    NOT_REPRODUCED = "not reproduced"
    INCONCLUSIVE = "inconclusive"
    NOT_TESTABLE = "not testable"
    INVALID = "invalid: controls off"
    UNSOUND = "invalid: rows unsound"
    SMOKE = "no verdict: smoke"

    @property
    def mark(self) -> str:
        """The sign that stands for it."""
        return dict(zip(Verdict, "✓◐✗?–!!·", strict=True))[self]


# Of a reading that takes more than the paper describes.
ATTAINED = {
    Verdict.REPRODUCED: "attainable",
    Verdict.PARTIALLY: "partly attainable",
    Verdict.NOT_REPRODUCED: "not attained",
}
DECIDED = tuple(ATTAINED)


@dataclass(frozen=True)
class Cell:
    """A number that a rule judges.

    exact: counted or computed, so that one run is enough; paper: the level that a rule without a
    value compares with; open_because: why it decides nothing; place: the machine that it was timed
    on; rows: the row files, parted by "; "; x, position: where it lies on its axis, 0 and ""
    without one.
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
    x: int = 0
    position: str = ""

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


class Rule(Closed):
    """A rule with its numbers."""

    rule: Literal["at least", "at most", "above", "below", "within", "between", "includes"]
    value: Number | None = Field(None, description="what it compares with; else the cell's level")
    upper: Number | None = Field(None, description="upper end, for between")
    margin: Annotated[Number, Field(ge=0)] = Field(0.0, description="slack, a share of the value")
    direction: Number | None = Field(None, description="what must hold for partially")

    @property
    def in_words(self) -> str:
        """The rule with its numbers, such as `at least 2.45 less 10%`."""
        value = "the paper's figure" if self.value is None else f"{self.value:g}"
        upper = "" if self.upper is None else f" and {self.upper:g}"
        sign = {"at least": "less", "at most": "plus", "above": "less", "below": "plus"}
        margin = f" {sign.get(self.rule, '±')} {100 * self.margin:g}%" if self.margin else ""
        direction = "" if self.direction is None else f"; direction: {self.direction:g}"
        return f"{self.rule} {value}{upper}{margin}{direction}"

    def level(self, cell: Cell) -> float | None:
        """Return what a cell is compared with."""
        return cell.paper if self.value is None else self.value

    def judge(self, cell: Cell) -> Outcome:
        """Return what the rule says of a cell."""
        level = self.level(cell)
        if cell.short_of() or level is None:
            return Outcome.OPEN
        if self.rule == "includes":
            return Outcome.HOLDS if cell.low <= level <= cell.high else Outcome.FAILS
        if self.rule in ("above", "below") and cell.low == cell.high == level:
            return Outcome.OPEN  # no difference at all shows nothing
        slack = abs(level) * self.margin
        low, high = level - slack, (level if self.upper is None else self.upper) + slack
        if self.rule in ("at least", "above"):
            high = math.inf
        elif self.rule in ("at most", "below"):
            low = -math.inf
        if low <= cell.low and cell.high <= high:
            return Outcome.HOLDS
        if self.direction is not None:
            at_most = self.rule == "at most"
            if cell.high < self.direction if at_most else cell.low > self.direction:
                return Outcome.DIRECTION
        straddles = cell.high >= low and cell.low <= high
        return Outcome.OPEN if straddles else Outcome.FAILS


def combine(outcomes: Sequence[Outcome]) -> Verdict:
    """Return the verdict over all cells of a claim on one machine, of which there is one."""
    seen = set(outcomes)
    if seen == {Outcome.HOLDS}:
        return Verdict.REPRODUCED
    if seen & {Outcome.HOLDS, Outcome.DIRECTION} and seen & {Outcome.DIRECTION, Outcome.FAILS}:
        return Verdict.PARTIALLY
    return Verdict.NOT_REPRODUCED if seen == {Outcome.FAILS} else Verdict.INCONCLUSIVE


def over_machines(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the verdict that the machines that decide agree on, else that it holds in part."""
    decided = {verdict for verdict in verdicts if verdict in DECIDED}
    if len(decided) == 1:
        return decided.pop()
    return Verdict.PARTIALLY if decided else Verdict.INCONCLUSIVE
