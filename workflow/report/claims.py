"""A verdict on every claim of the ledger, for each reading that it names.

Smoke rows give no verdict. Where rows are unsound or controls are off every verdict is invalid;
docs/method.md says what each control must score. Accuracies of controls are judged run by run with
exact binomial tests at a family-wise level of 1e-4, so that luck throws no good run away."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from workflow.bench.experiments import EXPERIMENTS
from workflow.bench.rows import verify
from workflow.report import intervals, rules
from workflow.report.estimates import KEY, PLACE, from_json, select
from workflow.report.frame import unpack
from workflow.report.layout import Table, named, records, share, significant
from workflow.report.ledger import Claim, Ledger, Reading, Statement
from workflow.report.rules import ATTAINED, Cell, NotTestable, Outcome, Verdict

LOOK_AGAIN = "snakemake --cores 4 decide"
UNITS = {  # behind a value
    "share": "%",
    "points": " points",
    "ratio": "x",
    "tokens": " tokens",
    "nats": " nats",
}
MOST_CELLS = 4  # in the table for people; the CSV has all
BLIND = ("chance", "identity")  # do not see other positions
UNORDERED = ("uniform", "random-pointer")  # see other positions, and cannot choose one
FASTER = 1.15  # lower bound of a speed ratio to the trunk: equal parameters are not equal time
NOTES = (
    "Reproduced: every interval satisfies the claim. Partially: the direction holds, but not the "
    "size or not every cell or machine. Not reproduced: the intervals exclude it. Inconclusive: "
    "they straddle it, or there are fewer than three runs. Not testable: a device, protocol or "
    "reference is missing. At 97.5%, one in forty verdicts that rest on one interval may be wrong "
    "by chance; after `all` and `decide`, the second and last look, one in twenty.",
    "Of a reading that has more than the paper describes, a claim is attainable instead: with what "
    "the reading takes.",
    "Intervals are 97.5%: Wilson's for accuracies, with the symbols of one sequence counted as "
    "fewer where they stand or fall together; Student's t on the logarithms of paired rounds for "
    "ratios, whose value is the geometric mean; Student's t for means over seeds.",
    "Rules and margins: config/claims.yaml. c1 to c6 are contradictions inside the paper.",
)


@dataclass(frozen=True)
class Line:
    """One claim judged for one reading: its cells, whose `paper` is what the rule compares with,
    and what the rules said; `next` is the command that an open verdict waits for."""

    claim: Claim
    reading: str
    read_as: Reading | None
    verdict: Verdict
    cells: tuple[Cell, ...]
    outcomes: tuple[tuple[str, Outcome], ...]
    reason: str
    next: str = ""

    @property
    def name(self) -> str:
        """The claim's id and the reading, such as copy-95 F."""
        return f"{self.claim.id} {self.reading}".strip()

    @property
    def why(self) -> str:
        """The reason with the command that is next."""
        return f"{self.reason}; next: {self.next}" if self.next else self.reason

    @property
    def words(self) -> str:
        """The verdict in words."""
        if self.verdict == Verdict.REPRODUCED and self.claim.contradiction:
            return "it stands"
        if self.verdict == Verdict.REPRODUCED and self.claim.stands_for:
            return self.claim.stands_for
        return in_words(self.verdict, self.read_as)


def in_words(verdict: Verdict, read_as: Reading | None) -> str:
    """Return a verdict in words: attainable, where a reading takes more than the paper's."""
    takes_more = read_as is not None and read_as.takes
    return str(ATTAINED.get(verdict, verdict) if takes_more else verdict)


def judge(
    numbers: pd.DataFrame, book: Ledger, tier: str = "", unsound: Sequence[str] = ()
) -> list[Line]:
    """Return a line for every claim and reading, in order. unsound: what `unsound_rows` finds."""
    lines = [
        _judge(claim, reading, book.readings.get(reading), numbers)
        for claim, reading in book.judged()
    ]
    off = {Verdict.UNSOUND: unsound, Verdict.INVALID: controls_off(numbers)}
    off[Verdict.SMOKE] = ["runs of smoke size decide nothing"] if tier == "smoke" else []
    for verdict, reasons in off.items():
        if reasons:
            why = "; ".join(reasons)
            return [replace(line, verdict=verdict, reason=why, next="") for line in lines]
    return lines


def controls_off(numbers: pd.DataFrame) -> list[str]:
    """Return what is wrong with the controls, in words."""
    found = []
    copied = select(numbers, "accuracy", experiment="copy", status="ok")
    timed = select(numbers, "throughput", phase="training", status="ok")
    for experiment, rows, places, required in (
        ("copy", copied, PLACE[:3], ("oracle-copy", "chance")),
        ("efficiency", timed, PLACE, ("identity",)),
    ):
        for place, models in rows.groupby(places, dropna=False)["model"]:
            where = ", ".join(filter(None, map(str, place[:3])))
            absent = [name for name in required if name not in set(models)]
            found += [f"no finished {experiment} row of {name} on {where}" for name in absent]
    found += _copying(numbers)
    beside = select(numbers, "speedup", phase="training", against="identity", status="ok")
    for cell in records(beside[beside["low"] > FASTER]):
        times = f"{cell.value:.2f} times as fast as the trunk alone (identity)"
        found.append(f"{named(cell.model, cell.variant)} trains {times} at N={cell.x}")
    return found


def _copying(numbers: pd.DataFrame) -> Iterator[str]:
    controls = {"experiment": "copy", "variant": "", "model": ["oracle-copy", *BLIND, *UNORDERED]}
    same = [key for key in KEY if key != "quantity"]
    cells = select(numbers, "accuracy", status="ok", **controls)
    for quantity in ("n_evaluated", "chance", "counting"):
        other = select(numbers, quantity, **controls)[[*same, "value"]]
        cells = cells.merge(other.rename(columns={"value": quantity}), on=same)
    family = int(cells.loc[cells["model"] != "oracle-copy", "n"].sum())
    for cell in records(cells):
        n = round(cell.n_evaluated)
        for accuracy in from_json(cell.values):
            right = round(accuracy * n)
            if cell.model == "oracle-copy":
                plausible, expected = accuracy == 1, "100.00%"
            elif cell.model in BLIND:
                plausible = intervals.is_plausible(right, n, cell.chance, family)
                expected = f"{cell.chance:.2%}"
            else:
                plausible = intervals.is_plausible(right, n, cell.counting, family, "greater")
                expected = f"at most {cell.counting:.2%}"
            if not plausible:
                yield f"{cell.model} scores {accuracy:.2%} at D={cell.x}, not {expected}"


def unsound_rows(frame: pd.DataFrame) -> list[str]:
    """Return in words the first of each kind of fault that `pointer-bench verify` finds in rows."""
    rows = []
    for record in frame[frame["experiment"].isin(list(EXPERIMENTS))].to_dict("records"):
        row = {str(key): None if pd.isna(value) else value for key, value in record.items()}
        row |= {key: unpack(row[key]) or {} for key in ("versions", "settings")}
        rows.append(verify.Placed(str(row["path"] or ""), row))
    findings: dict[str, list[str]] = {}
    for finding in (*verify.single(rows), *verify.overlaps(rows), *verify.mixed_sources(rows)):
        findings.setdefault(finding.check, []).append(finding.message)
    return [
        texts[0] + (f" (and {len(texts) - 1} more)" if texts[1:] else "")
        for texts in findings.values()
    ]


def _judge(claim: Claim, reading: str, read_as: Reading | None, numbers: pd.DataFrame) -> Line:
    cells = list[Cell]()
    judged = list[tuple[str, str, Outcome]]()  # by place and label
    lacking, failed, reversals = list[str](), list[str](), list[str]()
    for test in claim.tests:
        try:
            selected, absent = test.cells(numbers)
        except NotTestable as reason:
            lacking.append(str(reason))
            continue
        failed += absent
        for cell in selected:
            cells.append(replace(cell, paper=test.level(cell)))
            outcome = test.judge(cell)
            reversal = ""
            if outcome == Outcome.FAILS and read_as and cell.x and not test.variant:
                reversal = _reversal(test, cell.x, read_as.open, numbers)
            reversals += [reversal] if reversal else []
            judged.append((cell.place, cell.label, Outcome.OPEN if reversal else outcome))
    if claim.reason or not judged:
        why = claim.reason or "; ".join(dict.fromkeys(lacking)) or "no test"
        return Line(claim, reading, read_as, Verdict.NOT_TESTABLE, tuple(cells), (), why)
    judged += [("", what, Outcome.OPEN) for what in lacking]
    outcomes = tuple((label, outcome) for _, label, outcome in judged)
    verdicts = dict[str, Verdict]()
    for place in dict.fromkeys(place for place, *_ in judged):
        own = [outcome for where, _, outcome in judged if where in (place, "")]
        verdicts[place] = rules.combine(own)
    if len(verdicts) > 1:  # what has no place counts at each
        verdicts.pop("", None)
    # How often the rules said what, and what is short of a judgement.
    counts = Counter(outcome for _, outcome in outcomes)
    found = ", ".join(f"{outcome} in {counts[outcome]}" for outcome in Outcome if counts[outcome])
    short = dict.fromkeys(cell.short_of() for cell in cells if cell.short_of())
    texts = [f"{found} of {len(outcomes)} cells", *short, *dict.fromkeys(failed + reversals)]
    if len(set(verdicts.values())) > 1:
        texts += [f"{in_words(verdict, read_as)} on {place}" for place, verdict in verdicts.items()]
    verdict, command = rules.over_machines(list(verdicts.values())), ""
    if verdict == Verdict.INCONCLUSIVE:
        # The claim's own for rows that are not there, else a second look at intervals that
        # straddle a bound.
        open_cells = {label for label, outcome in outcomes if outcome == Outcome.OPEN}
        complete = {cell.label for cell in cells if not cell.short_of()}
        straddle = open_cells <= complete and not reversals
        command = LOOK_AGAIN if straddle else claim.command
    return Line(claim, reading, read_as, verdict, tuple(cells), outcomes, "; ".join(texts), command)


def _reversal(test: Statement, x: int, variants: Sequence[str], numbers: pd.DataFrame) -> str:
    """Return in words the first choice that the paper leaves open whose value, of however few runs,
    does not fail as the choice taken does; "" if there is none."""
    where = {"model": test.model, "trunk": test.trunk, "x": x}
    ran = set(select(numbers, test.quantity, **where)["variant"])
    for variant in (variant for variant in variants if variant in ran):
        other = test.with_settings(variant, x)
        try:
            found, _ = other.cells(numbers)
        except NotTestable:
            continue
        for cell in found:
            certain = replace(cell, low=cell.value, high=cell.value, runs=intervals.ENOUGH)
            if other.judge(certain) in (Outcome.HOLDS, Outcome.DIRECTION):
                runs = "" if cell.runs >= intervals.ENOUGH else f" ({cell.short_of()})"
                return f"fails as taken, but {cell.label}: {value_text(cell)}{runs}"
    return ""


COLUMNS = ["claim", "reading", "what", "paper", "ours", "verdict", "why"]


def table(lines: Sequence[Line]) -> Table:
    """Return the verdict table, for people with the cells of a claim that decide."""
    shown, data = [], []
    for line in lines:
        claim, read_as = line.claim, line.read_as
        known = [claim.id, line.reading, claim.claim, claim.figure]
        shown.append([*known, ours(deciding(line), MOST_CELLS), line.words, line.why])
        cells = "; ".join(f"{label}: {outcome}" for label, outcome in line.outcomes)
        everything = {
            "ours": ours(line.cells, len(line.cells)), "source": claim.read_in,
            "command": claim.command, "cells": cells, "heading": read_as.heading if read_as else "",
            "short": claim.short, "number": number(deciding(line)), "next": line.next,
        }  # fmt: skip
        data.append(dict(zip(COLUMNS, shown[-1], strict=True)) | everything)
    wide = pd.DataFrame(shown, columns=COLUMNS, dtype="str")
    return Table("claims", "Verdicts on the paper's claims", wide, pd.DataFrame(data), NOTES)


def deciding(line: Line) -> list[Cell]:
    """Return a line's cells, those first that keep it from being reproduced."""
    order = [Outcome.FAILS, Outcome.OPEN, Outcome.DIRECTION, Outcome.HOLDS]
    lowest: dict[str, int] = {}
    for label, outcome in line.outcomes:
        lowest[label] = min(order.index(outcome), lowest.get(label, 3))
    return sorted(line.cells, key=lambda cell: lowest.get(cell.label, 3))


def ours(cells: Sequence[Cell], most: int) -> str:
    """Return values with their intervals, cell by cell, the first `most` of them."""
    texts = [f"{cell.label}: {value_text(cell)}" for cell in cells]
    more = [f"and {len(texts) - most} more"] if len(texts) > most else []
    return "; ".join(texts[:most] + more) or "–"


def number(cells: Sequence[Cell]) -> str:
    """Return the value of the first of some cells, and where it lies if they lie apart; a dash for
    none."""
    if not cells:
        return "–"
    at = f" at {cells[0].position}" if len({cell.position for cell in cells}) > 1 else ""
    return value_text(cells[0]) + at


def value_text(cell: Cell) -> str:
    """Return a cell's value with its interval, or why it has none."""
    if not math.isfinite(cell.value):
        return cell.open_because or "n/a"
    show = share if cell.unit in ("share", "points") else significant
    value = show(cell.value) + UNITS.get(cell.unit, "")
    if cell.low == cell.high or not math.isfinite(cell.low):
        return value
    return f"{value} ({show(cell.low)} to {show(cell.high)})"
