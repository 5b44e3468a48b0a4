"""Are the controls where they must be? What is off here makes every verdict of a run invalid: the measurement is wrong.

`oracle-copy` is told the distance: less than 100% means that the task is scored wrongly.
`chance` guesses, and `identity` sees no other position: off the chance line, the task or its scoring leaks the answer.
`uniform` and `random-pointer` mix positions without choosing one. Counting the symbols so far is the best that this
    allows (`intervals.counting`, a little above chance); more means that the task can be solved without pointing.
`identity` is also the trunk alone: a model that trains clearly faster was not measured on equal terms.

Judged by exact binomial tests at a family-wise level of 1e-4 (`intervals.FAMILY_ERROR`), or good runs would be thrown
away; where nothing was copied, or timed, nothing is off.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from workflow.report import intervals, summary
from workflow.report.rules import ENOUGH

REQUIRED = ("oracle-copy", "chance")
BLIND = ("chance", "identity")  # know nothing of other positions
UNORDERED = ("uniform", "random-pointer")  # see other positions, and cannot choose one
WHERE = ["machine", "device", "dtype"]
FASTER = (
    1.15  # lower bound of a speed ratio to the trunk alone; activations cost, so equal parameters are not equal time
)
FASTER_ONCE = 1.5  # the same for fewer than ENOUGH repeats, which have no useful interval


def off(frame: pd.DataFrame) -> list[str]:
    """What is wrong with the controls, in words."""
    return [*_copy(summary.of(frame, "copy")), *_timing(frame)]


def _copy(rows: pd.DataFrame) -> Iterator[str]:
    rows = rows[rows["status"] == "ok"]
    family = int(rows["model"].isin([*BLIND, *UNORDERED]).sum())
    for place, group in rows.groupby(WHERE, dropna=False):
        present = set(group["model"])
        where = f" on {', '.join(map(str, place))}"
        yield from (f"no finished copy row of {name}{where}" for name in REQUIRED if name not in present)
    for _, row in rows.iterrows():
        expected = _expected(row)
        if not _as_expected(row, expected, family):
            yield f"{row['model']} scores {row['accuracy']:.2%} at D={row['distance']}, not {_words(row, expected)}"


def _expected(row: pd.Series) -> float:
    if row["model"] in UNORDERED:
        return intervals.counting(int(row["symbols"]), int(row["distance"]) + 1)
    return 1.0 if row["model"] == "oracle-copy" else float(row["chance"])


def _as_expected(row: pd.Series, expected: float, family: int) -> bool:
    if row["model"] == "oracle-copy":
        return bool(row["accuracy"] == 1)
    if row["model"] not in (*BLIND, *UNORDERED):
        return True
    right, n = round(float(row["accuracy"]) * int(row["n_evaluated"])), int(row["n_evaluated"])
    if row["model"] in UNORDERED:
        return intervals.at_most_is_plausible(right, n, expected, family)
    return intervals.chance_is_plausible(right, n, expected, family)


def _words(row: pd.Series, expected: float) -> str:
    return f"{'at most ' if row['model'] in UNORDERED else ''}{expected:.2%}"


def _timing(frame: pd.DataFrame) -> Iterator[str]:
    timed = summary.of(frame, "efficiency")
    timed = timed[(timed["status"] == "ok") & timed["tokens_per_s"].notna()]
    for place, group in timed.groupby(summary.PLACE, dropna=False):
        if "identity" not in set(group["model"]):
            yield f"no finished efficiency row of identity on {', '.join(map(str, place[:3]))}"
    paired = summary.pairs(frame, "training", "identity")
    paired = paired[(paired["status"] == "ok") & paired["ratio"].notna()]
    for (*_, model, length), group in paired.groupby(summary.CELL, dropna=False):
        ratio = intervals.ratio(list(group["ratio"]))
        if (ratio.low > FASTER) if len(group) >= ENOUGH else (ratio.value > FASTER_ONCE):
            yield f"{model} trains {ratio.value:.2f} times as fast as the trunk alone (identity) at N={length}"
