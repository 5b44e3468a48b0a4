"""Write docs/report.md, docs/results.md and the README's answer from the reference's rows."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from pointer.errors import InputError
from workflow.bench.cell import Trunk
from workflow.bench.rows import write_atomically
from workflow.report import (
    LEDGER,
    claims,
    estimates,
    figures,
    frame,
    layout,
    ledger,
    render,
    verdicts,
    why,
)  # fmt: skip
from workflow.report.layout import NOT_RUN
from workflow.report.rules import Verdict
from workflow.report.tables import TABLES, make

Where = Mapping[str, Any]
OF_ONE = ("[", "All lines")  # begin notes of one table alone
WORDS = {"position": "positional encoding", "variant": "changed settings"}
TIMED = ["pointer-formula", "pointer", "transformer", "longformer", "identity"]
COPIED = [*TIMED, "pointer-dense", "transformer-unfused", "uniform"]
SHOWN = [*COPIED, "oracle-copy"]
COPY: Where = {"experiment": "copy", "dtype": "float32"}
PAPERS: Where = {"dtype": "float32", "trunk": str(Trunk())}
PLAIN: Where = {**PAPERS, "variant": ""}
TRAINING: Where = {**PAPERS, "experiment": "efficiency", "phase": "training"}
FASTER: Where = {**TRAINING, "quantity": "speedup", "against": "transformer"}
LEARNED: Where = {**COPY, "quantity": ["accuracy", "tokens_to_95"]}
POINTER: Where = {**LEARNED, "model": "pointer", "variant": ""}
DISTANCES: Where = {**COPY, "quantity": "accuracy", "x": [512, 1024, 1536, 2048]}
UNTIL: Where = {"quantity": "tokens_to_95"}
ON_TEXT: Where = {"experiment": "bytes", "trunk": "4x128x4"}  # config/text.yaml's
KEPT: Where = {"dtype": "float32", "quantity": ["peak_memory", "saved_bytes_per_token"]}
SCORED: Where = {"quantity": ["accuracy", "strings_right", "tokens_to_95"]}
EXAMPLE = {"model": "pointer", "against": "transformer", "phase": "training", "length": "2048"}
UNDECIDED = (Verdict.INCONCLUSIVE, Verdict.NOT_TESTABLE)
INTRODUCTION = """\
# Results

Made of `results/reference` by `python -m workflow.report readme`. The command under a table prints
the rows behind it. [Method](method.md) explains models, intervals and verdicts, [tasks](tasks.md)
the tasks. A cell that failed shows its status, with the reason below. Machines: {machines}.
"""


@dataclass(frozen=True)
class Part:
    """A table of TABLES under a title, restricted to the estimates that `where` chooses."""

    table: str
    title: str
    where: Where = field(default_factory=dict)

    def command(self, own: pd.DataFrame) -> str:
        """Return the command that prints the rows behind the first quantity of the part's data."""
        quantity = own["quantity"].iloc[0]
        blocks = [block for block in TABLES[self.table].blocks if quantity in block.quantity]
        words = ["pointer-bench why", quantity]
        for column, value in {**blocks[0].where, **self.where}.items():
            usual = why.USUAL.get(column) == value
            if column != "quantity" and not isinstance(value, list) and not usual:
                words.append(f"--{column} {value}")
        if "variant" in own and own["variant"].nunique() > 1:
            words.append(f"--variant {why.ANY}")
        return " ".join(words)


@dataclass(frozen=True)
class Section:
    """A heading, an introduction, tables, and a figure of the estimates that `drawn` chooses."""

    heading: str
    introduction: str
    parts: tuple[Part, ...]
    figure: str = ""
    caption: str = ""
    drawn: Where = field(default_factory=dict)

    def markdown(self, numbers: pd.DataFrame, figures_link: str) -> str:
        """Return the section; empty without estimates. A note of several tables stands once."""
        paragraphs, noted = [f"## {self.heading}\n", f"{self.introduction}\n"], set[str]()
        for part in self.parts:
            table = make(part.table, numbers, part.where)
            if table.data.empty:
                continue
            own = [note for note in table.notes if note not in noted or note.startswith(OF_ONE)]
            noted |= set(own)
            wide, size = _side_by_side(table.wide)
            shown = replace(table, wide=wide.rename(columns=WORDS), notes=tuple(own))
            paragraphs.append(render.markdown(shown, part.title + size))
            paragraphs.append(f"Rows: `{part.command(table.data)}`\n")
        alone = not self.parts and len(estimates.select(numbers, **self.drawn)) > 0
        if len(paragraphs) == 2 and not alone:
            return ""
        if self.figure:
            paragraphs.append(f"![{self.caption}]({figures_link}/{self.figure}.png)\n")
        return "\n".join(paragraphs)


def _side_by_side(wide: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return a table of one size with its quantities beside each other, and the size."""
    columns = [str(column) for column in wide]
    sizes = [column for column in columns if column.isdigit()]
    names = [column for column in columns if column not in ("quantity", *sizes)]
    unique = "quantity" in wide and not wide.duplicated([*names, "quantity"]).any()
    if len(sizes) != 1 or not unique:
        return wide, ""
    across = wide.set_index([*names, "quantity"])[sizes[0]].unstack(sort=False)
    return across.fillna(NOT_RUN).reset_index(), f": {sizes[0]}"


SPEED = (
    Part("speedup", "Speed-up over transformer by sequence length N", {**FASTER, "model": TIMED}),
    Part("throughput", "Tokens/s in training by sequence length N", {**TRAINING, "model": TIMED}),
    Part("speedup", "Speed-up of every model over transformer", {**FASTER, "x": [512, 2048]}),
)
COPYING = (
    Part("copy_accuracy", "Copy accuracy in % by distance D", {**DISTANCES, "model": SHOWN}),
    Part("copy_accuracy", "Pointer at every distance D", POINTER),
    Part("copy_accuracy", "Every model by distance D", {**LEARNED, "x": 512}),
)
SECTIONS = (
    Section(
        "Speed",
        "Tokens/s in training, as ratios to `transformer` on the same machine. `transformer` has "
        "fused attention, `transformer-unfused` materialises the N x N matrix, `identity` is the "
        "trunk without a mixer.",
        SPEED,
        "speedup",
        "Speed-up of a training step by sequence length, beside the paper's ratios",
        {**PLAIN, "model": TIMED, "against": ["", "transformer"]},
    ),
    Section(
        "Memory",
        "Of a training step, beyond what the process held before; kept for the backward pass is "
        "counted.",
        (Part("memory", "Memory by sequence length N", {"model": TIMED, **KEPT}),),
    ),
    Section(
        "Copying",
        "The model repeats the symbol D positions back. Compare models of one budget of training "
        "tokens.",
        COPYING,
        "copy_accuracy",
        "Copy accuracy by distance with 97.5% intervals, beside the paper's values",
        {**PLAIN, "model": COPIED, "against": ""},
    ),
    Section(
        "How much training a distance takes",
        "Tokens until 95% on a small trunk, at the rate that a search chose at D=256, with a fit "
        "and its prediction. Rows: `pointer-bench why tokens_to_95_exponent`.",
        (),
        "curves",
        "Tokens until 95% copy accuracy by distance, with fitted exponents",
        {"experiment": "copy", "trunk": "2x64x2"},
    ),
    Section(
        "What makes it learn",
        "One setting is changed at a time.",
        (Part("ablation", "Copy with one setting changed, by distance D", UNTIL),),
        "ablation",
        "Tokens until 95% with one setting changed at a time",
    ),
    Section(
        "What the chain gives",
        "Copying further than one pointer reaches, so that layers have to work together.",
        (Part("two_hop", "Copy beyond one pointer's reach, by distance D"),),
    ),
    Section(
        "Are the baselines right?",
        "Each is trained on a task, scaled down, on which the literature shows it to succeed.",
        (Part("controls", "Positive controls"),),
    ),
    Section(
        "Recall by content",
        "Tasks in which the distance varies, so that a learned offset does not help. "
        "[Tasks](tasks.md) describes them.",
        tuple(
            Part("recall", f"{task} by {layout.axis(task)}", {"experiment": task, **SCORED})
            for task in layout.RECALL
        ),
        "trade_off",
        "Accuracy on copy and on MQAR against training throughput, a point a model",
        {"dtype": "float32"},
    ),
    Section(
        "Real text",
        "The next byte of Tiny Shakespeare.",
        (
            Part("bytes", "Text by sequence length N", ON_TEXT),
            Part("learning_time", "After so many seconds of training", ON_TEXT),
        ),
        "text",
        "Bits a byte over seconds of training, a line a model",
        ON_TEXT,
    ),
    Section(
        "Where it points",
        "Tokens from a position to its target, by layer (1 is the lowest).",
        (Part("hops", "Hop distance by layer: mean, and the longest in brackets"),),
        "hops",
        "Hop distances by layer, beside the paper's",
    ),
)


# The README's answer: claims, in columns by reading.
ANSWERED = (
    "speed-2048", "speed-range", "linear-compute", "linear-memory", "copy-512", "copy-95",
    "comparable", "same-in-inference", "copy-transformer", "copy-low",
)  # fmt: skip
READINGS = ("F", "L")


def answer(lines: list[claims.Line]) -> str:
    """Return the README's table: claim, paper, and by reading the deciding number and verdict."""
    titles = {line.reading: line.read_as.title for line in lines if line.read_as}
    columns = ["claim", "paper", *(titles[reading] for reading in READINGS)]
    table = [columns, ["---"] * len(columns)]
    for claim_id in ANSWERED:
        own = {line.reading or READINGS[0]: line for line in lines if line.claim.id == claim_id}
        claim = next(iter(own.values())).claim
        texts = dict.fromkeys(READINGS, "")
        for reading, line in own.items():
            text = claims.ours(claims.deciding(line), 2)
            if line.read_as:
                text = text.removeprefix(f"{line.read_as.model}, ")
            reason = f" ({line.reason})" if line.verdict in UNDECIDED else ""
            texts[reading] = f"**{line.words}**{reason}: {text}".removesuffix(": –")
        table.append([claim.claim, claim.figure, *(texts[name] for name in READINGS)])
    return "".join(f"| {' | '.join(texts)} |\n" for texts in table)


@dataclass(frozen=True)
class Brings:
    """The numbers of the sentences on what Pointer brings, as texts."""

    numbers: pd.DataFrame

    def faster(self, model: str) -> str:
        """Return how many times as fast as the Transformer, from machine to machine."""
        own = estimates.select(self.numbers, model=model, variant="", x=2048, **FASTER)
        values = [layout.significant(value) for value in sorted(own["value"].dropna())]
        return " to ".join(dict.fromkeys([*values[:1], *values[-1:]])) or NOT_RUN

    def copied(self, model: str) -> str:
        """Return the tokens until 95% of copying over 256 tokens."""
        return self._first("tokens_to_95", layout.until, model, experiment="copy", x=256)

    def recalled(self, model: str, variant: str = "") -> str:
        """Return the accuracy on 16 pairs with the short convolution, and the tokens until 95%."""
        where: Where = {"experiment": "mqar", "x": 16, "variant": f"{variant}with convolution"}
        tokens = self._first("tokens_to_95", layout.until, model, **where)
        right = self._first("accuracy", lambda line: layout.share(line.value), model, **where)
        return f"{right}% ({tokens.replace(' (', ' in ').removesuffix(')')})"

    def unchained(self, hops: int) -> str:
        """Return how much accuracy on k-hop the formula with two pointers has without the chain
        above that with it, in points."""
        where: Where = {"task": "khop", "x": hops, "variant": "chain=False, pointer_heads=2"}
        show = layout.ranged(layout.share)
        return self._first("accuracy_difference", show, "pointer-formula", "4x64x2", **where)

    def _first(
        self, quantity: str, show: layout.Show, model: str, trunk: str = "2x64x2", **where: Any
    ) -> str:
        own = estimates.select(self.numbers, quantity, model=model, trunk=trunk, **where)
        return next(map(show, own.itertuples()), NOT_RUN)


def document(
    rows: pd.DataFrame, numbers: pd.DataFrame, book: ledger.Ledger, lines: list[claims.Line]
) -> str:
    """Return docs/report.md: claims, readings, protocol, verdicts, what would change them."""
    template = render.templates(keep_trailing_newline=True).get_template("report.md")
    return template.render(
        machines=machines(rows),
        aloud="\n".join(verdicts.aloud(claims.table(lines).data.to_dict("records"))),
        brings=Brings(numbers),
        readings=book.readings,
        trunk=Trunk(),
        lines=lines,
        ours=lambda line: claims.ours(claims.deciding(line), claims.MOST_CELLS),
        undecided=UNDECIDED,
    )


def machines(rows: pd.DataFrame) -> str:
    """Return the machines and how many rows each made."""
    counts = rows["machine"].value_counts().sort_index()
    return "; ".join(f"{layout.short(str(name))} ({count} rows)" for name, count in counts.items())


def page(rows: pd.DataFrame, numbers: pd.DataFrame, figures_link: str) -> str:
    """Return the Markdown of docs/results.md."""
    parts = [section.markdown(numbers, figures_link) for section in SECTIONS]
    return "\n".join([INTRODUCTION.format(machines=machines(rows)), *filter(None, parts)])


def example(rows: pd.DataFrame, numbers: pd.DataFrame, source: Path) -> str:
    """Return the README's example of `pointer-bench why`, of one machine; nothing without rows."""
    try:
        chosen = why.select(numbers, "speedup", EXAMPLE)
    except InputError:
        return ""
    machine = str(chosen["machine"].iloc[0])
    chosen = chosen[chosen["machine"] == machine]
    words = ["pointer-bench", "why", "speedup"]
    for name, value in {**EXAMPLE, "machine": machine}.items():
        words += [f"--{name}", value]
    command = shlex.join(words)
    return f"```console\n$ {command}\n{why.of_all(chosen, rows, source)}\n```\n"


def write(source: Path, readme: Path, page_file: Path, drawings: Path) -> list[Path]:
    """Write docs/results.md, docs/report.md beside it, figures and the README's blocks; return the
    files. Raise InputError if there are no rows, or the README lacks its markers."""
    rows = frame.load(source)
    numbers = estimates.build(rows)
    book = ledger.read(LEDGER)
    lines = claims.judge(numbers, book, unsound=claims.unsound_rows(rows))
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    text = with_block(text, "answer", answer(lines), readme)
    text = with_block(text, "why", example(rows, numbers, source), readme)
    link = Path(os.path.relpath(drawings, page_file.parent)).as_posix()
    results = page(rows, numbers, link)
    report = page_file.with_name("report.md")
    write_atomically(page_file, results)
    write_atomically(report, document(rows, numbers, book, lines))
    write_atomically(readme, text)
    made = [readme, page_file, report]
    for section in SECTIONS:
        if section.figure and f"]({link}/{section.figure}.png)" in results:
            own = estimates.select(numbers, **section.drawn)
            png, svg = figures.write(own, rows, drawings, names=[section.figure])
            svg.unlink()
            made.append(png)
    return made


def with_block(text: str, name: str, content: str, readme: Path) -> str:
    """Return the text with new content between two markers; raise InputError without them."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    if text.count(begin) != 1 or rest.count(end) != 1 or before.count(end):
        accepted = f"one {begin} and then one {end}"
        raise InputError.about(f"markers of {readme}", "", accepted, "that file")
    return f"{before}{begin}\n{content}{end}{after}"
