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
from workflow.report.rules import NotTestable, Outcome, missing

WORDS = {Outcome.HOLDS: "yes", Outcome.FAILS: "no", Outcome.OPEN: "undecided"}
COLUMNS = ["goal", "what", "cell", "asked", "reached", "low", "high", "runs", "met", "interval"]
PAIRED = "Ratios are of paired rows on one machine"
TRUNK = "identity is the same trunk without mixing, at equal parameters"
NOTES = (
    f"{PAIRED}, the mean step over whole credit periods; {TRUNK}: everything that is not pointing.",
    "met: by the value; interval: whether all of its 95% interval (of tokens and peaks: the runs' "
    "range) meets it.",
    "Goals: config/goals.yaml. Rows: snakemake --cores 4 targets content",
)
SUMMARY_NOTES = (
    "met: in how many of the measured cells the value meets what was asked; beyond doubt: in how "
    "many its whole 95% interval does (of tokens and peaks: the runs' range). Worst: by value. "
    "Cell by cell: table `goals`.",
    f"{PAIRED}; {TRUNK}.",
)


def goals(estimates: pd.DataFrame) -> Table:
    """Return a line a cell: what was asked for, what was reached with its interval, and whether
    that meets it."""
    lines: list[list[object]] = []
    texts = []
    for goal in ledger.read(GOALS):
        for test in goal.tests:
            asked = f"{test.rule} {significant(test.value)}"
            try:
                cells = test.cells(estimates)
            except NotTestable as error:
                cells = [missing(error.what, error.reason or "not run")]
            for cell in cells:
                if math.isnan(cell.value):
                    text, interval = NOT_RUN, NOT_RUN
                    met = NOT_RUN if cell.open_because == "not run" else cell.open_because
                else:
                    # The value alone, as an interval without width, and then the whole interval.
                    point = replace(
                        cell, low=cell.value, high=cell.value, exact=True, open_because=""
                    )
                    text = "never" if math.isinf(cell.value) else value_text(cell)
                    met, interval = (
                        WORDS[outcome] for _, outcome in test.judged_by.judge([point, cell])
                    )
                numbers = [cell.value, cell.low, cell.high, cell.runs]
                lines.append([goal.id, goal.claim, cell.label, asked, *numbers, met, interval])
                texts.append(text)
    data = pd.DataFrame(lines, columns=COLUMNS)
    wide = data.assign(reached=texts).drop(columns=["what", "low", "high", "runs"]).astype("str")
    return Table("goals", "What pointer was built to reach", wide, data, NOTES)


def summary(estimates: pd.DataFrame) -> Table:
    """Return a line a test: how many of its cells meet the goal, and the cell that is nearest to
    missing it."""
    table = goals(estimates)
    data = table.data.assign(text=table.wide["reached"])
    lines = []
    for (_, what, asked), cells in data.groupby(["goal", "what", "asked"], sort=False):
        is_measured = cells["met"].isin(("yes", "no"))
        measured = cells[is_measured]
        met, certain, worst = [], NOT_RUN, NOT_RUN
        if len(measured):
            met.append(f"{(measured['met'] == 'yes').sum()} of {len(measured)}")
            certain = f"{(measured['interval'] == 'yes').sum()} of {len(measured)}"
            at_most = str(asked).startswith("at most")
            bounds = ["reached", "high" if at_most else "low"]  # of equal values the wider interval
            last = measured.sort_values(bounds, ascending=not at_most, kind="stable").iloc[0]
            worst = f"{last['cell']}: {last['text']}"
        reasons = cells.loc[~is_measured, "met"].replace(NOT_RUN, "not run").value_counts()
        met += [f"{count} {reason}" for reason, count in reasons.items()]
        lines.append([what, asked, ", ".join(met), certain, worst])
    columns = ["what", "asked", "met", "beyond doubt", "worst cell"]
    wide = pd.DataFrame(lines, columns=columns, dtype="str")
    title = "What pointer was built to reach (config/goals.yaml)"
    return Table("goals_summary", title, wide, table.data, SUMMARY_NOTES)
