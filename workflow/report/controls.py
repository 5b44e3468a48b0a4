"""What makes every verdict of a run invalid: controls that are off, and rows that cannot stand side
by side.

`oracle-copy` is given the distance: below 100% the task is scored wrongly. `chance` guesses, and
`identity` sees no other position: off the chance line, the task or its scoring leaks the answer.
`uniform` and `random-pointer` mix positions without choosing one. Counting the symbols so far is
the best that this
    allows (the quantity `counting`); more means that the task can be solved without pointing.
`identity` is also the trunk alone: a model that trains clearly faster was not measured on equal
terms.

Accuracies are judged run by run with exact binomial tests at a family-wise level of 1e-4
(`intervals.FAMILY_ERROR`), so that luck throws no good run away. Where nothing was copied, or
timed, nothing is off."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from workflow.bench.experiments import EXPERIMENTS
from workflow.bench.rows import checks
from workflow.report import intervals
from workflow.report.estimates import KEY, PLACE, from_json, select
from workflow.report.frame import unpack
from workflow.report.layout import named
from workflow.report.rules import ENOUGH

REQUIRED = ("oracle-copy", "chance")
BLIND = ("chance", "identity")  # do not see other positions
UNORDERED = ("uniform", "random-pointer")  # see other positions, and cannot choose one
FASTER = (
    1.15  # lower bound of a speed ratio to the trunk alone: equal parameters are not equal time
)
FASTER_ONCE = 1.5  # the same for fewer than ENOUGH repeats, which have no useful interval


def off(estimates: pd.DataFrame) -> list[str]:
    """Return what is wrong with the controls, in words."""
    return [*_missing(estimates), *_copying(estimates), *_timing(estimates)]


def _missing(estimates: pd.DataFrame) -> Iterator[str]:
    copied = select(estimates, "accuracy", experiment="copy", status="ok")
    for place, models in copied.groupby(["machine", "device", "dtype"])["model"]:
        for name in REQUIRED:
            if name not in set(models):
                yield f"no finished copy row of {name} on {', '.join(map(str, place))}"
    timed = select(estimates, "throughput", phase="training", status="ok")
    for place, models in timed.groupby(PLACE, dropna=False)["model"]:
        if "identity" not in set(models):
            yield f"no finished efficiency row of identity on {', '.join(map(str, place[:3]))}"


def _copying(estimates: pd.DataFrame) -> Iterator[str]:
    controls = {"experiment": "copy", "variant": "", "model": ["oracle-copy", *BLIND, *UNORDERED]}
    same = [key for key in KEY if key != "quantity"]
    cells = select(estimates, "accuracy", **controls)
    for quantity in ("n_evaluated", "chance", "counting"):
        other = select(estimates, quantity, **controls)[[*same, "value"]]
        cells = cells.merge(other.rename(columns={"value": quantity}), on=same)
    family = int(cells.loc[cells["model"] != "oracle-copy", "n"].sum())
    for _, cell in cells.iterrows():
        for accuracy in from_json(cell["values"]):
            expected = _refuted(cell, accuracy, family)
            if expected:
                yield f"{cell['model']} scores {accuracy:.2%} at D={cell['x']}, not {expected}"


def _refuted(cell: pd.Series, accuracy: float, family: int) -> str:
    """Return what a control had to score where the accuracy of a run refutes it; "" where it does
    not."""
    n = round(cell["n_evaluated"])
    right = round(accuracy * n)
    if cell["model"] == "oracle-copy":
        return "" if accuracy == 1 else "100.00%"
    if cell["model"] in BLIND:
        plausible = intervals.chance_is_plausible(right, n, cell["chance"], family)
        return "" if plausible else f"{cell['chance']:.2%}"
    plausible = intervals.at_most_is_plausible(right, n, cell["counting"], family)
    return "" if plausible else f"at most {cell['counting']:.2%}"


def _timing(estimates: pd.DataFrame) -> Iterator[str]:
    beside = select(estimates, "speedup", phase="training", against="identity", status="ok")
    for _, cell in beside.iterrows():
        if cell["low"] > FASTER if cell["n"] >= ENOUGH else cell["value"] > FASTER_ONCE:
            times = f"{cell['value']:.2f} times as fast as the trunk alone (identity)"
            yield f"{named(cell['model'], cell['variant'])} trains {times} at N={cell['x']}"


def unsound(frame: pd.DataFrame) -> list[str]:
    """Return what disturbed timings, and which rows cannot stand side by side: the first of each
    kind in words.

    `pointer-bench verify` names all of these rows and says what to do.
    """
    rows = []
    for record in frame[frame["experiment"].isin(list(EXPERIMENTS))].to_dict("records"):
        row = {str(key): None if pd.isna(value) else value for key, value in record.items()}
        row |= {key: unpack(row[key]) or {} for key in ("versions", "settings")}
        rows.append(checks.Placed(str(row["path"] or ""), row))
    findings: dict[str, list[str]] = {}
    for finding in (*checks.overlaps(rows), *checks.mixed_sources(rows)):
        findings.setdefault(finding.check, []).append(finding.message)
    return [
        texts[0] + (f" (and {len(texts) - 1} more)" if texts[1:] else "")
        for texts in findings.values()
    ]
