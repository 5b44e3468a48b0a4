"""The tables, each a declaration that selects estimates and pivots them; `write` makes CSV,
Markdown, LaTeX and HTML.

A table of your own is one entry of TABLES: a title, and a Block for each quantity that it shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from pointer.errors import InputError
from workflow.bench.measure import statistics
from workflow.report import layout, notes, paper, render
from workflow.report.estimates import ESTIMATE, KEY, TYPES, select
from workflow.report.goals import goals
from workflow.report.layout import (
    NOT_RUN,
    Footnotes,
    Machines,
    Show,
    Table,
    pivot,
    significant,
    whole,
)

MIB, KIB, GIGA = 2**20, 2**10, 10**9
NOT_IN_CSV = ("values", "rows", "doubt")  # see estimates.csv
Notes = Callable[
    [pd.DataFrame, pd.DataFrame, Machines], Sequence[str]
]  # all estimates, the table's, machine codes


@dataclass(frozen=True)
class Block:
    """The lines of one quantity, or of several that stand beside each other.

    where: values of columns that choose among its estimates; labels: further columns that name a
    line; beside: a second quantity whose value the text needs, as `beside`; published: the paper's
    figures, of model, x, value and source."""

    name: str
    quantity: str | tuple[str, ...]
    show: Show
    where: Mapping[str, object] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    beside: str = ""
    published: Callable[[], pd.DataFrame] | None = None

    def select(self, estimates: pd.DataFrame) -> pd.DataFrame:
        """Return the estimates of this block."""
        quantities = (self.quantity,) if isinstance(self.quantity, str) else self.quantity
        chosen = pd.concat([select(estimates, quantity, **self.where) for quantity in quantities])
        if self.beside:
            same = [key for key in KEY if key != "quantity"]
            other = select(estimates, self.beside, **self.where)[[*same, "value"]].rename(
                columns={"value": "beside"}
            )
            chosen = chosen.reset_index().merge(other, on=same, how="left").set_index("index")
        return chosen


@dataclass(frozen=True)
class Declaration:
    """A table: blocks under one another, and notes, to which `more` adds what follows from the
    estimates.

    `prepare` may add columns to the estimates, such as what stands across.
    """

    title: str
    blocks: tuple[Block, ...]
    notes: tuple[str, ...] = ()
    more: Notes | None = None
    across: str = "x"
    prepare: Callable[[pd.DataFrame], pd.DataFrame] = lambda estimates: estimates


def make(name: str, estimates: pd.DataFrame) -> Table:
    """Return the named table of estimates."""
    if name == "goals":
        return goals(estimates)
    table, machines, footnotes = TABLES[name], Machines(_machines(estimates)), Footnotes()
    prepared = table.prepare(estimates)
    chosen = [block.select(prepared) for block in table.blocks]
    nothing = not any(len(ours) for ours in chosen)
    parts, data = list[pd.DataFrame](), list[pd.DataFrame]()
    for block, ours in zip(table.blocks, chosen, strict=True):
        data.append(_beside_paper(estimates.loc[ours.index], block))
        # The paper's figures alone are shown only where there is nothing of ours at all, in the
        # first block.
        if len(ours) or (nothing and not parts):
            part = pivot(
                _with_paper(ours, block),
                block.labels,
                table.across,
                block.show,
                footnotes,
                machines,
            )
            part.insert(0, "quantity", block.name)
            parts.append(part)
    wide = _stacked(parts)
    rows = tuple(wide.pop("rows"))
    more = table.more(prepared, pd.concat(chosen), machines) if table.more else ()
    lines = (*table.notes, *more, *machines.lines(), *footnotes.lines())
    numbers = pd.concat(data, ignore_index=True)
    empty = [
        column for column in KEY if numbers[column].isin([""]).all() or numbers[column].isna().all()
    ]
    kept = [column for column in numbers if column not in (*NOT_IN_CSV, *empty)]
    return Table(
        name,
        table.title,
        wide,
        numbers[kept] if len(numbers) else numbers,
        tuple(filter(None, lines)),
        rows,
    )


def _machines(estimates: pd.DataFrame) -> list[str]:
    return sorted({name for name in estimates["machine"] if name})


def _stacked(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Return blocks under one another, numbers in order behind the labels, without columns that say
    nothing."""
    wide = pd.concat(parts, ignore_index=True).fillna(NOT_RUN)
    columns = [str(column) for column in wide]
    numbers = sorted((column for column in columns if column.isdigit()), key=int)
    wide = wide[[column for column in columns if not column.isdigit()] + numbers]
    unsaid = [
        name
        for name in ("variant", "machine", "device", "dtype")
        if wide[name].isin(["", NOT_RUN]).all()
    ]
    if wide["quantity"].nunique() == 1:
        unsaid.append("quantity")
    return wide.drop(columns=unsaid if len(wide) else [])


def published(block: Block) -> pd.DataFrame:
    """Return the paper's figures as estimates of one more machine."""
    if block.published is None:
        return pd.DataFrame(columns=ESTIMATE)
    figures = (
        block.published()
        .assign(machine=paper.PLACE, status="ok", n=1, runs=1)
        .reindex(columns=ESTIMATE)
        .astype(TYPES)
    )
    return figures.fillna({column: "" for column, kind in TYPES.items() if kind == "str"})


def _with_paper(ours: pd.DataFrame, block: Block) -> pd.DataFrame:
    figures = published(block).reindex(columns=ours.columns)
    return (
        pd.concat([ours, figures.astype(ours.dtypes)], ignore_index=True) if len(figures) else ours
    )


def _beside_paper(ours: pd.DataFrame, block: Block) -> pd.DataFrame:
    """Return the estimates with the paper's figure for the same model and x, and its source, in
    columns."""
    if block.published is None:
        return ours
    figures = block.published().rename(columns={"value": "paper", "source": "paper_source"})
    figures = (
        figures[["model", "x", "paper", "paper_source"]].assign(variant="").astype({"x": "Int64"})
    )
    return ours.merge(figures, on=["model", "variant", "x"], how="left")


def write(
    estimates: pd.DataFrame, out: Path, tier: str = "", names: Iterable[str] | None = None
) -> list[Path]:
    """Write the named tables, or all, in every format; return the files. Raises InputError for an
    unknown name."""
    files = list[Path]()
    for name in NAMES if names is None else names:
        if name not in NAMES:
            raise InputError.unknown("table", name, NAMES, "`--names`")
        files += render.write(make(name, estimates), out, tier)
    return files


# The tables.


def _recall_blocks() -> tuple[Block, ...]:
    """Return the blocks of every task but copy and text."""
    blocks = []
    for task in notes.RECALL:
        name, where, labels = (
            f"{task} by {layout.axis(task)}",
            {"experiment": task},
            ("N", "position"),
        )
        blocks += [
            Block(f"{name}: accuracy, %", "accuracy", layout.percent, where, labels),
            Block(
                f"{name}: whole strings right, %",
                "strings_right",
                lambda e: f"{100 * e.value:.1f}",
                where,
                labels,
            ),
            Block(f"{name}: tokens used", "tokens_used", layout.count, where, labels),
            Block(f"{name}: tokens until 95%", "tokens_to_95", layout.until, where, labels),
        ]
    return tuple(blocks)


def _ablation(experiment: str) -> tuple[Block, ...]:
    where = {"experiment": experiment}
    return (
        Block("tokens until 95%", "tokens_to_95", layout.until_range(whole), where),
        Block("accuracy, %", "accuracy", layout.percent_range, where),
    )


def _speedup(phase: str, reference: str) -> Block:
    published = paper.speedup if phase == "training" else None
    where = {"phase": phase, "against": reference}
    return Block(
        f"{phase}, against {reference}", "speedup", layout.number, where, published=published
    )


STEADY_NOTE = (
    "A number marked as varying is doubtful: repeats whose standard deviation exceeds "
    f"{statistics.MOST_DEVIATION:.0%} "
    f"of their mean, or one of which is {statistics.MOST_EXCURSION:.0%} off it (the limits of "
    "pyperf)."
)
PAPER_NOTE = "paper: Apple Silicon; batch, repeats and timing protocol are not stated."
INTERVALS_NOTE = (
    "Hard argmax inference on fresh sequences; in brackets the 95% Wilson interval (over several "
    "seeds the mean, "
    "and the widest of the seeds' intervals)."
)
SEEDS_NOTE = (
    "Mean over the seeds that reached 95% of a held-out sequence, in brackets the least and the "
    "most of them; accuracy "
    "over all seeds."
)
COPY, FAIR, POSITION = {"experiment": "copy"}, {"experiment": "fairness"}, ("position",)
TRAINING, INFERENCE = {"phase": "training"}, {"phase": "inference"}
TEXT = {"task": "bytes"}
EXPONENTS = ("time_exponent", "flops_step_exponent", "saved_bytes_per_sequence_exponent")
SIZES = ("parameters", "parameters_over_paper", "position_table_entries")
REFERENCES = ("transformer", "transformer-unfused")

TABLES = {
    "training_time": Declaration(
        "Training time in seconds for 20 sequences of N tokens",
        (Block("s", "training_time", layout.number, published=paper.training_time),),
        (
            "Median over repeats. Compare ratios across machines, not seconds.",
            "The paper prints its times at N=2048 only; the others follow from its throughput, 20 "
            "N / (tokens/s).",
            PAPER_NOTE,
        ),
    ),
    "throughput": Declaration(
        "Throughput in tokens/s by sequence length N",
        (
            Block(
                "training, tokens/s",
                "throughput",
                layout.count,
                TRAINING,
                published=paper.throughput,
            ),
            Block("inference, tokens/s", "throughput", layout.count, INFERENCE),
        ),
        (
            "Median over repeats. Compare ratios across machines, not tokens/s.",
            STEADY_NOTE,
            PAPER_NOTE,
        ),
    ),
    "speedup": Declaration(
        "Speed-up: ratio of throughput to the reference, by sequence length N",
        tuple(
            _speedup(phase, reference)
            for phase in ("training", "inference")
            for reference in REFERENCES
        ),
        (
            "Geometric mean over pairs of rows from one machine, device, dtype and repeat; never "
            "across machines.",
            "The paper does not say which Transformer it timed; transformer-unfused materialises "
            "the N x N matrix.",
        ),
        notes.speedup,
    ),
    "memory": Declaration(
        "Memory of a training step by sequence length N",
        (
            Block("peak, MiB", "peak_memory", layout.per(MIB)),
            Block("kept for backward, MiB", "saved_bytes", layout.per(MIB)),
            Block("kept for backward, KiB a token", "saved_bytes_per_token", layout.per(KIB)),
        ),
        (
            "Kept for backward is counted, tensor by tensor: flat a token where memory is linear "
            "in N, else growing.",
        ),
        notes.memory,
    ),
    "copy_accuracy": Declaration(
        "Copy accuracy by distance D",
        (
            Block(
                "accuracy, %",
                "accuracy",
                layout.percent,
                COPY,
                POSITION,
                published=paper.copy_accuracy,
            ),
            Block("tokens used", "tokens_used", layout.count, COPY, POSITION),
            Block("tokens until 95%", "tokens_to_95", layout.until, COPY, POSITION),
        ),
        (
            INTERVALS_NOTE,
            "The paper also prints 4.38% to 5.50% for every distance, against its own table.",
        ),
        notes.copy_accuracy,
    ),
    "copy_loss": Declaration(
        "Copy loss by distance D",
        (Block("nats", "loss", layout.number, COPY, POSITION),),
        (
            "Cross-entropy in nats a copied symbol, hard argmax inference on fresh sequences, "
            "mean over seeds.",
            "The paper prints a training loss that falls from 3.13 to 2.99; ln 20 = 2.996.",
        ),
        notes.copy_loss,
    ),
    "hops": Declaration(
        "Hop distance in tokens by layer (1 is the lowest)",
        (
            Block(
                "mean (longest)",
                "mean_hop",
                layout.hop,
                labels=("trained on",),
                beside="longest_hop",
            ),
        ),
        (
            "Tokens from a scored position to its target: mean over positions, heads and seeds; "
            "in brackets the "
            "longest.",
            "The paper gives means of 47 to 58 for its early layers and a longest hop of 483 for "
            "its later ones, on a "
            "task that it does not name and that reads like text: not comparable with a copy task.",
        ),
        notes.hops,
        across="layer",
        prepare=layout.with_task_in_words,
    ),
    "operations": Declaration(
        "Counted operations of one sequence of N tokens",
        (
            Block("forward, GFLOP", "flops_forward", layout.per(GIGA)),
            Block("training step, GFLOP", "flops_step", layout.per(GIGA)),
            Block("training step, growth from N/2", "flops_step_growth", layout.growth),
            Block(
                "kept for backward, growth from N/2",
                "saved_bytes_per_sequence_growth",
                layout.growth,
            ),
        ),
        (
            "Counted, not timed; one sequence through all layers. Growth 2 is linear in N, 4 "
            "quadratic.",
            "The paper claims about 4 million operations a layer against 34 G at N=8192 and "
            "d=512; the first counts "
            "the gather only, not the scoring that chooses the target.",
        ),
    ),
    "scaling": Declaration(
        "Scaling exponents over sequence length N",
        (Block("exponent", EXPONENTS, layout.exponent),),
        (
            "Exponent b of N^b for one sequence, by least squares on logarithms over all N, with "
            "its 95% interval: "
            "1 is linear, 2 quadratic. The trunk is linear, so a quadratic mixer tends to 2 only "
            "at large N.",
            "Times have a slope for each repeat, and the interval is over the slopes.",
        ),
        across="measure",
        prepare=layout.over_all_lengths,
    ),
    "parameters": Declaration(
        "Parameters of every model",
        (Block("size", SIZES, layout.size, labels=POSITION),),
        (
            "The paper gives about 3.2 M for every model.",
            "Parameters leave out position tables, which grow with N and are counted apart.",
            "A range is over vocabularies (parameters) or lengths (tables).",
        ),
        across="measure",
        prepare=layout.with_measures,
    ),
    "mixers": Declaration(
        "Time of one mixer by sequence length N",
        (
            Block("forward and backward, ms", "mixer_time", layout.number, TRAINING),
            Block("forward, ms", "mixer_time", layout.number, INFERENCE),
        ),
        (
            "One mixer of one layer alone, without trunk or optimiser, about 4096 tokens a call; "
            "median of the rounds.",
            "Made by `python -m pytest benchmarks --benchmark-only`; empty where that was not run.",
        ),
    ),
    "ablation": Declaration(
        "Ablation: copy by distance D with one setting changed",
        _ablation("ablation"),
        (SEEDS_NOTE,),
        notes.ablation,
        prepare=layout.without_shared_settings("ablation"),
    ),
    "two_hop": Declaration(
        "Beyond one pointer's reach: copy by distance D",
        _ablation("two_hop"),
        (
            SEEDS_NOTE,
            "Where all shared candidates are the nearest offsets, a layer points at most window - "
            "1 tokens back, and "
            "six layers add up to at most 6 (window - 1).",
            "reach=32 limits the table to the same offsets where a layer has room for more of "
            "them.",
        ),
        notes.two_hop,
        prepare=layout.without_shared_settings("two_hop"),
    ),
    "fairness": Declaration(
        "What position table and pointer bring, copy by distance D",
        (
            Block("tokens until 95%", "tokens_to_95", layout.until_range(whole), FAIR, POSITION),
            Block(
                "seconds until 95%",
                "seconds_to_95",
                layout.until_range(significant),
                FAIR,
                POSITION,
            ),
            Block("training, tokens/s", "learning_throughput", layout.count, FAIR, POSITION),
            Block("accuracy, %", "accuracy", layout.percent_range, FAIR, POSITION),
        ),
        (
            "transformer-relative has pointer's offset table and its update rule, on softmax "
            "attention over all "
            "positions.",
            "Seconds are of training alone, without the evaluations on held-out sequences; rows "
            "with fewer threads "
            "than the machine has may have run beside others.",
        ),
        notes.fairness,
    ),
    "recall": Declaration(
        "Accuracy on recall tasks and ListOps",
        _recall_blocks(),
        (f"{INTERVALS_NOTE} Column N: sequence length where the size does not say it.",),
        notes.recall,
        prepare=layout.with_length_in_words,
    ),
    "bytes": Declaration(
        "Bits a byte of real text by sequence length N",
        (
            Block("bits a byte", "bits_per_byte", layout.number, TEXT, POSITION),
            Block(
                "next byte right, %",
                "accuracy",
                lambda e: significant(100 * e.value),
                TEXT,
                POSITION,
            ),
            Block("tokens used", "tokens_used", layout.count, TEXT, POSITION),
        ),
        (
            "Evaluation on files that training never read, hard argmax inference, mean over seeds.",
            "Only equal numbers of tokens compare; so few show which models learn fastest, not "
            "which can learn it.",
        ),
        notes.bytes_,
    ),
}
NAMES = (*TABLES, "goals")
