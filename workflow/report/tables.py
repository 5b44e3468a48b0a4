"""The tables: each a function of the frame, registered by name; `write` makes CSV, Markdown, LaTeX and HTML of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from workflow.report import models, paper, render, summary
from workflow.report.layout import NOT_RUN, UNKNOWN, Footnotes, Machines, Table, significant, spread, whole, with_paper

MIB, KIB, GIGA = 2**20, 2**10, 10**9
PAPER_NOTE = "paper: Apple Silicon; batch, repeats and timing protocol are not stated."
Builder = Callable[[pd.DataFrame], Table]


class _Draft:
    """Blocks of a wide table that share footnotes and machine codes."""

    def __init__(self) -> None:
        self.footnotes, self.machines, self.blocks = Footnotes(), Machines(), list[pd.DataFrame]()

    def add(self, quantity: str, cells: pd.DataFrame, column: str, show: Callable[[Any], str], *labels: str) -> None:
        """One block: `quantity` stands in its first column where the table has several."""
        block = spread(cells, ["model", *labels], column, show, self.footnotes, self.machines)
        block.insert(0, "quantity", quantity)
        self.blocks.append(block)

    def table(self, name: str, title: str, data: pd.DataFrame, *notes: str) -> Table:
        """The blocks under one another; the quantity's column goes where there is only one."""
        filled = [block for block in self.blocks if len(block)] or self.blocks[:1]
        wide = pd.concat(filled, ignore_index=True).fillna("–")
        if wide["quantity"].nunique() == 1:
            wide = wide.drop(columns="quantity")
        return Table(name, title, _numbers_last(wide), data, (*notes, *self.machines.lines(), *self.footnotes.lines()))


def _numbers_last(wide: pd.DataFrame) -> pd.DataFrame:
    """Blocks may have different lengths: their columns in ascending order behind the labels."""
    labels = [column for column in wide.columns if not column.isdigit()]
    return wide[labels + sorted((column for column in wide.columns if column.isdigit()), key=int)]


def training_time(frame: pd.DataFrame) -> Table:
    """Seconds for 20 sequences of N tokens, the paper's unit."""
    cells, published = summary.training_time(frame), paper.training_time()
    draft = _Draft()
    draft.add("s", with_paper(cells, published, "seconds"), "length", lambda r: significant(r["seconds"]))
    title = "Training time in seconds for 20 sequences of N tokens"
    implied = "The paper prints its times at N=2048 only; the others follow from its throughput, 20 N / (tokens/s)."
    median = "Median over repeats of the median step. Compare ratios across machines, not seconds."
    return draft.table("training_time", title, _beside(cells, published, "length"), median, implied, PAPER_NOTE)


def throughput(frame: pd.DataFrame) -> Table:
    """Tokens/s of training and of inference."""
    draft, data = _Draft(), []
    for phase in summary.PHASES:
        cells = summary.throughput(frame, phase)
        published = paper.throughput() if phase == "training" else paper.throughput().iloc[:0]
        draft.add(f"{phase}, tokens/s", with_paper(cells, published, "rate"), "length", lambda r: whole(r["rate"]))
        data.append(_beside(cells, published, "length").assign(phase=phase))
    title = "Throughput in tokens/s by sequence length N"
    note = "Median over repeats. Compare ratios across machines, not tokens/s."
    return draft.table("throughput", title, pd.concat(data, ignore_index=True), note, PAPER_NOTE)


def speedup(frame: pd.DataFrame) -> Table:
    """Ratio of throughputs to a Transformer in the same place and repeat."""
    draft, data = _Draft(), []
    for phase in summary.PHASES:
        for reference in summary.references(frame):
            cells = summary.speedup(frame, phase, reference)
            published = paper.speedup() if phase == "training" else paper.speedup().iloc[:0]
            quantity = f"{phase}, against {reference}"
            draft.add(quantity, with_paper(cells, published, "ratio"), "length", lambda r: significant(r["ratio"]))
            data.append(_beside(cells, published, "length").assign(phase=phase, reference=reference))
    if not draft.blocks:  # nothing of ours to compare yet: the paper's ratios alone
        data.append(summary.speedup(frame, "training", summary.REFERENCES[0]))
        draft.add("", with_paper(data[0], paper.speedup(), "ratio"), "length", lambda r: significant(r["ratio"]))
    title = "Speed-up: ratio of throughput to the reference, by sequence length N"
    pairs = "Median over pairs of rows from one machine, device, dtype and repeat; never across machines."
    theirs = "The paper does not say which Transformer it timed; transformer-unfused materialises the N x N matrix."
    return draft.table("speedup", title, pd.concat(data, ignore_index=True), pairs, theirs)


def memory(frame: pd.DataFrame) -> Table:
    """Peak of a training step, and bytes kept for its backward pass a token."""
    cells, draft = summary.memory(frame), _Draft()
    draft.add("peak, MiB", cells, "length", lambda r: significant(r["peak_memory_bytes"] / MIB))
    draft.add("kept for backward, MiB", cells, "length", lambda r: significant(r["saved_bytes"] / MIB))
    draft.add(
        "kept for backward, KiB a token", cells, "length", lambda r: significant(r["saved_bytes_per_token"] / KIB)
    )
    batches = cells.dropna(subset="batch").drop_duplicates("length").sort_values("length")
    said = ", ".join(
        f"{batch:.0f} at N={length}" for batch, length in zip(batches["batch"], batches["length"], strict=True)
    )
    methods = ", ".join(sorted(summary.of(frame, "efficiency")["memory_method"].dropna().unique()))
    notes = [f"Sequences a step: {said}."] if said else []
    notes += [f"Peak by {methods}, less what the process held before."] if methods else []
    notes.append(
        "Kept for backward is counted, tensor by tensor: flat a token where memory is linear in N, else growing."
    )
    return draft.table("memory", "Memory of a training step by sequence length N", cells, *notes)


def operations(frame: pd.DataFrame) -> Table:
    """Counted work of one sequence and its growth when N doubles."""
    cells, draft = summary.operations(frame), _Draft()
    draft.add("forward, GFLOP", cells, "length", lambda r: significant(r["flops_forward"] / GIGA))
    draft.add("training step, GFLOP", cells, "length", lambda r: significant(r["flops_step"] / GIGA))
    draft.add("training step, growth from N/2", cells, "length", lambda r: _growth(r["flops_step_growth"]))
    draft.add("kept for backward, growth from N/2", cells, "length", lambda r: _growth(r["saved_bytes_growth"]))
    pointer, attention = (
        paper.published("operations").set_index("model")["value"].groupby(level=0).first()[m]
        for m in ("pointer", "transformer")
    )
    notes = (
        "Counted, not timed; one sequence through all layers. Growth 2 is linear in N, 4 quadratic.",
        f"The paper claims about {pointer / 1e6:.0f} million operations a layer against {attention / GIGA:.0f} G "
        "at N=8192 and d=512; the first counts the gather only, not the scoring that chooses the target.",
    )
    return draft.table("operations", "Counted operations of one sequence of N tokens", cells, *notes)


def _growth(value: float) -> str:
    return NOT_RUN if pd.isna(value) else f"{value:.2f}×"


def scaling(frame: pd.DataFrame) -> Table:
    """Exponents over N, with intervals."""
    cells, draft = summary.scaling(frame), _Draft()
    draft.add("exponent", cells, "measure", _exponent)
    notes = (
        "Exponent b of N^b for one sequence, by least squares on logarithms over all N, with its 95% interval: "
        "1 is linear, 2 quadratic. The trunk is linear, so a quadratic mixer tends to 2 only at large N.",
        "Times use every repeat as a point.",
    )
    return draft.table("scaling", "Scaling exponents over sequence length N", cells, *notes)


def _exponent(record: Any) -> str:
    if pd.isna(record["exponent_low"]):
        return f"{record['exponent']:.2f}"
    return f"{record['exponent']:.2f} ({record['exponent_low']:.2f} to {record['exponent_high']:.2f})"


def copy_accuracy(frame: pd.DataFrame) -> Table:
    """Accuracy with its interval, the budget used, and the tokens until 95%, by distance."""
    cells, draft = summary.copy(frame), _Draft()
    published = paper.published("copy_accuracy").dropna(subset="distance")
    published["value"] /= 100
    draft.add("accuracy, %", with_paper(cells, published, "accuracy"), "distance", _accuracy, "position")
    draft.add("tokens used", cells, "distance", lambda r: whole(r["tokens_used"]), "position")
    draft.add("tokens until 95%", cells, "distance", _until, "position")
    low, high = (paper.value("copy_accuracy", f"{end} copy accuracy from 512 to 2048") for end in ("lowest", "highest"))
    notes = (
        "Hard argmax inference on fresh sequences; in brackets the 95% Wilson interval (over several seeds the mean, "
        "and the widest of the seeds' intervals).",
        f"{_chances(cells)} The paper also prints {low:.2f}% to {high:.2f}% for every distance, against its own table.",
        "Every model has the same token budget and may stop early at the accuracy that the config states.",
    )
    data = _beside(cells, published, "distance")
    return draft.table("copy_accuracy", "Copy accuracy by distance D", data, *notes)


def _accuracy(record: Any) -> str:
    if pd.isna(record["accuracy"]):
        return UNKNOWN
    mean = f"{100 * record['accuracy']:.2f}"
    if pd.isna(record["accuracy_low"]):
        return mean
    return f"{mean} ({100 * record['accuracy_low']:.2f} to {100 * record['accuracy_high']:.2f})"


def _until(record: Any) -> str:
    if pd.isna(record["tokens_to_95"]):
        return "never"
    some = "" if record["solved"] == record["runs"] else f" ({record['solved']:.0f} of {record['runs']} seeds)"
    return whole(record["tokens_to_95"]) + some


def _chances(cells: pd.DataFrame) -> str:
    levels = sorted({f"{100 * level:.2f}%" for level in cells["chance"].dropna()})
    return f"Guessing gives {' or '.join(levels)}." if levels else ""


def copy_loss(frame: pd.DataFrame) -> Table:
    """Evaluation loss by distance, beside the loss of guessing."""
    cells, draft = summary.copy(frame), _Draft()
    draft.add("nats", cells, "distance", lambda r: significant(r["loss"]), "position")
    first, last = (paper.value("copy_loss", f"{end} training loss") for end in ("first", "last"))
    vocabularies = sorted(cells["symbols"].dropna().unique())
    guess = "; ".join(f"ln {int(v)} = {math.log(v):.3f}" for v in vocabularies)
    notes = (
        "Cross-entropy in nats a copied symbol, hard argmax inference on fresh sequences, mean over seeds.",
        f"Guessing gives {guess}." if guess else "",
        f"The paper prints a training loss that falls from {first} to {last}; ln 20 = {math.log(20):.3f}.",
    )
    return draft.table("copy_loss", "Copy loss by distance D", cells, *filter(None, notes))


def hops(frame: pd.DataFrame) -> Table:
    """Mean and longest hop by layer."""
    cells, draft = summary.hops(frame), _Draft()
    draft.add("mean (longest)", cells, "layer", _hop, "task")
    low, high = (paper.value("hops", f"{end} mean hop of the early layers") for end in ("lowest", "highest"))
    longest = paper.value("hops", "longest hop of the later layers")
    notes = (
        "Tokens from a position back to its target: mean over positions, heads and seeds; in brackets the longest.",
        f"The paper gives means of {low:.0f} to {high:.0f} for its early layers and a longest hop of {longest:.0f} for "
        "its later ones, on a task that it does not name and that reads like text: not comparable with a copy task.",
    )
    return draft.table("hops", "Hop distance in tokens by layer (1 is the lowest)", cells, *notes)


def _hop(record: Any) -> str:
    if pd.isna(record["mean_hop_tokens"]):
        return UNKNOWN
    return f"{record['mean_hop_tokens']:,.1f} ({record['max_hop_tokens']:,.0f})"


def parameters(frame: pd.DataFrame) -> Table:
    """Size of every model and what it knows of position."""
    cells = summary.parameters(frame)
    rank = {model: place for place, model in enumerate(models.ordered(cells["model"]))}
    cells = cells.sort_values("model", key=lambda names: names.map(rank), ignore_index=True)
    target = paper.published("parameters")["value"].iloc[0]
    wide = pd.DataFrame(
        {
            "model": cells["model"].astype("str"),
            "knows of position": cells["position"].fillna("–").astype("str"),
            "parameters": [_span(a, b) for a, b in zip(cells["n_params_min"], cells["n_params_max"], strict=True)],
            "against the paper's": [f"{100 * (n / target - 1):+.1f}%" if n else NOT_RUN for n in cells["n_params_max"]],
            "in position tables": [
                _span(a, b) for a, b in zip(cells["n_tables_min"], cells["n_tables_max"], strict=True)
            ],
        },
        dtype="str",
    )
    notes = (
        f"The paper gives about {target / 1e6:.1f} M for every model.",
        "Parameters leave out position tables, which grow with N and are counted apart.",
        "A range is over vocabularies (parameters) or lengths (tables).",
    )
    return Table("parameters", "Parameters of every model", wide, cells, notes)


def _span(low: Any, high: Any) -> str:
    if pd.isna(low):
        return UNKNOWN
    return whole(low) if low == high else f"{whole(low)} to {whole(high)}"


def _beside(cells: pd.DataFrame, published: pd.DataFrame, axis: str) -> pd.DataFrame:
    """The cells, with the paper's figure for the same model and length or distance, and its source, in columns."""
    theirs = published[["model", axis, "value", "source"]].rename(columns={"value": "paper", "source": "paper_source"})
    return cells.astype({"model": "object"}).merge(
        theirs.astype({axis: cells[axis].dtype}), on=["model", axis], how="left"
    )


TABLES: dict[str, Builder] = {
    builder.__name__: builder
    for builder in (
        training_time,
        throughput,
        speedup,
        memory,
        copy_accuracy,
        copy_loss,
        hops,
        operations,
        scaling,
        parameters,
    )
}


def write(frame: pd.DataFrame, out: Path, tier: str = "") -> list[Path]:
    """Every table in every format; returns the files."""
    return [path for build in TABLES.values() for path in render.write(build(frame), out, tier)]
