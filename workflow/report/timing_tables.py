"""Tables of cost: training time, throughput, speed-up, memory, counted operations, and how each scales with N."""

from __future__ import annotations

from typing import Any

import pandas as pd

from workflow.bench.measure import statistics
from workflow.report import models, paper, summary
from workflow.report.drafting import Draft, beside
from workflow.report.layout import NOT_RUN, Machines, Table, significant, whole, with_paper

MIB, KIB, GIGA = 2**20, 2**10, 10**9
MOST_HOURS = 1  # between the rows of a pair before a note says so: a machine drifts
PAPER_NOTE = "paper: Apple Silicon; batch, repeats and timing protocol are not stated."


STEADY_NOTE = (
    f"A number marked as varying is doubtful: repeats whose standard deviation exceeds {statistics.MOST_DEVIATION:.0%} "
    f"of their mean, or one of which is {statistics.MOST_EXCURSION:.0%} off it (the limits of pyperf)."
)


def training_time(frame: pd.DataFrame) -> Table:
    """Seconds for 20 sequences of N tokens, the paper's unit."""
    cells, published = summary.training_time(frame), paper.training_time()
    draft = Draft(frame["machine"])
    draft.add("s", with_paper(cells, published, "seconds"), "length", lambda r: significant(r["seconds"]))
    title = "Training time in seconds for 20 sequences of N tokens"
    implied = "The paper prints its times at N=2048 only; the others follow from its throughput, 20 N / (tokens/s)."
    median = "Median over repeats. Compare ratios across machines, not seconds."
    return draft.table("training_time", title, beside(cells, published, "length"), median, implied, PAPER_NOTE)


def throughput(frame: pd.DataFrame) -> Table:
    """Tokens/s of training and of inference."""
    draft, data = Draft(frame["machine"]), []
    for phase in summary.PHASES:
        cells = summary.throughput(frame, phase)
        published = paper.throughput() if phase == "training" else paper.throughput().iloc[:0]
        draft.add(f"{phase}, tokens/s", with_paper(cells, published, "rate"), "length", lambda r: whole(r["rate"]))
        data.append(beside(cells, published, "length").assign(phase=phase))
    title = "Throughput in tokens/s by sequence length N"
    note = "Median over repeats. Compare ratios across machines, not tokens/s."
    return draft.table("throughput", title, pd.concat(data, ignore_index=True), note, STEADY_NOTE, PAPER_NOTE)


def speedup(frame: pd.DataFrame) -> Table:
    """Ratio of throughputs to a Transformer in the same place and repeat."""
    draft, data = Draft(frame["machine"]), []
    for phase in summary.PHASES:
        for reference in summary.references(frame):
            cells = summary.speedup(frame, phase, reference)
            published = paper.speedup() if phase == "training" else paper.speedup().iloc[:0]
            quantity = f"{phase}, against {reference}"
            draft.add(quantity, with_paper(cells, published, "ratio"), "length", lambda r: significant(r["ratio"]))
            data.append(beside(cells, published, "length").assign(phase=phase, reference=reference))
    if not draft.blocks:  # nothing of ours to compare yet: the paper's ratios alone
        data.append(summary.speedup(frame, "training", summary.REFERENCES[0]))
        draft.add("", with_paper(data[0], paper.speedup(), "ratio"), "length", lambda r: significant(r["ratio"]))
    title = "Speed-up: ratio of throughput to the reference, by sequence length N"
    ours = pd.concat(data, ignore_index=True)
    notes = [
        "Median over pairs of rows from one machine, device, dtype and repeat; never across machines.",
        *_apart(ours, draft.machines),
        *_versions(frame, draft.machines),
        "The paper does not say which Transformer it timed; transformer-unfused materialises the N x N matrix.",
    ]
    return draft.table("speedup", title, ours, *notes)


def _apart(cells: pd.DataFrame, machines: Machines) -> list[str]:
    """Where the two rows of a pair were not measured one after the other."""
    late = cells[cells["hours_apart"] > MOST_HOURS].groupby(["machine", "length"], as_index=False)["hours_apart"].max()
    said = [
        f"{machines.code(line['machine'])} at N={line['length']} ({line['hours_apart']:,.0f} h)"
        for _, line in late.iterrows()
    ]
    return [f"Rows of some pairs lie more than {MOST_HOURS} hour apart: {', '.join(said)}."] if said else []


def _versions(frame: pd.DataFrame, machines: Machines) -> list[str]:
    """Models whose timings on one machine are of other code than on another."""
    timed = frame[(frame["experiment"] == "efficiency") & frame["model_hash"].notna()]
    made = timed.groupby(["model", "machine"])["model_hash"].agg(lambda hashes: ", ".join(sorted(set(hashes))))
    changed = models.ordered(str(name) for name, there in made.groupby("model") if there.nunique() > 1)
    where = sorted({machines.code(machine) for model, machine in made.index if model in changed})
    return [f"Of other versions of their code on {' and '.join(where)}: {', '.join(changed)}."] if changed else []


def memory(frame: pd.DataFrame) -> Table:
    """Peak of a training step, and bytes kept for its backward pass a token."""
    cells, draft = summary.memory(frame), Draft(frame["machine"])
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
    cells, draft = summary.operations(frame), Draft(frame["machine"])
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
    cells, draft = summary.scaling(frame), Draft(frame["machine"])
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
