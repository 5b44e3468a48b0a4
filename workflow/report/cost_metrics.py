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
from workflow.report.metrics import NotTestable, widest
from workflow.report.rules import Estimate, exactly, missing
from workflow.report.summary import PLACE

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


def _label(axis: str, point: int, dtype: str, place: str) -> str:
    return f"{axis}={point}" + (f", {dtype}" if dtype != "float32" else "") + place


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
    for place, rows in _ran(frame, "efficiency", {model, reference}, dtype):
        left = rows.loc[rows["model"] == model, [*same, mine]].rename(columns={mine: "mine"})
        right = rows.loc[rows["model"] == reference, [*same, other]].rename(columns={other: "other"})
        pairs = left.merge(right, on=same).dropna(subset=["mine", "other"])
        for point in at:
            cell = pairs[pairs["length"] == point]
            label = _label("N", point, dtype, place)
            if cell.empty:
                found.append(missing(label, _failures(rows, point)))
                continue
            ratio = intervals.ratio(list((cell["other"] / cell["mine"]).astype(float)))
            found.append(Estimate(label, ratio.value, ratio.low, ratio.high, len(cell)))
    return found


def _failures(rows: pd.DataFrame, length: int) -> str:
    failed = rows[(rows["length"] == length) & (rows["status"] != "ok")]
    said = [f"{model}: {status}" for model, status in zip(failed["model"], failed["status"], strict=True)]
    return ", ".join(dict.fromkeys(said)) or "not run"


def smaller_peak(
    frame: pd.DataFrame, *, model: str, reference: str, at: list[int], dtype: str = "float32"
) -> list[Estimate]:
    """The reference's peak memory of a training step over the model's, at each N."""
    found = []
    for place, rows in _ran(frame, "efficiency", {model, reference}, dtype):
        for point in at:
            peaks = rows[rows["length"] == point].groupby("model")["peak_memory_bytes"]
            low, high = peaks.min(), peaks.max()
            label = _label("N", point, dtype, place)
            if pd.isna(low.get(model)) or pd.isna(low.get(reference)):
                found.append(missing(label, _failures(rows, point)))
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
    cells = summary.operations(frame)
    cells = cells[(cells["model"] == model) & (cells["status"] == "ok")].drop_duplicates("length")
    grown = cells.set_index("length")[f"{of}_growth"].dropna()
    if grown.empty:
        raise NotTestable(f"no complexity rows of {model} at both N and 2 N")
    labels = {n: f"{model}, {of}, N={n // 2} to {n}" for n in at}
    return [exactly(label, float(grown[n])) if n in grown else missing(label, "not run") for n, label in labels.items()]


def copy_tokens(frame: pd.DataFrame, *, model: str, at: list[int], dtype: str = "float32") -> list[Estimate]:
    """Training tokens used until training stopped, at each D, the most of any seed; without end where a seed did not
    learn. The bounds are the seeds'."""
    found = []
    for place, rows in _ran(frame, "copy", {model}, dtype):
        for point in at:
            cell = rows[(rows["distance"] == point) & (rows["status"] == "ok")]
            used = cell["tokens_used"].astype(float).where(cell["tokens_to_95"].notna(), math.inf)
            label = _label("D", point, dtype, place)
            found.append(
                Estimate(label, float(used.max()), float(used.min()), float(used.max()), len(used))
                if len(used)
                else missing(label, "not run")
            )
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
    way round. A reference that never got there counts its budget, and the label says so.

    `task`: the experiment whose sizes `at` are; `candidates`: the model's setting.
    """
    model, (axis, sign) = _with(model, candidates), _axis(task)
    found = []
    for place, rows in _ran(frame, task, {model, reference}, dtype):
        for point in at:
            cell = rows[(rows[axis] == point) & (rows["status"] == "ok")]
            mine = cell.loc[cell["model"] == model, "tokens_to_95"].astype(float)
            theirs = cell[cell["model"] == reference]
            until = theirs["tokens_to_95"].fillna(theirs["tokens_used"]).astype(float)
            never = f" ({reference} never: its budget)" if theirs["tokens_to_95"].isna().all() else ""
            label = _label(sign, point, dtype, place) + (never if len(until) else "")
            if until.empty or mine.empty or mine.isna().any():
                found.append(missing(label, "not run" if until.empty or mine.empty else "not learned by every seed"))
                continue
            ends = float(until.min() / mine.max()), float(until.max() / mine.min())
            found.append(Estimate(label, ends[0], *ends, min(len(mine), len(until))))
    return found


def task_accuracy(
    frame: pd.DataFrame, *, model: str, task: str, at: list[int], candidates: str = "offsets", dtype: str = "float32"
) -> list[Estimate]:
    """Mean accuracy over seeds at each size of a task; the bounds are the widest of the seeds' own intervals."""
    model, (axis, sign) = _with(model, candidates), _axis(task)
    found = []
    for place, rows in _ran(frame, task, {model}, dtype):
        for point in at:
            cell = rows[(rows[axis] == point) & (rows["status"] == "ok")]
            label = _label(sign, point, dtype, place)
            if cell.empty:
                found.append(missing(label, "not run"))
                continue
            seeds = widest(cell)
            found.append(Estimate(label, seeds.value, seeds.low, seeds.high, len(cell)))
    return found


def _with(model: str, candidates: str) -> str:
    """The name of a model whose candidates come from there."""
    return summary.variant(model, {"candidates": candidates} if candidates != "offsets" else {})


def _axis(experiment: str) -> tuple[str, str]:
    """The setting along which an experiment's cells lie, and how a label names it."""
    axis = experiments.TASKS[experiments.info(experiment).task].axis
    return axis, {"distance": "D", "length": f"{experiment}, N"}.get(axis, f"{experiment}, {axis}")


METRICS = (faster, smaller_peak, time_growth, doubling, copy_tokens, sooner, task_accuracy)
