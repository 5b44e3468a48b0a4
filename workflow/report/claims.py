"""A verdict on every claim of the ledger: the paper's figure, ours with its interval, the rule and the reason.

Smoke rows give no verdict. Controls that are off (workflow.report.controls) make every verdict invalid, for then the
measurement itself is wrong; so do rows that were timed beside others, or that different sources made
(workflow.bench.rows.checks; `pointer-bench verify` names the rows and what to do).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from workflow.bench.experiments import EXPERIMENTS
from workflow.bench.rows import checks
from workflow.bench.rows.checks import Finding, Placed
from workflow.report import controls, ledger, metrics, render, rules
from workflow.report.frame import unpack
from workflow.report.layout import Table, significant
from workflow.report.ledger import Claim
from workflow.report.rules import STEP, Estimate, Outcome, Verdict

MOST_CELLS = 4  # in the table for people; the CSV has all


@dataclass(frozen=True)
class Line:
    """One claim judged: its cells (`paper` is what the rule compares with), what the rules said of them, and why."""

    claim: Claim
    verdict: Verdict
    cells: tuple[Estimate, ...]
    outcomes: tuple[tuple[str, Outcome], ...]
    why: str


def judge(frame: pd.DataFrame, claims: Sequence[Claim], tier: str = "") -> list[Line]:
    """A line for every claim, in the ledger's order."""
    off, unsound, judged = controls.off(frame), unsound_rows(frame), _full_precision(frame)
    return [_overruled(_line(claim, judged), tier, off, unsound) for claim in claims]


def _full_precision(frame: pd.DataFrame) -> pd.DataFrame:
    """Of each machine's device the float32 rows of an experiment, where it has any: the paper names no precision, and
    a few cells in bfloat16 are no second place at which a claim over all lengths could be judged."""
    full = (frame["dtype"] == "float32").groupby([frame[key] for key in ("machine", "device", "experiment")])
    return frame[(frame["dtype"] == "float32") | ~full.transform("any")]


def _overruled(line: Line, tier: str, off: list[str], unsound: list[str]) -> Line:
    if unsound:
        return Line(line.claim, Verdict.UNSOUND, line.cells, line.outcomes, "; ".join(unsound))
    if off:
        return Line(line.claim, Verdict.INVALID, line.cells, line.outcomes, "; ".join(off))
    if tier == "smoke":
        return Line(line.claim, Verdict.SMOKE, line.cells, line.outcomes, "runs of smoke size decide nothing")
    return line


def _line(claim: Claim, frame: pd.DataFrame) -> Line:
    cells: list[Estimate] = []
    outcomes: list[tuple[str, Outcome]] = []
    lacking = []
    for test in claim.tests:
        try:
            found = test.cells(frame)
        except metrics.NotTestable as reason:
            lacking.append(str(reason))
            continue
        cells += [replace(cell, paper=test.rule.asked(cell)) for cell in found]
        outcomes += test.rule.judge(found)
    if claim.reason or not outcomes:
        why = claim.reason or "; ".join(dict.fromkeys(lacking)) or "no test"
        return Line(claim, Verdict.NOT_TESTABLE, tuple(cells), (), why)
    outcomes += [(reason, Outcome.OPEN) for reason in lacking]
    return Line(claim, rules.combine([o for _, o in outcomes]), tuple(cells), tuple(outcomes), _why(cells, outcomes))


def _why(cells: Sequence[Estimate], outcomes: Sequence[tuple[str, Outcome]]) -> str:
    """Counts of what the rules said, and what is short of a judgement."""
    said = [f"{outcome} in {n}" for outcome in Outcome if (n := sum(o == outcome for _, o in outcomes))]
    short = dict.fromkeys(cell.short_of() for cell in cells if cell.short_of())
    return "; ".join([f"{', '.join(said)} of {len(outcomes)} cells", *short])


def unsound_rows(frame: pd.DataFrame) -> list[str]:
    """Timings that others disturbed, and rows that cannot stand side by side; the first of each kind in words."""
    rows = [_placed(record) for record in frame.to_dict("records") if record["experiment"] in EXPERIMENTS]
    found: dict[str, list[Finding]] = {}
    for finding in (*checks.overlaps(rows), *checks.mixed_sources(rows)):
        found.setdefault(finding.check, []).append(finding)
    return [f"{some[0].message}" + (f" (and {len(some) - 1} more)" if some[1:] else "") for some in found.values()]


def _placed(record: Mapping[Hashable, Any]) -> Placed:
    """A line of the frame as a row again."""
    row = {str(key): None if pd.isna(value) else value for key, value in record.items()}
    return Placed(str(row["path"] or ""), row | {key: unpack(row[key]) or {} for key in ("versions", "settings")})


def table(lines: Sequence[Line], most: int = MOST_CELLS) -> Table:
    """The verdict table, with `most` cells of a claim: those that decide."""
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
        cells=["; ".join(f"{label}: {outcome}" for label, outcome in line.outcomes) for line in lines],
    )
    notes = (
        "Reproduced: every interval satisfies the claim. Partially: the direction holds, but not the size or not every "
        "cell. Not reproduced: the intervals exclude it. Inconclusive: they straddle it, or there are fewer than three "
        "runs. Not testable: a device, protocol or reference is missing.",
        "Intervals are 95%: Wilson's for accuracies, with the symbols of one sequence counted as fewer where they "
        "stand or fall together; Student's t on the logarithms of paired repeats for ratios, whose value is then the "
        "geometric mean (speed tables show medians); Student's t for means over seeds.",
        "Rules and margins: config/claims.yaml. c1 to c6 are contradictions inside the paper; "
        "reproduced then means that the contradiction stands.",
    )
    return Table("claims", "Verdicts on the paper's claims", wide, data, notes)


def deciding(line: Line) -> list[Estimate]:
    """A line's cells, those first that keep it from being reproduced."""
    rank = {outcome: place for place, outcome in enumerate((Outcome.FAILS, Outcome.OPEN, Outcome.DIRECTION))}

    def place(cell: Estimate) -> int:
        said = [o for label, o in line.outcomes if cell.label in (label, *label.split(STEP))]
        return min((rank.get(outcome, len(rank)) for outcome in said), default=len(rank))

    return sorted(line.cells, key=place)


def verdict(line: Line) -> str:
    """The verdict in words; of a contradiction, whether it stands."""
    if line.claim.contradiction and line.verdict == Verdict.REPRODUCED:
        return f"{line.verdict} (it stands)"
    return str(line.verdict)


def ours(cells: Sequence[Estimate], most: int) -> str:
    """Values with their intervals, cell by cell, the first `most` of them."""
    said = [f"{cell.label}: {_value(cell)}" for cell in cells]
    more = [f"and {len(said) - most} more"] if len(said) > most else []
    return "; ".join(said[:most] + more) or "–"


def _value(cell: Estimate) -> str:
    if not math.isfinite(cell.value):
        return cell.open_because or "n/a"
    if cell.low == cell.high or not math.isfinite(cell.low):
        return significant(cell.value)
    return f"{significant(cell.value)} ({significant(cell.low)} to {significant(cell.high)})"


def write(frame: pd.DataFrame, out: Path, tier: str, path: Path) -> tuple[list[Line], list[Path]]:
    """Judges all claims; writes `out/tables/claims.*`; returns the lines and the files."""
    lines = judge(frame, ledger.read(path), tier)
    return lines, render.write(table(lines), out / "tables", tier)
