"""Compare two sets of rows, of two machines or of two runs: `pointer-bench compare A B`.

Estimates are joined on every key column but the machine; where the two share no device, or no
number of threads, of an experiment, not on that either. Compared are speed ratios, accuracies and
counted work, never an absolute time. Numbers agree where their 97.5% intervals share a value; a
ratio of fewer than two repeats has no interval and stays undecided; counted work has to be equal.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tabulate import tabulate

from pointer.errors import InputError
from workflow.bench.rows import RowError
from workflow.report import estimates, frame
from workflow.report.estimates import KEY, WORK
from workflow.report.layout import named, significant, with_range
from workflow.report.ledger import name_position

COMPARED = ("speedup", "accuracy", *WORK)
TRACED = "interpretability"  # trains a model of `copy` once more
AGREEMENTS = ("agree", "differ", "undecided")
CORE = ["quantity", "experiment", "task", "model", "variant", "against", "phase", "axis", "x"]
FURTHER = [key for key in KEY if key not in (*CORE, "machine")]
NOTE = "Ratios, accuracies and counted work with 97.5% intervals. Absolute times are not compared."


def compare(a: Path, b: Path) -> dict[str, Any]:
    """Compare two sides; raise InputError where rows are unsound, or no number is on both sides.

    a, b: the machines of both; counts: how many numbers agree, differ and are undecided; alone: how
    many one side has; cells: the numbers, B's columns ending in _b; not_compared: the reasons.
    """
    ours, theirs = _read(a), _read(b)
    parts = []
    for experiment in sorted(set(ours["experiment"]) & set(theirs["experiment"])):
        first, second = (side[side["experiment"] == experiment] for side in (ours, theirs))
        on = [key for key in KEY if key != "machine"]
        for column in ("device", "threads"):
            if not set(first[column].fillna(0)) & set(second[column].fillna(0)):
                on.remove(column)
        parts.append(first.merge(second, on=on, suffixes=("", "_b")))
    pairs = ours.merge(theirs, on=CORE, suffixes=("", "_b"))
    if not any(len(part) for part in parts):
        nearest = f" (nearest: {_difference(pairs.iloc[0])})" if len(pairs) else ""
        accepted = f"rows or estimates that share at least one number{nearest}"
        raise InputError.about("A and B", f"{a} and {b}", accepted, "the command line")
    cells = pd.concat(parts, ignore_index=True)
    cells["agreement"] = _agreement(cells)
    counts = {name: int((cells["agreement"] == name).sum()) for name in AGREEMENTS}
    alone = len(ours) - cells["line"].nunique(), len(theirs) - cells["line_b"].nunique()
    pairs = pairs[~pairs["line"].isin(cells["line"]) | ~pairs["line_b"].isin(cells["line_b"])]
    apart = Counter(_difference(pair) for _, pair in pairs.iterrows())
    machines = [" and ".join(sorted(set(side["machine"]) - {""})) for side in (ours, theirs)]
    return {
        "a": machines[0], "b": machines[1], "counts": counts, "alone": alone,
        "cells": cells.drop(columns=["line", "line_b"]), "not_compared": dict(apart.most_common()),
    }  # fmt: skip


def _read(path: Path) -> pd.DataFrame:
    """Return the estimates of one side that can be compared."""
    made = path / "estimates.parquet" if path.is_dir() else path
    try:
        table = estimates.load(made) if made.is_file() else estimates.build(frame.load(path))
    except RowError as error:
        raise InputError(f"{error}. `pointer-bench verify {path}` tells more.") from error
    chosen = table["quantity"].isin(COMPARED) & (table["n"] > 0) & (table["experiment"] != TRACED)
    table = table[chosen].reset_index(drop=True)
    counted = table["quantity"].isin(WORK)
    table.loc[counted, "device"] = ""
    table.loc[counted, "threads"] = pd.NA
    return table.assign(line=table.index)


def _agreement(cells: pd.DataFrame) -> np.ndarray:
    counted = cells["quantity"].isin(WORK)
    equal = counted & np.isclose(cells["value"], cells["value_b"], rtol=1e-9, atol=0)
    bounded = cells[["low", "high", "low_b", "high_b"]].notna().all(axis=1)
    overlap = (cells["low"] <= cells["high_b"]) & (cells["low_b"] <= cells["high"])
    agree, differ, undecided = AGREEMENTS
    return np.select([equal, counted, ~bounded, overlap], [agree, differ, undecided, agree], differ)


def _difference(pair: pd.Series) -> str:
    """Return what keeps two numbers of a pair apart, such as `tokens 100000 and 5000000`."""
    both = [(key, str(pair[key]), str(pair[f"{key}_b"])) for key in FURTHER]
    return ", ".join(f"{key} {ours} and {theirs}" for key, ours, theirs in both if ours != theirs)


def as_text(comparison: Mapping[str, Any]) -> str:
    """Return a table for people, and what it comes to."""
    lines, (only_a, only_b) = [], comparison["alone"]
    for _, twins in comparison["cells"].groupby(CORE, sort=False):
        columns = [key for key in (*FURTHER, "machine", "machine_b") if key in twins]
        apart = [key for key in columns if twins[key].astype(str).nunique() > 1]
        for _, cell in twins.iterrows():
            quantity = f"{cell['quantity']}, {cell['experiment']}"
            if cell["against"]:
                quantity = f"{cell['phase']} {cell['quantity']} over {cell['against']}"
            at = [name_position(cell["axis"], cell["x"]), *(f"{key} {cell[key]}" for key in apart)]
            model = named(cell["model"], cell["variant"])
            numbers = [_number(cell, suffix) for suffix in ("", "_b")]
            lines.append([quantity, model, ", ".join(at), *numbers, cell["agreement"]])
    headers = ["quantity", "model", "at", "A", "B", "they"]
    table = tabulate(lines, headers=headers, disable_numparse=True)
    counts = ", ".join(f"{number} {name}" for name, number in comparison["counts"].items())
    counts += f"; only in A: {only_a}, only in B: {only_b}" if only_a or only_b else ""
    paragraphs = [f"A: {comparison['a']}\nB: {comparison['b']}\n\n{table}\n\n{counts}. {NOTE}"]
    for text, number in comparison["not_compared"].items():
        paragraphs.append(f"Not compared ({number} times): {text} in A and B.")
    return "\n".join(paragraphs)


def _number(cell: pd.Series, suffix: str) -> str:
    value, low, high = (cell[f"{column}{suffix}"] for column in ("value", "low", "high"))
    return with_range(significant, value, low, high)


def as_json(comparison: Mapping[str, Any]) -> str:
    """Return the same for programs: of each number its estimates in A and, behind `_b`, in B."""
    cells = json.loads(comparison["cells"].to_json(orient="records"))
    return json.dumps({**comparison, "cells": cells}, indent=1, ensure_ascii=False)
