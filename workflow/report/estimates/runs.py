"""Rows -> runs, one line a row with the key columns of an estimate; samples, one line a run and
quantity; and estimates, one line a cell, by the estimator of the quantity."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from workflow.bench.cell import PAPER
from workflow.bench.measure import statistics
from workflow.report.frame import unpack
from workflow.report.intervals import ENOUGH, LEVEL

TEXT = "bytes"  # the task of predicting real text
NO_PAIR = "no pair"  # the status of a run without the run that it is to be compared with
SEPARATOR = "; "  # between the row files of an estimate

# The columns that tell one estimate from another. "" or <NA> where a column does not apply.
WHOLE_KEYS = ("threads", "tokens", "x", "length", "batch", "symbols", "layer")
KEY = [
    "quantity", "experiment", "task", "model", "variant", "against", "phase", "machine", "device",
    "dtype", "threads", "trunk", "tokens", "learning_rate", "position", "axis", "x", "length",
    "batch", "symbols", "data", "layer",
]  # fmt: skip
TEXT_KEYS = tuple(key for key in KEY if key not in (*WHOLE_KEYS, "learning_rate"))
PLACE = ["machine", "device", "dtype", "threads"]  # times are compared within one place only
SAMPLE = [
    *KEY, "value", "low", "high", "status", "reason", "path", "seed", "repeat", "session",
    "disturbed", "code", "method",
]  # fmt: skip
ESTIMATE = [
    *KEY, "unit", "value", "low", "high", "least", "most", "n", "runs", "status", "reason", "doubt",
    "values", "code", "method", "rows",
]  # fmt: skip


def prepare(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `frame` with every column of KEY, and tokens_to_95 of learned runs
    only."""
    runs = frame.rename(columns={"data_hash": "data", "model_hash": "code"})
    settings = [unpack(text) or {} for text in runs["settings"]]
    runs["variant"] = [describe(cell) for cell in settings]
    sets = [str(cell.get("session", PAPER)) for cell in settings]
    runs["session_set"] = pd.Series(sets, runs.index, dtype="str")
    twins = [cell.get("twin") is True for cell in settings]
    runs["twin"] = pd.Series(twins, runs.index, dtype="bool")

    # Only training depends on a budget and a learning rate, and only a CPU on its number of
    # threads.
    trains = runs["task"].notna()
    rates = pd.Series([cell.get("lr") for cell in settings], index=runs.index, dtype="float64")
    runs["learning_rate"] = rates.where(trains)
    runs["tokens"] = runs["tokens_budget"].where(trains)
    runs["threads"] = runs["threads"].where(runs["device"] == "cpu")

    # A failed row may lack the positional encoding, and still belongs to its model's estimate.
    runs["position"] = runs.groupby(["model", "variant"])["position"].transform("first")
    for column in ("against", "phase", "quantity"):
        runs[column] = ""
    runs["layer"] = pd.NA
    types = dict.fromkeys(WHOLE_KEYS, "Int64") | dict.fromkeys(TEXT_KEYS, "str")
    texts = [*TEXT_KEYS, "code", "path"]
    runs[texts] = runs[texts].fillna("")
    return only_learned(runs.astype(types))


def only_learned(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs with tokens and seconds until 95% only where the final accuracy is at least
    95% as well.

    An evaluation during training is one small batch and may be lucky, so a run that ends below 95%
    did not learn."""
    runs.loc[~runs["learned"].fillna(True), ["tokens_to_95", "seconds_to_95"]] = pd.NA
    return runs


def without(runs: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Return the runs without the values of key columns that do not matter."""
    missing = pd.Series(pd.NA, index=runs.index)
    values = {key: missing.astype("Int64") if key in WHOLE_KEYS else "" for key in columns}
    return runs.assign(**values)


def describe(cell: Mapping[str, Any]) -> str:
    """Return a cell's changed mixer settings and convolution as text, `candidates=offsets+content,
    k=32, with convolution`; empty for the model as it is."""
    mixer = cell.get("mixer") or {}
    words = [f"{name}={mixer[name]}" for name in sorted(mixer)]
    convolution = cell.get("short_convolution", "source")
    words += {"on": ["with convolution"], "off": ["without convolution"]}.get(convolution, [])
    return ", ".join(words)


def unpack_all(column: pd.Series) -> list[Any]:
    """Return the nested values of a column, None where missing; equal texts are read once."""
    values = {text: json.loads(text) for text in column.dropna().unique()}
    return [values.get(text) for text in column]


@dataclass(frozen=True)
class Quantity:
    """How the runs of a cell become one number.

    estimator:
        "mean": between the lowest and the highest of the runs' own bounds
        "mean, t": with Student's t interval, cut to the runs' own bounds
        "median": with the medians of the runs' own bounds
        "geometric mean": with Student's t interval on logarithms
        "most": the largest of the runs, without bounds
    steady: of times, what varies when sessions disagree, in words
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
        "disturbed": "",
        "session": runs.get("session", ""),
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
    good, failed = samples[samples["status"] == "ok"], samples[samples["status"] != "ok"]
    cells = cells.join(
        _numbers(good, cells["quantity"].map(lambda name: quantities[name].estimator))
    )
    cells["unit"] = cells["quantity"].map(lambda name: quantities[name].unit)
    cells["runs"] = good.groupby("cell").size()
    cells[["n", "runs"]] = cells[["n", "runs"]].fillna(0).astype("int64")
    cells["values"] = good.groupby("cell")["value"].agg(to_json)
    cells["values"] = cells["values"].fillna("[]")
    cells["rows"] = samples.groupby("cell")["path"].agg(joined)
    for column in ("code", "method"):
        texts = samples.loc[samples[column] != "", ["cell", column]].drop_duplicates()
        cells[column] = texts.sort_values(column).groupby("cell")[column].agg(", ".join)
        cells[column] = cells[column].fillna("")
    statuses = failed.groupby("cell")["status"].agg(lambda statuses: statuses.mode()[0])
    cells["status"] = statuses.reindex(cells.index).where(cells["runs"] == 0, "ok")

    total = samples.groupby("cell").size()
    reasons = {cell: _failures(group, total[cell]) for cell, group in failed.groupby("cell")}
    steady = cells["quantity"].map(lambda name: quantities[name].steady)
    for cell, group in good[good["cell"].map(steady) != ""].groupby("cell"):
        parts = [reasons.get(cell, ""), *_varying(group, str(steady[cell]))]
        reasons[cell] = SEPARATOR.join(filter(None, parts))
    cells["reason"] = pd.Series(reasons, dtype="str").reindex(cells.index).fillna("")
    single = cells[(steady != "") & (cells["n"] == 1)].index
    cells["doubt"] = _doubts(samples, single).reindex(cells.index).fillna("")
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
    """Return stability warnings over sessions."""
    values = [float(value) for value in good["value"].dropna()]
    return statistics.unstable(values, f"{steady} over sessions")


def _doubts(samples: pd.DataFrame, single: pd.Index) -> pd.Series:
    """Return by cell why its value decides nothing: a single session has no interval, a disturbed
    one no say, failed runs are no random sample, and copies are no repeats.

    single: the cells of one session.
    """
    doubts = dict.fromkeys(single, "one session")
    disturbed = samples[samples["disturbed"] != ""].drop_duplicates("cell")
    doubts |= dict(zip(disturbed["cell"], disturbed["disturbed"], strict=True))
    copies = samples[samples.duplicated(["cell", "seed", "repeat", "session"])]["cell"].unique()
    doubts |= dict.fromkeys(copies, "several rows of one seed and repeat")
    total = samples.groupby("cell").size()
    for cell, group in samples[samples["status"] != "ok"].groupby("cell"):
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


def largest_budget(chosen: pd.DataFrame) -> pd.DataFrame:
    """Return estimates without those that one of more training tokens stands for, at whatever rate,
    which needs as many finished runs, ENOUGH at most: what was not learned in fewer tokens says
    nothing against it, and a first run of a larger budget nothing yet."""
    same = [chosen[key] for key in KEY if key not in ("tokens", "learning_rate")]
    runs = chosen["runs"].clip(upper=ENOUGH)
    enough = runs == runs.groupby(same, dropna=False).transform("max")
    most = chosen["tokens"].where(enough).groupby(same, dropna=False).transform("max")
    return chosen[most.isna() | (enough & (chosen["tokens"] >= most))]
