"""The sections of docs/results.md and the README's answer: which estimates they show, and in which
words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from workflow.bench.experiments import TASKS
from workflow.report import layout, notes, paper, render, tables, why
from workflow.report.estimates import select
from workflow.report.layout import Footnotes, Machines, Table, significant, whole
from workflow.report.tables import Block

WORDS = {"position": "positional encoding", "variant": "changed settings", "x": "size"}


@dataclass(frozen=True)
class Grid:
    """A table with its blocks beside each other: models down, quantities and `across` across ("":
    quantities alone)."""

    title: str
    blocks: tuple[Block, ...]
    across: str = "x"
    machines_across: bool = False

    @property
    def command(self) -> str:
        """Return the command that prints the rows behind the numbers of the first block."""
        block = self.blocks[0]
        told = {key: value for key, value in block.where.items() if why.USUAL.get(key) != value}
        options = [f"--{key} {value}" for key, value in told.items() if not isinstance(value, list)]
        return " ".join(["pointer-bench why", str(block.quantity), *options])


@dataclass(frozen=True)
class Section:
    """A heading with an introduction, tables, the notes of `tables.TABLES` that belong to them, and
    a figure.

    drawn: chooses the estimates that the figure shows.
    """

    heading: str
    introduction: str
    grids: tuple[Grid, ...]
    noted: tuple[str, ...]
    figure: str = ""
    caption: str = ""
    drawn: Callable[[pd.DataFrame], pd.DataFrame] = lambda table: table

    def tables(self, estimates: pd.DataFrame) -> list[tuple[Grid, Table]]:
        """Return the tables that have estimates."""
        made = [(grid, table(grid, estimates)) for grid in self.grids]
        return [(grid, shown) for grid, shown in made if shown is not None]

    def markdown(self, estimates: pd.DataFrame, figures_link: str) -> list[str]:
        """Return the paragraphs of the section; none without estimates."""
        made = self.tables(estimates)
        if not made:
            return []
        parts = [f"## {self.heading}\n", f"{self.introduction}\n"]
        for grid, shown in made:
            parts += [render.markdown(shown, shown.title), f"Rows: `{grid.command}`\n"]
        if self.figure:
            parts.append(f"![{self.caption}]({figures_link}/{self.figure}.png)\n")
        notes_of_all = [note for name in self.noted for note in notes_of(name, estimates)]
        parts.append("".join(f"- {render.escape_markdown(note)}\n" for note in notes_of_all))
        return parts


def notes_of(name: str, estimates: pd.DataFrame) -> list[str]:
    """Return the notes of a table of `tables.TABLES`."""
    declared = tables.TABLES[name]
    prepared = declared.prepare(estimates)
    own = pd.concat([block.select(prepared) for block in declared.blocks])
    machines = Machines(machine for machine in estimates["machine"] if machine)
    more = declared.more(prepared, own, machines) if declared.more else ()
    return [note for note in (*declared.notes, *more) if note]


def table(grid: Grid, estimates: pd.DataFrame) -> Table | None:
    """Return the table of a declaration, or None without estimates. Labels that all lines share
    become a note."""
    machines, footnotes = Machines(name for name in estimates["machine"] if name), Footnotes()
    parts = [block.select(estimates) for block in grid.blocks]
    if not any(len(part) for part in parts):
        return None
    chosen = pd.concat(
        [
            _with_columns(grid, block, part, machines)
            for block, part in zip(grid.blocks, parts, strict=True)
        ]
    )
    columns = list(dict.fromkeys(chosen["column"]))
    chosen["column"] = pd.Categorical(chosen["column"], columns)
    show = {block.quantity: block.show for block in grid.blocks}
    wide = layout.pivot(
        chosen, grid.blocks[0].labels, "column", lambda e: show[e.quantity](e), footnotes, machines
    )
    wide = wide.drop(columns="rows")
    ours = wide[wide["machine"] != layout.PAPER_CODE]
    kept = {*columns, "model"} if len(ours) == len(wide) else {*columns, "model", "machine"}
    shared = [label for label in wide if label not in kept and ours[label].nunique() == 1]
    texts = [text for text in ours[shared].iloc[0] if text not in ("", layout.NOT_RUN)]
    lines = [f"All lines: {', '.join(texts)}."] if texts else []
    wide = wide.drop(columns=shared).rename(columns=WORDS)
    return Table("", grid.title, wide, wide, (*lines, *footnotes.lines()))


def _with_columns(
    grid: Grid, block: Block, chosen: pd.DataFrame, machines: Machines
) -> pd.DataFrame:
    """Return a block's estimates, and the paper's, in order of x, with the head of the column that
    each stands in."""
    if block.published is not None:
        published = tables.published(block)[chosen.columns]
        published = published.assign(quantity=block.quantity, axis=chosen["axis"].iloc[0])
        chosen = pd.concat([chosen, published])
    chosen = chosen.sort_values(["x", "machine"], kind="stable")
    heads = []
    for estimate in layout.records(chosen):
        parts = [block.name] if len(grid.blocks) > 1 else []
        if grid.across == "x":
            symbol = TASKS[estimate.task].symbol if estimate.task else "N"
            parts.append(f"{symbol}={estimate.x}")
        elif grid.across:
            parts.append(f"{grid.across} {getattr(estimate, grid.across)}")
        if grid.machines_across:
            parts.append(machines.code(estimate.machine))
        heads.append(", ".join(parts))
    chosen = chosen.assign(column=heads)
    return chosen.assign(machine="") if grid.machines_across else chosen


def accuracy(estimate: Any) -> str:
    """Return an accuracy in percent with its interval, rounded outwards to one decimal."""
    if pd.isna(estimate.low):
        return f"{100 * estimate.value:.2f}"
    low, high = math.floor(1000 * estimate.low) / 10, math.ceil(1000 * estimate.high) / 10
    return f"{100 * estimate.value:.1f} ({low:.1f} to {high:.1f})"


def recall(task: str, **where: Any) -> Grid:
    """Return the table of a recall task."""
    where = {"experiment": task} | where
    blocks = (
        Block("accuracy, %", "accuracy", accuracy, where, ("position",)),
        Block(
            "whole strings, %",
            "strings_right",
            lambda e: f"{100 * e.value:.1f}",
            where,
            ("position",),
        ),
        Block("tokens until 95%", "tokens_to_95", layout.until, where, ("position",)),
    )
    return Grid(f"{task} by {layout.axis(task)}", blocks)


Where = dict[str, Any]
PLAIN: Where = {"model": "pointer", "variant": ""}
TIMED: Where = {"model": ["pointer", "transformer", "longformer", "identity"]}
COPIED: Where = {
    "model": [*TIMED["model"], "pointer-dense", "transformer-unfused", "uniform", "oracle-copy"]
}
TRAINING: Where = {"experiment": "efficiency", "phase": "training", "dtype": "float32"}
FASTER = TRAINING | {"against": "transformer"}
COPY: Where = {"experiment": "copy", "dtype": "float32"}
FAIR, CHAIN, TEXT = {"experiment": "fairness"}, {"experiment": "two_hop"}, {"experiment": "bytes"}
POSITION = ("position",)


def copies(**where: Any) -> tuple[Block, Block]:
    """Return accuracy and tokens of copy runs."""
    labels = ("x",) if where == PLAIN else POSITION
    return (
        Block("accuracy, %", "accuracy", accuracy, COPY | where, labels),
        Block("tokens until 95%", "tokens_to_95", layout.until, COPY | where, labels),
    )


def trained(**where: Any) -> tuple[Block, ...]:
    """Return what experiments with several seeds show of learning."""
    return (
        Block("tokens until 95%", "tokens_to_95", layout.until_range(whole), where, POSITION),
        Block(
            "seconds until 95%", "seconds_to_95", layout.until_range(significant), where, POSITION
        ),
        Block("tokens/s", "learning_throughput", layout.count, where, POSITION),
        Block("accuracy, %", "accuracy", layout.percent_range, where, POSITION),
    )


def only(**where: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Return what chooses the estimates whose columns have these values, each one of a list."""

    def choose(table: pd.DataFrame) -> pd.DataFrame:
        for column, values in where.items():
            table = table[table[column].isin(values)]
        return table

    return choose


def traded(table: pd.DataFrame) -> pd.DataFrame:
    """Return the float32 estimates of the machines on which `pointer` was both trained to copy and
    timed."""
    chosen = table[table["dtype"] == "float32"]
    pointer = chosen[(chosen["model"] == "pointer") & (chosen["variant"] == "")]
    trained = set(pointer.loc[pointer["experiment"] == "copy", "machine"])
    timed = set(pointer.loc[pointer["quantity"] == "throughput", "machine"])
    return chosen[chosen["machine"].isin(trained & timed)]


SPEED = Block("", "speedup", layout.number, FASTER | TIMED, published=paper.speedup)
RATE = Block("", "throughput", layout.count, TRAINING | TIMED, published=paper.throughput)
EVERY_SPEED = Block("", "speedup", layout.number, FASTER | {"x": [512, 2048]})
THE_PAPERS = {"x": [512, 1024, 1536, 2048]}
ACCURACY = Block(
    "", "accuracy", accuracy, COPY | COPIED | THE_PAPERS, published=paper.copy_accuracy
)
HOPS = Block("", "mean_hop", layout.hop, {}, ("task", "x"), beside="longest_hop")
BITS = (
    Block("bits a byte", "bits_per_byte", layout.number, TEXT, POSITION),
    Block("next byte right, %", "accuracy", accuracy, TEXT, POSITION),
    Block("tokens", "tokens_used", layout.count, TEXT, POSITION),
)

SECTIONS = (
    Section(
        "Speed",
        "Tokens/s in training, as ratios to `transformer` on the same machine. `transformer` has "
        "fused attention, "
        "`transformer-unfused` materialises the N x N matrix, `identity` is the trunk without a "
        "mixer.",
        (
            Grid("Speed-up over transformer by sequence length N", (SPEED,)),
            Grid("Tokens/s in training by sequence length N", (RATE,)),
            Grid("Speed-up of every model over transformer", (EVERY_SPEED,), machines_across=True),
        ),
        ("speedup", "throughput"),
        "speedup",
        "Speed-up of a training step by sequence length, beside the paper's ratios",
        only(**TIMED, variant=[""], dtype=["float32"], against=["", "transformer"]),
    ),
    Section(
        "Copying",
        "The model repeats the symbol D positions back. All models have the same budget of "
        "training tokens.",
        (
            Grid("Copy accuracy in % by distance D", (ACCURACY,)),
            Grid("Pointer at every distance D", copies(**PLAIN), across=""),
            Grid("Every model at D=512", copies(x=512), across="", machines_across=True),
        ),
        ("copy_accuracy",),
        "copy_accuracy",
        "Copy accuracy by distance with 95% intervals, beside the paper's values",
        only(**COPIED, variant=[""], dtype=["float32"]),
    ),
    Section(
        "What makes it learn",
        "Is copying due to the pointer or to the positional encoding? The models get a larger "
        "budget than above. "
        "The figure changes one setting of `pointer` at a time.",
        (Grid("Copy at D=512 with a large budget", trained(**FAIR), across=""),),
        ("fairness", "ablation"),
        "ablation",
        "Tokens until 95% with one setting changed at a time",
    ),
    Section(
        "What the chain gives",
        "Copying further than one pointer reaches, so that layers have to work together.",
        (Grid("Copy beyond one pointer's reach", trained(**CHAIN)[::3]),),
        ("two_hop",),
    ),
    Section(
        "Recall by content",
        "Tasks in which the distance varies, so that a learned offset does not help. "
        "[Tasks](tasks.md) describes them.",
        tuple(recall(task) for task in notes.RECALL),
        ("recall",),
        "trade_off",
        "Accuracy on copy and on MQAR against training throughput, a point a model",
        traded,
    ),
    Section(
        "Real text",
        "The next byte of Python's standard library.",
        (Grid("Text", BITS, across=""),),
        ("bytes",),
    ),
    Section(
        "Where it points",
        "Tokens from a position to its target, by layer (1 is the lowest): mean, and the longest "
        "in brackets.",
        (Grid("Hop distance by layer", (HOPS,), across="layer"),),
        ("hops",),
        "hops",
        "Hop distances by layer, beside the paper's",
    ),
)

FUSED, UNFUSED = {"against": "transformer"}, {"against": "transformer-unfused"}
ON_TEXT = {"experiment": "interpretability", "task": "bytes"}
AT_8192, KEPT = {"x": 8192}, "saved_bytes_per_sequence_reduction"


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
        """Return the words with the least and the most value, or nothing where there is no
        value."""
        values = select(table, self.quantity, **self.where)["value"].dropna()
        ends = (
            dict.fromkeys([self.show(values.min()), self.show(values.max())]) if len(values) else {}
        )
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
        Phrase(
            "unfused attention takes {}x as much at N=8192",
            "flops_forward_reduction",
            PLAIN | UNFUSED | AT_8192,
        ),
    ),
    "linear-memory": (
        Phrase("{}x when N doubles", "saved_bytes_per_sequence_growth", PLAIN),
        Phrase("unfused attention keeps {}x as much at N=8192", KEPT, PLAIN | UNFUSED | AT_8192),
        Phrase("fused {}x", KEPT, PLAIN | FUSED | AT_8192),
    ),
    "copy-95": (Phrase("{}", "accuracy", COPY | PLAIN, percent),),
    "copy-table": (
        Phrase("Pointer {}", "accuracy", COPY | PLAIN, percent),
        Phrase(
            "Transformer {} with the same budget",
            "accuracy",
            COPY | {"model": "transformer"},
            percent,
        ),
    ),
    "copy-low": (Phrase("{}", "accuracy", COPY | PLAIN, percent),),
    "hops-local": (Phrase("{} tokens on text", "mean_hop_lower", PLAIN | ON_TEXT),),
    "hops-long": (Phrase("{} tokens on text", "longest_hop_upper", PLAIN | ON_TEXT),),
    "one-target": (Phrase("one, for {} of positions", "one_target", PLAIN, percent),),
}
