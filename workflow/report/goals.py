"""What `pointer` was built to reach, and what it reached: `config/goals.yaml`, in the ledger's own form, cell by cell.

A goal is met when the measured value meets it; whether its whole interval does stands beside, because three repeats
seldom decide a ratio that lies near its bound.
"""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from workflow.report import GOALS, ledger, metrics
from workflow.report.layout import NOT_RUN, Table, significant
from workflow.report.ledger import Claim, Statement
from workflow.report.rules import Estimate, Outcome

WORDS = {Outcome.HOLDS: "yes", Outcome.FAILS: "no", Outcome.DIRECTION: "no", Outcome.OPEN: "undecided"}


def goals(frame: pd.DataFrame) -> Table:
    """One line a cell: what was asked for, what was reached with its interval, and whether that meets it."""
    lines = [line for goal in ledger.read(GOALS) for test in goal.tests for line in _lines(goal, test, frame)]
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


def summary(frame: pd.DataFrame) -> Table:
    """One line a goal's test: how many of its cells meet it, and the cell that is nearest to missing it."""
    data = goals(frame).data
    lines = []
    for (_, what, asked), cells in data.groupby(["goal", "what", "asked"], sort=False):
        measured = cells[cells["met"].isin(("yes", "no"))]
        worst = _worst(measured, str(asked))
        open_cells = cells.loc[~cells.index.isin(measured.index), "met"].replace(NOT_RUN, "not run")
        missing = ", ".join(f"{count} {why}" for why, count in open_cells.value_counts().items())
        met, certain = (f"{int((measured[how] == 'yes').sum())} of {len(measured)}" for how in ("met", "interval"))
        lines.append(
            {
                "what": what,
                "asked": asked,
                "met": ", ".join(filter(None, [met if len(measured) else "", missing])),
                "beyond doubt": certain if len(measured) else NOT_RUN,
                "worst cell": NOT_RUN if worst is None else f"{worst.cell}: {_reached(worst)}",
            }
        )
    notes = (
        "met: in how many of the measured cells the value meets what was asked; beyond doubt: in how many its whole "
        "95% interval does (of tokens and peaks: the runs' range). Worst: by value. Cell by cell: table `goals`.",
        "Ratios are of paired rows on one machine; identity is the same trunk without mixing, at equal parameters.",
    )
    wide = pd.DataFrame(lines, columns=["what", "asked", "met", "beyond doubt", "worst cell"], dtype="str")
    return Table("goals_summary", "What pointer was built to reach (config/goals.yaml)", wide, data, notes)


def _worst(measured: pd.DataFrame, asked: str) -> Any:
    """The cell that is nearest to missing the goal, or misses it by most, of equal ones the first by its bound; None
    where none was measured."""
    at_most = asked.startswith("at most")
    ranked = measured.sort_values(["reached", "high" if at_most else "low"], ascending=not at_most, kind="stable")
    return next(ranked.itertuples(), None)


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
    """Whether the value meets the goal, and whether its interval does; of an open cell why it is open."""
    if cell.open_because:
        return (NOT_RUN if cell.open_because.endswith("not run") else cell.open_because, NOT_RUN)
    point = Estimate(cell.label, cell.value, cell.value, cell.value, exact=True, paper=cell.paper)
    return WORDS[test.rule.judge([point])[0][1]], WORDS[test.rule.judge([cell])[0][1]]


def _reached(line: object) -> str:
    value, low, high = (float(getattr(line, key)) for key in ("reached", "low", "high"))
    if value != value:
        return NOT_RUN
    if math.isinf(value):
        return "never"
    if low != low or low == high:
        return significant(value)
    return f"{significant(value)} ({significant(low)} to {significant(high)})"
