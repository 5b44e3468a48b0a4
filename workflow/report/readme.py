"""Write docs/results.md, its figures, and the README's answer: selections of the reference's
estimates."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pandas as pd

from pointer.errors import InputError
from workflow.bench.rows import write_atomically
from workflow.report import (
    LEDGER,
    claims,
    controls,
    estimates,
    figures,
    goals,
    layout,
    ledger,
    render,
    why,
)
from workflow.report.frame import load
from workflow.report.layout import NOT_RUN, Machines
from workflow.report.results import ANSWERS, SECTIONS, Section

EXAMPLE = {
    "model": "pointer",
    "against": "transformer",
    "length": "2048",
    "machine": "xeon",
}  # of a speed-up
INTRODUCTION = """\
# Results

Made of `results/reference` by `python -m workflow.report readme`. The command under a table prints
the rows behind it. [Method](method.md) explains models, intervals and verdicts, [tasks](tasks.md)
the tasks. A cell that failed shows its status, with the reason below. Machines: {machines}.
"""


def answer(table: pd.DataFrame, lines: list[claims.Line]) -> str:
    """Return the README's table: claim, paper, ours, verdict."""
    judged = {line.claim.id: line for line in lines}
    cells = [
        {
            "claim": judged[name].claim.claim,
            "paper": judged[name].claim.figure,
            "ours": "; ".join(filter(None, (phrase.text(table) for phrase in phrases))) or NOT_RUN,
            "verdict": claims.verdict(judged[name]),
        }
        for name, phrases in ANSWERS.items()
    ]
    return pd.DataFrame(cells).to_markdown(index=False, disable_numparse=True) + "\n"


def page(
    frame: pd.DataFrame, table: pd.DataFrame, lines: list[claims.Line], figures_link: str
) -> str:
    """Return the Markdown of docs/results.md."""
    machines = Machines(name for name in table["machine"] if name)
    counts = frame["machine"].value_counts().sort_index()
    named = [f"{machines.code(str(name))} is {name} ({rows} rows)" for name, rows in counts.items()]
    parts = [INTRODUCTION.format(machines="; ".join(named))]
    verdicts = claims.table(lines, most=2)
    wide = verdicts.wide.assign(
        verdict=verdicts.wide["verdict"] + ": " + verdicts.wide["why"]
    ).drop(columns="why")
    verdicts = replace(verdicts, wide=wide)
    for heading, judged in (("Verdicts", verdicts), ("Goals", goals.summary(table))):
        judged = layout.coded(judged, frame["machine"])
        parts += [f"## {heading}\n", render.markdown(judged, judged.title)]
    for section in SECTIONS:
        parts += section.markdown(table, figures_link)
    return "\n".join(parts)


def example(frame: pd.DataFrame, table: pd.DataFrame, rows: Path) -> str:
    """Return the README's example of `pointer-bench why` with its output; nothing for rows of other
    machines."""
    try:
        chosen = why.select(table, "speedup", EXAMPLE)
    except InputError:
        return ""
    commands = dict(zip(frame["path"], frame["command"], strict=True))
    options = " ".join(f"--{name} {value}" for name, value in EXAMPLE.items())
    parts = [f"```console\n$ pointer-bench why speedup {options}"]
    parts += [f"{why.one(estimate, commands)}\n" for estimate in chosen.to_dict("records")]
    return "\n".join([*parts, f"From {rows}.\n```\n"])


def write(rows: Path, readme: Path, page_file: Path, drawings: Path) -> list[Path]:
    """Write docs/results.md, its figures and the README's two blocks; return the files.

    Raises InputError if there are no rows, or the README lacks its markers.
    """
    frame = load(rows)
    table = estimates.build(frame)
    lines = claims.judge(table, ledger.read(LEDGER), unsound=controls.unsound(frame))
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    text = with_block(text, "answer", answer(table, lines), readme)
    text = with_block(text, "why", example(frame, table, rows), readme)
    link = Path(os.path.relpath(drawings, page_file.parent)).as_posix()
    write_atomically(page_file, page(frame, table, lines, link))
    write_atomically(readme, text)
    shown = [section for section in SECTIONS if section.figure and section.tables(table)]
    return [readme, page_file, *(draw(section, table, frame, drawings) for section in shown)]


def with_block(text: str, name: str, content: str, readme: Path) -> str:
    """Return the text with the content between its two markers. Raises InputError unless each
    stands once, in order."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    if text.count(begin) != 1 or rest.count(end) != 1 or before.count(end):
        raise InputError.about(
            f"markers of {readme}", "", f"one {begin} and then one {end}", "that file"
        )
    return f"{before}{begin}\n{content}{end}{after}"


def draw(section: Section, table: pd.DataFrame, frame: pd.DataFrame, drawings: Path) -> Path:
    """Write the section's figure as PNG; return its file."""
    name = f"{section.figure}.png"
    drawings.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        figures.write(section.drawn(table), frame, Path(folder), names=[section.figure])
        shutil.copyfile(Path(folder, name), drawings / name)
    return drawings / name
