"""The numbers behind tables and figures: rows of one experiment -> one line a cell, what failed beside what ran.

Times are never mixed across machines: every summary is keyed by PLACE (machine, device, dtype, threads). The unit
inside a cell is a row: repeats of a timing, seeds of a training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pandas as pd

from workflow.bench.measure import statistics
from workflow.report import intervals, paper
from workflow.report.frame import unpack

PLACE = ["machine", "device", "dtype", "threads"]
CELL = [*PLACE, "model", "length"]
REFERENCES = ("transformer", "transformer-unfused")  # what a speed-up is measured against
KEPT = 0.95  # what ends below it was not learned: a look during training is one small batch, and may be lucky
Phase = Literal["training", "inference"]
PHASES: tuple[Phase, ...] = ("training", "inference")


def place(key: Sequence[Any]) -> str:
    """A PLACE in words: machine, device, threads, dtype."""
    machine, device, dtype, threads = key
    counted = [f"{threads} thread{'s' if threads != 1 else ''}"] if pd.notna(threads) else []
    return ", ".join([str(machine), str(device), *counted, str(dtype)])


def of(frame: pd.DataFrame, experiment: str) -> pd.DataFrame:
    """The rows of one experiment; `model` names changed mixer settings too, `pointer {K=32}`; threads on CPU only;
    tokens and seconds until 95% only where training also ended there."""
    rows = frame[frame["experiment"] == experiment].copy()
    rows["model"] = [_variant(name, settings) for name, settings in zip(rows["model"], rows["settings"], strict=True)]
    rows["threads"] = rows["threads"].where(rows["device"] == "cpu")
    rows.loc[rows["accuracy"] < KEPT, ["tokens_to_95", "seconds_to_95"]] = pd.NA
    return rows


def unchanged(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of models as they are, without changed mixer settings."""
    changed = [bool((unpack(settings) or {}).get("mixer")) for settings in rows["settings"]]
    return rows[~pd.Series(changed, index=rows.index, dtype=bool)]


def _variant(name: str, settings: Any) -> str:
    return variant(name, (unpack(settings) or {}).get("mixer") or {})


def variant(model: str, changed: Mapping[str, Any]) -> str:
    """A model under changed mixer settings, `pointer {k=32}`."""
    return f"{model} {{{', '.join(f'{key}={changed[key]}' for key in sorted(changed))}}}" if changed else model


def summarise(rows: pd.DataFrame, keys: Sequence[str], columns: Mapping[str, str], steady: str = "") -> pd.DataFrame:
    """One line a key: each column's aggregate over the rows that are ok, `runs` (how many), `status`, `reason`.

    `status` is ok where any row is; `reason` then still says what the others met, and whether the runs disagree on the
    column that `steady` names.
    """
    lines = [
        dict(zip(keys, key, strict=True)) | _line(group, columns, steady)
        for key, group in rows.groupby(list(keys), dropna=False, sort=False)
    ]
    cells = pd.DataFrame(lines, columns=[*keys, *columns, "runs", "status", "reason"])
    return cells.astype({key: rows[key].dtype for key in keys} | dict.fromkeys(columns, "float64") | {"reason": "str"})


def _line(group: pd.DataFrame, columns: Mapping[str, str], steady: str) -> dict[str, Any]:
    good = group[group["status"] == "ok"]
    failed = group[group["status"] != "ok"]
    values = {
        column: float(v) if pd.notna(v := good[column].agg(how)) else float("nan") for column, how in columns.items()
    }
    status = "ok" if len(good) else str(failed["status"].mode()[0])
    reason = "; ".join(filter(None, [_reason(failed, len(group)), *(_doubts(good, steady) if steady else [])]))
    return values | {"runs": len(good), "status": status, "reason": reason}


def _doubts(good: pd.DataFrame, steady: str) -> list[str]:
    """What a reader of a timing must know: repeats that disagree, and rows that did within themselves."""
    said = statistics.unstable([float(value) for value in good[steady].dropna()], f"{steady} over repeats")
    within = int(good["unsteady"].sum())
    return said + ([f"the steps inside {within} of {len(good)} runs vary (their row says how)"] if within else [])


def _reason(failed: pd.DataFrame, total: int) -> str:
    said = [
        f"{status}: {why}" if pd.notna(why) else status
        for status, why in zip(failed["status"], failed["reason"], strict=True)
    ]
    return "; ".join(f"{what} ({said.count(what)} of {total} runs)" for what in dict.fromkeys(said))


def rates(frame: pd.DataFrame, phase: Phase) -> pd.DataFrame:
    """Efficiency rows with `rate` (tokens/s), its band (20th and 80th percentile of the time), and whether the row
    itself warns of it.
    """
    rate, time = {"training": ("tokens_per_s", "step_ms"), "inference": ("inference_tokens_per_s", "inference_ms")}[
        phase
    ]
    rows = of(frame, "efficiency")
    rows["rate"] = rows[rate]
    tokens = 1000 * rows["batch"] * rows["length"]
    rows["rate_low"], rows["rate_high"] = tokens / rows[f"{time}_q80"], tokens / rows[f"{time}_q20"]
    rows["unsteady"] = [any(text.startswith(phase) for text in unpack(cell) or []) for cell in rows["warnings"]]
    return rows


def throughput(frame: pd.DataFrame, phase: Phase) -> pd.DataFrame:
    """CELL, rate with its band (tokens/s): medians over repeats."""
    columns = {"rate": "median", "rate_low": "median", "rate_high": "median"}
    return summarise(rates(frame, phase), CELL, columns, steady="rate")


def training_time(frame: pd.DataFrame) -> pd.DataFrame:
    """CELL, seconds with its band for the paper's unit of 20 sequences of N tokens."""
    cells = throughput(frame, "training")
    tokens = paper.SEQUENCES * cells["length"].astype(float)
    for column, rate in (("seconds", "rate"), ("seconds_low", "rate_high"), ("seconds_high", "rate_low")):
        cells[column] = tokens / cells[rate]
    return cells.drop(columns=["rate", "rate_low", "rate_high"])


def references(frame: pd.DataFrame) -> list[str]:
    """The references that any efficiency row is of."""
    present = set(of(frame, "efficiency")["model"])
    return [name for name in REFERENCES if name in present]


def pairs(frame: pd.DataFrame, phase: Phase, reference: str) -> pd.DataFrame:
    """Rows with `ratio`: their rate over that of the reference in the same place, length, batch, seed and repeat, and
    `hours_apart` between the two.

    A row whose partner is missing or failed gets the status `no pair`.
    """
    rows = rates(frame, phase)
    rows["time"] = pd.to_datetime(rows["started"], utc=True, format="ISO8601")
    same = [*PLACE, "length", "batch", "symbols", "seed", "repeat"]
    partner = rows.loc[rows["model"] == reference, [*same, "rate", "status", "time"]]
    paired = rows[rows["model"] != reference].merge(partner, on=same, how="left", suffixes=("", "_partner"))
    paired["ratio"] = paired["rate"] / paired["rate_partner"]
    paired["hours_apart"] = (paired["time"] - paired["time_partner"]).abs().dt.total_seconds() / 3600
    alone = (paired["status"] == "ok") & paired["ratio"].isna()
    why = f"{reference} of the same repeat is " + paired["status_partner"].fillna("not run").astype("string")
    paired["reason"] = paired["reason"].mask(alone, why)
    paired["status"] = paired["status"].mask(alone, "no pair")
    return paired


def speedup(frame: pd.DataFrame, phase: Phase, reference: str) -> pd.DataFrame:
    """CELL, ratio (median over pairs) with the smallest and the largest pair, and the hours between their rows."""
    paired = pairs(frame, phase, reference)
    paired["ratio_low"], paired["ratio_high"] = paired["ratio"], paired["ratio"]
    columns = {"ratio": "median", "ratio_low": "min", "ratio_high": "max", "hours_apart": "max"}
    return summarise(paired, CELL, columns, steady="ratio")


def memory(frame: pd.DataFrame) -> pd.DataFrame:
    """CELL, batch, bytes: peak of a training step, saved for its backward pass, and the latter a token."""
    rows = of(frame, "efficiency")
    rows["saved_bytes_per_token"] = rows["saved_bytes"] / (rows["batch"] * rows["length"])
    columns = ("batch", "peak_memory_bytes", "saved_bytes", "saved_bytes_per_token")
    return summarise(rows, CELL, dict.fromkeys(columns, "median"))


WORK = ("flops_forward", "flops_step", "saved_bytes")


def operations(frame: pd.DataFrame) -> pd.DataFrame:
    """CELL and WORK of one sequence, each with `_growth`: what doubling N multiplied it by, W(N) / W(N/2)."""
    rows = of(frame, "complexity")
    for column in WORK:
        rows[column] = rows[column] / rows["batch"]
    cells = summarise(rows, CELL, dict.fromkeys(WORK, "median"))
    half = cells.loc[:, [*CELL, *WORK]].assign(length=cells["length"] * 2)
    joined = cells.merge(half, on=CELL, how="left", suffixes=("", "_half"))
    for column in WORK:
        joined[f"{column}_growth"] = joined[column] / joined[f"{column}_half"]
    return joined.drop(columns=[f"{column}_half" for column in WORK])


SCALING = {"training time": "tokens_per_s", "inference time": "inference_tokens_per_s"}
COUNTED = {"operations": "flops_step", "kept for backward": "saved_bytes"}


def scaling(frame: pd.DataFrame) -> pd.DataFrame:
    """PLACE, model, measure, and the exponent b of measure ~ N^b for one sequence, with its interval.

    Times have a slope for each repeat; counted work is the same everywhere, so it has no place.
    """
    timed, counted = of(frame, "efficiency"), of(frame, "complexity")
    counted["machine"] = "any: counted"
    counted[["device", "dtype", "threads"]] = pd.NA
    points = [timed.assign(measure=name, amount=timed["length"] / timed[column]) for name, column in SCALING.items()]
    points += [counted.assign(measure=name, amount=counted[c] / counted["batch"]) for name, c in COUNTED.items()]
    rows = pd.concat(points, ignore_index=True)
    rows = rows[(rows["status"] == "ok") & (rows["amount"] > 0)]
    groups = rows.groupby([*PLACE, "model", "measure"], dropna=False, sort=False)
    lines = [(*key, *_exponent(group), "ok", "") for key, group in groups if group["length"].nunique() > 1]
    columns = [*PLACE, "model", "measure", "exponent", "exponent_low", "exponent_high", "status", "reason"]
    cells = pd.DataFrame(lines, columns=columns).astype({"threads": "Int64", "model": "string"})
    cells["measure"] = pd.Categorical(cells["measure"], [*SCALING, *COUNTED], ordered=True)
    return cells


def _exponent(points: pd.DataFrame) -> tuple[float, float, float]:
    found = by_repeat(points, points["amount"])
    return found.value, found.low, found.high


def by_repeat(rows: pd.DataFrame, amount: pd.Series[float]) -> intervals.Interval:
    """b of amount ~ N^b, from a slope for each seed and repeat of the rows that has several lengths."""
    series = [
        (list(group["length"].astype(float)), list(amount.loc[group.index].astype(float)))
        for _, group in rows.groupby(["seed", "repeat"], dropna=False)
        if group["length"].nunique() > 1
    ]
    return intervals.exponent_over(series)


COPY_CELL = [*PLACE, "model", "position", "distance"]


def copy(frame: pd.DataFrame) -> pd.DataFrame:
    """COPY_CELL, means over seeds; the accuracy's bounds are the widest of the seeds' own Wilson intervals.

    `tokens_to_95` and `seconds_to_95` are means over the `solved` seeds that got there.
    """
    rows = of(frame, "copy")
    rows["solved"] = rows["tokens_to_95"].notna()
    mean = ("accuracy", "chance", "loss", "symbols", "tokens_used", "tokens_to_95", "seconds_to_95", "n_evaluated")
    bounds = {"accuracy_low": "min", "accuracy_high": "max", "solved": "sum"}
    return summarise(rows, COPY_CELL, dict.fromkeys(mean, "mean") | bounds)


HOP_CELL = [*PLACE, "model", "task", "layer"]


def hops(frame: pd.DataFrame) -> pd.DataFrame:
    """HOP_CELL, mean hop (mean over seeds) and longest hop (largest over seeds), in tokens; layers count from 1.

    A failed row stands in every layer that other rows have.
    """
    rows = of(frame, "interpretability")
    rows["task"] = [
        task(distance, settings) for distance, settings in zip(rows["distance"], rows["settings"], strict=True)
    ]
    means, tops = ([unpack(cell) or [] for cell in rows[column]] for column in ("hops_mean", "hops_max"))
    layers = max(map(len, means), default=0) or 1
    rows["layer"] = [list(range(1, 1 + (len(mean) or layers))) for mean in means]
    rows["mean_hop_tokens"] = [mean or [None] * layers for mean in means]
    rows["max_hop_tokens"] = [top or [None] * layers for top in tops]
    rows = rows.explode(["layer", "mean_hop_tokens", "max_hop_tokens"], ignore_index=True)
    rows = rows.astype({"layer": "Int64", "mean_hop_tokens": "Float64", "max_hop_tokens": "Float64"})
    return summarise(rows, HOP_CELL, {"mean_hop_tokens": "mean", "max_hop_tokens": "max"})


def task(distance: Any, settings: Any) -> str:
    """What a model was trained on, in words."""
    if pd.notna(distance):
        return f"copy, D={distance}"
    learned = (unpack(settings) or {}).get("task") or {}
    return str(learned.get("name", "text"))


def parameters(frame: pd.DataFrame) -> pd.DataFrame:
    """model, position, and the smallest and largest count of parameters and of position tables over all rows of the
    model as it is: a changed setting changes its size."""
    rows = unchanged(frame[frame["n_params"].notna()])
    counted = rows.groupby(["model", "position"], dropna=False)[["n_params", "n_tables"]].agg(["min", "max"])
    counted.columns = pd.Index(["_".join(pair) for pair in counted.columns.to_flat_index()])
    return counted.reset_index()
