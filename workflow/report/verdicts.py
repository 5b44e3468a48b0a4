"""The verdicts on a terminal, from the table that `claims` wrote: nothing is judged twice."""

from __future__ import annotations

import csv
import shutil
import textwrap
from collections import Counter
from pathlib import Path

from pointer.errors import InputError
from workflow.report.layout import one_line

WIDEST = 160  # columns; a longer text is cut, the table has all of it


def text(path: Path) -> str:
    """Return the verdicts of a `tables/claims.csv` for a terminal, a line a claim.

    Where all claims have one verdict for one reason, that is one line. Raises InputError where
    there is no such file."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            claims = list(csv.DictReader(stream))
    except OSError:
        accepted = "the tables/claims.csv that `make` wrote"
        raise InputError.about("claims", str(path), accepted, "`--table`") from None
    if len({(claim["verdict"], claim["why"]) for claim in claims}) == 1:
        return f"{len(claims)} claims, {claims[0]['verdict']}: {claims[0]['why']}"
    header = {column: column for column in ("claim", "verdict", "paper", "ours")}
    rows = [{column: one_line(claim[column]) for column in header} for claim in (header, *claims)]
    widths = {column: max(len(row[column]) for row in rows) for column in ("claim", "verdict")}
    left = min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns) - sum(widths.values()) - 4
    widths |= {"paper": max(12, left // 3), "ours": max(20, left - left // 3 - 2)}
    lines = []
    for row in rows:
        texts = [textwrap.shorten(row[name], widths[name], placeholder=" …") for name in header]
        padded = [text.ljust(widths[name]) for name, text in zip(header, texts, strict=True)]
        lines.append("  ".join(padded).rstrip())
    counts = Counter(claim["verdict"].partition(" (")[0] for claim in claims)
    summary = ", ".join(f"{number} {name}" for name, number in counts.most_common())
    more = f"Rules, reasons, commands: {path.parent}/claims.md"
    lines.append(f"{len(claims)} claims: {summary}. {more}")
    return "\n".join(lines)
