"""Estimates of cost: rates, times, memory, speed-ups, counted operations, exponents over N, mixers
alone.

A ratio is taken inside each round of a session; a session is the geometric mean of its rounds, and
intervals are over sessions. In the session of a model of the field the references are only its
partners.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from statistics import fmean
from typing import Any

import pandas as pd

from workflow.bench.cell import PAPER
from workflow.bench.measure import session, statistics
from workflow.bench.outcomes import DISTURBED
from workflow.report import intervals, paper
from workflow.report.estimates.runs import (
    CONVOLVED,
    KEY,
    NO_PAIR,
    PLACE,
    Quantity,
    as_estimates,
    beside,
    from_json,
    joined,
    paired,
    ratios,
    sample,
    to_json,
    without,
)
from workflow.report.frame import unpack

REFERENCES = ("transformer", "transformer-unfused", "longformer", "identity")  # of costs
PHASES = {  # phase -> the columns of its rate, of its time and of its rounds
    "training": ("tokens_per_s", "step_ms", "rounds_ms"),
    "inference": ("inference_tokens_per_s", "inference_ms", "inference_rounds_ms"),
}
ROUNDS = [rounds for _, _, rounds in PHASES.values()]
ANY_MACHINE = "any: counted"  # counted work is the same on every machine
COUNTED = {  # work of one sequence -> the column of its batch
    "flops_forward": "flops_forward",
    "flops_step": "flops_step",
    "saved_bytes_per_sequence": "saved_bytes",
}
WORK = tuple(COUNTED)
PROCESS = [*PLACE, "session"]  # what was timed in turn

QUANTITIES = {
    "throughput": Quantity("tokens/s", "geometric mean", "rate"),  # over sessions
    "speedup": Quantity("ratio", "geometric mean", "ratio"),  # of times in the same rounds
    "speedup_growth": Quantity("ratio", "geometric mean"),  # of the speed-up, as N doubles
    "peak_memory": Quantity("bytes", "median"),  # of a training step
    "saved_bytes_per_token": Quantity("bytes/token", "median"),  # kept for the backward pass
    "flops_forward": Quantity("FLOP", "median"),  # of one sequence; so the next two
    "flops_step": Quantity("FLOP", "median"),
    "saved_bytes_per_sequence": Quantity("bytes", "median"),
    "mixer_time": Quantity("ms", "median"),  # of one mixer alone; training: with its backward pass
}

DERIVED = (
    # The time of a second instance over the first's, with the 99% interval over all rounds.
    "twin",
    "training_time", "peak_memory_reduction", "time_exponent",
    *(f"{work}_{kind}" for work in WORK for kind in ("growth", "reduction", "exponent")),
)  # fmt: skip


def samples(runs: pd.DataFrame, timed: pd.DataFrame, twin: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the samples of every quantity of cost; `timed` is of `sessions`, `twin` of `twins`."""
    for phase, (rate, _, _) in PHASES.items():
        rows = judged(timed, twin[twin["phase"] == phase])
        yield sample(rows, "throughput", rows[rate], phase=phase)
        speedups = _speedups(rows, timed, phase)
        yield speedups
        yield _speedup_growth(speedups)

    peaks = runs[runs["experiment"] == "memory"]
    method = peaks["memory_method"].fillna("")
    yield sample(peaks, "peak_memory", peaks["peak_memory_bytes"], phase="training", method=method)
    counted = runs[runs["experiment"] == "complexity"]
    sequence = without(counted, "batch")  # counted work is of one sequence
    for quantity, column in COUNTED.items():
        yield sample(sequence, quantity, counted[column] / counted["batch"])
    tokens = counted["batch"] * counted["length"]
    yield sample(sequence, "saved_bytes_per_token", counted["saved_bytes"] / tokens)

    mixers = runs[runs["experiment"] == "mixers"]
    for phase, (_, time, _) in PHASES.items():
        alone = mixers[mixers[time].notna()]
        yield sample(alone, "mixer_time", alone[time], phase=phase)


def sessions(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of timing sessions, each one's last attempt, with `disturbed`, why it decides
    nothing; a disturbed session is left out where another one of its kind was not."""
    timed = runs[(runs["experiment"] == "efficiency") & runs["session"].notna()]
    last = timed.groupby(PROCESS, dropna=False)["attempt"].transform("max")
    timed = timed[timed["attempt"] == last]
    reasons = []
    for warnings in map(unpack, timed["warnings"]):
        marks = [text.removeprefix(DISTURBED) for text in warnings or () if DISTURBED in text]
        reasons.append(marks[0] if marks else "")
    timed = timed.assign(disturbed=pd.Series(reasons, timed.index, dtype="str"))
    of_session = timed.groupby(PROCESS, dropna=False)["disturbed"].transform("max")
    quiet = of_session == ""
    kind = [*PLACE, "trunk", "length", "batch", "symbols", "session_set"]
    any_quiet = quiet.groupby([timed[key] for key in kind], dropna=False).transform("any")
    return timed.assign(disturbed=of_session)[quiet | ~any_quiet]


def own(timed: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of sessions but those of twins and of the references of guests."""
    kept = (timed["session_set"] == PAPER) | (timed["session_set"] == timed["model"])
    return timed[kept & ~timed["twin"]]


def judged(timed: pd.DataFrame, twin: pd.DataFrame) -> pd.DataFrame:
    """Return a session's `own` rows, disturbed where the length's twin is off."""
    place = [*PLACE, "trunk", "length"]
    off = twin[twin["doubt"] != ""].drop_duplicates(place)[[*place, "doubt"]]
    rows = own(timed)
    doubts = rows[place].merge(off, on=place, how="left")["doubt"].fillna("")
    doubts.index = rows.index
    return rows.assign(disturbed=rows["disturbed"].mask(rows["disturbed"] == "", doubts))


def twins(timed: pd.DataFrame) -> pd.DataFrame:
    """Return the time of a second instance over the first's, over the rounds of all sessions of a
    length; in doubt where the two differ too much."""
    finished = timed[timed["status"] == "ok"]
    same = [*PROCESS, "model", "variant", "length"]
    first = finished.loc[~finished["twin"], [*same, "path", *ROUNDS]]
    pairs = paired(finished[finished["twin"]], first, same)
    lines = []
    for phase, rounds in zip(PHASES, ROUNDS, strict=True):
        named = pairs.assign(quantity="twin", phase=phase, against=pairs["model"])
        for values, group in named.groupby(KEY, dropna=False, sort=False):
            logs = []
            for first_ms, second_ms in zip(group[f"{rounds}_other"], group[rounds], strict=True):
                logs += _logarithms(first_ms, second_ms)
            if not logs:
                continue  # an untrained control has no training step
            value, low, high = statistics.ratio(logs, session.CERTAIN)
            line = dict(zip(KEY, values, strict=True)) | {"value": value, "low": low, "high": high}
            line["doubt"] = session.disturbed(session.Load(None), value, low, high)
            line |= {"n": len(group), "runs": len(group), "rows": joined(group["path"])}
            lines.append(line | {"unit": "ratio"})
    return as_estimates(lines)


def _logarithms(ours: object, theirs: object) -> list[float]:
    """Return the logarithm of their time over ours in each round; none where one has no rounds."""
    if not isinstance(ours, str) or not isinstance(theirs, str):
        return []
    pairs = zip(json.loads(ours), json.loads(theirs), strict=True)
    return [math.log(their / our) for our, their in pairs]


def _speedups(own: pd.DataFrame, timed: pd.DataFrame, phase: str) -> pd.DataFrame:
    """Return each reference's time over each row's in the same rounds; NO_PAIR if it failed. With a
    convolution the reference has one too."""
    rounds = PHASES[phase][2]
    unchanged = timed["variant"].isin(["", *CONVOLVED.values()])
    is_reference = timed["model"].isin(REFERENCES) & unchanged & ~timed["twin"]
    partner = timed.loc[is_reference, [*PROCESS, "model", "variant", rounds, "status", "path"]]
    pairs = paired(own, partner, PROCESS)
    itself = (pairs["model"] == pairs["model_other"]) & (pairs["variant"] == pairs["variant_other"])
    pairs = pairs[~itself]
    values = []
    for one, other in zip(pairs[rounds], pairs[f"{rounds}_other"], strict=True):
        logs = _logarithms(one, other)
        values.append(math.exp(fmean(logs)) if logs else math.nan)
    alone = (pairs["status"] == "ok") & (pairs["status_other"] != "ok")
    endings = pairs["status_other"].astype("str")
    reasons = pairs["model_other"] + " of the same session is " + endings
    pairs["reason"] = pairs["reason"].mask(alone, reasons)
    pairs["status"] = pairs["status"].mask(alone, NO_PAIR)
    return sample(pairs, "speedup", values, phase=phase, against=pairs["model_other"])


def _speedup_growth(speedups: pd.DataFrame) -> pd.DataFrame:
    """Return what doubling N multiplied the speed-up by, session by session of the same number."""
    finished = speedups[speedups["status"] == "ok"]
    half = finished.assign(x=finished["x"] * 2)
    same = [*(key for key in KEY if key not in ("length", "batch")), "repeat"]
    pairs = paired(finished, half[[*same, "value", "path"]].drop_duplicates(same), same)
    growth = pairs["value"] / pairs["value_other"]
    return pairs.assign(quantity="speedup_growth", value=growth)[speedups.columns]


def derived(estimates: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the estimates that follow from other estimates."""
    rates = estimates[estimates["quantity"] == "throughput"]
    yield _training_time(rates[rates["phase"] == "training"])
    # What doubling N multiplied the counted work by.
    work = estimates[estimates["quantity"].isin(WORK)]
    half = work.assign(x=work["x"] * 2, length=work["length"] * 2)
    pairs = work.merge(half, on=KEY, suffixes=("", "_other"))
    growth = pairs["value"] / pairs["value_other"]
    yield ratios(pairs, pairs["quantity"] + "_growth", value=growth, low=growth, high=growth)
    # The references' memory and work over the others', between the ratios of the runs' extremes;
    # work on whatever machine either side was counted.
    once = work[work["status"] == "ok"].drop_duplicates([key for key in KEY if key not in PLACE])
    amounts = pd.concat([estimates[estimates["quantity"] == "peak_memory"], _anywhere(once)])
    pairs = beside(amounts, amounts[amounts["model"].isin(REFERENCES)])
    yield ratios(
        pairs, pairs["quantity"] + "_reduction", value=pairs["value_other"] / pairs["value"],
        low=pairs["least_other"] / pairs["most"], high=pairs["most_other"] / pairs["least"],
    )  # fmt: skip


def _anywhere(counted: pd.DataFrame) -> pd.DataFrame:
    """Return counted work without its place: it is the same everywhere."""
    return without(counted, "device", "dtype", "threads").assign(machine=ANY_MACHINE)


def _training_time(rates: pd.DataFrame) -> pd.DataFrame:
    """Return the seconds for the paper's unit, 20 sequences of N tokens, with their interval."""
    tokens = paper.SEQUENCES * rates["length"].astype("float64")
    times = rates.assign(quantity="training_time", unit="s", value=tokens / rates["value"])
    for column, inverse in (("low", "high"), ("high", "low"), ("least", "most"), ("most", "least")):
        times[column] = tokens / rates[inverse]
    pairs = zip(tokens, rates["values"], strict=True)
    times["values"] = [to_json(total / from_json(values)) for total, values in pairs]
    return times


def exponents(samples: pd.DataFrame) -> pd.DataFrame:
    """Return b of amount ~ N^b for one sequence, with a slope a seed and repeat: of times by all N
    from each one on, of counted work by all N and without a place, as it is the same everywhere."""
    points = samples[samples["quantity"].isin(["throughput", *WORK]) & (samples["status"] == "ok")]
    timed = points["quantity"] == "throughput"
    amount = points["value"].mask(timed, points["length"] / points["value"])
    quantity = (points["quantity"] + "_exponent").mask(timed, "time_exponent")
    points = points.assign(quantity=quantity, amount=amount)
    points = pd.concat([points[timed], _anywhere(points[~timed])])
    points = points[points["amount"] > 0].astype({"amount": "float64"})
    alike = [key for key in KEY if key not in ("x", "length", "batch")]
    lines = []
    for values, series in points.groupby(alike, dropna=False, sort=False):
        key = dict(zip(alike, values, strict=True))
        lengths = sorted(series["length"].unique())
        for shortest in lengths[:-1] if key["phase"] else lengths[:1]:
            own = series[series["length"] >= shortest]
            several = []
            for _, repeat in own.groupby(["seed", "repeat"], sort=False):
                if repeat["length"].nunique() > 1:
                    several.append((repeat["length"].tolist(), repeat["amount"].tolist()))
            if several:
                known: dict[str, Any] = {
                    "n": int(own["length"].value_counts().min()), "runs": len(own),
                    "doubt": own["disturbed"].max(), "rows": joined(own["path"]),
                }  # fmt: skip
                fit = intervals.exponent_over(several)._asdict()
                lines.append(key | fit | known | {"x": shortest, "unit": "exponent"})
    return as_estimates(lines)
