"""A table as people read it: models down, lengths or distances across, failures in words, reasons
in footnotes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from string import ascii_uppercase
from typing import Any

import pandas as pd

from workflow.bench import experiments
from workflow.report import models, paper
from workflow.report.estimates import KEY, SEPARATOR

NOT_RUN = "–"
UNKNOWN = "n/a"  # ran, but this value does not exist here
SHORT_LABEL = 16  # characters of a machine's name that still fit a column
PAPER_CODE = "paper"
Show = Callable[[Any], str]  # a line of estimates -> its text
Estimates = pd.DataFrame
MEASURES = {
    ("time_exponent", "training"): "training time",
    ("time_exponent", "inference"): "inference time",
    ("flops_step_exponent", ""): "operations",
    ("saved_bytes_per_sequence_exponent", ""): "kept for backward",
    ("parameters", ""): "parameters",
    ("parameters_over_paper", ""): "against the paper's",
    ("position_table_entries", ""): "in position tables",
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


@dataclass
class Footnotes:
    """Numbered notes; the same text gets the same number."""

    texts: list[str] = field(default_factory=list)

    def mark(self, text: str) -> str:
        """Return ` [n]` for a text, or nothing for an empty one."""
        if not text:
            return ""
        if text not in self.texts:
            self.texts.append(text)
        return f" [{self.texts.index(text) + 1}]"

    def lines(self) -> tuple[str, ...]:
        """Return the notes, each behind its number."""
        return tuple(f"[{number}] {text}" for number, text in enumerate(self.texts, start=1))


class Machines:
    """Short codes for long machine names, so that a table fits a page; `lines` says what the used
    ones stand for.

    Codes follow from all machines that a report has, in the order of their names: tables of one
    report agree."""

    def __init__(self, machines: Iterable[str]) -> None:
        names = sorted({str(name) for name in machines})
        self.codes = {
            name: name for name in names if len(name) <= SHORT_LABEL and name != PAPER_CODE
        }
        letters = (
            prefix + letter for prefix in ("", *ascii_uppercase) for letter in ascii_uppercase
        )
        free = (code for code in letters if code not in names)
        self.codes |= {name: next(free) for name in names if name not in self.codes} | {
            paper.PLACE: PAPER_CODE
        }
        self.used: set[str] = set()

    def code(self, machine: str) -> str:
        """Return a machine's own label where it is short, else its capital letter."""
        self.used.add(machine)
        return self.codes.setdefault(machine, machine)

    def lines(self) -> tuple[str, ...]:
        """Return what each code stands for."""
        used = {machine: self.codes[machine] for machine in sorted(self.used - {paper.PLACE})}
        return tuple(f"{code}: {machine}." for machine, code in used.items() if code != machine)


def records(table: pd.DataFrame) -> list[Any]:
    """Return the lines of a table, their columns as attributes."""
    return list(table.itertuples())


def pivot(
    estimates: pd.DataFrame,
    labels: Sequence[str],
    across: str,
    show: Show,
    footnotes: Footnotes,
    machines: Machines,
) -> pd.DataFrame:
    """Return estimates as text: one line a model, variant and place, one column a value of
    `across`.

    `labels` are further columns that name a line. Where two estimates would share a cell, the
    columns that tell them apart become labels as well."""
    estimates = _in_order(estimates)
    line = ["model", "variant", *labels, "machine", "device", "dtype", "threads"]
    shared = estimates[estimates.duplicated([*line, across], keep=False)]
    further = [
        key for key in KEY if key not in (*line, across) and shared[key].nunique(dropna=False) > 1
    ]
    columns = ["model", "variant", *labels, *further, "machine", "device", "dtype"]
    lines: dict[int, dict[str, str]] = {}
    numbers = estimates.groupby([*line, *further], dropna=False, sort=False).ngroup()
    headings = [str(value) for value in estimates[across]]
    names = estimates[[*columns, "threads"]].to_dict("records")
    for place, name, heading, estimate in zip(
        numbers, names, headings, records(estimates), strict=True
    ):
        if place not in lines:
            texts = {
                column: str(name[column]) if _known(name[column]) else NOT_RUN for column in columns
            }
            texts |= {"variant": name["variant"], "machine": machines.code(name["machine"])}
            lines[place] = texts | {"device": device(name["device"], name["threads"]) or NOT_RUN}
        body = show(estimate) if estimate.status == "ok" else estimate.status
        lines[place][heading] = body + footnotes.mark(estimate.reason)
        lines[place]["rows"] = SEPARATOR.join(
            filter(None, [lines[place].get("rows"), estimate.rows])
        )
    values = [str(value) for value in estimates[across].drop_duplicates().sort_values()]
    return pd.DataFrame(lines.values(), columns=[*columns, *values, "rows"], dtype="str").fillna(
        NOT_RUN
    )


def _known(value: Any) -> bool:
    return bool(pd.notna(value)) and value != ""


def _in_order(estimates: pd.DataFrame) -> pd.DataFrame:
    """Return the estimates in the order of models, ours before the paper's."""
    rank = {model: place for place, model in enumerate(models.ordered(estimates["model"]))}
    ranked = estimates.assign(
        _rank=estimates["model"].map(rank), _paper=estimates["machine"] == paper.PLACE
    )
    return ranked.sort_values(["_rank", "variant", "_paper"], kind="stable")


def device(name: Any, threads: Any) -> str:
    """Return a device in words, with its threads where it has any."""
    return (
        str(name) if pd.isna(threads) else f"{name} ({threads} thread{'s' if threads != 1 else ''})"
    )


def named(model: str, variant: str) -> str:
    """Return a model with its changed settings in words, for sentences; never read back."""
    return f"{model} with {variant}" if variant else model


def significant(value: Any, digits: int = 3) -> str:
    """Return a number in `digits` significant digits, without exponent, thousands parted; UNKNOWN
    where missing."""
    if pd.isna(value):
        return UNKNOWN
    if value == 0 or abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{float(f'{value:.{digits}g}'):#.{digits}g}".rstrip(".")


def whole(value: Any) -> str:
    """Return a rounded number with thousands parted; UNKNOWN where missing."""
    return UNKNOWN if pd.isna(value) else f"{value:,.0f}"


def one_line(text: str) -> str:
    """Return text without line breaks, tabs and control characters, which would break out of a
    cell."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


# How an estimate is shown.


def number(estimate: Any) -> str:
    """Return the value in three significant digits."""
    return significant(estimate.value)


def count(estimate: Any) -> str:
    """Return the value as a whole number."""
    return whole(estimate.value)


def per(unit: float) -> Show:
    """Return a function that shows a value divided by `unit`."""
    return lambda estimate: significant(estimate.value / unit)


def growth(estimate: Any) -> str:
    """Return a factor."""
    return NOT_RUN if pd.isna(estimate.value) else f"{estimate.value:.2f}×"


def percent(estimate: Any) -> str:
    """Return percent with the interval where there is one, and the number of seeds where there are
    several."""
    if pd.isna(estimate.value):
        return UNKNOWN
    mean = f"{100 * estimate.value:.2f}"
    if pd.isna(estimate.low):
        return mean
    seeds = f"; {estimate.runs} seeds" if estimate.runs > 1 else ""
    return f"{mean} ({100 * estimate.low:.2f} to {100 * estimate.high:.2f}{seeds})"


def percent_range(estimate: Any) -> str:
    """Return percent with the least and the most of the seeds."""
    return with_range(
        lambda share: f"{100 * share:.2f}", estimate.value, estimate.least, estimate.most
    )


def until(estimate: Any) -> str:
    """Return tokens until 95%, and how many seeds got there."""
    if not estimate.n:
        return "never"
    some = f" ({estimate.n} of {estimate.runs} seeds)" if estimate.n < estimate.runs else ""
    return whole(estimate.value) + some


def with_range(show: Callable[[float], str], value: float, least: float, most: float) -> str:
    """Return a mean with the least and the most of the seeds."""
    if math.isnan(value):
        return UNKNOWN
    return show(value) + (f" ({show(least)} to {show(most)})" if most > least else "")


def until_range(show: Callable[[float], str]) -> Show:
    """Return a function that shows a mean with the least and the most of the seeds, and how many
    seeds got there."""

    def text(estimate: Any) -> str:
        if not estimate.n:
            return "never"
        some = f", {estimate.n} of {estimate.runs} seeds" if estimate.n < estimate.runs else ""
        return with_range(show, estimate.value, estimate.least, estimate.most) + some

    return text


def hop(estimate: Any) -> str:
    """Return the mean hop and the longest."""
    return UNKNOWN if pd.isna(estimate.value) else f"{estimate.value:,.1f} ({estimate.beside:,.0f})"


def exponent(estimate: Any) -> str:
    """Return an exponent with its interval."""
    if pd.isna(estimate.low):
        return f"{estimate.value:.2f}"
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


def size(estimate: Any) -> str:
    """Return a size of a model, or how far it is from the paper's."""
    if estimate.quantity == "parameters_over_paper":
        return f"{100 * (estimate.value - 1):+.1f}%" if estimate.value else NOT_RUN
    if estimate.least == estimate.most:
        return whole(estimate.value)
    return f"{whole(estimate.least)} to {whole(estimate.most)}"


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
    """Return the estimates with `measure`, what stands across the tables of exponents and of
    sizes."""
    measures = [
        MEASURES.get(key) for key in zip(estimates["quantity"], estimates["phase"], strict=True)
    ]
    return estimates.assign(measure=pd.Categorical(measures, [*MEASURES.values()], ordered=True))


def over_all_lengths(estimates: Estimates) -> Estimates:
    """Return the estimates with `measure`, and of the exponents those over all lengths."""
    table = with_measures(estimates).sort_values("x", kind="stable")
    shorter = table["quantity"].str.endswith("_exponent") & table.duplicated(
        [key for key in KEY if key != "x"]
    )
    return table[~shorter]


def with_length_in_words(estimates: Estimates) -> Estimates:
    """Return the estimates with `N`: the length in words where it follows from x, empty where it is
    x."""
    cells = zip(estimates["task"], estimates["x"], estimates["length"], strict=True)
    return estimates.assign(N=[_length(*cell) for cell in cells])


def _length(task: str, x: Any, length: Any) -> str:
    if task not in experiments.TASKS or pd.isna(x):
        return ""
    return experiments.TASKS[task].length_in_words(x, length)


def without_shared_settings(experiment: str) -> Callable[[Estimates], Estimates]:
    """Return a function that drops from an experiment's variants the settings that all of them
    share."""

    def prepare(estimates: Estimates) -> Estimates:
        variants = estimates["variant"].where(estimates["experiment"] == experiment)
        common = shared_settings(variants.dropna())
        kept = [
            ", ".join(setting for setting in str(variant).split(", ") if setting not in common)
            for variant in estimates["variant"]
        ]
        return estimates.assign(
            variant=estimates["variant"].where(variants.isna(), kept), shared=", ".join(common)
        )

    return prepare


def shared_settings(variants: Iterable[str]) -> list[str]:
    """Return the settings that all variants have; none where there is one variant, which they
    name."""
    different = sorted(set(variants))
    if len(different) < 2:
        return []
    settings = [variant.split(", ") for variant in different]
    return [
        setting
        for setting in settings[0]
        if setting and all(setting in other for other in settings)
    ]


# Until their users select estimates.


def coded(table: Table, names: Iterable[str]) -> Table:
    """The table with machines that its texts name in words as codes, which notes explain."""
    machines, texts = Machines(names), "\n".join(map(str, table.wide.to_numpy().ravel()))
    pairs = [(name, machines.code(name)) for name in sorted(set(names)) if name in texts]
    longest = sorted(pairs, key=lambda pair: -len(pair[0]))  # a name may be part of another

    def short(cell: object) -> str:
        return functools.reduce(lambda text, pair: text.replace(*pair), longest, str(cell))

    return replace(table, wide=table.wide.map(short), notes=table.notes + machines.lines())
