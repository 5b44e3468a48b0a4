"""The README's section of results: machine, speed, copy accuracy and two figures, from committed rows, never by hand.

The tables and figures are those of `tables` and `figures`, cut down to what a first reader needs. A cell that
failed shows its status, with the reason below the table.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
from collections import Counter
from pathlib import Path

import pandas as pd

from pointer.errors import InputError
from workflow.bench.rows import read_row, write_atomically
from workflow.report import figures, layout, render, summary
from workflow.report.copy_tables import copy_accuracy
from workflow.report.frame import tidy, unpack
from workflow.report.layout import Table
from workflow.report.timing_tables import speedup, throughput

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
TIMED = ("pointer", "transformer", "longformer", "identity")
ALT = {
    "copy_accuracy": "Copy accuracy by distance for every model, with 95% intervals, beside the paper's values",
    "speedup": "Speed-up of a training step over each Transformer by sequence length, beside the paper's ratios",
}
ONE_CELL = ["experiment", *summary.PLACE, "model", "length", "distance", "seed", "repeat"]


def write(rows: Path, readme: Path, drawings: Path) -> list[Path]:
    """Puts the section into `readme` and its figures into `drawings`; returns the files written.

    Raises InputError where the README has no place for it, or the rows are none or contradict each other.
    """
    frame, before, after = read(rows), *around(readme)
    drawn = figures.write(frame, drawings, names=list(ALT))
    text = f"{before}{BEGIN}\n{section(frame, rows, _link(drawings, readme))}{END}{after}"
    write_atomically(readme, text)
    return [readme, *drawn]


def read(rows: Path) -> pd.DataFrame:
    """The frame of all row files below a folder, checked; traces beside them are no rows."""
    paths = [path for path in sorted(rows.rglob("*.json")) if path.suffixes == [".json"]]
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


def section(frame: pd.DataFrame, rows: Path, figures_link: str) -> str:
    """The Markdown between the markers; `rows` is named in the command that makes it again."""
    timed = frame[frame["model"].isin(TIMED)]
    shown = (
        compact(speedup(timed), "training"),
        compact(throughput(timed), "training"),
        compact(copy_accuracy(frame), "accuracy|tokens until"),
    )
    parts = [origin(machine, group) for machine, group in frame.groupby("machine")]
    parts += [render.markdown(table, table.title).rstrip("\n") for table in shown]
    parts += [f"![{alt}]({figures_link}/{name}.png)" for name, alt in ALT.items()]
    command = f"python -m workflow.report readme --rows {shlex.quote(rows.as_posix())}"
    parts.append(f"This section is generated. `{command}` makes it again from the rows in that folder.")
    return "\n\n".join(parts) + "\n"


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
