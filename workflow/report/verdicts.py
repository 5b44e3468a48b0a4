"""The verdicts on a terminal, a line a claim, from the table that `claims` wrote: nothing is judged twice."""

from __future__ import annotations

import csv
import shutil
import textwrap
from collections import Counter
from pathlib import Path

from pointer.errors import InputError
from workflow.report.layout import one_line

WIDEST = 160  # columns; a longer reason is cut, the table has all of it
COLUMNS = ("claim", "verdict", "paper", "ours")


def text(table: Path) -> str:
    """The verdicts of `tables/claims.csv`; one line for all where all are the same for the same reason."""
    try:
        with table.open(encoding="utf-8", newline="") as stream:
            claims = list(csv.DictReader(stream))
    except OSError:
        raise InputError.about("claims", str(table), "the tables/claims.csv that `claims` wrote", "`--table`") from None
    if len({(claim["verdict"], claim["why"]) for claim in claims}) == 1:
        return f"{len(claims)} claims, {claims[0]['verdict']}: {claims[0]['why']}"
    counts = Counter(claim["verdict"].partition(" (")[0] for claim in claims)
    said = ", ".join(f"{number} {verdict}" for verdict, number in counts.most_common())
    return "\n".join(
        [*_lines(claims), f"{len(claims)} claims: {said}. Rules, reasons, commands: {table.parent}/claims.md"]
    )


def _lines(claims: list[dict[str, str]]) -> list[str]:
    rows = [dict(zip(COLUMNS, COLUMNS, strict=True)), *claims]
    fixed = {key: max(len(one_line(row[key])) for row in rows) for key in ("claim", "verdict")}
    left = min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns) - sum(fixed.values()) - 2 * len(fixed)
    widths = {**fixed, "paper": max(12, left // 3), "ours": max(20, left - left // 3 - 2)}
    return ["  ".join(_fit(row[key], width) for key, width in widths.items()).rstrip() for row in rows]


def _fit(value: str, width: int) -> str:
    return textwrap.shorten(one_line(value), width, placeholder=" …").ljust(width)
