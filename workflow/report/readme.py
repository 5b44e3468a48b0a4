"""Write docs/results.md, its figures, and the README's answer: selections of the reference's estimates."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from pointer.errors import InputError
from workflow.bench.rows import write_atomically
from workflow.report import LEDGER, claims, controls, estimates, figures, goals, layout, ledger, render
from workflow.report.frame import load
from workflow.report.layout import NOT_RUN, Machines, significant
from workflow.report.results import COPY, FASTER, PLAIN, SECTIONS, Section

BEGIN, END = "<!-- answer:begin -->", "<!-- answer:end -->"
FUSED, UNFUSED = {"against": "transformer"}, {"against": "transformer-unfused"}
TEXT = {"experiment": "interpretability", "task": "bytes"}
AT_8192, KEPT = {"x": 8192}, "saved_bytes_per_sequence_reduction"
INTRODUCTION = """\
# Results

Made of `results/reference` by `python -m workflow.report readme`. The command under a table prints the rows behind it.
[Method](method.md) explains models, intervals and verdicts, [tasks](tasks.md) the tasks. A cell that failed shows its
status, with the reason below. Machines: {machines}.
"""


def percent(share: float) -> str:
    """Return a share in percent."""
    return f"{100 * share:.1f}%"


@dataclass(frozen=True)
class Phrase:
    """A few words around the range of the estimates that are selected."""

    words: str
    quantity: str
    where: Mapping[str, Any]
    show: Callable[[float], str] = significant

    def text(self, table: pd.DataFrame) -> str:
        """Return the words with the least and the most value, or nothing where there is no value."""
        values = estimates.select(table, self.quantity, **self.where)["value"].dropna()
        ends = dict.fromkeys([self.show(values.min()), self.show(values.max())]) if len(values) else {}
        return self.words.format(" to ".join(ends)) if ends else ""


# What the README says of a claim, beside the paper's figure and the verdict of the ledger.
ANSWERS = {
    "speed-2048": (
        Phrase("{}x over fused attention", "speedup", FASTER | PLAIN | {"x": 2048}),
        Phrase("{}x over unfused", "speedup", FASTER | PLAIN | UNFUSED | {"x": 2048}),
    ),
    "speed-grows": (
        Phrase("{}x at 256", "speedup", FASTER | PLAIN | {"x": 256}),
        Phrase("{}x at 2048", "speedup", FASTER | PLAIN | {"x": 2048}),
        Phrase("{}x at 16384", "speedup", FASTER | PLAIN | {"x": 16384}),
    ),
    "linear-compute": (
        Phrase("{}x when N doubles", "flops_step_growth", PLAIN),
        Phrase("unfused attention takes {}x as much at N=8192", "flops_forward_reduction", PLAIN | UNFUSED | AT_8192),
    ),
    "linear-memory": (
        Phrase("{}x when N doubles", "saved_bytes_per_sequence_growth", PLAIN),
        Phrase("unfused attention keeps {}x as much at N=8192", KEPT, PLAIN | UNFUSED | AT_8192),
        Phrase("fused {}x", KEPT, PLAIN | FUSED | AT_8192),
    ),
    "copy-95": (Phrase("{}", "accuracy", COPY | PLAIN, percent),),
    "copy-table": (
        Phrase("Pointer {}", "accuracy", COPY | PLAIN, percent),
        Phrase("Transformer {} with the same budget", "accuracy", COPY | {"model": "transformer"}, percent),
    ),
    "copy-low": (Phrase("{}", "accuracy", COPY | PLAIN, percent),),
    "hops-local": (Phrase("{} tokens on text", "mean_hop_lower", PLAIN | TEXT),),
    "hops-long": (Phrase("{} tokens on text", "longest_hop_upper", PLAIN | TEXT),),
    "one-target": (Phrase("one, for {} of positions", "one_target", PLAIN, percent),),
}


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


def page(frame: pd.DataFrame, table: pd.DataFrame, lines: list[claims.Line], figures_link: str) -> str:
    """Return the Markdown of docs/results.md."""
    machines = Machines(name for name in table["machine"] if name)
    counts = frame["machine"].value_counts().sort_index()
    named = [f"{machines.code(str(name))} is {name} ({rows} rows)" for name, rows in counts.items()]
    parts = [INTRODUCTION.format(machines="; ".join(named))]
    verdicts = claims.table(lines, most=2)
    wide = verdicts.wide.assign(verdict=verdicts.wide["verdict"] + ": " + verdicts.wide["why"]).drop(columns="why")
    verdicts = replace(verdicts, wide=wide)
    for heading, judged in (("Verdicts", verdicts), ("Goals", goals.summary(table))):
        judged = layout.coded(judged, frame["machine"])
        parts += [f"## {heading}\n", render.markdown(judged, judged.title)]
    for section in SECTIONS:
        parts += section.markdown(table, figures_link)
    return "\n".join(parts)


def write(rows: Path, readme: Path, page_file: Path, drawings: Path) -> list[Path]:
    """Write docs/results.md, its figures and the README's answer; return the files.

    Raises InputError if there are no rows, or the README lacks its markers.
    """
    frame = load(rows)
    table = estimates.build(frame)
    lines = claims.judge(table, ledger.read(LEDGER), unsound=controls.unsound(frame))
    before, after = around(readme)
    link = Path(os.path.relpath(drawings, page_file.parent)).as_posix()
    write_atomically(page_file, page(frame, table, lines, link))
    write_atomically(readme, f"{before}{BEGIN}\n{answer(table, lines)}{END}{after}")
    shown = [section for section in SECTIONS if section.figure and section.tables(table)]
    return [readme, page_file, *(draw(section, table, frame, drawings) for section in shown)]


def around(readme: Path) -> tuple[str, str]:
    """Return the text before and after the answer. Raises InputError unless each marker stands once, in order."""
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or text.count(BEGIN) + text.count(END) != 2:
        raise InputError.about(f"markers of {readme}", "", f"one {BEGIN} and then one {END}", "that file")
    return before, after


def draw(section: Section, table: pd.DataFrame, frame: pd.DataFrame, drawings: Path) -> Path:
    """Write the section's figure as PNG; return its file."""
    name = f"{section.figure}.png"
    drawings.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        figures.write(section.drawn(table), frame, Path(folder), names=[section.figure])
        shutil.copyfile(Path(folder, name), drawings / name)
    return drawings / name
