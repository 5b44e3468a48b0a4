"""A verdict on every claim of the ledger: the paper's figure, ours with its interval, the rule and
the reason.

Smoke rows give no verdict. Controls that are off, and rows that were timed beside others or made by
different sources, make every verdict invalid (workflow.report.controls), for then the measurement
itself is wrong."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from workflow.report import controls, estimates, ledger, render, rules
from workflow.report.layout import Table, significant
from workflow.report.ledger import Claim
from workflow.report.rules import STEP, Cell, NotTestable, Outcome, Verdict

MOST_CELLS = 4  # in the table for people; the CSV has all
NOTES = (
    "Reproduced: every interval satisfies the claim. Partially: the direction holds, but not the "
    "size or not every "
    "cell. Not reproduced: the intervals exclude it. Inconclusive: they straddle it, or there are "
    "fewer than three "
    "runs. Not testable: a device, protocol or reference is missing.",
    "Intervals are 95%: Wilson's for accuracies, with the symbols of one sequence counted as "
    "fewer where they "
    "stand or fall together; Student's t on the logarithms of paired repeats for ratios, whose "
    "value is the "
    "geometric mean; Student's t for means over seeds.",
    "Rules and margins: config/claims.yaml. c1 to c6 are contradictions inside the paper; "
    "reproduced then means that the contradiction stands.",
)


@dataclass(frozen=True)
class Line:
    """One claim judged: its cells, whose `paper` is what the rule compares with, what the rules
    said, and why."""

    claim: Claim
    verdict: Verdict
    cells: tuple[Cell, ...]
    outcomes: tuple[tuple[str, Outcome], ...]
    why: str


def judge(
    numbers: pd.DataFrame, claims: Sequence[Claim], tier: str = "", unsound: Sequence[str] = ()
) -> list[Line]:
    """Return a line for every claim, in the ledger's order. unsound: what `controls.unsound` finds
    in the rows."""
    lines = [_judge(claim, numbers) for claim in claims]
    off = controls.off(numbers)
    if unsound:
        return [replace(line, verdict=Verdict.UNSOUND, why="; ".join(unsound)) for line in lines]
    if off:
        return [replace(line, verdict=Verdict.INVALID, why="; ".join(off)) for line in lines]
    if tier == "smoke":
        reason = "runs of smoke size decide nothing"
        return [replace(line, verdict=Verdict.SMOKE, why=reason) for line in lines]
    return lines


def of_rows(frame: pd.DataFrame, path: Path, tier: str = "") -> list[Line]:
    """Return the lines of a frame of rows under a ledger; rows that cannot stand side by side
    decide nothing."""
    return judge(estimates.build(frame), ledger.read(path), tier, controls.unsound(frame))


def write(frame: pd.DataFrame, out: Path, tier: str, path: Path) -> tuple[list[Line], list[Path]]:
    """Judge all claims and write `out/tables/claims.*`; return the lines and the files."""
    lines = of_rows(frame, path, tier)
    return lines, render.write(table(lines), out / "tables", tier)


def _judge(claim: Claim, numbers: pd.DataFrame) -> Line:
    cells: list[Cell] = []
    outcomes: list[tuple[str, Outcome]] = []
    lacking = []
    for test in claim.tests:
        try:
            selected = test.cells(numbers, claim.device)
        except NotTestable as reason:
            lacking.append(str(reason))
            continue
        cells += [replace(cell, paper=test.judged_by.level(cell)) for cell in selected]
        outcomes += test.judged_by.judge(selected)
    if claim.reason or not outcomes:
        why = claim.reason or "; ".join(dict.fromkeys(lacking)) or "no test"
        return Line(claim, Verdict.NOT_TESTABLE, tuple(cells), (), why)
    outcomes += [(reason, Outcome.OPEN) for reason in lacking]
    verdict = rules.combine([outcome for _, outcome in outcomes])
    return Line(claim, verdict, tuple(cells), tuple(outcomes), _why(cells, outcomes))


def _why(cells: Sequence[Cell], outcomes: Sequence[tuple[str, Outcome]]) -> str:
    """Return how often the rules said what, and what is short of a judgement."""
    counts = Counter(outcome for _, outcome in outcomes)
    said = ", ".join(f"{outcome} in {counts[outcome]}" for outcome in Outcome if counts[outcome])
    short = dict.fromkeys(cell.short_of() for cell in cells if cell.short_of())
    return "; ".join([f"{said} of {len(outcomes)} cells", *short])


def table(lines: Sequence[Line], most: int = MOST_CELLS) -> Table:
    """Return the verdict table, with `most` cells of a claim: those that decide."""
    wide = pd.DataFrame(
        {
            "claim": [line.claim.id for line in lines],
            "what": [line.claim.claim for line in lines],
            "paper": [line.claim.figure for line in lines],
            "ours": [ours(deciding(line), most) for line in lines],
            "verdict": [verdict(line) for line in lines],
            "why": [line.why for line in lines],
        },
        dtype="str",
    )
    data = wide.assign(
        ours=[ours(line.cells, len(line.cells)) for line in lines],
        source=[line.claim.read_in for line in lines],
        device=[line.claim.device for line in lines],
        command=[line.claim.command for line in lines],
        cells=[
            "; ".join(f"{label}: {outcome}" for label, outcome in line.outcomes) for line in lines
        ],
    )
    return Table("claims", "Verdicts on the paper's claims", wide, data, NOTES)


def deciding(line: Line) -> list[Cell]:
    """Return a line's cells, those first that keep it from being reproduced."""
    ranks = {Outcome.FAILS: 0, Outcome.OPEN: 1, Outcome.DIRECTION: 2, Outcome.HOLDS: 3}

    def rank(cell: Cell) -> int:
        own = [
            ranks[outcome]
            for label, outcome in line.outcomes
            if cell.label in (label, *label.split(STEP))
        ]
        return min(own, default=3)

    return sorted(line.cells, key=rank)


def verdict(line: Line) -> str:
    """Return the verdict in words; of a contradiction, whether it stands."""
    stands = line.claim.contradiction and line.verdict == Verdict.REPRODUCED
    return f"{line.verdict} (it stands)" if stands else str(line.verdict)


def ours(cells: Sequence[Cell], most: int) -> str:
    """Return values with their intervals, cell by cell, the first `most` of them."""
    texts = [f"{cell.label}: {value_text(cell)}" for cell in cells]
    more = [f"and {len(texts) - most} more"] if len(texts) > most else []
    return "; ".join(texts[:most] + more) or "–"


def value_text(cell: Cell) -> str:
    """Return a cell's value with its interval, or why it has none."""
    if not math.isfinite(cell.value):
        return cell.open_because or "n/a"
    if cell.low == cell.high or not math.isfinite(cell.low):
        return significant(cell.value)
    return f"{significant(cell.value)} ({significant(cell.low)} to {significant(cell.high)})"
