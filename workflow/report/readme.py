"""Write docs/results.md, its figures, and the README's answer from the reference rows.

A section selects rows, and shows tables and figures of them; it is left out if its experiments have no rows.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from pointer.errors import InputError
from workflow.bench.rows import read_row, write_atomically
from workflow.bench.store import names_row
from workflow.report import LEDGER, claims, figures, goals, layout, ledger, render, summary
from workflow.report.ablation_tables import ablation, fairness, two_hop
from workflow.report.copy_tables import copy_accuracy, hops
from workflow.report.frame import tidy
from workflow.report.layout import Table
from workflow.report.task_summary import RECALL
from workflow.report.task_tables import bytes_, recall
from workflow.report.timing_tables import speedup, throughput

BEGIN, END = "<!-- answer:begin -->", "<!-- answer:end -->"
ANSWERS = (
    "speed-2048",
    "speed-grows",
    "linear-compute",
    "linear-memory",
    "copy-95",
    "copy-table",
    "copy-low",
    "hops-local",
    "hops-long",
    "one-target",
)
TIMED = ("pointer", "transformer", "transformer-unfused", "longformer", "identity")
INTRODUCTION = """\
# Results

Generated from the rows in `{rows}` by `python -m workflow.report readme`; do not edit. [Method](method.md) explains the
models, intervals and verdicts, [tasks](tasks.md) the tasks. A cell that failed shows its status, with the reason below.
"""
COPIED = (*TIMED, "pointer-dense", "uniform", "oracle-copy", "chance")
AXES = ("length", "distance", "pairs", "hops", "letters")
ONE_CELL = ["experiment", *summary.PLACE, "model", *AXES, "seed", "repeat"]


@dataclass(frozen=True)
class Section:
    """A part of docs/results.md: the tables and the figure of an experiment, if it has rows."""

    heading: str
    introduction: str
    experiments: tuple[str, ...]
    tables: tuple[Callable[[pd.DataFrame], Table], ...]
    figure: str = ""
    caption: str = ""
    tabled: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame  # the rows that the tables show
    drawn: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame  # the rows that the figure shows


def judged(frame: pd.DataFrame) -> Table:
    """Return the verdicts, each with the two cells that decide it."""
    table = claims.table(claims.judge(frame, ledger.read(LEDGER)), most=2)
    return layout.coded(replace(table, wide=table.wide.drop(columns="why")), frame["machine"])


def reached(frame: pd.DataFrame) -> Table:
    """Return what was reached of the suite's own goals."""
    return layout.coded(goals.summary(frame), frame["machine"])


def timed(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the float32 rows of the models that the paper compares, and of the trunk alone."""
    return frame[frame["model"].isin(TIMED) & (frame["dtype"] == "float32")]


def copied(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the float32 rows of the models of the copy table."""
    return frame[frame["model"].isin(COPIED) & (frame["dtype"] == "float32")]


def raced(frame: pd.DataFrame) -> pd.DataFrame:
    """Return those rows without changed settings: few enough lines to be told apart in a figure."""
    return summary.unchanged(timed(frame))


def traded(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the float32 rows of the machines on which `pointer` was both trained to copy and timed."""
    rows = frame[frame["dtype"] == "float32"]
    pointer = rows[rows["model"] == "pointer"]
    trained = set(pointer.loc[pointer["experiment"] == "copy", "machine"])
    timed = set(pointer.loc[pointer["experiment"] == "efficiency", "machine"])
    return rows[rows["machine"].isin(trained & timed)]


SECTIONS = (
    Section("Verdicts", "The paper's claims, and the contradictions inside the paper.", ("copy",), (judged,)),
    Section("Goals", "What `pointer` was built to reach.", ("efficiency",), (reached,)),
    Section(
        "Speed",
        "Ratios of tokens/s on one machine. `identity` is the trunk without a mixer.",
        ("efficiency",),
        (speedup, throughput),
        "speedup",
        "Speed-up of a training step by sequence length, beside the paper's ratios",
        timed,
        raced,
    ),
    Section(
        "Copying",
        "Repeat the symbol D positions back.",
        ("copy",),
        (copy_accuracy,),
        "copy_accuracy",
        "Copy accuracy by distance with 95% intervals, beside the paper's values",
        copied,
    ),
    Section(
        "What makes it learn",
        "Is copying due to the pointer or to the positional encoding? Ten times the budget, and one setting changed.",
        ("fairness", "ablation"),
        (fairness, ablation),
        "ablation",
        "Tokens until 95% with one setting changed at a time",
    ),
    Section("What the chain gives", "Copying beyond the reach of one pointer.", ("two_hop",), (two_hop,)),
    Section(
        "Recall by content",
        "Tasks in which the distance varies, so that a learned offset does not help.",
        RECALL,
        (recall,),
        "trade_off",
        "Accuracy on copy and on MQAR against training throughput, a point a model",
        drawn=traded,
    ),
    Section("Real text", "Bits a byte of Python's standard library.", ("bytes",), (bytes_,)),
    Section(
        "Where it points",
        "Distances from a position to its target.",
        ("interpretability",),
        (hops,),
        "hops",
        "Hop distances by layer, beside the paper's",
    ),
)


def write(rows: Path, readme: Path, results: Path, drawings: Path) -> list[Path]:
    """Write the results page, its figures and the README's answer; return the files.

    Raises InputError if there are no rows, rows contradict each other, or the README lacks its markers.
    """
    frame = read(rows)
    before, after = around(readme)
    files = [readme, results]
    for section in sections(frame):
        files += draw(section, frame, drawings)
    link = Path(os.path.relpath(drawings, results.parent)).as_posix()
    write_atomically(results, page(frame, rows, link))
    write_atomically(readme, f"{before}{BEGIN}\n{answer(frame)}{END}{after}")
    return files


def read(rows: Path) -> pd.DataFrame:
    """Return the frame of all row files below a folder. Raises InputError if there are none, or one cell has two."""
    paths = [path for path in sorted(rows.rglob("*.json")) if names_row(path)]
    if not paths:
        raise InputError.about("--rows", str(rows), "a folder with row files below it", "the command line")
    frame = tidy(read_row(path) | {"path": str(path)} for path in paths)
    named = pd.concat([summary.of(frame, experiment) for experiment in frame["experiment"].unique()])
    twins = named[named.duplicated(ONE_CELL, keep=False)].sort_values([*ONE_CELL, "path"])
    if len(twins):
        first = " and ".join(twins["path"].iloc[:2])
        raise InputError.about("rows", first, "one row a cell", "their folder: remove the one that is out of date")
    return frame


def around(readme: Path) -> tuple[str, str]:
    """Return the text before and after the answer. Raises InputError unless each marker stands once, in order."""
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or text.count(BEGIN) + text.count(END) != 2:
        raise InputError.about(f"markers of {readme}", "", f"one {BEGIN} and then one {END}", "that file")
    return before, after


def sections(frame: pd.DataFrame) -> list[Section]:
    """Return the sections whose experiments have rows."""
    return [section for section in SECTIONS if set(section.experiments) & set(frame["experiment"])]


def draw(section: Section, frame: pd.DataFrame, drawings: Path) -> list[Path]:
    """Write the section's figure as PNG; return its file, or nothing."""
    if not section.figure:
        return []
    drawings.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        figures.write(section.drawn(frame), Path(folder), names=[section.figure])
        name = f"{section.figure}.png"
        return [Path(shutil.copyfile(Path(folder, name), drawings / name))]


def page(frame: pd.DataFrame, rows: Path, figures_link: str) -> str:
    """Return the Markdown of docs/results.md."""
    parts = [INTRODUCTION.format(rows=rows.as_posix())]
    for section in sections(frame):
        parts += [f"## {section.heading}\n", f"{section.introduction}\n"]
        for build in section.tables:
            table = build(section.tabled(frame))
            parts.append(render.markdown(table, table.title))
        if section.figure:
            parts.append(f"![{section.caption}]({figures_link}/{section.figure}.png)\n")
    return "\n".join(parts)


def answer(frame: pd.DataFrame) -> str:
    """Return the README's table: claim, paper, ours, verdict."""
    lines = {line.claim.id: line for line in claims.judge(frame, ledger.read(LEDGER))}
    chosen = [lines[name] for name in ANSWERS]
    table = pd.DataFrame(
        {
            "claim": [line.claim.claim for line in chosen],
            "paper": [line.claim.figure for line in chosen],
            "ours": [span([cell.value for cell in line.cells if math.isfinite(cell.value)]) for line in chosen],
            "verdict": [claims.verdict(line) for line in chosen],
        }
    )
    return table.to_markdown(index=False, disable_numparse=True) + "\n"


def span(values: Sequence[float]) -> str:
    """Return the least and the most of some values as text."""
    ends = [layout.significant(end) for end in (min(values), max(values))] if values else [layout.NOT_RUN]
    return " to ".join(dict.fromkeys(ends))
