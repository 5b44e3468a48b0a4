"""Rows -> runs, a line a row with the key columns of an estimate -> samples, a line a run and
quantity -> estimates, a line a cell, by the estimator of the quantity."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

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
CONVOLVED = {"on": "with convolution", "off": "without convolution"}
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
    """Return the rows with every column of KEY, and until 95% what learned runs took only."""
    runs = frame.rename(columns={"data_hash": "data", "model_hash": "code"})
    settings = [unpack(text) or {} for text in runs["settings"]]
    runs["variant"] = [describe(cell) for cell in settings]
    runs["beside"] = [beside_variant(cell) for cell in settings]
    runs["session_set"] = [str(cell.get("session", PAPER)) for cell in settings]
    runs["twin"] = [cell.get("twin") is True for cell in settings]

    # Only training depends on a budget and a rate, and only a CPU on its number of threads.
    trains = runs["task"].notna()
    rates = pd.Series([cell.get("lr") for cell in settings], index=runs.index, dtype="float64")
    runs["learning_rate"] = rates.where(trains)
    runs["tokens"] = runs["tokens_budget"].where(trains)
    runs["threads"] = runs["threads"].where(runs["device"] == "cpu")

    # A failed row may lack the positional encoding, and still belongs to its model's estimate.
    runs["position"] = runs.groupby(["model", "variant"])["position"].transform("first")
    runs[["against", "phase", "quantity"]] = ""
    runs["layer"] = pd.NA
    texts = [*TEXT_KEYS, "code", "path"]
    runs[texts] = runs[texts].fillna("")
    types = dict.fromkeys(WHOLE_KEYS, "Int64") | {"twin": "bool"}
    runs = runs.astype(types | dict.fromkeys((*TEXT_KEYS, "session_set", "beside"), "str"))

    # An evaluation in training is one small batch: a run that ends below 95% did not learn.
    runs.loc[~runs["learned"].fillna(True), ["tokens_to_95", "seconds_to_95"]] = pd.NA
    return runs


def without(runs: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Return the runs without the values of key columns that do not matter."""
    missing = pd.Series(pd.NA, index=runs.index, dtype="Int64")
    return runs.assign(**{key: missing if key in WHOLE_KEYS else "" for key in columns})


def describe(cell: Mapping[str, Any]) -> str:
    """Return changed settings as text, `k=32, with convolution`; empty for the model as it is."""
    mixer = cell.get("mixer") or {}
    words = [f"{name}={mixer[name]}" for name in sorted(mixer)]
    convolution = cell.get("short_convolution", "source")
    words += [CONVOLVED[convolution]] if convolution in CONVOLVED else []
    return ", ".join(words)


def beside_variant(cell: Mapping[str, Any]) -> str:
    """Return the variant that a changed model is compared with: without the chain, the same
    settings with it; else the model as it is."""
    mixer = dict(cell.get("mixer") or {})
    chained = mixer.pop("chain", True)
    return "" if chained else describe({**cell, "mixer": mixer})


def joined(paths: pd.Series) -> str:
    """Return row files as one text."""
    return SEPARATOR.join(path for path in paths if path)


def paired(runs: pd.DataFrame, others: pd.DataFrame, same: Sequence[str]) -> pd.DataFrame:
    """Return runs beside `others` alike in `same`, in columns `..._other`, and both paths."""
    pairs = runs.merge(others, on=list(same), suffixes=("", "_other"))
    return pairs.assign(path=pairs["path"] + SEPARATOR + pairs["path_other"])


class Quantity(NamedTuple):
    """How the runs of a cell become one number.

    estimator:
        "mean": between the lowest and the highest of the runs' own bounds
        "mean, t": with Student's t interval, cut to the runs' own bounds
        "geometric mean": with Student's t interval on logarithms
        "median": without bounds
        "most": the largest of the runs, without bounds
    steady: of times, what varies when sessions disagree, in words
    """

    unit: str
    estimator: str = "mean"
    steady: str = ""


def sample(runs: pd.DataFrame, quantity: str, value: Any, **columns: Any) -> pd.DataFrame:
    """Return one sample a run: `value`, a column or a list, and further columns of SAMPLE."""
    usual: dict[str, Any] = {"low": np.nan, "high": np.nan, "method": ""}
    usual |= {column: runs.get(column, "") for column in ("disturbed", "session")}
    table = runs.assign(quantity=quantity, value=value, **(usual | columns))[SAMPLE]
    types = dict.fromkeys(("value", "low", "high"), "Float64") | dict.fromkeys(WHOLE_KEYS, "Int64")
    return table.astype(types)


def combine(samples: pd.DataFrame, quantities: dict[str, Quantity]) -> pd.DataFrame:
    """Return the estimates of all samples; a cell is ok where any run is."""
    samples = samples.astype(dict.fromkeys(("value", "low", "high"), "float64"))
    samples["cell"] = samples.groupby(KEY, dropna=False, sort=False).ngroup()
    known = pd.DataFrame(list(quantities.values()), index=list(quantities))
    cells = samples.drop_duplicates("cell").set_index("cell")[KEY].join(known, on="quantity")
    finished = samples["status"] == "ok"
    cells = cells.join(_numbers(samples[finished], cells["estimator"]))
    good, by_cell = samples[finished].groupby("cell"), samples.groupby("cell")
    cells["runs"] = good.size()
    cells[["n", "runs"]] = cells[["n", "runs"]].fillna(0).astype("int64")
    cells["values"] = good["value"].agg(to_json)
    cells["values"] = cells["values"].fillna("[]")
    cells["rows"] = by_cell["path"].agg(joined)
    for column in ("code", "method"):
        cells[column] = by_cell[column].agg(lambda texts: ", ".join(sorted({*texts} - {""})))
    failed = samples[~finished].groupby("cell")["status"].agg(lambda endings: endings.mode()[0])
    cells["status"] = failed.reindex(cells.index).where(cells["runs"] == 0, "ok")
    remarks = _remarks(samples, cells["steady"])
    for column, texts in zip(("reason", "doubt"), remarks, strict=True):
        cells[column] = pd.Series(texts, dtype="str").reindex(cells.index, fill_value="")
    return cells.reset_index(drop=True)[ESTIMATE]


def _numbers(good: pd.DataFrame, estimators: pd.Series) -> pd.DataFrame:
    """Return value, low, high, least, most and n by cell. estimators: by cell."""
    by_cell = good.assign(log=np.log(good["value"].where(good["value"] > 0))).groupby("cell")
    table = by_cell["value"].agg(["mean", "median", "std", "min", "max", "count"])
    logs = by_cell["log"].agg(["mean", "std"])
    low, high = by_cell["low"].min(), by_cell["high"].max()
    mean, count = table["mean"], table["count"]
    t = stats.t.ppf((1 + LEVEL) / 2, (count - 1).where(count > 1)) / np.sqrt(count)
    half, log_half = t * table["std"], t * logs["std"]
    lower = (mean - half).clip(lower=low.fillna(-np.inf))
    upper = (mean + half).clip(upper=high.fillna(np.inf))
    geometric = [np.exp(logs["mean"] + end) for end in (0, -log_half, log_half)]
    numbers = pd.DataFrame({"least": table["min"], "most": table["max"], "n": count})
    numbers[["value", "low", "high"]] = np.nan
    for name, columns in {
        "mean": (mean, low, high),
        "mean, t": (mean, lower, upper),
        "geometric mean": geometric,
        "median": (table["median"],),
        "most": (table["max"],),
    }.items():
        for column, values in zip(("value", "low", "high"), columns, strict=False):
            chosen = estimators.reindex(table.index) == name
            numbers[column] = numbers[column].mask(chosen, values)
    return numbers


def _remarks(samples: pd.DataFrame, steady: pd.Series) -> tuple[dict[Any, str], dict[Any, str]]:
    """Return by cell how runs failed and what varies (`steady`), and why the value decides nothing:
    one session has no interval, copies are no repeats, failed runs are no random sample."""
    reasons, doubts = dict[Any, str](), dict[Any, str]()
    good, failed = samples[samples["status"] == "ok"], samples[samples["status"] != "ok"]
    for cell, group in good[good["cell"].map(steady) != ""].groupby("cell"):
        values = group["value"].dropna().tolist()
        reasons[cell] = SEPARATOR.join(statistics.unstable(values, f"{steady[cell]} over sessions"))
        if len(values) == 1:
            doubts[cell] = "one session"
    disturbed = samples[samples["disturbed"] != ""].drop_duplicates("cell")
    doubts |= dict(zip(disturbed["cell"], disturbed["disturbed"], strict=True))
    copies = samples[samples.duplicated(["cell", "seed", "repeat", "session"])]["cell"].unique()
    doubts |= dict.fromkeys(copies, "several rows of one seed and repeat")
    total = samples.groupby("cell").size()
    status, reason = (failed[column].astype("string") for column in ("status", "reason"))
    failed = failed.assign(ending=(status + ": " + reason).fillna(status))
    for cell, group in failed.groupby("cell"):
        texts = Counter(group["ending"])
        counts = [f"{text} ({number} of {total[cell]} runs)" for text, number in texts.items()]
        reasons[cell] = SEPARATOR.join(filter(None, [*counts, reasons.get(cell, "")]))
        statuses = ", ".join(sorted(set(group["status"])))
        doubts[cell] = f"{len(group)} of {total[cell]} runs {statuses}"
    return reasons, doubts


def to_json(values: pd.Series) -> str:
    """Return numbers as JSON, null where missing; `Infinity` stays."""
    return json.dumps([None if pd.isna(value) else value for value in values.tolist()])


def from_json(values: str) -> pd.Series:
    """Return the numbers that to_json wrote, NaN where missing."""
    return pd.Series(json.loads(values), dtype="float64")


def as_estimates(lines: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Return estimates that no samples make; what a line lacks does not apply to it."""
    texts = dict.fromkeys(("reason", "doubt", "code", "method"), "")
    known = texts | {"status": "ok", "values": "[]"}
    return pd.DataFrame([known | line for line in lines], columns=ESTIMATE)


def beside(ours: pd.DataFrame, references: pd.DataFrame, *further: str) -> pd.DataFrame:
    """Return each of `ours` beside each reference of the same cell, in columns `_other`."""
    same = [key for key in KEY if key not in ("model", "variant", "against", "position")]
    partner = references[references["variant"] == ""]
    pairs = ours.merge(partner, on=[*same, *further], suffixes=("", "_other"))
    pairs["against"] = pairs.get("model_other", pairs["model"])
    return pairs[(pairs["model"] != pairs["against"]) | (pairs["variant"] != "")]


def ratios(pairs: pd.DataFrame, quantity: pd.Series | str, **numbers: Any) -> pd.DataFrame:
    """Return estimates made of pairs of others; `numbers`: value, low and high."""
    other = pairs.get("model_other", pairs["model"]).where(pairs["status_other"] != "ok")
    failed = pairs["model"].where(pairs["status"] != "ok", other)
    status = pairs["status"].mask(pairs["status"] == "ok", pairs["status_other"])
    return pairs.assign(
        **numbers, quantity=quantity, unit="ratio", values="[]", least=np.nan, most=np.nan,
        n=pairs[["n", "n_other"]].min(axis=1), runs=pairs[["runs", "runs_other"]].min(axis=1),
        status=status, reason=(failed + ": " + status).fillna(""),
        doubt=pairs["doubt"].mask(pairs["doubt"] == "", pairs["doubt_other"]),
        rows=pairs["rows"] + SEPARATOR + pairs["rows_other"],
    )[ESTIMATE]  # fmt: skip


def largest_budget(chosen: pd.DataFrame) -> pd.DataFrame:
    """Return the estimates of most training tokens, at whatever rate, of those with as many
    finished runs, ENOUGH at most: a first run of a larger budget says nothing yet."""
    same = [chosen[key] for key in KEY if key not in ("tokens", "learning_rate")]
    runs = chosen["runs"].clip(upper=ENOUGH)
    enough = runs == runs.groupby(same, dropna=False).transform("max")
    most = chosen["tokens"].where(enough).groupby(same, dropna=False).transform("max")
    return chosen[most.isna() | (enough & (chosen["tokens"] >= most))]
