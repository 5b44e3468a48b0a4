"""A table as people read it: models down, lengths or distances across, failures in words, reasons
in footnotes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd

from workflow.bench import experiments
from workflow.report import models, paper
from workflow.report.estimates import KEY, PLACE, SEPARATOR, largest_budget, select
from workflow.report.estimates.runs import without

RECALL = tuple(name for name in experiments.TASKS if name not in ("copy", "bytes"))
NOT_RUN = "–"
UNKNOWN = "n/a"  # ran, but this value does not exist here
Show = Callable[[Any], str]  # a line of estimates -> its text
Estimates = pd.DataFrame
MEASURES = {  # quantity, phase -> what stands across the tables of exponents and of sizes
    ("time_exponent", "training"): "training time",
    ("time_exponent", "inference"): "inference time",
    ("flops_step_exponent", ""): "operations",
    ("saved_bytes_per_sequence_exponent", ""): "kept for backward",
    ("parameters", ""): "parameters",
    ("parameters_over_paper", ""): "against the paper's",
    ("position_table_entries", ""): "in position tables",
}
SUMMARY: dict[tuple[str, str, int | None], str] = {  # quantity, experiment, x -> heading
    ("accuracy", "copy", 512): "copy D=512",
    ("accuracy", "mqar", 16): "mqar, 16 pairs",
    ("bits_per_byte", "bytes", None): "bits a byte",
    ("speedup", "efficiency", 512): "speed N=512",
    ("speedup", "efficiency", 2048): "speed N=2048",
    ("saved_bytes_per_token", "complexity", 2048): "kept N=2048",
}


@dataclass(frozen=True)
class Table:
    """One table: `wide` is text for people, `data` is numbers for machines (the CSV)."""

    name: str
    title: str
    wide: pd.DataFrame
    data: pd.DataFrame
    notes: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()  # of each line of `wide`, the row files that it rests on


def short(machine: str) -> str:
    """Return a machine's name without the marks of its maker; "paper" for the paper's."""
    return "paper" if machine == paper.PLACE else re.sub(r"\((R|TM)\)", "", machine)


def records(table: pd.DataFrame) -> list[Any]:
    """Return the lines of a table, their columns as attributes."""
    return list(table.itertuples())


def pivot(
    estimates: Estimates, labels: Sequence[str], across: str, show: Show, marked: list[str]
) -> pd.DataFrame:
    """Return estimates as text: a line a model, variant and place, a column a value of `across`.

    `labels`, and what tells two estimates of a cell apart, name a line. Reasons join `marked`."""
    rank = {model: place for place, model in enumerate(models.ordered(estimates["model"]))}
    of_paper = estimates["machine"] == paper.PLACE
    ranked = estimates.assign(_rank=estimates["model"].map(rank), _paper=of_paper)
    estimates = ranked.sort_values(["_rank", "variant", "_paper"], kind="stable")
    line = ["model", "variant", *labels, "machine", "device", "dtype", "threads"]
    twins = estimates[estimates.duplicated([*line, across], keep=False)]
    free = [key for key in KEY if key not in (*line, across)]
    further = [key for key in free if twins[key].nunique(dropna=False) > 1]
    trunks = estimates.loc[~estimates["_paper"], "trunk"]
    if "trunk" not in (*line, *further) and trunks.nunique() > 1:
        further.append("trunk")  # also where their lines differ in more, such as threads
    columns = ["model", "variant", *labels, *further, "machine", "device", "dtype"]

    names = estimates[columns].astype("str").mask(estimates[columns].isna(), "")
    names["machine"] = names["machine"].map(short)
    names["model"] = names["model"].map(models.title)
    places = zip(estimates["device"], estimates["threads"], strict=True)
    names["device"] = [device(*place) for place in places]
    kept = names["variant"].map(models.in_words)
    names = names.replace("", NOT_RUN).assign(variant=kept)

    lines: dict[int, dict[Any, str]] = {}
    numbers = estimates.groupby([*line, *further], dropna=False, sort=False).ngroup()
    headings = estimates[across].astype("str")
    shown = zip(numbers, names.to_dict("records"), headings, records(estimates), strict=True)
    for number, name, heading, estimate in shown:
        cells = lines.setdefault(number, name)
        cells[heading] = show(estimate) if estimate.status == "ok" else estimate.status
        if estimate.reason:
            if estimate.reason not in marked:
                marked.append(estimate.reason)
            cells[heading] += f" [{marked.index(estimate.reason) + 1}]"
        cells["rows"] = SEPARATOR.join(filter(None, [cells.get("rows", ""), estimate.rows]))
    values = [str(value) for value in estimates[across].drop_duplicates().sort_values()]
    wide = pd.DataFrame(lines.values(), columns=[*columns, *values, "rows"], dtype="str")
    return wide.fillna(NOT_RUN)


def device(name: Any, threads: Any) -> str:
    """Return a device in words, with its threads where it has any."""
    if pd.isna(threads):
        return str(name)
    return f"{name} ({threads} thread{'s' if threads != 1 else ''})"


def named(model: str, variant: str) -> str:
    """Return a model with its changed settings in words, for sentences."""
    return f"{model} with {models.in_words(variant)}" if variant else model


def significant(value: Any, digits: int = 3) -> str:
    """Return a number in `digits` significant digits, never with an exponent; or UNKNOWN."""
    if pd.isna(value):
        return UNKNOWN
    if value == 0 or abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{float(f'{value:.{digits}g}'):#.{digits}g}".rstrip(".")


def whole(value: Any) -> str:
    """Return a rounded number with thousands parted; UNKNOWN where missing."""
    return UNKNOWN if pd.isna(value) else f"{value:,.0f}"


def share(value: float) -> str:
    """Return a share in percent, without the sign; UNKNOWN where missing."""
    return UNKNOWN if pd.isna(value) else f"{100 * value:.2f}"


def one_line(text: str) -> str:
    """Return text without line breaks, tabs and control characters, which end a cell."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


# How an estimate is shown.


def per(unit: float) -> Show:
    """Return a function that shows a value divided by `unit`, in three significant digits."""
    return lambda estimate: significant(estimate.value / unit)


number = per(1)


def count(estimate: Any) -> str:
    """Return the value as a whole number."""
    return whole(estimate.value)


def growth(estimate: Any) -> str:
    """Return a factor."""
    return NOT_RUN if pd.isna(estimate.value) else f"{estimate.value:.2f}×"


def with_range(show: Callable[[float], str], value: float, low: float, high: float) -> str:
    """Return a value with its range in brackets, where it has one."""
    return show(value) + (f" ({show(low)} to {show(high)})" if high > low else "")


def ranged(show: Callable[[float], str], low: str = "low", high: str = "high") -> Show:
    """Return a function that shows a value between two of its columns."""
    return lambda line: with_range(show, line.value, getattr(line, low), getattr(line, high))


exponent = ranged("{:.2f}".format)
percent_range = ranged(share, "least", "most")  # of the seeds


def percent(estimate: Any) -> str:
    """Return percent with its interval, and how many seeds where there are several."""
    text = with_range(share, estimate.value, estimate.low, estimate.high)
    seeds = f"; {estimate.runs} seeds)" if estimate.runs > 1 else ")"
    return text.replace(")", seeds)


def both_modes(estimate: Any) -> str:
    """Return percent, and behind it that of training mode where it is another."""
    relaxed = "" if pd.isna(estimate.beside) else f", in training {share(estimate.beside)}"
    return percent(estimate) + relaxed


def until(estimate: Any, *, ends: bool = False) -> str:
    """Return tokens until 95% and how many seeds got there; `ends`: with the least and the most."""
    if not estimate.n:
        return "never"
    seeds = f"{estimate.n} of {estimate.runs} seeds"
    some = "" if estimate.n == estimate.runs else f", {seeds}" if ends else f" ({seeds})"
    if ends:
        return with_range(whole, estimate.value, estimate.least, estimate.most) + some
    return whole(estimate.value) + some


until_range = partial(until, ends=True)


def hop(estimate: Any) -> str:
    """Return the mean hop and the longest."""
    return UNKNOWN if pd.isna(estimate.value) else f"{estimate.value:,.1f} ({estimate.beside:,.0f})"


def size(estimate: Any) -> str:
    """Return a size of a model, or how far it is from the paper's."""
    if estimate.quantity == "parameters_over_paper":
        return f"{100 * (estimate.value - 1):+.1f}%" if estimate.value else NOT_RUN
    if estimate.least == estimate.most:
        return whole(estimate.value)
    return f"{whole(estimate.least)} to {whole(estimate.most)}"


def summarised(estimate: Any) -> str:
    """Return a model's number in the unit of the table of all models."""
    if estimate.unit == "share":
        return UNKNOWN if pd.isna(estimate.value) else f"{100 * estimate.value:.1f}"
    return significant(estimate.value / (1024 if estimate.unit == "bytes/token" else 1))


# Columns that tables add to the estimates.


def axis(task: str) -> str:
    """Return the setting along which a task's estimates lie, in words."""
    return experiments.TASKS[task].axis_words


def with_task_in_words(estimates: Estimates) -> Estimates:
    """Return the estimates with what a model was trained on in words."""
    copies = estimates["task"] == "copy"
    words = estimates["task"].mask(copies, "copy, D=" + estimates["x"].astype("str"))
    return estimates.assign(**{"trained on": words})


def with_measures(estimates: Estimates) -> Estimates:
    """Return the estimates with `measure`, what stands across; exponents over all lengths."""
    keys = zip(estimates["quantity"], estimates["phase"], strict=True)
    measures = [MEASURES.get(key) for key in keys]
    order = list(MEASURES.values())
    table = estimates.assign(measure=pd.Categorical(measures, order, ordered=True))
    table = table.sort_values("x", kind="stable")
    longer_too = table.duplicated([key for key in KEY if key != "x"])
    return table[~(table["quantity"].str.endswith("_exponent") & longer_too)]


def with_summary(estimates: Estimates) -> Estimates:
    """Return the estimates of models as they are with `measure`, a heading of SUMMARY; of several
    trunks or machines those that most models have."""
    plain = estimates[(estimates["variant"] == "") & (estimates["dtype"] == "float32")]
    plain = plain[plain["against"].isin(["", "transformer"]) & (plain["phase"] != "inference")]
    parts: list[Estimates] = []
    for (quantity, experiment, x), heading in SUMMARY.items():
        own = select(plain, quantity, experiment=experiment)
        own = largest_budget(own if x is None else own[own["x"] == x])
        there = own.groupby(["trunk", "x", *PLACE], dropna=False)["model"].transform("nunique")
        own = own[there == there.max()]
        own = own.sort_values("tokens", kind="stable").drop_duplicates("model", keep="last")
        parts.append(own.assign(measure=heading))
    table: Estimates = pd.concat(parts)
    table["measure"] = pd.Categorical(table["measure"], list(SUMMARY.values()), ordered=True)
    return without(table, *PLACE)


def with_length_in_words(estimates: Estimates) -> Estimates:
    """Return the estimates with `N`: the length where it is not x, in words where x gives it."""
    words = []
    for line in records(estimates):
        known = line.task in experiments.TASKS and pd.notna(line.x)
        task = experiments.TASKS[line.task] if known else None
        words.append(task.length_in_words(line.x, line.length) if task else "")
    return estimates.assign(N=words)


def shared_settings(variants: Iterable[str]) -> list[str]:
    """Return the settings that several variants, as text, have all in common."""
    first, *others = [variant.split(", ") for variant in sorted(set(variants))] or [[]]
    return [text for text in first if text and others and all(text in other for other in others)]


def without_settings(variants: pd.Series, dropped: Sequence[str]) -> pd.Series:
    """Return variants without some of their settings."""
    lists = variants.str.split(", ")
    return lists.map(lambda settings: ", ".join(s for s in settings if s not in dropped))


def without_shared_settings(experiment: str) -> Callable[[Estimates], Estimates]:
    """Return a function that drops from an experiment's variants the settings that all of them
    share, which column `shared` names."""

    def prepare(estimates: Estimates) -> Estimates:
        own = estimates["experiment"] == experiment
        shared = shared_settings(estimates.loc[own, "variant"])
        kept = without_settings(estimates["variant"], shared)
        variants = estimates["variant"].mask(own, kept)
        return estimates.assign(variant=variants, shared=", ".join(shared))

    return prepare
