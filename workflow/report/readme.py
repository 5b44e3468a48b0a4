"""Write docs/report.md, docs/results.md with its figures, and the README's answer, from the
reference's estimates."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
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
from workflow.report.layout import NOT_RUN, Table
from workflow.report.rules import Verdict
from workflow.report.tables import TABLES, make

Where = Mapping[str, Any]
WORDS = {"position": "positional encoding", "variant": "changed settings"}
TIMED = ["pointer-formula", "pointer", "transformer", "longformer", "identity"]
COPIED = [*TIMED, "pointer-dense", "transformer-unfused", "uniform"]
PLAIN: Where = {"model": "pointer", "variant": ""}
COPY: Where = {"experiment": "copy", "dtype": "float32"}
TRAINING: Where = {"experiment": "efficiency", "phase": "training", "dtype": "float32"}
FASTER: Where = {**TRAINING, "quantity": "speedup", "against": "transformer"}
LEARNED = ["accuracy", "tokens_to_95"]
MEMORY = ["peak_memory", "saved_bytes_per_token"]
EXAMPLE = {"model": "pointer", "against": "transformer", "phase": "training", "length": "2048"}
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
        return " ".join(words)


@dataclass(frozen=True)
class Section:
    """A heading with an introduction, parts of tables, and a figure of the estimates that `drawn`
    chooses."""

    heading: str
    introduction: str
    parts: tuple[Part, ...]
    figure: str = ""
    caption: str = ""
    drawn: Callable[[pd.DataFrame], pd.DataFrame] = lambda numbers: numbers

    def tables(self, numbers: pd.DataFrame) -> list[tuple[Part, Table]]:
        """Return the parts that have estimates."""
        made = [(part, make(part.table, numbers, part.where)) for part in self.parts]
        return [(part, table) for part, table in made if len(table.data)]

    def markdown(self, numbers: pd.DataFrame, figures_link: str) -> str:
        """Return the section; empty without estimates. A note of several tables stands once."""
        paragraphs, noted = [f"## {self.heading}\n", f"{self.introduction}\n"], set[str]()
        made = self.tables(numbers)
        for part, table in made:
            own = [note for note in table.notes if note not in noted or _is_of_one_table(note)]
            noted |= set(own)
            wide, size = _side_by_side(table.wide)
            shown = replace(table, wide=wide.rename(columns=WORDS), notes=tuple(own))
            paragraphs.append(render.markdown(shown, part.title + size))
            paragraphs.append(f"Rows: `{part.command(table.data)}`\n")
        if self.figure:
            paragraphs.append(f"![{self.caption}]({figures_link}/{self.figure}.png)\n")
        return "\n".join(paragraphs) if made or self.has_figure_alone(numbers) else ""

    def has_figure_alone(self, numbers: pd.DataFrame) -> bool:
        """Return whether it has no table, and estimates for its figure."""
        return not self.parts and len(self.drawn(numbers)) > 0


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


def _is_of_one_table(note: str) -> bool:
    return note.startswith(("[", "All lines"))


def _drawn(models: list[str], against: tuple[str, ...]) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Return what chooses the float32 estimates of models as they are."""

    def choose(numbers: pd.DataFrame) -> pd.DataFrame:
        plain = (numbers["variant"] == "") & (numbers["dtype"] == "float32")
        return numbers[plain & numbers["model"].isin(models) & numbers["against"].isin(against)]

    return choose


def _recalled(task: str) -> Part:
    quantities = ["accuracy", "strings_right", "tokens_to_95"]
    where = {"experiment": task, "quantity": quantities}
    return Part("recall", f"{task} by {layout.axis(task)}", where)


SECTIONS = (
    Section(
        "Speed",
        "Tokens/s in training, as ratios to `transformer` on the same machine. `transformer` has "
        "fused attention, `transformer-unfused` materialises the N x N matrix, `identity` is the "
        "trunk without a mixer.",
        (
            Part(
                "speedup",
                "Speed-up over transformer by sequence length N",
                {**FASTER, "model": TIMED},
            ),
            Part(
                "throughput",
                "Tokens/s in training by sequence length N",
                {**TRAINING, "model": TIMED},
            ),
            Part(
                "speedup", "Speed-up of every model over transformer", {**FASTER, "x": [512, 2048]}
            ),
        ),
        "speedup",
        "Speed-up of a training step by sequence length, beside the paper's ratios",
        _drawn(TIMED, ("", "transformer")),
    ),
    Section(
        "Memory",
        "Of a training step, beyond what the process held before; kept for the backward pass is "
        "counted.",
        (
            Part(
                "memory",
                "Memory by sequence length N",
                {"model": TIMED, "dtype": "float32", "quantity": MEMORY},
            ),
        ),
    ),
    Section(
        "Copying",
        "The model repeats the symbol D positions back. Compare models of one budget of training "
        "tokens.",
        (
            Part(
                "copy_accuracy",
                "Copy accuracy in % by distance D",
                {
                    **COPY,
                    "quantity": "accuracy",
                    "model": [*COPIED, "oracle-copy"],
                    "x": [512, 1024, 1536, 2048],
                },
            ),
            Part(
                "copy_accuracy",
                "Pointer at every distance D",
                {**COPY, **PLAIN, "quantity": LEARNED},
            ),
            Part(
                "copy_accuracy",
                "Every model by distance D",
                {**COPY, "x": 512, "quantity": LEARNED},
            ),
        ),
        "copy_accuracy",
        "Copy accuracy by distance with 97.5% intervals, beside the paper's values",
        _drawn(COPIED, ("",)),
    ),
    Section(
        "How much training a distance takes",
        "Tokens until 95% on a small trunk, at the rate that a search chose at D=256, with a fit "
        "and its prediction. Rows: `pointer-bench why tokens_to_95_exponent`.",
        (),
        "curves",
        "Tokens until 95% copy accuracy by distance, with fitted exponents",
        lambda numbers: numbers[(numbers["experiment"] == "copy") & (numbers["trunk"] == "2x64x2")],
    ),
    Section(
        "What makes it learn",
        "One setting is changed at a time.",
        (
            Part(
                "ablation",
                "Copy with one setting changed, by distance D",
                {"quantity": "tokens_to_95"},
            ),
        ),
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
        tuple(_recalled(task) for task in layout.RECALL),
        "trade_off",
        "Accuracy on copy and on MQAR against training throughput, a point a model",
        lambda numbers: numbers[numbers["dtype"] == "float32"],
    ),
    Section(
        "Real text",
        "The next byte of Tiny Shakespeare.",
        (Part("bytes", "Text by sequence length N", {"experiment": "bytes"}),),
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
    """Return the README's table: claim, paper, and our deciding number with the verdict by
    reading."""
    by_name = {line.name: line for line in lines}
    titles = {line.reading: line.read_as.title for line in lines if line.read_as}
    cells = []
    for claim_id in ANSWERED:
        own = [by_name.get(f"{claim_id} {reading}") for reading in READINGS]
        whole = by_name.get(claim_id)  # judged for no reading
        claim = next(line.claim for line in lines if line.claim.id == claim_id)
        texts = [_answered(line) for line in own]
        texts[0] = _answered(whole) if whole else texts[0]
        cells.append([claim.claim, claim.figure, *texts])
    columns = ["claim", "paper", *(titles[reading] for reading in READINGS)]
    table = [columns, ["---"] * len(columns), *cells]
    return "".join(f"| {' | '.join(texts)} |\n" for texts in table)


def _answered(line: claims.Line | None) -> str:
    if line is None:
        return ""
    text = claims.ours(claims.deciding(line), 1)
    if line.read_as:
        text = text.removeprefix(f"{line.read_as.model}, ")
    undecided = line.verdict in (Verdict.INCONCLUSIVE, Verdict.NOT_TESTABLE)
    reason = f" ({line.reason})" if undecided else ""
    return f"**{line.words}**{reason}: {text}".removesuffix(": –")


def document(rows: pd.DataFrame, book: ledger.Ledger, lines: list[claims.Line]) -> str:
    """Return docs/report.md: claims, readings, protocol, verdicts, what would change them."""
    own = [line for line in lines if not line.claim.contradiction]
    undecided = (Verdict.INCONCLUSIVE, Verdict.NOT_TESTABLE)
    template = render.templates(keep_trailing_newline=True).get_template("report.md")
    return template.render(
        machines=machines(rows),
        aloud="\n".join(verdicts.aloud(claims.table(lines).data.to_dict("records"))),
        readings=book.readings,
        trunk=Trunk(),
        judged=own,
        ours=lambda line: claims.ours(claims.deciding(line), claims.MOST_CELLS),
        contradictions=[line for line in lines if line.claim.contradiction],
        open=[line for line in own if line.verdict in undecided],
    )


def machines(rows: pd.DataFrame) -> str:
    """Return the machines and how many rows each made."""
    counts = rows["machine"].value_counts().sort_index()
    return "; ".join(f"{layout.short(str(name))} ({count} rows)" for name, count in counts.items())


def page(rows: pd.DataFrame, numbers: pd.DataFrame, figures_link: str) -> str:
    """Return the Markdown of docs/results.md."""
    parts = [INTRODUCTION.format(machines=machines(rows))]
    parts += [section.markdown(numbers, figures_link) for section in SECTIONS]
    return "\n".join(filter(None, parts))


def example(rows: pd.DataFrame, numbers: pd.DataFrame, source: Path) -> str:
    """Return the README's example of `pointer-bench why` with its output; nothing without its
    rows."""
    try:
        chosen = why.select(numbers, "speedup", EXAMPLE)
    except InputError:
        return ""
    commands = dict(zip(rows["path"], rows["command"], strict=True))
    options = " ".join(f"--{name} {value}" for name, value in EXAMPLE.items())
    parts = [f"```console\n$ pointer-bench why speedup {options}"]
    parts += [f"{why.one(estimate, commands)}\n" for estimate in chosen.to_dict("records")]
    return "\n".join([*parts, f"From {source}.\n```\n"])


def write(source: Path, readme: Path, page_file: Path, drawings: Path) -> list[Path]:
    """Write docs/results.md and docs/report.md beside it, the figures and the README's two blocks;
    return the files.

    Raise InputError if there are no rows, or the README lacks its markers.
    """
    rows = frame.load(source)
    numbers = estimates.build(rows)
    book = ledger.read(LEDGER)
    lines = claims.judge(numbers, book, unsound=claims.unsound_rows(rows))
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    text = with_block(text, "answer", answer(lines), readme)
    text = with_block(text, "why", example(rows, numbers, source), readme)
    link = Path(os.path.relpath(drawings, page_file.parent)).as_posix()
    write_atomically(page_file, page(rows, numbers, link))
    report = page_file.with_name("report.md")
    write_atomically(report, document(rows, book, lines))
    write_atomically(readme, text)
    shown = []
    for section in SECTIONS:
        if section.figure and (section.has_figure_alone(numbers) or section.tables(numbers)):
            shown.append(section)
    return [
        readme,
        page_file,
        report,
        *(_draw(section, numbers, rows, drawings) for section in shown),
    ]


def with_block(text: str, name: str, content: str, readme: Path) -> str:
    """Return the text with the content between its two markers. Raise InputError unless each
    stands once, in order."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    if text.count(begin) != 1 or rest.count(end) != 1 or before.count(end):
        accepted = f"one {begin} and then one {end}"
        raise InputError.about(f"markers of {readme}", "", accepted, "that file")
    return f"{before}{begin}\n{content}{end}{after}"


def _draw(section: Section, numbers: pd.DataFrame, rows: pd.DataFrame, drawings: Path) -> Path:
    name = f"{section.figure}.png"
    drawings.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        figures.write(section.drawn(numbers), rows, Path(folder), names=[section.figure])
        shutil.copyfile(Path(folder, name), drawings / name)
    return drawings / name
