"""Estimates of what models learned: accuracy, loss, tokens until 95%, text, hops, sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from workflow.report import intervals, paper
from workflow.report.estimates.runs import (
    KEY,
    PLACE,
    SEPARATOR,
    TEXT,
    Quantity,
    as_estimates,
    beside,
    from_json,
    joined,
    paired,
    ratios,
    sample,
    without,
)
from workflow.report.frame import unpack

SPREAD = "transformer"  # whose spread over distances others' is compared with
SPREAD_DISTANCES = (512, 1024, 1536, 2048)  # the paper's
WHOLE = 0.95  # of the budget: a schedule that ran to its end
LEARNED = 0.9  # below this accuracy a model did not learn its task
UNPAIRED = [key for key in KEY if key not in ("model", "variant", "against", "position")]

QUANTITIES = {
    "accuracy": Quantity("share"),  # low, high: the widest of the seeds' intervals
    # In training mode at the end of the schedule, less that of hard inference.
    "accuracy_gap": Quantity("points", "mean, t"),
    # The first of the two, of models that choose otherwise in training.
    "accuracy_in_training": Quantity("share", "mean, t"),
    # Less the reference's, or that of the model without the change, by seed.
    "accuracy_difference": Quantity("points", "mean, t"),
    "chance": Quantity("share"),  # of guessing
    "counting": Quantity("share"),  # of naming the commonest symbol so far: the most without order
    "strings_right": Quantity("share"),  # strings without a wrong letter
    "loss": Quantity("nats", "mean, t"),
    "bits_per_byte": Quantity("bits/byte", "mean, t"),
    "bits_per_byte_guessing": Quantity("bits/byte"),  # by the frequency of bytes
    "n_evaluated": Quantity("symbols"),
    "tokens_used": Quantity("tokens"),
    "tokens_to_95": Quantity("tokens"),  # mean of the n runs, of `runs`, that ended at 95% or more
    "seconds_to_95": Quantity("s"),
    # On validation sequences after x seconds of training at the throughput that sessions measured.
    "accuracy_by_time": Quantity("share", "mean, t"),
    "bits_per_byte_by_time": Quantity("bits/byte", "mean, t"),
    "evaluation_interval": Quantity("tokens", "most"),  # between two evaluations during training
    "utilisation": Quantity("share", "mean, t"),  # of pointers, those that leave their position
    "mean_hop_all": Quantity("tokens", "mean, t"),  # over all layers
    # Hops from a scored position to its target, by layer and over each half of the layers.
    "mean_hop": Quantity("tokens"),
    "longest_hop": Quantity("tokens", "most"),
    "mean_hop_lower": Quantity("tokens", "mean, t"),
    "mean_hop_upper": Quantity("tokens", "mean, t"),
    "longest_hop_lower": Quantity("tokens", "mean, t"),
    "longest_hop_upper": Quantity("tokens", "mean, t"),
    "parameters": Quantity("count", "most"),  # position tables left out
    "position_table_entries": Quantity("count", "most"),
    "parameters_over_paper": Quantity("ratio", "most"),  # to the 3.2 M of the paper
    # Deviation of accuracy over SPREAD_DISTANCES, less the reference's.
    "copy_spread": Quantity("points", "mean, t"),
}
DERIVED = (
    "tokens_to_95_factor",
    "tokens_to_95_exponent",  # over the copy distance, of runs that learned
    "tokens_to_95_fit",  # what that predicts for one more run
)
FITTED_AT = (16, 32, 64, 128, 256, 512, 1024, 2048)  # copy distances
LEAST_POINTS, LEAST_DISTANCES = 4, 3  # of a fit
SECONDS = (5, 10, 20, 40, 75, 150, 300, 600, 1200)
RECENT = 0.8  # of the tokens: the evaluations since then, each of a few sequences, are averaged
LEAST_EVALUATIONS = 4


def samples(runs: pd.DataFrame, timed: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the samples of every quantity of learning; timed: the rows of timing sessions."""
    learning = runs[runs["task"] != ""]
    trained = pooled(learning)
    yield _accuracy(trained)
    # A run that stopped before the temperature fell compares two other models.
    stopped = (trained["tokens_used"] < WHOLE * trained["tokens"]) & (trained["status"] == "ok")
    to_the_end = trained[~stopped.fillna(value=False)]
    gap = to_the_end["accuracy_train_mode"] - to_the_end["accuracy"]
    learned = to_the_end["accuracy_train_mode"] >= LEARNED  # or there is nothing to lose
    yield sample(to_the_end[learned], "accuracy_gap", gap[learned])
    relaxed = to_the_end[to_the_end["model"].isin(to_the_end.loc[gap.abs() > 0, "model"])]
    shares = relaxed["accuracy_train_mode"]
    yield sample(relaxed, "accuracy_in_training", shares, low=0.0, high=1.0)
    yield from _differences(trained)
    for quantity in ("chance", "loss", "n_evaluated", "tokens_used"):
        yield sample(trained, quantity, trained[quantity])
    text = trained[trained["task"] == TEXT]
    for quantity in ("bits_per_byte", "bits_per_byte_guessing"):
        yield sample(text, quantity, text[quantity])
    # Untrained controls take no tokens until 95%.
    learners = trained[(trained["tokens_used"] > 0) | (trained["status"] != "ok")]
    yield sample(learners, "tokens_to_95", learners["tokens_to_95"])
    first = [seen[0][0] if seen else math.nan for seen in map(unpack, learners["evaluations"])]
    yield sample(learners, "evaluation_interval", first)
    own = learning[(learning["tokens_used"] > 0) | (learning["status"] != "ok")]
    yield sample(own, "seconds_to_95", own["seconds_to_95"])
    yield from _by_time(trained, timed)
    yield from _strings(trained[trained["task"] == "string-copy"])
    copies = trained[trained["task"] == "copy"]
    sizes = zip(copies["symbols"], copies["x"], strict=True)
    counts = [intervals.counting(int(symbols), int(distance) + 1) for symbols, distance in sizes]
    yield sample(copies, "counting", counts)
    yield _spread(trained[trained["experiment"] == "copy"])
    yield from _hops(trained[trained["experiment"] == "interpretability"], text)
    repository = trained[trained["experiment"] == "repository"]
    yield sample(repository, "utilisation", repository["utilisation"])
    means = [np.mean(hops) if hops else math.nan for hops in map(unpack, repository["hops_mean"])]
    yield sample(repository, "mean_hop_all", means)
    yield from _sizes(runs)


def pooled(trained: pd.DataFrame) -> pd.DataFrame:
    """Return runs without their machine, which changes nothing; of one seed the latest run."""
    runs = trained.assign(machine="").sort_values("started", kind="stable")
    same = [key for key in KEY if key != "quantity"]
    return runs.drop_duplicates([*same, "seed", "repeat"], keep="last").sort_index()


def _accuracy(trained: pd.DataFrame) -> pd.DataFrame:
    """Return accuracies with intervals that take sequences as units where a row has them."""
    low, high = [], []
    rights = [*map(unpack, trained["correct_by_sequence"])]
    for right, share, n in zip(rights, trained["accuracy"], trained["n_evaluated"], strict=True):
        if pd.isna(share) or pd.isna(n):
            interval = intervals.Interval(math.nan, math.nan, math.nan)
        elif right:
            interval = intervals.accuracy(right, float(n) / len(right))
        else:
            interval = intervals.wilson(share * float(n), float(n))
        low.append(interval.low)
        high.append(interval.high)
    return sample(trained, "accuracy", trained["accuracy"], low=low, high=high)


def _by_time(trained: pd.DataFrame, timed: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield what a run had learned after SECONDS: its tokens are those of the throughput at which
    the model was timed on the same trunk and length. A run that stopped keeps its last value."""
    same = ["model", "variant", "trunk", "length", "device", "dtype"]
    finished = timed[timed["status"] == "ok"]
    by_place = finished.groupby([*same, "machine", "threads"], dropna=False)
    rates = by_place.agg(rate=("tokens_per_s", "mean"), sessions=("path", joined)).reset_index()
    learned = trained[trained["task"] == trained["experiment"]].drop(columns=["machine", "threads"])
    runs = learned.merge(rates, on=same)
    points = []
    for run in runs.to_dict("records"):
        table = pd.DataFrame(unpack(run["evaluations"]) or [], columns=range(4))
        used, losses, accuracies = table[0], table[1], table[2]
        run |= {"axis": "seconds", "path": run["path"] + SEPARATOR + run["sessions"]}
        for seconds in SECONDS:
            tokens = seconds * run["rate"]
            if used.empty or not used[0] <= tokens <= run["tokens"]:
                continue
            past = used[used <= tokens]
            recent = int((past > RECENT * past.max()).sum())
            last = past.tail(max(recent, LEAST_EVALUATIONS)).index
            means = {"accuracy": accuracies[last].mean(), "loss": losses[last].mean()}
            points.append(run | means | {"x": seconds})
    learned = pd.DataFrame(points, columns=runs.columns).astype(runs.dtypes)
    yield sample(learned, "accuracy_by_time", learned["accuracy"], low=0.0, high=1.0)
    text = learned[learned["task"] == TEXT]
    yield sample(text, "bits_per_byte_by_time", text["loss"] / math.log(2))


def _strings(copies: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield whole strings right, and letters right at sizes that training never showed."""
    shares = []
    rights = [*map(unpack, copies["correct_by_sequence"])]
    for counts, letters in zip(rights, copies["x"], strict=True):
        shares.append(np.mean(np.asarray(counts) == letters) if counts else math.nan)
    yield sample(copies, "strings_right", shares)
    longer = copies.assign(further=[*map(unpack, copies["accuracy_by_size"])])
    longer = longer.explode("further").dropna(subset="further")
    if len(longer):
        longer[["x", "accuracy", "n_evaluated"]] = longer["further"].tolist()
        longer = longer.astype({"x": "Int64"})
        for quantity in ("accuracy", "chance", "n_evaluated"):
            yield sample(longer, quantity, longer[quantity])


def _differences(trained: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield how far accuracy lies above that of the reference's run of the same seed, and that of a
    changed model above its own: without the chain, above the same settings with it. A reference
    that did not learn in the budget is none."""
    copies = trained[trained["experiment"] == "copy"]
    is_reference = (copies["model"] == SPREAD) & (copies["variant"] == "")
    others = copies[copies["model"] != SPREAD].assign(against=SPREAD)
    changed = trained[trained["variant"] != ""]
    own = trained.assign(beside=trained["variant"])
    for runs, references, further in (
        (others, copies[is_reference], ()),
        (changed.assign(against=changed["model"]), own, ("model", "beside")),
    ):
        keys = [key for key in (*UNPAIRED, *further) if key != "learning_rate"]
        same = [*keys, "seed", "repeat"]
        finished = references.loc[references["status"] == "ok", [*same, "accuracy", "path"]]
        pairs = paired(runs, finished.drop_duplicates(same), same)
        unlearned = (pairs["accuracy_other"] < LEARNED) & (pairs["status"] == "ok")
        pairs["status"] = pairs["status"].mask(unlearned, "not learned")
        reason = pairs["against"] + " did not learn in this budget"
        pairs["reason"] = pairs["reason"].mask(unlearned, reason)
        yield sample(pairs, "accuracy_difference", pairs["accuracy"] - pairs["accuracy_other"])


def _spread(copies: pd.DataFrame) -> pd.DataFrame:
    """Return by seed how much more accuracy varies over SPREAD_DISTANCES than the reference's; "not
    learned" where one of the two learned no distance, as guessing hardly varies."""
    alike = [key for key in KEY if key not in ("x", "length", "batch", "tokens")]
    seed = ["seed", "repeat"]
    chosen = copies[copies["x"].isin(SPREAD_DISTANCES)]
    groups = chosen.groupby([*alike, *seed], dropna=False, sort=False)
    spreads = groups.agg(
        spread=("accuracy", "std"), distances=("accuracy", "count"), best=("accuracy", "max"),
        path=("path", joined), code=("code", "first"),
    ).reset_index()  # fmt: skip
    spreads["best"] = spreads.groupby(alike, dropna=False)["best"].transform("max")
    is_reference = (spreads["model"] == SPREAD) & (spreads["variant"] == "")
    same = [*PLACE, "trunk", "learning_rate", *seed]
    partner = spreads.loc[is_reference, [*same, "spread", "distances", "best", "path"]]
    pairs = paired(spreads[~is_reference], partner, same)

    unlearned = pairs["model"].where(pairs["best"] < LEARNED)
    reference = pd.Series(SPREAD, pairs.index).where(pairs["best_other"] < LEARNED)
    unlearned = unlearned.fillna(reference)
    complete = pairs[["distances", "distances_other"]].eq(len(SPREAD_DISTANCES)).all(axis=1)
    reason = (unlearned + " did not learn any distance").fillna("")
    pairs["reason"] = reason.mask(~complete & (reason == ""), "not every distance was run")
    status = pd.Series("ok", pairs.index).mask(~complete, "incomplete")
    pairs["status"] = status.mask(unlearned.notna(), "not learned")
    pairs[["x", "length", "batch", "tokens"]] = pd.NA
    more = pairs["spread"] - pairs["spread_other"]
    return sample(pairs, "copy_spread", more, against=SPREAD)


def _hops(traced: pd.DataFrame, text: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield hop distances by layer, counted from 1, and by half of the layers. On text a model
    decides nothing that learned no more than `identity` in as many tokens."""
    hops = {
        "mean_hop": [*map(unpack, traced["hops_mean"])],
        "longest_hop": [*map(unpack, traced["hops_max"])],
    }
    layers = max((len(means) for means in hops["mean_hop"] if means), default=1)
    by_layer = traced.copy()
    for quantity, rows in hops.items():
        by_layer[quantity] = pd.Series([row or [math.nan] * layers for row in rows], traced.index)
    by_layer["layer"] = [[*range(1, 1 + len(row))] for row in by_layer["mean_hop"]]
    by_layer = by_layer.explode(["layer", *hops], ignore_index=True).astype({"layer": "Int64"})
    for quantity in hops:
        yield sample(by_layer, quantity, by_layer[quantity])

    alike = ["data", "length", "trunk", "tokens"]
    alone = text[(text["model"] == "identity") & (text["status"] == "ok")]
    floors = alone.groupby(alike, dropna=False)["bits_per_byte"].min().rename("floor")
    floored = traced.join(floors, on=alike)
    better = floored["bits_per_byte"] < floored["floor"]
    on_text = traced["task"] == TEXT
    doubt = pd.Series("", traced.index)
    doubt = doubt.mask(on_text & ~better.fillna(value=False), "no better than identity on text")
    doubt = doubt.mask(on_text & floored["floor"].isna(), "identity was not run in as many tokens")
    reach = {"low": 0.0, "high": traced["length"] - 1, "disturbed": doubt}
    summaries: dict[str, Callable[..., Any]] = {"mean_hop": np.mean, "longest_hop": max}
    for quantity, summary in summaries.items():
        lower, upper = [], []
        for row in hops[quantity]:
            middle = (len(row or []) + 1) // 2
            lower.append(summary(row[:middle]) if row else math.nan)
            upper.append(summary(row[middle:]) if row and row[middle:] else math.nan)
        yield sample(traced, f"{quantity}_lower", lower, **reach)
        yield sample(traced, f"{quantity}_upper", upper, **reach)


def derived(estimates: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the estimates that follow from other estimates."""
    to_95 = estimates[estimates["quantity"] == "tokens_to_95"]
    ablated = to_95[to_95["experiment"].isin(("ablation", "two_hop"))]
    pairs = beside(ablated, ablated, "model")
    factor = pairs["value"] / pairs["value_other"]
    yield ratios(pairs, "tokens_to_95_factor", value=factor, low=math.nan, high=math.nan)
    yield _over_distance(to_95[to_95["experiment"] == "copy"])


def _over_distance(to_95: pd.DataFrame) -> pd.DataFrame:
    """Return the exponent of tokens until 95% over the distance, where learned, and its fit."""
    alike = [key for key in KEY if key not in ("x", "length", "batch", "tokens")]
    lines = []
    for values, group in to_95.groupby(alike, dropna=False):
        distances: list[float] = []
        tokens: list[float] = []
        for x, runs in zip(group["x"], group["values"], strict=True):
            learned = from_json(runs).dropna()
            distances += [float(x)] * len(learned)
            tokens += list(learned)
        if len(tokens) < LEAST_POINTS or len(set(distances)) < LEAST_DISTANCES:
            continue
        never = int((group["runs"] - group["n"]).sum())
        line = dict(zip(alike, values, strict=True)) | {
            "n": len(tokens), "runs": int(group["runs"].sum()), "rows": joined(group["rows"]),
            "reason": f"{never} runs never learned" if never else "", "code": group["code"].iloc[0],
        }  # fmt: skip
        slope = intervals.exponent(distances, tokens)._asdict()
        lines.append(line | slope | {"quantity": "tokens_to_95_exponent", "unit": "exponent"})
        fits = intervals.predictions(distances, tokens, FITTED_AT)
        for x, fit in zip(FITTED_AT, fits, strict=True):
            named = {"quantity": "tokens_to_95_fit", "unit": "tokens", "x": x}
            lines.append(line | fit._asdict() | named)
    return as_estimates(lines)


def _sizes(runs: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the sizes of each model as it is, as a changed setting changes them."""
    counted = runs[(runs["variant"] == "") & runs["n_params"].notna()]
    counted = counted.drop_duplicates(["model", "n_params", "n_tables"])
    named = ("quantity", "model", "position", "trunk", "learning_rate")
    sizes = without(counted, *(key for key in KEY if key not in named))
    sizes = sizes.assign(learning_rate=math.nan, status="ok", reason="")
    target = paper.published("parameters")["value"].iloc[0]
    yield sample(sizes, "parameters", sizes["n_params"])
    yield sample(sizes, "position_table_entries", sizes["n_tables"])
    yield sample(sizes, "parameters_over_paper", sizes["n_params"] / target)
