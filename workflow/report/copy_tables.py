"""Tables of what was learned: copy accuracy and loss by distance, hops by layer; and the size of every model."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from workflow.report import models, paper, summary
from workflow.report.drafting import Draft, beside
from workflow.report.layout import NOT_RUN, UNKNOWN, Table, significant, whole, with_paper


def copy_accuracy(frame: pd.DataFrame) -> Table:
    """Accuracy with its interval, the budget used, and the tokens until 95%, by distance."""
    cells, draft = summary.copy(frame), Draft(frame["machine"])
    published = paper.published("copy_accuracy").dropna(subset="distance")
    published["value"] /= 100
    draft.add("accuracy, %", with_paper(cells, published, "accuracy"), "distance", accuracy_text, "position")
    draft.add("tokens used", cells, "distance", lambda r: whole(r["tokens_used"]), "position")
    draft.add("tokens until 95%", cells, "distance", until_text, "position")
    low, high = (paper.value("copy_accuracy", f"{end} copy accuracy from 512 to 2048") for end in ("lowest", "highest"))
    notes = (
        "Hard argmax inference on fresh sequences; in brackets the 95% Wilson interval (over several seeds the mean, "
        "and the widest of the seeds' intervals).",
        f"{_chances(cells)} The paper also prints {low:.2f}% to {high:.2f}% for every distance, against its own table.",
        f"Every model has the same token budget{_budgets(frame)} and may stop early at the accuracy that the config "
        "states: few optimiser steps, which do not show what a model would learn from more (see fairness).",
        *_one_step(cells),
    )
    data = beside(cells, published, "distance")
    return draft.table("copy_accuracy", "Copy accuracy by distance D", data, *notes)


def _budgets(frame: pd.DataFrame) -> str:
    """The budgets of the rows in words."""
    by_budget = summary.of(frame, "copy").dropna(subset=["tokens_budget", "distance"]).groupby("tokens_budget")
    said = [
        f"{whole(budget)} tokens (D={', '.join(map(str, sorted(set(rows['distance']))))})" for budget, rows in by_budget
    ]
    return f", {' and '.join(said)}," if said else ""


def _one_step(cells: pd.DataFrame) -> list[str]:
    """Which distances ask less of logsparse than others do."""
    tried = {int(d) for d in cells.loc[cells["model"] == "logsparse", "distance"].dropna()}
    powers = ", ".join(str(d) for d in sorted(tried) if d & (d - 1) == 0)
    return [f"logsparse attends to positions a power of two back: D={powers} is one step for it."] if powers else []


def accuracy_text(record: Any) -> str:
    """Percent, with the interval where there is one, and how many seeds where several."""
    if pd.isna(record["accuracy"]):
        return UNKNOWN
    mean = f"{100 * record['accuracy']:.2f}"
    if pd.isna(record["accuracy_low"]):
        return mean
    seeds = f"; {record['runs']:.0f} seeds" if record["runs"] > 1 else ""
    return f"{mean} ({100 * record['accuracy_low']:.2f} to {100 * record['accuracy_high']:.2f}{seeds})"


def until_text(record: Any) -> str:
    """Tokens until 95%, and how many seeds got there."""
    if pd.isna(record["tokens_used"]) or record["tokens_used"] == 0:
        return NOT_RUN  # an untrained control
    if pd.isna(record["tokens_to_95"]):
        return "never"
    some = "" if record["solved"] == record["runs"] else f" ({record['solved']:.0f} of {record['runs']} seeds)"
    return whole(record["tokens_to_95"]) + some


def _chances(cells: pd.DataFrame) -> str:
    levels = sorted({f"{100 * level:.2f}%" for level in cells["chance"].dropna()})
    return f"Guessing gives {' or '.join(levels)}." if levels else ""


def copy_loss(frame: pd.DataFrame) -> Table:
    """Evaluation loss by distance, beside the loss of guessing."""
    cells, draft = summary.copy(frame), Draft(frame["machine"])
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
    cells, draft = summary.hops(frame), Draft(frame["machine"])
    draft.add("mean (longest)", cells, "layer", _hop, "task")
    low, high = (paper.value("hops", f"{end} mean hop of the early layers") for end in ("lowest", "highest"))
    longest = paper.value("hops", "longest hop of the later layers")
    notes = (
        "Tokens from a scored position to its target: mean over positions, heads and seeds; in brackets the longest.",
        f"The paper gives means of {low:.0f} to {high:.0f} for its early layers and a longest hop of {longest:.0f} for "
        "its later ones, on a task that it does not name and that reads like text: not comparable with a copy task.",
        *_trained(frame),
    )
    return draft.table("hops", "Hop distance in tokens by layer (1 is the lowest)", cells, *notes)


def _trained(frame: pd.DataFrame) -> list[str]:
    """How far the models of text, whose pointers are shown, were trained."""
    rows = summary.of(frame, "interpretability").dropna(subset="bits_per_byte")
    if rows.empty:
        return []
    tokens, bits, guess = (
        " to ".join(dict.fromkeys(show(end) for end in (rows[column].min(), rows[column].max())))
        for column, show in (
            ("tokens_used", whole),
            ("bits_per_byte", significant),
            ("bits_per_byte_guessing", significant),
        )
    )
    return [f"Text: after {tokens} tokens, at {bits} bits a byte (by the frequency of bytes {guess}): hardly trained."]


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
