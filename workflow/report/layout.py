"""A table as people read it: models down, lengths or distances across, failures in words, reasons in footnotes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from string import ascii_uppercase
from typing import Any

import pandas as pd

from workflow.report import models, paper

NOT_RUN = "–"
UNKNOWN = "n/a"  # ran, but this value does not exist here
SHORT_LABEL = 16  # characters of a machine's name that still fit a column
PAPER_CODE = "paper"


@dataclass(frozen=True)
class Table:
    """One table: `wide` is text for people, `data` is numbers for machines (the CSV)."""

    name: str
    title: str
    wide: pd.DataFrame
    data: pd.DataFrame
    notes: tuple[str, ...] = ()


@dataclass
class Footnotes:
    """Numbered notes; the same text gets the same number."""

    texts: list[str] = field(default_factory=list)

    def mark(self, text: str) -> str:
        """`[n]` for a text, or nothing for an empty one."""
        if not text:
            return ""
        if text not in self.texts:
            self.texts.append(text)
        return f" [{self.texts.index(text) + 1}]"

    def lines(self) -> tuple[str, ...]:
        """The notes, each behind its number."""
        return tuple(f"[{number}] {text}" for number, text in enumerate(self.texts, start=1))


class Machines:
    """Short codes for long machine names, so that a table fits a page; `lines` says what the used ones stand for.

    Codes follow from all machines that a report knows, in the order of their names: tables of one report agree.
    """

    def __init__(self, known: Iterable[str]) -> None:
        names = sorted({str(name) for name in known})
        self.codes = {name: name for name in names if len(name) <= SHORT_LABEL and name != PAPER_CODE}
        letters = (prefix + letter for prefix in ("", *ascii_uppercase) for letter in ascii_uppercase)
        free = (code for code in letters if code not in names)
        self.codes |= {name: next(free) for name in names if name not in self.codes} | {paper.PLACE: PAPER_CODE}
        self.used: set[str] = set()

    def code(self, machine: str) -> str:
        """A machine's own label where it is short, else its capital letter; words that are no machine stay."""
        self.used.add(machine)
        return self.codes.setdefault(machine, machine)

    def lines(self) -> tuple[str, ...]:
        """What each code stands for."""
        said = {machine: self.codes[machine] for machine in sorted(self.used - {paper.PLACE})}
        return tuple(f"{code}: {machine}." for machine, code in said.items() if code != machine)


def coded(table: Table, names: Iterable[str]) -> Table:
    """The table with machines that its texts name in words as codes, which notes explain."""
    machines, said = Machines(names), "\n".join(map(str, table.wide.to_numpy().ravel()))
    pairs = [(name, machines.code(name)) for name in sorted(set(names)) if name in said]
    longest = sorted(pairs, key=lambda pair: -len(pair[0]))  # a name may be part of another

    def short(cell: object) -> str:
        return functools.reduce(lambda text, pair: text.replace(*pair), longest, str(cell))

    return replace(table, wide=table.wide.map(short), notes=table.notes + machines.lines())


Show = Callable[[Any], str]


def with_paper(cells: pd.DataFrame, published: pd.DataFrame, value: str) -> pd.DataFrame:
    """The cells, and the paper's figures as if they were rows of one more machine."""
    theirs = published.drop(columns=["source"], errors="ignore").rename(columns={"value": value})
    known = [column for column in theirs.columns if column in cells.columns]
    theirs = theirs[known].assign(machine=paper.PLACE, status="ok", reason="")
    if cells.empty:
        return theirs.reindex(columns=cells.columns)
    return pd.concat([cells, theirs.astype({c: cells[c].dtype for c in known})], ignore_index=True)


def spread(
    cells: pd.DataFrame, labels: Sequence[str], column: str, show: Show, footnotes: Footnotes, machines: Machines
) -> pd.DataFrame:
    """Lines of `cells` -> one line a model and place, one column a value of `column`; all text."""
    across = list(cells[column].dropna().sort_values().unique())
    lines = []
    for _, group in _blocks(cells, labels):
        first = group.iloc[0]
        line = {label: _label(first, label) for label in labels} | _place(first, machines)
        texts = {record[column]: text(record, show, footnotes) for _, record in group.iterrows()}
        lines.append(line | {str(key): texts.get(key, NOT_RUN) for key in across})
    return pd.DataFrame(lines, columns=[*labels, "machine", "device", "dtype", *map(str, across)], dtype="str")


def _blocks(cells: pd.DataFrame, labels: Sequence[str]) -> list[tuple[Any, pd.DataFrame]]:
    """Groups in the order of models, ours before the paper's."""
    rank = {model: place for place, model in enumerate(models.ordered(cells["model"].map(base)))}
    ranked = cells.assign(_rank=cells["model"].map(base).map(rank), _paper=cells["machine"] == paper.PLACE).sort_values(
        ["_rank", "model", "_paper"], kind="stable"
    )
    keys = [*labels, "machine", "device", "dtype", "threads"]
    return list(ranked.groupby(keys, dropna=False, sort=False))


def base(variant: str) -> str:
    """The registry's name of a model whose settings may have been changed."""
    return variant.partition(" {")[0]


def _label(record: Any, label: str) -> str:
    return str(record[label]) if pd.notna(record[label]) else NOT_RUN


def _place(record: Any, machines: Machines) -> dict[str, str]:
    threads = (
        f" ({record['threads']} thread{'s' if record['threads'] != 1 else ''})" if pd.notna(record["threads"]) else ""
    )
    device = _label(record, "device") + threads
    return {"machine": machines.code(str(record["machine"])), "device": device, "dtype": _label(record, "dtype")}


def text(record: Any, show: Show, footnotes: Footnotes) -> str:
    """A cell: its value, or its status, and a mark for what went wrong."""
    body = show(record) if record["status"] == "ok" else str(record["status"])
    return body + footnotes.mark(str(record["reason"]))


def significant(value: Any, digits: int = 3) -> str:
    """A number in `digits` significant digits, without exponent, thousands parted; UNKNOWN where missing."""
    if pd.isna(value):
        return UNKNOWN
    if value == 0 or abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{float(f'{value:.{digits}g}'):#.{digits}g}".rstrip(".")


def whole(value: Any) -> str:
    """A rounded number with thousands parted; UNKNOWN where missing."""
    return UNKNOWN if pd.isna(value) else f"{value:,.0f}"


def one_line(text: str) -> str:
    """Without line breaks, tabs and control characters, which would break out of a cell."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
