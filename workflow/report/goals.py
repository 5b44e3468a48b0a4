"""What `pointer` was built to reach, and what it reached: `config/goals.yaml`, in the ledger's own form, cell by cell.

A goal is met when the measured value meets it; whether its whole interval does stands beside, because three repeats
seldom decide a ratio that lies near its bound.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from workflow.report import ledger, metrics
from workflow.report.layout import NOT_RUN, Table, significant
from workflow.report.ledger import Claim, Statement
from workflow.report.rules import Estimate, Outcome

PATH = Path(__file__).resolve().parents[2] / "config" / "goals.yaml"
WORDS = {Outcome.HOLDS: "yes", Outcome.FAILS: "no", Outcome.DIRECTION: "no", Outcome.OPEN: "undecided"}


def goals(frame: pd.DataFrame) -> Table:
    """One line a cell: what was asked for, what was reached with its interval, and whether that meets it."""
    lines = [line for goal in ledger.read(PATH) for test in goal.tests for line in _lines(goal, test, frame)]
    data = pd.DataFrame(
        lines, columns=["goal", "what", "cell", "asked", "reached", "low", "high", "runs", "met", "interval"]
    )
    wide = data.assign(
        reached=[_reached(line) for line in data.itertuples()],
    ).drop(columns=["what", "low", "high", "runs"])
    notes = (
        "Ratios are of paired rows on one machine, the mean step over whole credit periods; identity is the same trunk "
        "without mixing, at equal parameters: everything that is not pointing.",
        "met: by the value; interval: whether all of its 95% interval (of tokens and peaks: the runs' range) meets it.",
        "Goals: config/goals.yaml. Rows: snakemake --cores 4 --configfile config/targets.yaml",
    )
    return Table("goals", "What pointer was built to reach", wide.astype("str"), data, notes)


def _lines(goal: Claim, test: Statement, frame: pd.DataFrame) -> list[tuple[object, ...]]:
    asked = f"{test.rule.kind} {significant(test.rule.value)}"
    try:
        cells = test.cells(frame)
    except metrics.NotTestable as reason:
        return [
            (goal.id, goal.claim, str(reason), asked, float("nan"), float("nan"), float("nan"), 0, NOT_RUN, NOT_RUN)
        ]
    return [
        (goal.id, goal.claim, cell.label, asked, cell.value, cell.low, cell.high, cell.runs, *_met(test, cell))
        for cell in cells
    ]


def _met(test: Statement, cell: Estimate) -> tuple[str, str]:
    """Whether the value meets the goal, and whether its interval does."""
    if cell.open_because:
        return NOT_RUN, NOT_RUN
    point = Estimate(cell.label, cell.value, cell.value, cell.value, exact=True, paper=cell.paper)
    return WORDS[test.rule.judge([point])[0][1]], WORDS[test.rule.judge([cell])[0][1]]


def _reached(line: object) -> str:
    value, low, high = (float(getattr(line, key)) for key in ("reached", "low", "high"))
    if value != value:
        return NOT_RUN
    if low != low or low == high:
        return significant(value)
    return f"{significant(value)} ({significant(low)} to {significant(high)})"
