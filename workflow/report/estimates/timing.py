"""Estimates of cost: rates, times, memory, speed-ups, counted operations, exponents over N, mixers
alone.

Times come from sessions, whose models were stepped in turn: a ratio is taken inside each round, a
session is the geometric mean of its rounds, and the interval is over sessions. A model of the field
or of the user has a session of its own, whose references are only its partners.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from statistics import fmean

import pandas as pd

from workflow.bench.cell import PAPER
from workflow.bench.measure import session, statistics
from workflow.bench.outcomes import DISTURBED
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
PHASES = {  # phase -> the columns of its rate, of its time and of its rounds
    "training": ("tokens_per_s", "step_ms", "rounds_ms"),
    "inference": ("inference_tokens_per_s", "inference_ms", "inference_rounds_ms"),
}
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


def samples(runs: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the samples of every quantity of cost."""
    timed = sessions(runs)
    off = twins(timed)
    for phase, (rate, _, _) in PHASES.items():
        own = judged(timed, off[off["phase"] == phase])
        columns = {"phase": phase, "disturbed": own["disturbed"]}
        yield sample(own, "throughput", own[rate], **columns)
        for reference in REFERENCES:
            ratios = _speedups(own, timed, phase, reference)
            yield ratios
            yield _speedup_growth(ratios)

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
    """Return the rows of timing sessions, of each the last attempt, with `disturbed`, why the
    session decides nothing. A disturbed session is left out where another one of its kind was
    not."""
    timed = runs[(runs["experiment"] == "efficiency") & runs["session"].notna()]
    last = timed.groupby(PROCESS, dropna=False)["attempt"].transform("max")
    timed = timed[timed["attempt"] == last]
    reasons = []
    for warnings in unpack_all(timed["warnings"]):
        said = [text.removeprefix(DISTURBED) for text in warnings or () if DISTURBED in text]
        reasons.append(said[0] if said else "")
    timed = timed.assign(disturbed=pd.Series(reasons, timed.index, dtype="str"))
    of_session = timed.groupby(PROCESS, dropna=False)["disturbed"].transform("max")
    kind = [*PLACE, "trunk", "length", "batch", "symbols", "session_set"]
    quiet = (of_session == "").groupby([timed[key] for key in kind], dropna=False)
    timed = timed.assign(disturbed=of_session)
    return timed[(of_session == "") | ~quiet.transform("any")]


def judged(timed: pd.DataFrame, off: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose times are estimates: no twins, and no references of a guest. Those of
    a length whose twin is off are disturbed."""
    kept = (timed["session_set"] == PAPER) | (timed["session_set"] == timed["model"])
    own = timed[kept & ~timed["twin"]]
    place = [*PLACE, "length"]
    reasons = off[off["doubt"] != ""].drop_duplicates(place)[[*place, "doubt"]]
    found = own[place].merge(reasons, on=place, how="left")["doubt"].fillna("")
    disturbed = own["disturbed"].mask(own["disturbed"] == "", pd.Series(found.array, own.index))
    return own.assign(disturbed=disturbed)


def twins(timed: pd.DataFrame) -> pd.DataFrame:
    """Return the estimates of the time of a second instance over the first's, over the rounds of
    all sessions of a length; in doubt where the two differ too much."""
    finished = timed[timed["status"] == "ok"]
    same = [*PROCESS, "model", "variant", "length"]
    first = finished.loc[~finished["twin"], [*same, "path", *_ROUNDS]]
    pairs = finished[finished["twin"]].merge(first, on=same, suffixes=("", "_first"))
    pairs["path"] = pairs["path"] + SEPARATOR + pairs["path_first"]
    lines = []
    for phase, (_, _, rounds) in PHASES.items():
        named = pairs.assign(quantity="twin", phase=phase, against=pairs["model"])
        for values, group in named.groupby(KEY, dropna=False, sort=False):
            several = zip(group[f"{rounds}_first"], group[rounds], strict=True)
            logs = [log for own, twin in several for log in _logarithms(own, twin)]
            if not logs:
                continue  # an untrained control has no training step
            value, low, high = statistics.ratio(logs, session.CERTAIN)
            line = dict(zip(KEY, values, strict=True)) | {"value": value, "low": low, "high": high}
            line["doubt"] = session.disturbed(session.Load(None), value, low, high)
            line |= {"n": len(group), "runs": len(group), "rows": joined(group["path"])}
            lines.append(line)
    table = pd.DataFrame(lines, columns=ESTIMATE)
    texts = dict.fromkeys(("reason", "code", "method"), "")
    return table.assign(unit="ratio", status="ok", values="[]", **texts)


_ROUNDS = [rounds for _, _, rounds in PHASES.values()]


def _logarithms(ours: object, theirs: object) -> list[float]:
    """Return the logarithm of their time over ours in each round; none where one has no rounds."""
    if not isinstance(ours, str) or not isinstance(theirs, str):
        return []
    pairs = zip(json.loads(ours), json.loads(theirs), strict=True)
    return [math.log(their / our) for our, their in pairs]


def _speedups(own: pd.DataFrame, timed: pd.DataFrame, phase: str, reference: str) -> pd.DataFrame:
    """Return the ratio of the reference's time to each row's in the rounds of their session.

    A row whose partner failed has the status NO_PAIR.
    """
    rounds = PHASES[phase][2]
    is_reference = (timed["model"] == reference) & (timed["variant"] == "") & ~timed["twin"]
    partner = timed.loc[is_reference, [*PROCESS, rounds, "status", "path"]]
    ours = own[(own["model"] != reference) | (own["variant"] != "")]
    pairs = ours.merge(partner, on=PROCESS, suffixes=("", "_partner"))
    ratios = []
    for one, other in zip(pairs[rounds], pairs[f"{rounds}_partner"], strict=True):
        logs = _logarithms(one, other)
        ratios.append(math.exp(fmean(logs)) if logs else math.nan)
    alone = (pairs["status"] == "ok") & (pairs["status_partner"] != "ok")
    reasons = f"{reference} of the same session is " + pairs["status_partner"].astype("str")
    pairs["reason"] = pairs["reason"].mask(alone, reasons)
    pairs["status"] = pairs["status"].mask(alone, NO_PAIR)
    pairs["path"] = pairs["path"] + SEPARATOR + pairs["path_partner"]
    ratio = pd.Series(ratios, pairs.index, dtype="float64")
    columns = {"phase": phase, "against": reference, "disturbed": pairs["disturbed"]}
    return sample(pairs, "speedup", ratio, **columns)


def _speedup_growth(ratios: pd.DataFrame) -> pd.DataFrame:
    """Return what doubling N multiplied the speed-up by, session by session of the same number."""
    finished = ratios[ratios["status"] == "ok"]
    half = finished.assign(x=finished["x"] * 2)
    same = [key for key in KEY if key not in ("length", "batch")]
    half = half[[*same, "repeat", "value", "path"]].drop_duplicates([*same, "repeat"])
    pairs = finished.merge(half, on=[*same, "repeat"], suffixes=("", "_half"))
    pairs["path"] = pairs["path"] + SEPARATOR + pairs["path_half"]
    return pairs.assign(quantity="speedup_growth", value=pairs["value"] / pairs["value_half"])[
        ratios.columns
    ]


def derived(estimates: pd.DataFrame, runs: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the estimates that follow from other estimates, and the exponents."""
    by_quantity = dict(tuple(estimates.groupby("quantity")))
    if "throughput" in by_quantity:
        rates = by_quantity["throughput"]
        yield _training_time(rates[rates["phase"] == "training"])
    for reference in REFERENCES if "peak_memory" in by_quantity else ():
        yield _peak_reduction(by_quantity["peak_memory"], reference)
    yield twins(sessions(runs))
    for quantity in WORK:
        if quantity not in by_quantity:
            continue
        work = by_quantity[quantity]
        yield _growth(work)
        for reference in REFERENCES:
            yield _reduction(work, reference)
    yield _exponents(runs)


def _training_time(rates: pd.DataFrame) -> pd.DataFrame:
    """Return the seconds for the paper's unit, 20 sequences of N tokens, at the rate and the ends
    of its interval."""
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
    timed = sessions(runs)
    timed = judged(timed[timed["status"] == "ok"], twins(timed))
    counted = runs[(runs["status"] == "ok") & (runs["experiment"] == "complexity")]
    counted = without(counted, "device", "dtype", "threads").assign(machine=ANY_MACHINE)
    points = [
        timed.assign(quantity="time_exponent", phase=phase, amount=timed["length"] / timed[rate])
        for phase, (rate, _, _) in PHASES.items()
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
    texts = dict.fromkeys(("reason", "code", "method"), "")
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
    numbers: dict[str, object] = {"value": fit.value, "low": fit.low, "high": fit.high}
    numbers["doubt"] = points["disturbed"].fillna("").max()
    n = int(points["length"].value_counts().min())
    return numbers | {"n": n, "runs": len(points), "rows": joined(points["path"])}
