"""The README's section of results: machine, verdicts, goals, speed, copies, what makes it learn, and figures, from
committed rows, never by hand.

The tables and figures are those of `tables` and `figures`, cut down to what a first reader needs; a part whose
experiment has no row is left out. A cell that failed shows its status, with the reason below the table.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pointer.errors import InputError
from workflow.bench.rows import names_row, read_row, write_atomically
from workflow.report import LEDGER, claims, figures, goals, layout, ledger, render, summary
from workflow.report.ablation_tables import ablation, fairness, two_hop
from workflow.report.copy_tables import copy_accuracy, hops
from workflow.report.frame import tidy, unpack
from workflow.report.layout import Table
from workflow.report.task_summary import RECALL
from workflow.report.task_tables import bytes_, recall
from workflow.report.timing_tables import speedup, throughput

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
TIMED = ("pointer", "transformer", "longformer", "identity")
COPIED = ("pointer", "pointer-dense", "transformer", "transformer-unfused", "longformer", "uniform", "oracle-copy")
TASK = "a task"
AXES = ("length", "distance", "pairs", "hops", "letters")
ONE_CELL = ["experiment", *summary.PLACE, "model", *AXES, "seed", "repeat"]


@dataclass(frozen=True)
class Part:
    """A piece of the section: shown where its experiment, or any task of TASK, has rows; `figure` with the text that
    stands for it."""

    experiment: str
    heading: str = ""
    build: Callable[[pd.DataFrame], Table | str] | None = None
    figure: str = ""
    alt: str = ""
    drawn: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame  # the rows that the figure shows


def verdicts(frame: pd.DataFrame) -> Table:
    """The ledger's verdicts, without reasons."""
    table = claims.table(claims.judge(frame, ledger.read(LEDGER)), most=2)
    short = dataclasses.replace(table, wide=table.wide[["claim", "what", "paper", "ours", "verdict"]])
    return layout.coded(short, frame["machine"])


def reached(frame: pd.DataFrame) -> Table:
    """What of the goals was reached."""
    return layout.coded(goals.summary(frame), frame["machine"])


def effects(frame: pd.DataFrame) -> str:
    """What the ablation's table concludes, a sentence a distance; the figure shows the numbers."""
    return "\n".join(f"- {render.escape_markdown(note)}" for note in ablation(frame).notes)


def _timed(frame: pd.DataFrame) -> pd.DataFrame:
    """The models of the speed tables in float32: the rest is in table `speedup`."""
    return frame[frame["model"].isin(TIMED) & (frame["dtype"] == "float32")]


def _raced(frame: pd.DataFrame) -> pd.DataFrame:
    """Those and the Transformer that materialises its attention, each as it is: few enough to be told apart."""
    chosen = frame["model"].isin((*TIMED, "transformer-unfused")) & (frame["dtype"] == "float32")
    return summary.unchanged(frame[chosen])


def everyone(frame: pd.DataFrame) -> Table | str:
    """Every model in float32 beside fused attention, at the lengths at which most models were timed; nothing where
    these are the models of the other tables."""
    rows = frame[(frame["experiment"] == "efficiency") & (frame["dtype"] == "float32")]
    if rows["model"].isin(TIMED).all():
        return ""
    return _of_everyone(speedup(_where_most_are(rows, "length")), "training, .*transformer$")


def everyone_copying(frame: pd.DataFrame) -> Table | str:
    """Every model's copy accuracy in float32, at the distance at which most models were trained; nothing where these
    are the models of the other table."""
    rows = frame[(frame["experiment"] == "copy") & (frame["dtype"] == "float32")]
    if rows["model"].isin(COPIED).all():
        return ""
    return _of_everyone(copy_accuracy(_where_most_are(rows, "distance")), "accuracy")


def recalled(frame: pd.DataFrame) -> str:
    """The recall table, a table a task, as hardly two tasks share a size; the notes stand below the last."""
    table = compact(recall(frame), ".*: (accuracy|whole|tokens until)")
    said = table.wide["quantity"].str.partition(": ")
    made = []
    for about, lines in table.wide.assign(quantity=said[2]).groupby(said[0], sort=False):
        empty = [column for column in lines if lines[column].isin(("", layout.NOT_RUN)).all()]
        title = table.title.replace("recall tasks and ListOps", str(about))
        made.append(dataclasses.replace(table, title=title, wide=lines.drop(columns=empty), notes=()))
    made[-1] = dataclasses.replace(made[-1], notes=table.notes)
    return "\n\n".join(map(_markdown, made))


def _where_most_are(rows: pd.DataFrame, axis: str) -> pd.DataFrame:
    """The rows at the values of an axis that most models have."""
    models = rows.groupby(axis)["model"].nunique()
    return rows[rows[axis].isin(models[models == models.max()].index)]


def _of_everyone(table: Table, quantities: str) -> Table:
    """A compact table of our lines, without empty columns, titled so."""
    table = compact(table, quantities)
    ours = table.wide[table.wide["machine"] != layout.PAPER_CODE]
    empty = [column for column in ours if (ours[column] == layout.NOT_RUN).all()]
    title = f"Every model's {table.title[0].lower()}{table.title[1:]}"
    return dataclasses.replace(table, title=title, wide=ours.drop(columns=empty))


def _copied(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["model"].isin(COPIED) & (frame["dtype"] == "float32")]


def _traded(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows in float32 of the machines on which `pointer` was both trained to copy and timed: a panel without it would
    say nothing here."""
    rows = frame[frame["dtype"] == "float32"]
    pointer = rows[rows["model"] == "pointer"]
    trained, timed = (set(pointer.loc[pointer["experiment"] == name, "machine"]) for name in ("copy", "efficiency"))
    return rows[rows["machine"].isin(trained & timed)]


PARTS = (
    Part("copy", "Verdicts", verdicts),
    Part("efficiency", "What `pointer` was built to reach", reached),
    Part("efficiency", "Speed", lambda frame: compact(speedup(_timed(frame)), "training")),
    Part("efficiency", build=lambda frame: compact(throughput(_timed(frame)), "training")),
    Part("efficiency", build=everyone),
    Part(
        "efficiency",
        figure="speedup",
        alt="Speed-up of a training step over each Transformer by sequence length, beside the paper's ratios",
        drawn=_raced,
    ),
    Part("copy", "Copying", lambda frame: compact(copy_accuracy(_copied(frame)), "accuracy|tokens until")),
    Part(
        "copy",
        figure="copy_accuracy",
        alt="Copy accuracy by distance for every model, with 95% intervals, beside the paper's values",
    ),
    Part("copy", build=everyone_copying),
    Part("fairness", "What makes it learn", fairness),
    Part("ablation", build=effects),
    Part("ablation", figure="ablation", alt="Tokens until 95% with one setting changed at a time"),
    Part("two_hop", "What the chain gives", two_hop),
    Part(TASK, "Recall by content", recalled),
    Part(
        TASK,
        figure="trade_off",
        alt="Accuracy on copy and on MQAR against training throughput, a point a model",
        drawn=_traded,
    ),
    Part("bytes", "Real text", lambda frame: compact(bytes_(frame), ".*")),
    Part("interpretability", "Where it points", lambda frame: compact(hops(frame), ".*")),
    Part("interpretability", figure="hops", alt="Hop distances by layer, beside the paper's"),
)


def write(rows: Path, readme: Path, drawings: Path) -> list[Path]:
    """Puts the section into `readme` and its figures into `drawings`; returns the files written.

    Raises InputError where the README has no place for it, or the rows are none or contradict each other.
    """
    frame, before, after = read(rows), *around(readme)
    shown = [part for part in parts(frame) if part.figure]
    drawn = [file for part in shown for file in figures.write(part.drawn(frame), drawings, names=[part.figure])]
    text = f"{before}{BEGIN}\n{section(frame, rows, _link(drawings, readme))}{END}{after}"
    write_atomically(readme, text)
    return [readme, *drawn]


def read(rows: Path) -> pd.DataFrame:
    """The frame of all row files below a folder, checked; traces beside them are no rows."""
    paths = [path for path in sorted(rows.rglob("*.json")) if names_row(path)]
    if not paths:
        raise InputError.about("--rows", str(rows), "a folder with row files below it", "the command line")
    frame = tidy(read_row(path) | {"path": str(path)} for path in paths)
    _refuse_twins(frame)
    return frame


def _refuse_twins(frame: pd.DataFrame) -> None:
    """Rows that differ in settings only, such as the budget, would be averaged as if they were repeats."""
    named = pd.concat([summary.of(frame, experiment) for experiment in frame["experiment"].unique()])
    twins = named[named.duplicated(ONE_CELL, keep=False)].sort_values([*ONE_CELL, "path"])
    if len(twins):
        first = " and ".join(twins["path"].iloc[:2])
        raise InputError.about("rows", first, "one row a cell", "their folder: remove the one that is out of date")


def around(readme: Path) -> tuple[str, str]:
    """What stands before and after the section. Raises InputError where its two markers are not there, in order."""
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    found = re.findall(f"{BEGIN}|{END}", text)
    if found != [BEGIN, END]:
        raise InputError.about(f"markers of {readme}", found, f"one {BEGIN} and then one {END}", "that file")
    return text.partition(BEGIN)[0], text.partition(END)[2]


def parts(frame: pd.DataFrame) -> list[Part]:
    """The parts that the rows allow."""
    there = set(frame["experiment"])
    there |= {TASK} if there & set(RECALL) else set()
    return [part for part in PARTS if part.experiment in there]


def section(frame: pd.DataFrame, rows: Path, figures_link: str) -> str:
    """The Markdown between the markers; `rows` is named in the command that makes it again."""
    said = [origin(machine, group) for machine, group in frame.groupby("machine")]
    for part in parts(frame):
        said += [f"### {part.heading}"] if part.heading else []
        said += [_markdown(part.build(frame))] if part.build else []
        said += [f"![{part.alt}]({figures_link}/{part.figure}.png)"] if part.figure else []
    command = f"python -m workflow.report readme --rows {shlex.quote(rows.as_posix())}"
    said.append(f"This section is generated. `{command}` makes it again from the rows in that folder.")
    return "\n\n".join(filter(None, said)) + "\n"


def _markdown(made: Table | str) -> str:
    return made if isinstance(made, str) else render.markdown(made, made.title).rstrip("\n")


def origin(machine: object, rows: pd.DataFrame) -> str:
    """One sentence on the rows of a machine: how many, how they ended, with which versions, at which commit."""
    ended = ", ".join(f"{number} {status}" for status, number in Counter(sorted(rows["status"])).most_common())
    versions: dict[str, set[str]] = {}
    for cell in rows["versions"]:
        for package, version in (unpack(cell) or {}).items():
            versions.setdefault(package, set()).add(version)
    installed = ", ".join(f"{name} {'/'.join(sorted(versions[name]))}" for name in sorted(versions))
    commits = " and ".join(f"`{commit[:12]}`" for commit in sorted(rows["git_commit"].dropna().unique()))
    dirty = " with uncommitted changes" if rows["git_dirty"].fillna(False).any() else ""
    count = f"{len(rows)} row{'s' if len(rows) != 1 else ''} ({ended})"
    return (
        f"Measured on {render.escape_markdown(str(machine))}: {count}, "
        f"{render.escape_markdown(installed)}, commit {commits or 'unknown'}{dirty}."
    )


def compact(table: Table, quantities: str) -> Table:
    """The lines whose quantity matches a pattern; what all of our lines share moves from columns to the title."""
    wide = table.wide
    if "quantity" in wide:
        wide = wide[wide["quantity"].str.match(quantities)]
    ours = wide[wide["machine"] != layout.PAPER_CODE]
    shared = [column for column in ("device", "dtype") if ours[column].nunique() == 1]
    said = ", ".join(str(ours[column].iloc[0]) for column in shared)
    wide = wide.drop(columns=shared)
    text = " ".join(wide.astype("str").to_numpy().ravel())
    notes = tuple(note for note in table.notes if not (mark := re.match(r"\[\d+\]", note)) or mark[0] in text)
    title = f"{table.title} ({said})" if said else table.title
    return dataclasses.replace(table, title=title, wide=wide, notes=notes)


def _link(drawings: Path, readme: Path) -> str:
    return Path(os.path.relpath(drawings, readme.parent)).as_posix()
