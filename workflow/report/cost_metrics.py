"""Metrics that the paper gives no figure for, of cost and of recall, for `config/goals.yaml`: see
workflow.report.metrics.

Ratios are of paired rows of one place; a factor above 1 always means that the model is ahead of the reference.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd

from workflow.bench import experiments
from workflow.report import intervals, summary
from workflow.report.metrics import NotTestable, doublings, up_to, widest
from workflow.report.rules import Estimate, missing
from workflow.report.summary import PLACE

SPOKEN = ("efficiency", "copy", "fairness")  # whose sizes a label gives without their name
TIMES = {"training": "step_ms_mean", "forward": "forward_ms_mean", "inference": "inference_ms_mean"}


def _ran(frame: pd.DataFrame, experiment: str, models: set[str], dtype: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of the models in one dtype, place by place, with what a label says of the place where there are several.

    Raises NotTestable where a model has no row.
    """
    rows = summary.of(frame, experiment)
    rows = rows[rows["model"].isin(models) & (rows["dtype"] == dtype)]
    lacking = sorted(models - set(rows["model"]))
    if lacking:
        raise NotTestable(f"no {experiment} row of {' and '.join(lacking)} in {dtype}")
    together = [(key, group) for key, group in rows.groupby(PLACE, dropna=False) if models <= set(group["model"])]
    if not together:
        raise NotTestable(f"{' and '.join(sorted(models))} ran nowhere together")
    for key, group in together:
        yield f", {summary.place(key)}" if len(together) > 1 else "", group


def _points(
    frame: pd.DataFrame, experiment: str, models: set[str], dtype: str, at: list[int]
) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of `_ran` at each size of `at`, place by place, with the label of such a cell."""
    axis = "length" if experiment == "efficiency" else experiments.TASKS[experiments.info(experiment).task].axis
    sign = {"distance": "D", "length": "N"}.get(axis, axis)
    named = sign if experiment in SPOKEN else f"{experiment}, {sign}"
    for place, rows in _ran(frame, experiment, models, dtype):
        for point in at:
            label = f"{named}={point}" + (f", {dtype}" if dtype != "float32" else "") + place
            yield label, rows[rows[axis] == point]


def faster(
    frame: pd.DataFrame,
    *,
    model: str,
    reference: str,
    at: list[int],
    phase: str = "training",
    reference_phase: str = "",
    dtype: str = "float32",
) -> list[Estimate]:
    """How many times as fast the model is at each N: the reference's mean time a step over the model's.

    `phase` is training, forward (of a training step) or inference; the reference's is the same unless named.
    """
    mine, other = TIMES[phase], TIMES[reference_phase or phase]
    same = [*PLACE, "length", "seed", "repeat", "batch"]
    found = []
    for label, rows in _points(frame, "efficiency", {model, reference}, dtype, at):
        left = rows.loc[rows["model"] == model, [*same, mine]].rename(columns={mine: "mine"})
        right = rows.loc[rows["model"] == reference, [*same, other]].rename(columns={other: "other"})
        pairs = left.merge(right, on=same).dropna(subset=["mine", "other"])
        if pairs.empty:
            found.append(missing(label, _failures(rows)))
            continue
        ratio = intervals.ratio(list((pairs["other"] / pairs["mine"]).astype(float)))
        found.append(Estimate(label, ratio.value, ratio.low, ratio.high, len(pairs)))
    return found


def _failures(rows: pd.DataFrame) -> str:
    failed = rows[rows["status"] != "ok"]
    said = [f"{model}: {status}" for model, status in zip(failed["model"], failed["status"], strict=True)]
    return ", ".join(dict.fromkeys(said)) or "not run"


def smaller_peak(
    frame: pd.DataFrame, *, model: str, reference: str, at: list[int], dtype: str = "float32"
) -> list[Estimate]:
    """The reference's peak memory of a training step over the model's, at each N."""
    found = []
    for label, rows in _points(frame, "efficiency", {model, reference}, dtype, at):
        peaks = rows.groupby("model")["peak_memory_bytes"]
        low, high = peaks.min(), peaks.max()
        if pd.isna(low.get(model)) or pd.isna(low.get(reference)):
            found.append(missing(label, _failures(rows)))
            continue
        ratio = float(peaks.median()[reference] / peaks.median()[model])
        ends = float(low[reference] / high[model]), float(high[reference] / low[model])
        found.append(Estimate(label, ratio, *ends, int(peaks.count().min())))
    return found


def time_growth(frame: pd.DataFrame, *, model: str, at: list[int], dtype: str = "float32") -> list[Estimate]:
    """b of training time of one sequence ~ N^b over the lengths `at`, a slope for each repeat."""
    found = []
    for place, rows in _ran(frame, "efficiency", {model}, dtype):
        rows = rows[rows["length"].isin(at) & (rows["status"] == "ok")]
        if rows["length"].nunique() < len(at):
            raise NotTestable(f"{model} did not run at all of N = {', '.join(map(str, at))}")
        fit = summary.by_repeat(rows, rows["length"] / rows["tokens_per_s"])
        repeats = int(rows["length"].value_counts().min())
        found.append(Estimate(f"N={min(at)} to {max(at)}{place}", fit.value, fit.low, fit.high, repeats))
    return found


def doubling(frame: pd.DataFrame, *, model: str, of: str, at: list[int], candidates: str = "offsets") -> list[Estimate]:
    """What doubling N multiplies the counted work `of` one sequence by, up to each N of `at`."""
    model = _with(model, candidates)
    grown = doublings(frame, model, of)
    return [up_to(grown, n, f"{model}, {of}") for n in at]


def copy_tokens(frame: pd.DataFrame, *, model: str, at: list[int], dtype: str = "float32") -> list[Estimate]:
    """Training tokens used until training stopped, at each D, the most of any seed; without end where a seed did not
    learn. The bounds are the seeds'."""
    found = []
    for label, rows in _points(frame, "copy", {model}, dtype, at):
        cell = rows[rows["status"] == "ok"]
        used = cell["tokens_used"].astype(float).where(cell["tokens_to_95"].notna(), math.inf)
        ends = float(used.min()), float(used.max())
        found.append(Estimate(label, ends[1], *ends, len(used)) if len(used) else missing(label, "not run"))
    return found


def sooner(
    frame: pd.DataFrame,
    *,
    model: str,
    reference: str,
    at: list[int],
    task: str = "fairness",
    candidates: str = "offsets",
    dtype: str = "float32",
) -> list[Estimate]:
    """Tokens until 95% of the reference's quickest seed over those of the model's slowest; the upper bound is the other
    way round. A reference that never got there counts its budget, and the label says so; a model of which a seed did
    not get there needs infinitely many, if the reference ever did.

    `task`: the experiment whose sizes `at` are; `candidates`: the model's setting.
    """
    model, found = _with(model, candidates), []
    for label, rows in _points(frame, task, {model, reference}, dtype, at):
        cell = rows[rows["status"] == "ok"]
        mine = cell.loc[cell["model"] == model, "tokens_to_95"].astype(float)
        theirs = cell[cell["model"] == reference]
        until = theirs["tokens_to_95"].fillna(theirs["tokens_used"]).astype(float)
        unlearned = theirs["tokens_to_95"].isna().all()
        if until.empty or mine.empty or (unlearned and mine.isna().any()):
            found.append(missing(label, "not run" if until.empty or mine.empty else "not learned"))
            continue
        never = f" ({reference} never: its budget)" if unlearned else ""
        mine = mine.fillna(math.inf)
        ends = float(until.min() / mine.max()), float(until.max() / mine.min())
        found.append(Estimate(label + never, ends[0], *ends, min(len(mine), len(until))))
    return found


def task_accuracy(
    frame: pd.DataFrame, *, model: str, task: str, at: list[int], candidates: str = "offsets", dtype: str = "float32"
) -> list[Estimate]:
    """Mean accuracy over seeds at each size of a task; the bounds are the widest of the seeds' own intervals."""
    model, found = _with(model, candidates), []
    for label, rows in _points(frame, task, {model}, dtype, at):
        cell = rows[rows["status"] == "ok"]
        if cell.empty:
            found.append(missing(label, "not run"))
            continue
        seeds = widest(cell)
        found.append(Estimate(label, seeds.value, seeds.low, seeds.high, len(cell)))
    return found


def _with(model: str, candidates: str) -> str:
    """The name of a model whose candidates come from there."""
    return summary.variant(model, {"candidates": candidates} if candidates != "offsets" else {})


METRICS = (faster, smaller_peak, time_growth, doubling, copy_tokens, sooner, task_accuracy)
