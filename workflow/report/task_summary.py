"""The numbers behind the tables and figures of the tasks other than copy: one line a model, task and size."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from workflow.bench import experiments
from workflow.bench.tasks.mqar import PAIR_TOKENS
from workflow.report import models, summary
from workflow.report.frame import first_look, unpack
from workflow.report.summary import PLACE

TEXT = "bytes"
RECALL = tuple(name for name in experiments.TASKS if name not in ("copy", TEXT))
RECALL_CELL = [*PLACE, "model", "position", "task", "n", "size"]
BYTES_CELL = [*PLACE, "model", "position", "data_hash", "length"]
BY_CONTENT = summary.variant("pointer", {"candidates": "offsets+content"})
AS_ATTENTION = "transformer-content"  # attention that compares queries and keys in the same way
SAID = {"pairs": "pairs", "hops": "hops k", "letters": "letters", "length": "length N"}


def recall(frame: pd.DataFrame) -> pd.DataFrame:
    """RECALL_CELL, means over seeds; the accuracy's bounds are the widest of the seeds' own Wilson intervals.

    `size` is the value along the task's axis, `n` what a cell's length is where the size does not say; sizes that
    training never showed are cells without interval and tokens. `whole`: see _whole.
    """
    rows = pd.concat([_sized(summary.of(frame, task), task) for task in RECALL], ignore_index=True)
    rows = pd.concat([rows, _further(rows)], ignore_index=True)
    rows = rows.astype({"size": "Int64", "task": "string", "n": "string"})
    rows["solved"] = rows["tokens_to_95"].notna()
    rows["whole"] = [_whole(row) for _, row in rows.iterrows()]
    rows["step_tokens"] = rows["batch"] * rows["length"]
    rows["look_tokens"] = rows["evaluations"].map(first_look)
    mean = ("accuracy", "whole", "chance", "loss", "tokens_budget", "tokens_used", "tokens_to_95", "n_evaluated")
    bounds = {
        "accuracy_low": "min",
        "accuracy_high": "max",
        "solved": "sum",
        "step_tokens": "max",
        "look_tokens": "max",
    }
    cells = summary.summarise(rows, RECALL_CELL, dict.fromkeys(mean, "mean") | bounds)
    cells["task"] = pd.Categorical(cells["task"], RECALL, ordered=True)
    return cells.sort_values(["task", "size"], kind="stable", ignore_index=True)


def behind(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells of `recall` in which BY_CONTENT ends below AS_ATTENTION, whose columns end in `_theirs`, by more than
    both intervals."""
    ours, theirs = (cells[cells["model"] == name] for name in (BY_CONTENT, AS_ATTENTION))
    pairs = ours.merge(theirs, on=[*PLACE, "task", "n", "size"], suffixes=("", "_theirs"))
    return pairs[pairs["accuracy_high"] < pairs["accuracy_low_theirs"]]


def axis(task: str) -> str:
    """The setting along which a task's cells lie, in words."""
    return SAID[experiments.TASKS[task].axis]


def _sized(rows: pd.DataFrame, task: str) -> pd.DataFrame:
    name = experiments.TASKS[task].axis
    rows["task"], rows["size"] = task, rows[name]
    rows["n"] = [_length(name, size, n) for size, n in zip(rows["size"], rows["length"], strict=True)]
    return rows


def _length(axis_name: str, size: Any, length: Any) -> str:
    """N in words where it follows from the size, else its number; the size itself needs none."""
    follows = {"pairs": (PAIR_TOKENS * size, f"{PAIR_TOKENS} a pair"), "letters": (2 * size + 2, "2 a letter")}
    if axis_name == "length":
        return ""
    return follows[axis_name][1] if axis_name in follows and follows[axis_name][0] == length else str(length)


def _whole(row: pd.Series) -> float:
    """The fraction of strings without a wrong letter, what the authors of string-copy count; NaN of other tasks."""
    right = unpack(row["correct_by_sequence"]) if row["task"] == "string-copy" else None
    return sum(count == row["letters"] for count in right) / len(right) if right else math.nan


def _further(rows: pd.DataFrame) -> pd.DataFrame:
    """A row for each size that a row's model was scored at without having been trained at it."""
    found = [
        row.to_dict() | {"size": size, "accuracy": accuracy, "n_evaluated": n} | dict.fromkeys(UNTRAINED, pd.NA)
        for _, row in rows.iterrows()
        for size, accuracy, n in unpack(row["accuracy_by_size"]) or []
    ]
    return pd.DataFrame(found, columns=rows.columns).astype(rows.dtypes)


UNTRAINED = ("accuracy_low", "accuracy_high", "correct_by_sequence", "loss", "tokens_used", "tokens_to_95")


def text(frame: pd.DataFrame) -> pd.DataFrame:
    """BYTES_CELL, means over seeds of models trained on text, those of `interpretability` among them."""
    traced = summary.of(frame, "interpretability")
    rows = pd.concat([summary.of(frame, TEXT), traced[traced["task"] == TEXT]], ignore_index=True)
    mean = ("bits_per_byte", "bits_per_byte_guessing", "accuracy", "chance", "tokens_used", "n_evaluated")
    return summary.summarise(rows, BYTES_CELL, dict.fromkeys(mean, "mean"))


def unmixed(cells: pd.DataFrame) -> set[str]:
    """The models of `text` that are no better than `identity`, which mixes nothing, after as many tokens."""
    alike = [*PLACE, "data_hash", "length", "tokens_used"]
    floor = cells[cells["model"] == "identity"]
    pairs = cells[cells["model"] != "identity"].merge(floor, on=alike, suffixes=("", "_floor"))
    return set(pairs.loc[pairs["bits_per_byte"] >= pairs["bits_per_byte_floor"], "model"])


SPEED = ["machine", "device", "dtype"]
LONGEST_PLACE = 44  # characters of a machine's name above half a figure


def trade_off(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """What a panel shows -> model, rate (tokens/s of training, NaN where it was not timed) and accuracy with bounds;
    only panels with a rate.

    Copy at the distance and MQAR at the pairs that most models have, the larger of equals; the rate is that of an
    efficiency row on the same machine, device and dtype.
    """
    copies = summary.copy(frame).assign(size=lambda cells: cells["distance"])
    copies["n"] = copies["distance"] + 768
    pairs = recall(frame)
    pairs = pairs[pairs["task"] == "mqar"].assign(n=lambda cells: PAIR_TOKENS * cells["size"])
    rates = summary.throughput(frame, "training")
    panels = {}
    for words, cells in (("copy over {} tokens", copies), ("MQAR with {} pairs", pairs)):
        for (machine, device, dtype), group in _commonest(cells).groupby(SPEED, dropna=False):
            there = rates[(rates["machine"] == machine) & (rates["device"] == device) & (rates["dtype"] == dtype)]
            timed = _with_rates(group, there)
            if len(timed):
                place = f"{device}, {dtype}, timed at N={int(timed['length'].iloc[0])}"
                size = words.format(int(group["size"].iloc[0]))
                panels["\n".join((size, models.plain(machine, LONGEST_PLACE), place))] = timed
    return panels


def _commonest(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells of the size that most models have."""
    ran = cells[(cells["status"] == "ok") & cells["accuracy"].notna() & cells["size"].notna()]
    if ran.empty:
        return ran
    having = ran.groupby("size")["model"].nunique()
    chosen: pd.DataFrame = ran[ran["size"] == having[having == having.max()].index.max()]
    return chosen


def _with_rates(cells: pd.DataFrame, rates: pd.DataFrame) -> pd.DataFrame:
    """One place's cells with their rate at one length for all, of those at which most of their models were timed the
    nearest to `n`; empty where nothing was timed."""
    rates = rates[rates["rate"].notna() & rates["model"].isin(cells["model"])]
    if rates.empty:
        return cells.iloc[:0]
    timed_at = rates.groupby("length")["model"].nunique()
    lengths = timed_at[timed_at == timed_at.max()].index
    nearest = min(lengths, key=lambda length: (abs(math.log(float(length) / float(cells["n"].iloc[0]))), length))
    timed = rates.loc[rates["length"] == nearest, ["model", "rate"]]
    return cells.assign(length=nearest).merge(timed, on="model", how="left")
