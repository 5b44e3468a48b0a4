"""The verdicts on a terminal, from the table that `claims` wrote: nothing is judged twice."""

from __future__ import annotations

import csv
import shutil
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pointer.errors import InputError
from workflow.bench import config
from workflow.bench.rows import estimate
from workflow.report.layout import one_line
from workflow.report.rules import ATTAINED, Verdict

WIDEST = 160  # columns; a longer text is cut, the table has all of it
ORDER = [words for verdict in Verdict for words in (str(verdict), ATTAINED.get(verdict, ""))]
ALOUD = ("F", "L")  # readings whose verdicts are printed; the table has all


def text(path: Path) -> str:
    """Return a `tables/claims.csv` in at most twelve lines, in one if all claims have one verdict
    for one reason. Raises InputError where there is no such file."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            claims = list(csv.DictReader(stream))
    except OSError:
        accepted = "the tables/claims.csv that `make` wrote"
        raise InputError.about("claims", str(path), accepted, "`--table`") from None
    if len({(claim["verdict"], claim["why"]) for claim in claims}) == 1:
        return f"{len(claims)} verdicts, {claims[0]['verdict']}: {claims[0]['why']}"
    lines = list[str]()
    for reading in ALOUD:
        title, *verdicts = of_reading(claims, reading) or [""]
        lines += [title, *(f"  {line}" for line in verdicts)]
    lines[0] = f"Does Pointer work? {lines[0]}".rstrip()
    counts = Counter(claim["verdict"] for claim in claims)
    summary = ", ".join(f"{number} {name}" for name, number in counts.most_common())
    lines.append(f"All {len(claims)} verdicts: {summary}.")
    page = path.parents[1] / "report" / "index.html"
    lines.append(f"Page: {page}. Rules and reasons: {path.with_suffix('.md')}")
    lines.append(next_step(claim["next"] for claim in claims))
    width = min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns)
    shown = []
    for line in filter(None, lines):
        indent = line[: len(line) - len(line.lstrip())]
        shown.append(indent + textwrap.shorten(line, width - len(indent), placeholder=" …"))
    return "\n".join(shown)


def next_step(commands: Iterable[str]) -> str:
    """Return the command that most open verdicts wait for, with its time; "" where none waits."""
    waiting = Counter(filter(None, commands))
    if not waiting:
        return ""
    command, number = waiting.most_common(1)[0]
    tier = config.tier(command.rpartition(" ")[2])
    time = estimate.duration(sum(estimate.seconds(config.cells(tier)).values()))
    return f"Next, for {number} open verdicts: {command}, about {time}"


def aloud(claims: Sequence[Mapping[Any, str]]) -> list[str]:
    """Return the same as Markdown: a paragraph and a list a reading."""
    lines = []
    for reading in ALOUD:
        title, *verdicts = of_reading(claims, reading) or [reading]
        lines += [f"**{title}**", "", *(f"- {line}" for line in verdicts), ""]
    return lines


def of_reading(claims: Sequence[Mapping[Any, str]], reading: str) -> list[str]:
    """Return a reading's title and a line a verdict, but the untestable, with its claims."""
    own = [claim for claim in claims if claim["reading"] == reading]
    by_verdict: dict[str, list[str]] = {}
    for claim in own:
        words = f"{claim['short']}: {one_line(claim['number'])}"
        by_verdict.setdefault(claim["verdict"], []).append(words)
    by_verdict.pop("not testable", None)
    ranked = sorted(by_verdict.items(), key=lambda pair: ORDER.index(pair[0]))
    lines = [f"{len(shown)} {verdict}: {'; '.join(shown)}" for verdict, shown in ranked]
    return [own[0]["heading"], *lines] if own else []
