"""Samples -> estimates: one line a run and quantity becomes one line a cell, by the estimator of
the quantity."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from workflow.bench.measure import statistics
from workflow.report.estimates.runs import KEY, WHOLE_KEYS
from workflow.report.intervals import LEVEL

NO_PAIR = "no pair"  # the status of a run without the run that it is to be compared with
SEPARATOR = "; "  # between the row files of an estimate
SAMPLE = [
    *KEY,
    "value",
    "low",
    "high",
    "status",
    "reason",
    "path",
    "seed",
    "repeat",
    "asked",
    "unsteady",
    "code",
    "method",
]
ESTIMATE = [
    *KEY,
    "unit",
    "value",
    "low",
    "high",
    "least",
    "most",
    "n",
    "runs",
    "status",
    "reason",
    "doubt",
    "values",
    "code",
    "method",
    "rows",
]


@dataclass(frozen=True)
class Quantity:
    """How the runs of a cell become one number.

    estimator:
        "mean": of the runs, between the lowest and the highest of the runs' own bounds "mean, t":
        of the runs, with Student's t interval, cut where the runs' own bounds say that no value can
        be "median": of the runs, with the medians of the runs' own bounds "geometric mean": of the
        runs, with Student's t interval on logarithms "most": the largest of the runs
    steady: what varies when repeats disagree, in words; empty where that is no concern
    """

    unit: str
    estimator: str = "mean"
    steady: str = ""


def sample(runs: pd.DataFrame, quantity: str, value: pd.Series, **columns: Any) -> pd.DataFrame:
    """Return one sample a run: `value` of `quantity`, and further columns of SAMPLE, such as phase,
    low and high."""
    filled: dict[str, Any] = {
        "low": np.nan,
        "high": np.nan,
        "asked": True,
        "unsteady": False,
        "method": "",
    } | columns
    table = runs.assign(quantity=quantity, value=value, **filled)[SAMPLE]
    return table.astype(
        dict.fromkeys(("value", "low", "high"), "Float64") | dict.fromkeys(WHOLE_KEYS, "Int64")
    )


def combine(samples: pd.DataFrame, quantities: dict[str, Quantity]) -> pd.DataFrame:
    """Return the estimates of all samples.

    `n` counts the runs that have the value, `runs` those that finished. A cell is ok where any run
    is."""
    samples = samples.astype(dict.fromkeys(("value", "low", "high"), "float64"))
    samples["cell"] = samples.groupby(KEY, dropna=False, sort=False).ngroup()
    cells = samples.drop_duplicates("cell").set_index("cell")[KEY]
    good = samples[samples["status"] == "ok"]
    cells = cells.join(
        _numbers(good, cells["quantity"].map(lambda name: quantities[name].estimator))
    )
    cells["unit"] = cells["quantity"].map(lambda name: quantities[name].unit)
    cells["runs"] = good.groupby("cell").size()
    cells["values"] = good.groupby("cell")["value"].agg(lambda values: to_json(values))
    by_cell = samples.groupby("cell")
    cells["rows"] = by_cell["path"].agg(joined)
    for column in ("code", "method"):
        cells[column] = by_cell[column].agg(
            lambda texts: ", ".join(sorted({text for text in texts if text}))
        )
    failed = samples[samples["status"] != "ok"].groupby("cell")
    cells["status"] = failed["status"].agg(lambda statuses: statuses.mode()[0])
    cells["status"] = cells["status"].where(cells["runs"].isna(), "ok")
    cells[["n", "runs"]] = cells[["n", "runs"]].fillna(0).astype("int64")
    cells["values"] = cells["values"].fillna("[]")

    total = samples.groupby("cell").size()
    reasons = {cell: _failures(group, total[cell]) for cell, group in failed}
    for cell, group in good.groupby("cell"):
        steady = quantities[str(cells.at[cell, "quantity"])].steady
        if steady:
            parts = [reasons.get(cell, ""), *_varying(group, steady)]
            reasons[cell] = SEPARATOR.join(part for part in parts if part)
    cells["reason"] = pd.Series(reasons, dtype="str").reindex(cells.index).fillna("")
    cells["doubt"] = _doubts(samples).reindex(cells.index).fillna("")
    return cells.reset_index(drop=True)[ESTIMATE]


def _numbers(good: pd.DataFrame, estimators: pd.Series) -> pd.DataFrame:
    """Return value, low, high, least, most and n by cell. estimators: by cell."""
    by_cell = good.assign(log=np.log(good["value"].where(good["value"] > 0))).groupby("cell")
    table = by_cell["value"].agg(["mean", "median", "std", "min", "max", "count"])
    logs = by_cell["log"].agg(["mean", "std"])
    bounds = by_cell.agg(
        low=("low", "min"),
        high=("high", "max"),
        low_median=("low", "median"),
        high_median=("high", "median"),
    )
    t = stats.t.ppf((1 + LEVEL) / 2, (table["count"] - 1).where(table["count"] > 1)) / np.sqrt(
        table["count"]
    )
    half, log_half = t * table["std"], t * logs["std"]
    missing = table["mean"] * np.nan
    choices = {
        "mean": (table["mean"], bounds["low"], bounds["high"]),
        "mean, t": (
            table["mean"],
            (table["mean"] - half).clip(lower=bounds["low"].fillna(-np.inf)),
            (table["mean"] + half).clip(upper=bounds["high"].fillna(np.inf)),
        ),
        "median": (table["median"], bounds["low_median"], bounds["high_median"]),
        "geometric mean": (
            np.exp(logs["mean"]),
            np.exp(logs["mean"] - log_half),
            np.exp(logs["mean"] + log_half),
        ),
        "most": (table["max"], missing, missing),
    }
    numbers = pd.DataFrame({"least": table["min"], "most": table["max"], "n": table["count"]})
    estimator = estimators.reindex(table.index)
    for place, column in enumerate(("value", "low", "high")):
        numbers[column] = missing
        for name, columns in choices.items():
            numbers[column] = numbers[column].mask(estimator == name, columns[place])
    return numbers


def _failures(failed: pd.DataFrame, total: int) -> str:
    """Return how runs failed and how many of them, each text once."""
    texts = [
        f"{status}: {reason}" if pd.notna(reason) else status
        for status, reason in zip(failed["status"], failed["reason"], strict=True)
    ]
    return SEPARATOR.join(
        f"{text} ({texts.count(text)} of {total} runs)" for text in dict.fromkeys(texts)
    )


def _varying(good: pd.DataFrame, steady: str) -> list[str]:
    """Return stability warnings, between repeats and within a repeat."""
    warnings = statistics.unstable(
        [float(value) for value in good["value"].dropna()], f"{steady} over repeats"
    )
    within = int(good["unsteady"].sum())
    if within:
        warnings.append(f"the steps inside {within} of {len(good)} runs vary (their row says how)")
    return warnings


def _doubts(samples: pd.DataFrame) -> pd.Series:
    """Return by cell why its value decides nothing: failed runs are no random sample, and copies
    are no repeats.

    A run that nothing was to be paired with (not `asked`) counts for nothing.
    """
    asked = samples[samples["asked"].astype(bool)]
    copies = asked[asked.duplicated(["cell", "seed", "repeat"])]["cell"].unique()
    doubts = dict.fromkeys(copies, "several rows of one seed and repeat")
    total = asked.groupby("cell").size()
    for cell, group in asked[asked["status"] != "ok"].groupby("cell"):
        doubts[cell] = (
            f"{len(group)} of {total[cell]} runs {', '.join(sorted(set(group['status'])))}"
        )
    return pd.Series(doubts, dtype="str")


def joined(paths: pd.Series) -> str:
    """Return row files as one text."""
    return SEPARATOR.join(path for path in paths if path)


def to_json(values: pd.Series) -> str:
    """Return numbers as JSON, null where missing; `Infinity` stays."""
    return json.dumps([None if pd.isna(value) else value for value in values.tolist()])


def from_json(values: str) -> pd.Series:
    """Return the numbers that to_json wrote, NaN where missing."""
    return pd.Series(json.loads(values), dtype="float64")


def beside(ours: pd.DataFrame, others: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Return each estimate of `ours` beside the reference's in `others` for the same cell, with
    columns in `_other`."""
    same = [key for key in KEY if key not in ("model", "variant", "against", "position")]
    partner = others[(others["model"] == reference) & (others["variant"] == "")]
    pairs = ours.assign(against=reference).merge(partner, on=same, suffixes=("", "_other"))
    return pairs[(pairs["model"] != reference) | (pairs["variant"] != "")]


def as_estimates(
    pairs: pd.DataFrame, quantity: pd.Series | str, unit: str, **numbers: Any
) -> pd.DataFrame:
    """Return estimates made of two others each: `numbers` are value, low and high, the rows those
    of both."""
    other = pairs.get("model_other", pairs["model"]).where(pairs["status_other"] != "ok")
    failed = pairs["model"].where(pairs["status"] != "ok", other)
    status = pairs["status"].mask(pairs["status"] == "ok", pairs["status_other"])
    return pairs.assign(
        **numbers,
        quantity=quantity,
        unit=unit,
        least=np.nan,
        most=np.nan,
        n=pairs[["n", "n_other"]].min(axis=1),
        runs=pairs[["runs", "runs_other"]].min(axis=1),
        status=status,
        reason=(failed + ": " + status).fillna(""),
        doubt=pairs["doubt"].mask(pairs["doubt"] == "", pairs["doubt_other"]),
        values="[]",
        rows=pairs["rows"] + SEPARATOR + pairs["rows_other"],
    )[ESTIMATE]
