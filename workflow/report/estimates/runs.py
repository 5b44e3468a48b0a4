"""Rows -> runs: one line a row, with the key columns of an estimate and the measures of the row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from workflow.report.frame import unpack

TEXT = "bytes"  # the task of predicting real text

# The columns that tell one estimate from another. "" or <NA> where a column does not apply.
TEXT_KEYS = (
    "quantity",
    "experiment",
    "task",
    "model",
    "variant",
    "against",
    "phase",
    "machine",
    "device",
    "dtype",
    "trunk",
    "position",
    "axis",
    "data",
)
WHOLE_KEYS = ("threads", "tokens", "x", "length", "batch", "symbols", "layer")
KEY = [
    "quantity",
    "experiment",
    "task",
    "model",
    "variant",
    "against",
    "phase",
    "machine",
    "device",
    "dtype",
    "threads",
    "trunk",
    "tokens",
    "learning_rate",
    "position",
    "axis",
    "x",
    "length",
    "batch",
    "symbols",
    "data",
    "layer",
]
PLACE = ["machine", "device", "dtype", "threads"]  # times are compared within one place only


def prepare(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `frame` with every column of KEY, and tokens_to_95 of learned runs
    only."""
    runs = frame.rename(columns={"data_hash": "data", "model_hash": "code"})
    settings = [unpack(text) or {} for text in runs["settings"]]
    runs["variant"] = [describe(cell.get("mixer") or {}) for cell in settings]

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


def describe(mixer: Mapping[str, Any]) -> str:
    """Return changed mixer settings as text, `candidates=offsets+content, k=32`; empty for the
    model as it is."""
    return ", ".join(f"{name}={mixer[name]}" for name in sorted(mixer))


def unpack_all(column: pd.Series) -> list[Any]:
    """Return the nested values of a column, None where missing; equal texts are read once."""
    values = {text: json.loads(text) for text in column.dropna().unique()}
    return [values.get(text) for text in column]
