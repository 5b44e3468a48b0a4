"""Estimates of cost: rates, times, memory, speed-ups, counted operations, exponents over N, mixers
alone."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from workflow.report import intervals, paper
from workflow.report.estimates.runs import (
    ESTIMATE,
    KEY,
    NO_PAIR,
    PLACE,
    SEPARATOR,
    Quantity,
    as_estimates,
    beside,
    from_json,
    joined,
    sample,
    to_json,
    unpack_all,
    without,
)

REFERENCES = ("transformer", "transformer-unfused", "longformer", "identity")  # of costs
PHASES = {  # phase -> the columns of its rate and of its time
    "training": ("tokens_per_s", "step_ms"),
    "inference": ("inference_tokens_per_s", "inference_ms"),
}
ANY_MACHINE = "any: counted"  # counted work is the same on every machine
COUNTED = {  # work of one sequence -> the column of its batch
    "flops_forward": "flops_forward",
    "flops_step": "flops_step",
    "saved_bytes_per_sequence": "saved_bytes",
}
WORK = tuple(COUNTED)

QUANTITIES = {
    # Bounds of a rate are those of the steps' 80th and 20th percentile.
    "throughput": Quantity("tokens/s", "median", "rate"),
    "throughput_mean": Quantity("tokens/s", "mean, t"),
    "speedup": Quantity("ratio", "geometric mean", "ratio"),  # of throughputs in paired repeats
    "hours_apart": Quantity("h", "most"),  # between the two rows of a pair of speedup
    # Rates of hard inference over those of training's forward.
    "inference_over_forward": Quantity("ratio", "geometric mean"),
    "peak_memory": Quantity("bytes", "median"),  # of a training step
    "saved_bytes": Quantity("bytes", "median"),  # kept for the backward pass of a training step
    "saved_bytes_per_token": Quantity("bytes/token", "median"),
    "flops_forward": Quantity("FLOP", "median"),  # of one sequence; so the next two
    "flops_step": Quantity("FLOP", "median"),
    "saved_bytes_per_sequence": Quantity("bytes", "median"),
    "mixer_time": Quantity("ms", "median"),  # of one mixer alone; training: with its backward pass
}

DERIVED = (
    "training_time", "peak_memory_reduction", "time_exponent",
    *(f"{work}_{kind}" for work in WORK for kind in ("growth", "reduction", "exponent")),
)  # fmt: skip


def samples(runs: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the samples of every quantity of cost."""
    timed = runs[runs["experiment"] == "efficiency"]
    rates = pd.concat([_rates(timed, phase) for phase in PHASES])
    yield rates
    yield rates.assign(quantity="throughput_mean")
    for reference in REFERENCES:
        yield from _speedups(rates, timed, reference)
    forward = 1000 * timed["batch"] * timed["length"] / timed["forward_ms_mean"]
    over_forward = timed["inference_tokens_per_s"] / forward
    yield sample(timed, "inference_over_forward", over_forward, phase="inference")
    tokens = timed["batch"] * timed["length"]
    method = timed["memory_method"].fillna("")
    yield sample(timed, "peak_memory", timed["peak_memory_bytes"], phase="training", method=method)
    yield sample(timed, "saved_bytes", timed["saved_bytes"], phase="training")
    yield sample(timed, "saved_bytes_per_token", timed["saved_bytes"] / tokens, phase="training")

    counted = runs[runs["experiment"] == "complexity"]
    sequence = without(counted, "batch")  # counted work is of one sequence
    for quantity, column in COUNTED.items():
        yield sample(sequence, quantity, counted[column] / counted["batch"])

    mixers = runs[runs["experiment"] == "mixers"]
    for phase, (_, time) in PHASES.items():
        alone = mixers[mixers[time].notna()]
        yield sample(alone, "mixer_time", alone[time], phase=phase)


def _rates(timed: pd.DataFrame, phase: str) -> pd.DataFrame:
    rate, time = PHASES[phase]
    tokens = 1000 * timed["batch"] * timed["length"]
    unsteady = [
        any(text.startswith(phase) for text in warnings or [])
        for warnings in unpack_all(timed["warnings"])
    ]
    bounds = {"low": tokens / timed[f"{time}_q80"], "high": tokens / timed[f"{time}_q20"]}
    return sample(timed, "throughput", timed[rate], phase=phase, unsteady=unsteady, **bounds)


def _speedups(rates: pd.DataFrame, timed: pd.DataFrame, reference: str) -> Iterator[pd.DataFrame]:
    """Yield the ratio of each rate to the reference's of the same place, size, seed and repeat, and
    the hours between.

    A run whose partner is missing or failed has the status NO_PAIR.
    """
    same = ["phase", *PLACE, "trunk", "length", "batch", "symbols", "seed", "repeat"]
    times = pd.to_datetime(timed["started"], utc=True, format="ISO8601")
    rates = rates.assign(started=times.reindex(rates.index))
    is_reference = (rates["model"] == reference) & (rates["variant"] == "")
    partner = rates.loc[is_reference, [*same, "value", "status", "started", "path"]]
    pairs = rates[~is_reference].merge(partner, on=same, how="left", suffixes=("", "_partner"))
    if partner.empty:
        return
    ratio = pairs["value"] / pairs["value_partner"]
    alone = (pairs["status"] == "ok") & ratio.isna()
    reasons = f"{reference} of the same repeat is " + pairs["status_partner"].fillna(
        "not run"
    ).astype("str")
    pairs["reason"] = pairs["reason"].mask(alone, reasons)
    pairs["status"] = pairs["status"].mask(alone, NO_PAIR)
    pairs["path"] = pairs["path"] + (SEPARATOR + pairs["path_partner"]).fillna("")
    columns = {"against": reference, "asked": ~alone | pairs["status_partner"].notna()}
    yield sample(pairs, "speedup", ratio, **columns, unsteady=pairs["unsteady"])
    hours = (pairs["started"] - pairs["started_partner"]).abs().dt.total_seconds() / 3600
    yield sample(pairs, "hours_apart", hours, **columns)


def derived(estimates: pd.DataFrame, runs: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the estimates that follow from other estimates, and the exponents."""
    by_quantity = dict(tuple(estimates.groupby("quantity")))
    if "throughput" in by_quantity:
        rates = by_quantity["throughput"]
        yield _training_time(rates[rates["phase"] == "training"])
        for reference in REFERENCES:
            yield _peak_reduction(by_quantity["peak_memory"], reference)
    for quantity in WORK:
        if quantity not in by_quantity:
            continue
        work = by_quantity[quantity]
        yield _growth(work)
        for reference in REFERENCES:
            yield _reduction(work, reference)
    yield _exponents(runs)


def _training_time(rates: pd.DataFrame) -> pd.DataFrame:
    """Return the seconds for the paper's unit, 20 sequences of N tokens, at the median rate and its
    band."""
    tokens = paper.SEQUENCES * rates["length"].astype("float64")
    times = rates.assign(quantity="training_time", unit="s", value=tokens / rates["value"])
    for column, inverse in (("low", "high"), ("high", "low"), ("least", "most"), ("most", "least")):
        times[column] = tokens / rates[inverse]
    pairs = zip(tokens, rates["values"], strict=True)
    times["values"] = [to_json(total / from_json(values)) for total, values in pairs]
    return times


def _peak_reduction(peaks: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Return the reference's peak memory over the model's, between the ratios of the runs'
    extremes."""
    pairs = beside(peaks, peaks, reference)
    return as_estimates(
        pairs, "peak_memory_reduction", "ratio", value=pairs["value_other"] / pairs["value"],
        low=pairs["least_other"] / pairs["most"], high=pairs["most_other"] / pairs["least"],
    )  # fmt: skip


def _growth(work: pd.DataFrame) -> pd.DataFrame:
    """Return what doubling N multiplied the counted work by: W(N) / W(N/2)."""
    half = work.assign(x=work["x"] * 2, length=work["length"] * 2)
    pairs = work.merge(half, on=KEY, suffixes=("", "_other"))
    growth = pairs["value"] / pairs["value_other"]
    quantity = pairs["quantity"] + "_growth"
    return as_estimates(pairs, quantity, "ratio", value=growth, low=growth, high=growth)


def _reduction(work: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Return the reference's counted work over the model's, whatever machine counted either."""
    once = work[work["status"] == "ok"].drop_duplicates([key for key in KEY if key not in PLACE])
    once = without(once, "device", "dtype", "threads").assign(machine=ANY_MACHINE)
    pairs = beside(once, once, reference)
    reduction = pairs["value_other"] / pairs["value"]
    quantity = pairs["quantity"] + "_reduction"
    return as_estimates(pairs, quantity, "ratio", value=reduction, low=reduction, high=reduction)


def _exponents(runs: pd.DataFrame) -> pd.DataFrame:
    """Return b of amount ~ N^b for one sequence, by all N from x on, with a slope for each seed and
    repeat.

    Times have an exponent from each N on. Counted work is the same everywhere, so its exponent has
    no place."""
    ok = runs[runs["status"] == "ok"]
    timed, counted = ok[ok["experiment"] == "efficiency"], ok[ok["experiment"] == "complexity"]
    counted = without(counted, "device", "dtype", "threads").assign(machine=ANY_MACHINE)
    points = [
        timed.assign(quantity="time_exponent", phase=phase, amount=timed["length"] / timed[rate])
        for phase, (rate, _) in PHASES.items()
    ]
    for quantity, column in COUNTED.items():
        amount = counted[column] / counted["batch"]
        points.append(counted.assign(quantity=f"{quantity}_exponent", amount=amount))
    fitted = pd.concat(points)
    fitted = fitted[fitted["amount"] > 0].astype({"amount": "float64"})
    alike = [key for key in KEY if key not in ("x", "length", "batch")]
    lines = []
    for values, series in fitted.groupby(alike, dropna=False, sort=False):
        key = dict(zip(alike, values, strict=True))
        lengths = sorted(series["length"].unique())
        for shortest in lengths[:-1] if key["phase"] else lengths[:1]:
            fit = _exponent(series[series["length"] >= shortest])
            if fit:
                lines.append(key | fit | {"x": shortest})
    texts = dict.fromkeys(("reason", "doubt", "code", "method"), "")
    table = pd.DataFrame(lines).reindex(columns=ESTIMATE)
    return table.assign(unit="exponent", status="ok", values="[]", **texts)


def _exponent(points: pd.DataFrame) -> dict[str, object]:
    """Return the exponent over the slopes of the repeats; nothing where no repeat has several
    lengths."""
    several = []
    for _, series in points.groupby(["seed", "repeat"], sort=False):
        if series["length"].nunique() > 1:
            several.append((series["length"].tolist(), series["amount"].tolist()))
    if not several:
        return {}
    fit = intervals.exponent_over(several)
    numbers = {"value": fit.value, "low": fit.low, "high": fit.high}
    n = int(points["length"].value_counts().min())
    return numbers | {"n": n, "runs": len(points), "rows": joined(points["path"])}
