"""What `pointer` was built to reach, and what it reached: `config/goals.yaml`, a ledger like the
claims', cell by cell.

A goal is met when the measured value meets it; whether its whole interval does stands beside,
because three repeats seldom decide a ratio that lies near its bound."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd

from workflow.report import GOALS, ledger
from workflow.report.claims import value_text
from workflow.report.layout import NOT_RUN, Table, significant
from workflow.report.ledger import Statement
from workflow.report.rules import Cell, NotTestable, Outcome, missing

WORDS = {Outcome.HOLDS: "yes", Outcome.FAILS: "no", Outcome.OPEN: "undecided"}
COLUMNS = ["goal", "what", "cell", "asked", "reached", "low", "high", "runs", "met", "interval"]
TOLD = "(of tokens and peaks: the runs' range)"
NOTES = (
    "Ratios are of paired rows on one machine, the mean step over whole credit periods; identity "
    "is the same trunk "
    "without mixing, at equal parameters: everything that is not pointing.",
    f"met: by the value; interval: whether all of its 95% interval {TOLD} meets it.",
    "Goals: config/goals.yaml. Rows: snakemake --cores 4 targets content",
)
SUMMARY_NOTES = (
    "met: in how many of the measured cells the value meets what was asked; beyond doubt: in how "
    "many its whole 95% "
    f"interval does {TOLD}. Worst: by value. Cell by cell: table `goals`.",
    "Ratios are of paired rows on one machine; identity is the same trunk without mixing, at "
    "equal parameters.",
)


def goals(estimates: pd.DataFrame) -> Table:
    """Return a line a cell: what was asked for, what was reached with its interval, and whether
    that meets it."""
    lines: list[list[object]] = []
    texts = []
    for goal in ledger.read(GOALS):
        for test in goal.tests:
            asked = f"{test.rule} {significant(test.value)}"
            for cell in _cells(test, estimates):
                numbers = [cell.value, cell.low, cell.high, cell.runs]
                lines.append([goal.id, goal.claim, cell.label, asked, *numbers, *_met(test, cell)])
                texts.append(_reached(cell))
    data = pd.DataFrame(lines, columns=COLUMNS)
    wide = data.assign(reached=texts).drop(columns=["what", "low", "high", "runs"]).astype("str")
    return Table("goals", "What pointer was built to reach", wide, data, NOTES)


def _cells(test: Statement, estimates: pd.DataFrame) -> list[Cell]:
    try:
        return test.cells(estimates)
    except NotTestable as error:
        return [missing(error.what, error.reason or "not run")]


def _met(test: Statement, cell: Cell) -> tuple[str, str]:
    """Return whether the value meets the goal, and whether its interval does; of an open cell why
    it is open."""
    if math.isnan(cell.value):
        return NOT_RUN if cell.open_because == "not run" else cell.open_because, NOT_RUN
    point = replace(cell, low=cell.value, high=cell.value, exact=True, open_because="")
    (_, met), (_, certain) = test.judged_by.judge([point, cell])
    return WORDS[met], WORDS[certain]


def _reached(cell: Cell) -> str:
    if math.isinf(cell.value):
        return "never"
    return NOT_RUN if math.isnan(cell.value) else value_text(cell)


def summary(estimates: pd.DataFrame) -> Table:
    """Return a line a test: how many of its cells meet the goal, and the cell that is nearest to
    missing it."""
    table = goals(estimates)
    data = table.data.assign(text=table.wide["reached"])
    lines = []
    for (_, what, asked), cells in data.groupby(["goal", "what", "asked"], sort=False):
        measured = cells[cells["met"].isin(("yes", "no"))]
        met, certain, worst = [], NOT_RUN, NOT_RUN
        if len(measured):
            met.append(f"{(measured['met'] == 'yes').sum()} of {len(measured)}")
            certain = f"{(measured['interval'] == 'yes').sum()} of {len(measured)}"
            worst = _worst(measured, at_most=str(asked).startswith("at most"))
        open_cells = cells.loc[~cells.index.isin(measured.index), "met"].replace(NOT_RUN, "not run")
        met += [f"{count} {reason}" for reason, count in open_cells.value_counts().items()]
        lines.append([what, asked, ", ".join(met), certain, worst])
    wide = pd.DataFrame(
        lines, columns=["what", "asked", "met", "beyond doubt", "worst cell"], dtype="str"
    )
    return Table(
        "goals_summary",
        "What pointer was built to reach (config/goals.yaml)",
        wide,
        table.data,
        SUMMARY_NOTES,
    )


def _worst(measured: pd.DataFrame, *, at_most: bool) -> str:
    """Return the cell that is nearest to missing the goal, or misses it by most; of equal ones by
    its bound."""
    bounds = ["reached", "high" if at_most else "low"]
    worst = measured.sort_values(bounds, ascending=not at_most, kind="stable").iloc[0]
    return f"{worst['cell']}: {worst['text']}"
