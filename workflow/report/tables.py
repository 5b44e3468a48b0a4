"""The tables in CSV, Markdown, LaTeX and HTML. A table of your own is one entry of TABLES: a title,
and a Block for each quantity that it shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from pointer.errors import InputError
from workflow.bench.cell import Trunk
from workflow.bench.measure import statistics
from workflow.report import controls, layout, notes, paper, render
from workflow.report.estimates import ESTIMATE, KEY, TYPES, select
from workflow.report.layout import NOT_RUN, Show, Table, count, number, per, percent, pivot, until

MIB, KIB, GIGA = 2**20, 2**10, 10**9
NOT_IN_CSV = ("values", "rows", "doubt")  # see estimates.csv
Where = Mapping[str, object]  # column of the estimates -> a value, or several in a list


@dataclass(frozen=True)
class Block:
    """The lines of one quantity, or of several that stand beside each other.

    labels: further columns that name a line; beside: a second quantity whose value the text needs;
    published: the paper's figures, of model, x, value and source."""

    name: str
    quantity: str | tuple[str, ...]
    show: Show
    where: Where = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    beside: str = ""
    published: Callable[[], pd.DataFrame] | None = None

    def select(self, estimates: pd.DataFrame, where: Where) -> pd.DataFrame:
        """Return the estimates of this block; `where` chooses further."""
        quantities = (self.quantity,) if isinstance(self.quantity, str) else self.quantity
        chosen = pd.concat([select(estimates, quantity, **self.where) for quantity in quantities])
        if self.beside:
            same = [key for key in KEY if key != "quantity"]
            other = select(estimates, self.beside)[[*same, "value"]]
            other = other.rename(columns={"value": "beside"})
            chosen = chosen.reset_index().merge(other, on=same, how="left").set_index("index")
        return select(chosen, **where)


@dataclass(frozen=True)
class Declaration:
    """A table: blocks under one another, and notes, else its caption; `more` adds what follows from
    all estimates and the table's, `prepare` columns to them. `made`: of lines not estimated."""

    title: str
    blocks: tuple[Block, ...]
    notes: tuple[str, ...] = ()
    more: Callable[[pd.DataFrame, pd.DataFrame], Sequence[str]] | None = None
    across: str = "x"
    prepare: Callable[[pd.DataFrame], pd.DataFrame] = lambda estimates: estimates
    made: Callable[[pd.DataFrame], Table] | None = None


def make(
    name: str,
    estimates: pd.DataFrame,
    where: Where | None = None,
    reference: pd.DataFrame | None = None,
) -> Table:
    """Return the named table, or the part that `where` chooses, beside the paper's figures and,
    where these are, the estimates of the committed `reference`."""
    table, where = TABLES[name], where or {}
    if table.made:
        return table.made(estimates)
    prepared = table.prepare(estimates)
    chosen = [block.select(prepared, where) for block in table.blocks]
    nothing = not any(len(own) for own in chosen)
    parts, marked = list[pd.DataFrame](), list[str]()
    for block, own in zip(table.blocks, chosen, strict=True):
        # The paper's figures stand alone only where there is nothing of ours at all.
        if len(own) or (nothing and not parts):
            shown = _with_others(own, block, where, reference)
            part = pivot(shown, block.labels, table.across, block.show, marked)
            parts.append(part.assign(quantity=block.name))
    wide, shared = _stacked(parts)
    rows = tuple(wide.pop("rows"))
    more = table.more(prepared, pd.concat(chosen)) if table.more else ()
    reasons = [f"[{number}] {text}" for number, text in enumerate(marked, start=1)]
    about = table.notes or (render.caption(name),)
    lines = tuple(filter(None, (*about, *more, shared, *reasons)))
    return Table(name, table.title, wide, _data(table, chosen, estimates), lines, rows)


def _data(table: Declaration, chosen: list[pd.DataFrame], estimates: pd.DataFrame) -> pd.DataFrame:
    """Return a table's numbers, the paper's beside them, without key columns that say nothing."""
    parts = []
    for block, own in zip(table.blocks, chosen, strict=True):
        part = estimates.loc[own.index]
        if block.published:
            figures = block.published().rename(columns={"value": "paper", "source": "paper_source"})
            figures = figures[["model", "x", "paper", "paper_source"]].astype({"x": "Int64"})
            same = ["model", "variant", "x"]
            part = part.merge(figures.assign(variant=""), on=same, how="left")
        parts.append(part)
    numbers = pd.concat(parts, ignore_index=True)
    if numbers.empty:
        return numbers
    empty = [key for key in KEY if numbers[key].isin([""]).all() or numbers[key].isna().all()]
    return numbers.drop(columns=[*NOT_IN_CSV, *empty])


def _stacked(parts: list[pd.DataFrame]) -> tuple[pd.DataFrame, str]:
    """Return blocks under one another, and a note of the place that all lines share."""
    wide = pd.concat(parts, ignore_index=True).fillna(NOT_RUN)
    columns = [str(column) for column in wide]
    numbers = sorted((column for column in columns if column.isdigit()), key=int)
    labels = [column for column in columns if column not in ("quantity", *numbers)]
    wide = wide[["quantity", *labels, *numbers]]
    if wide.empty:
        return wide, ""
    ours = wide[wide["machine"] != "paper"]
    only_ours = len(ours) == len(wide)
    dropped = ["quantity"] if wide["quantity"].nunique() == 1 else []
    dropped += [] if (wide["variant"] != "").any() else ["variant"]
    shared = []
    for name in ("machine", "device", "dtype"):
        values = ours[name].unique()
        if len(values) == 1 and (only_ours or name != "machine"):
            dropped.append(name)
            shared += [value for value in values if value != NOT_RUN]
    lines = "All lines" if only_ours else "All lines but the paper's"
    return wide.drop(columns=dropped), f"{lines}: {', '.join(shared)}." if shared else ""


def _with_others(
    own: pd.DataFrame, block: Block, where: Where, reference: pd.DataFrame | None
) -> pd.DataFrame:
    """Return the estimates, the reference's, and the paper's figures as one more machine."""
    if block.published is None:
        return own
    figures = block.published().assign(machine=paper.PLACE, variant="", status="ok", n=1, runs=1)
    figures = figures.reindex(columns=ESTIMATE).astype(TYPES)
    texts = {column: "" for column, kind in TYPES.items() if kind == "str"}
    asked = {column: value for column, value in where.items() if column in ("model", "x")}
    figures = select(figures.fillna(texts), **asked).reindex(columns=own.columns)
    parts = [own, figures.astype(own.dtypes)]
    if reference is not None:
        parts.append(block.select(reference, where))
    return pd.concat(parts, ignore_index=True)


def write(
    estimates: pd.DataFrame,
    out: Path,
    tier: str = "",
    names: Iterable[str] | None = None,
    reference: pd.DataFrame | None = None,
) -> list[Path]:
    """Write the named tables, or all, in every format; return the files, or raise InputError."""
    files = list[Path]()
    for name in TABLES if names is None else names:
        if name not in TABLES:
            raise InputError.unknown("table", name, TABLES, "`--names`")
        files += render.write(make(name, estimates, reference=reference), out, tier)
    return files


def _recall() -> tuple[Block, ...]:
    """Return the blocks of every task but copy and text."""
    blocks = []
    for task in layout.RECALL:
        for words, quantity, show in (
            ("accuracy, %", "accuracy", layout.both_modes),
            ("whole strings right, %", "strings_right", layout.summarised),
            ("tokens used", "tokens_used", count),
            ("tokens until 95%", "tokens_to_95", until),
        ):
            name, where = f"{task} by {layout.axis(task)}: {words}", {"experiment": task}
            beside = "accuracy_in_training" if quantity == "accuracy" else ""
            blocks.append(Block(name, quantity, show, where, ("N", *POSITION), beside))
    return tuple(blocks)


def _speedups() -> tuple[Block, ...]:
    blocks = []
    for phase, published in (("training", paper.speedup), ("inference", None)):
        for reference in ("transformer", "transformer-unfused"):
            name, where = f"{phase}, against {reference}", {"phase": phase, "against": reference}
            blocks.append(Block(name, "speedup", number, where, published=published))
    return tuple(blocks)


def _ablation(experiment: str, title: str, *further: str) -> Declaration:
    where = {"experiment": experiment}
    blocks = (
        Block("tokens until 95%", "tokens_to_95", layout.until_range, where),
        Block("accuracy, %", "accuracy", layout.percent_range, where),
    )
    prepare = layout.without_shared_settings(experiment)
    return Declaration(title, blocks, (SEEDS, *further), notes.ablation, prepare=prepare)


STEADY = (
    "A number marked as varying is doubtful: sessions whose standard deviation exceeds "
    f"{statistics.MOST_DEVIATION:.0%} of their mean, or one of which is "
    f"{statistics.MOST_EXCURSION:.0%} off it (the limits of pyperf)."
)
PAPER = "paper: Apple Silicon; batch, repeats and timing protocol are not stated."
RATIOS = "Geometric mean over sessions. Compare ratios across machines, not tokens/s."
INTERVALS = (
    "Hard argmax inference on fresh sequences; in brackets the 97.5% Wilson interval (over several "
    "seeds the mean, and the widest of the seeds' intervals)."
)
SEEDS = (
    "Mean over the seeds that reached 95% of a held-out sequence, in brackets the least and the "
    "most of them; accuracy over all seeds."
)
COPY: Where = {"experiment": "copy", "trunk": str(Trunk())}
TEXT: Where = {"task": "bytes", "experiment": ["bytes", "interpretability"]}
MQAR: Where = {"task": "mqar"}
TRAINING, INFERENCE = {"phase": "training"}, {"phase": "inference"}
POSITION = ("position",)
EXPONENTS = ("time_exponent", "flops_step_exponent", "saved_bytes_per_sequence_exponent")
SUMMARISED = tuple(dict.fromkeys(quantity for quantity, *_ in layout.SUMMARY))
SIZES = ("parameters", "parameters_over_paper", "position_table_entries")

# Of the main report, beside the claims; the rest is its section "more".
MAIN = ("models", "speedup", "copy_accuracy", "scaling", "hops")

TABLES = {
    "models": Declaration(
        "All models, a line each",
        (Block("", SUMMARISED, layout.summarised),),
        across="measure",
        prepare=layout.with_summary,
    ),
    "training_time": Declaration(
        "Training time in seconds for 20 sequences of N tokens",
        (Block("s", "training_time", number, published=paper.training_time),),
        more=notes.timed,
    ),
    "throughput": Declaration(
        "Throughput in tokens/s by sequence length N",
        (
            Block("training, tokens/s", "throughput", count, TRAINING, published=paper.throughput),
            Block("inference, tokens/s", "throughput", count, INFERENCE),
        ),
        (RATIOS, STEADY, PAPER),
        notes.timed,
    ),
    "speedup": Declaration(
        "Speed-up: ratio of throughput to the reference, by sequence length N",
        _speedups(),
        (
            "Ratio of wall times in the same rounds of a session, which steps the models in turn; "
            "geometric mean over the sessions of one machine, device and dtype.",
            "The paper does not say which Transformer it timed; transformer-unfused materialises "
            "the N x N matrix.",
        ),
        notes.speedup,
    ),
    "memory": Declaration(
        "Memory of a training step by sequence length N",
        (
            Block("peak, MiB", "peak_memory", per(MIB)),
            Block("kept for backward, MiB a sequence", "saved_bytes_per_sequence", per(MIB)),
            Block("kept for backward, KiB a token", "saved_bytes_per_token", per(KIB)),
        ),
        ("Kept for backward is counted, tensor by tensor.",),
        notes.memory,
    ),
    "copy_accuracy": Declaration(
        "Copy accuracy by distance D",
        (
            Block(
                "accuracy, %",
                "accuracy",
                layout.both_modes,
                COPY,
                POSITION,
                beside="accuracy_in_training",
                published=paper.copy_accuracy,
            ),
            Block("tokens used", "tokens_used", count, COPY, POSITION),
            Block("tokens until 95%", "tokens_to_95", until, COPY, POSITION),
        ),
        (
            INTERVALS,
            "In training: relaxed, as at the end of training, where that is not the choice of "
            "inference, and the run was not stopped early.",
            "The paper also prints 4.38% to 5.50% for every distance, against its own table.",
        ),
        notes.copy_accuracy,
    ),
    "copy_loss": Declaration(
        "Copy loss by distance D",
        (Block("nats", "loss", number, COPY, POSITION),),
        more=notes.copy_loss,
    ),
    "hops": Declaration(
        "Hop distance in tokens by layer (1 is the lowest)",
        (Block("mean (longest)", "mean_hop", layout.hop, {}, ("trained on",), "longest_hop"),),
        (
            "Tokens from a scored position to its target: mean over positions, heads and seeds; in "
            "brackets the longest.",
            "The paper gives means of 47 to 58 for its early layers and a longest hop of 483 for "
            "its later ones, on a task that it does not name and that reads like text: not "
            "comparable with a copy task.",
        ),
        notes.hops,
        across="layer",
        prepare=layout.with_task_in_words,
    ),
    "operations": Declaration(
        "Counted operations of one sequence of N tokens",
        (
            Block("forward, GFLOP", "flops_forward", per(GIGA)),
            Block("training step, GFLOP", "flops_step", per(GIGA)),
            Block("training step, growth from N/2", "flops_step_growth", layout.growth),
            Block(
                "kept for backward, growth from N/2",
                "saved_bytes_per_sequence_growth",
                layout.growth,
            ),
        ),
    ),
    "scaling": Declaration(
        "Scaling exponents over sequence length N",
        (Block("exponent", EXPONENTS, layout.exponent),),
        more=notes.scaling,
        across="measure",
        prepare=layout.with_measures,
    ),
    "parameters": Declaration(
        "Parameters of every model",
        (Block("size", SIZES, layout.size, labels=POSITION),),
        across="measure",
        prepare=layout.with_measures,
    ),
    "mixers": Declaration(
        "Time of one mixer by sequence length N",
        (
            Block("forward and backward, ms", "mixer_time", number, TRAINING),
            Block("forward, ms", "mixer_time", number, INFERENCE),
        ),
    ),
    "ablation": _ablation("ablation", "Ablation: copy by distance D with one setting changed"),
    "two_hop": _ablation(
        "two_hop",
        "Beyond one pointer's reach: copy by distance D",
        "Where all shared candidates are the nearest offsets, a layer points at most window - 1 "
        "tokens back, and six layers add up to at most 6 (window - 1).",
        "reach=32 limits the table to the same offsets where a layer has room for more of them.",
    ),
    "recall": Declaration(
        "Accuracy on recall tasks and ListOps",
        _recall(),
        (f"{INTERVALS} Column N: sequence length where the size does not say it.",),
        notes.recall,
        prepare=layout.with_length_in_words,
    ),
    "controls": Declaration(
        controls.TITLE,
        (Block("accuracy, %", "accuracy", percent, {"trunk": controls.TRUNK}),),
        made=controls.table,
    ),
    "bytes": Declaration(
        "Bits a byte of real text by sequence length N",
        (
            Block("bits a byte", "bits_per_byte", number, TEXT, POSITION),
            Block("next byte right, %", "accuracy", percent, TEXT, POSITION),
            Block("tokens used", "tokens_used", count, TEXT, POSITION),
        ),
        (
            "Evaluation on files that training never read, hard argmax inference, mean over seeds.",
            "Only equal numbers of tokens compare; so few show which models learn fastest, not "
            "which can learn it.",
        ),
        notes.bytes_,
    ),
    "learning_time": Declaration(
        "What is learned in so many seconds of training",
        (
            Block("bits a byte of text", "bits_per_byte_by_time", number, {}, ("length",)),
            Block("accuracy on MQAR, %", "accuracy_by_time", per(0.01), MQAR, ("length",)),
        ),
    ),
}
NAMES = tuple(TABLES)
