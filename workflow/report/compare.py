"""`pointer-bench compare A B`: do two folders of rows, of two machines or of two runs, say the same?

Compared are speed ratios, accuracies and counted work, each with its interval; never an absolute time. Two measured
cells agree where their 95% intervals share a value, and differ where they do not; a ratio of fewer than two repeats has
no interval and stays undecided. Counted work has to be equal. Cells that only one side has are counted, not judged.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from pointer.errors import InputError
from workflow.bench.rows import RowError
from workflow.report import intervals, summary
from workflow.report.frame import read
from workflow.report.intervals import Interval
from workflow.report.layout import significant
from workflow.report.metrics import seed_interval

REFERENCES = (*summary.REFERENCES, "identity")
TRACED = "interpretability"  # trains a model of `copy` once more
Key = tuple[str, str, str, str, str]  # quantity, model, where along its axis, device, dtype


class Agreement(StrEnum):
    """What is said of one cell."""

    AGREE = "agree"
    DIFFER = "differ"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Side:
    """One side of a cell: value and bounds from so many rows; `exact` values are counted."""

    value: float
    low: float
    high: float
    rows: int
    exact: bool = False

    def __str__(self) -> str:
        if self.exact or not math.isfinite(self.low):
            return significant(self.value, 4)
        return f"{significant(self.value)} ({significant(self.low)} to {significant(self.high)})"


@dataclass(frozen=True)
class Cell:
    """One quantity on both sides."""

    key: Key
    a: Side
    b: Side

    @property
    def agreement(self) -> Agreement:
        """Whether the intervals share a value; equality where both are counted."""
        if self.a.exact and self.b.exact:
            return Agreement.AGREE if math.isclose(self.a.value, self.b.value, rel_tol=1e-9) else Agreement.DIFFER
        if not all(map(math.isfinite, (self.a.low, self.a.high, self.b.low, self.b.high))):
            return Agreement.UNDECIDED
        return Agreement.AGREE if self.a.low <= self.b.high and self.b.low <= self.a.high else Agreement.DIFFER


@dataclass(frozen=True)
class Comparison:
    """All cells that both sides have, and how many only one has."""

    a: str
    b: str
    cells: tuple[Cell, ...]
    alone: tuple[int, int]

    def counts(self) -> dict[str, int]:
        """Cells by agreement."""
        found = Counter(cell.agreement for cell in self.cells)
        return {str(kind): found[kind] for kind in Agreement}


def compare(a: Path, b: Path) -> Comparison:
    """Reads both folders; raises InputError where rows are unsound, or nothing is there on both sides."""
    frames = [_read(path) for path in (a, b)]
    shared = set(frames[0]["device"]) & set(frames[1]["device"])
    ours, theirs = (dict(_measured(frame, same_device=bool(shared))) for frame in frames)
    cells = tuple(Cell(key, ours[key], theirs[key]) for key in ours if key in theirs)
    if not cells:
        raise InputError.about("A and B", f"{a} and {b}", "folders that share at least one cell", "the command line")
    first, second = (" and ".join(sorted(frame["machine"].unique())) for frame in frames)
    return Comparison(first, second, cells, (len(ours) - len(cells), len(theirs) - len(cells)))


def _read(folder: Path) -> pd.DataFrame:
    try:
        return read(folder)
    except RowError as error:
        raise InputError(f"{error}. `pointer-bench verify {folder}` tells more.") from error


def _measured(frame: pd.DataFrame, *, same_device: bool) -> Iterable[tuple[Key, Side]]:
    """Every comparable cell of one side. Where no device is on both sides, devices are compared with each other."""
    for key, side in (*_ratios(frame), *_accuracies(frame), *_counted(frame)):
        quantity, model, at, device, dtype = key
        yield (quantity, model, at, device if same_device else "any", dtype), side


def _ratios(frame: pd.DataFrame) -> Iterator[tuple[Key, Side]]:
    for phase in summary.PHASES:
        for reference in REFERENCES:
            rows = summary.pairs(frame, phase, reference)
            rows = rows[(rows["status"] == "ok") & rows["ratio"].notna()]
            quantity = f"{phase} speed over {reference}"
            yield from _grouped(rows, quantity, "length", lambda cell: intervals.ratio(list(cell["ratio"])))


def _accuracies(frame: pd.DataFrame) -> Iterator[tuple[Key, Side]]:
    scored = frame[(frame["status"] == "ok") & frame["accuracy"].notna() & (frame["experiment"] != TRACED)]
    for experiment in scored["experiment"].unique():
        rows = summary.of(scored, experiment)
        yield from _grouped(rows, f"accuracy, {experiment}", "distance", _widest)


def _widest(cell: pd.DataFrame) -> Interval:
    """Mean over seeds, the bounds the widest of the seeds' own."""
    seeds = [seed_interval(row) for _, row in cell.iterrows()]
    return Interval(sum(s.value for s in seeds) / len(seeds), min(s.low for s in seeds), max(s.high for s in seeds))


def _grouped(
    rows: pd.DataFrame, quantity: str, axis: str, interval: Callable[[pd.DataFrame], Interval]
) -> Iterator[tuple[Key, Side]]:
    """One side for each model, place along the axis, device and dtype; threads that differ are cells of their own."""
    if rows[axis].isna().all():
        axis = "length"
    for key, cell in rows.groupby(["model", axis, "device", "dtype"], dropna=False, sort=False):
        model, at, device, dtype = key
        for threads, group in cell.groupby("threads", dropna=False):
            several = f", {threads} threads" if cell["threads"].nunique() > 1 else ""
            found = interval(group)
            label = f"{'D' if axis == 'distance' else 'N'}={at}{several}"
            yield (
                (quantity, str(model), label, str(device), str(dtype)),
                Side(found.value, found.low, found.high, len(group)),
            )


def _counted(frame: pd.DataFrame) -> Iterator[tuple[Key, Side]]:
    rows = summary.of(frame, "complexity")
    rows = rows[rows["status"] == "ok"]
    for column in summary.WORK:
        for _, row in rows.dropna(subset=column).drop_duplicates(["model", "length"]).iterrows():
            value = float(row[column]) / float(row["batch"])
            yield (
                (f"{column} a sequence", row["model"], f"N={row['length']}", "any", "any"),
                Side(value, value, value, 1, True),
            )


def as_text(found: Comparison) -> str:
    """A table for people, and what it comes to."""
    lines = [(*_shown(cell.key), str(cell.a), str(cell.b), str(cell.agreement)) for cell in found.cells]
    table = tabulate(lines, headers=["quantity", "model", "at", "A", "B", "they"], disable_numparse=True)
    counts = ", ".join(f"{number} {kind}" for kind, number in found.counts().items())
    alone = f"; only in A: {found.alone[0]}, only in B: {found.alone[1]}" if any(found.alone) else ""
    note = "Ratios, accuracies and counted work with 95% intervals. Absolute times are not compared."
    return f"A: {found.a}\nB: {found.b}\n\n{table}\n\n{counts}{alone}. {note}"


def _shown(key: Key) -> tuple[str, str, str]:
    quantity, model, at, device, dtype = key
    place = [part for part in (device, dtype) if part not in ("any", "cpu", "float32")]
    return quantity, model, ", ".join([at, *place])


def as_json(found: Comparison) -> str:
    """For programs: every cell with both sides, null for a bound that does not exist."""
    cells = [
        {
            **dict(zip(("quantity", "model", "at", "device", "dtype"), cell.key, strict=True)),
            "a": _finite(cell.a),
            "b": _finite(cell.b),
            "agreement": str(cell.agreement),
        }
        for cell in found.cells
    ]
    content = {"a": found.a, "b": found.b, "cells": cells, "counts": found.counts(), "alone": list(found.alone)}
    return json.dumps(content, indent=1, ensure_ascii=False)


def _finite(side: Side) -> dict[str, Any]:
    return {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in asdict(side).items()}
