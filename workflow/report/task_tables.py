"""Tables of the tasks other than copy: accuracy on the recall tasks and ListOps, bits a byte of text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from workflow.report import models, task_summary
from workflow.report.copy_tables import accuracy_text, until_text
from workflow.report.drafting import Draft
from workflow.report.layout import NOT_RUN, Table, significant, whole

OF_ONE = {  # task or model -> what its numbers have to be read with
    "mqar": "On mqar, knowing which values a sequence has but not whose they are scores one over the pairs: no recall. "
    "Attention learns it in its authors' training (Zoology, arXiv 2312.04927), which is far longer than these budgets. "
    "Zoology has 8192 symbols, more than half of a model of this size, and 64 pairs in 512 tokens.",
    "khop": "On khop (4 symbols, N = 128) the symbol at hand alone tells the answer of 32%, 48%, 27% and 31% of "
    "positions for k = 1 to 4.",
    "induction": "On induction one symbol a sequence carries loss, so training is noisy: who does not learn it can end "
    "below guessing.",
    "string-copy": "Accuracy on string-copy is of letters, each asked for behind the true ones; its authors count "
    "whole strings. It is also scored on strings 2 and 4 times as long as any in training, sizes without tokens; "
    "learned absolute positions so late were never trained.",
    "listops": "listops is a classification at the expression's last token, by a causal model; at N = 2000 the first "
    "operator alone tells 36% of the answers.",
    "longformer": "At N up to 256 longformer, whose window is 256, computes what transformer does.",
}


def recall(frame: pd.DataFrame) -> Table:
    """Accuracy with its interval, the budget used, and the tokens until 95%, a block a task, sizes across."""
    cells, draft = task_summary.recall(frame), Draft(frame["machine"])
    for task, group in cells.groupby("task", observed=True, sort=True):
        by = f"{task} by {task_summary.axis(str(task))}"
        draft.add(f"{by}: accuracy, %", group, "size", accuracy_text, "n", "position")
        if group["whole"].notna().any():
            draft.add(f"{by}: whole strings right, %", group, "size", _strings, "n", "position")
        draft.add(f"{by}: tokens used", group, "size", _used, "n", "position")
        draft.add(f"{by}: tokens until 95%", group, "size", until_text, "n", "position")
    if not draft.blocks:
        draft.add("accuracy, %", cells, "size", accuracy_text, "n", "position")
    cells["budget_steps"] = cells["tokens_budget"] / cells["step_tokens"]
    budgets, steps, looks = (_by_task(cells, c, whole) for c in ("tokens_budget", "budget_steps", "look_tokens"))
    chances = _by_task(cells, "chance", lambda c: f"{100 * c:.2f}%")
    notes = (
        "Hard argmax inference on fresh sequences; in brackets the 95% Wilson interval (over several seeds the mean, "
        "and the widest of the seeds' intervals). Column n: sequence length where the size does not say it.",
        f"Budgets in tokens, the same for every model, which may stop early: {budgets}." if budgets else "",
        f"In optimiser steps: {steps}; so few show who learns soon, not what a model would learn from more."
        if steps
        else "",
        "Tokens until 95%: at the first look at held-out sequences that finds it, of seeds that also end there; tokens "
        f"between looks: {looks}."
        if looks
        else "",
        f"The best constant guess gives: {chances}." if chances else "",
        *(said for name, said in OF_ONE.items() if name in {*cells["task"], *cells["model"]}),
        _behind(cells),
    )
    return draft.table("recall", "Accuracy on recall tasks and ListOps", cells, *filter(None, notes))


def _behind(cells: pd.DataFrame) -> str:
    said = [
        f"{cell['task']} {cell['size']} ({100 * cell['accuracy']:.1f}% against {100 * cell['accuracy_theirs']:.1f}%)"
        for _, cell in task_summary.behind(cells).iterrows()
    ]
    names = f"{task_summary.BY_CONTENT} ends below {task_summary.AS_ATTENTION}, attention with the same comparison"
    return f"{names}, by more than the intervals, on: {', '.join(said)}." if said else ""


def _strings(record: Any) -> str:
    return NOT_RUN if pd.isna(record["whole"]) else f"{100 * record['whole']:.1f}"


def _used(record: Any) -> str:
    return NOT_RUN if pd.isna(record["tokens_used"]) else whole(record["tokens_used"])


def _by_task(cells: pd.DataFrame, column: str, text: Callable[[float], str]) -> str:
    """The different values of a column, task by task; empty where there are none."""
    groups = cells.dropna(subset=column).groupby("task", observed=True, sort=True)[column]
    return "; ".join(f"{task} {' or '.join(dict.fromkeys(map(text, sorted(group))))}" for task, group in groups)


def bytes_(frame: pd.DataFrame) -> Table:
    """Bits a byte of real text, by sequence length."""
    cells, draft = task_summary.text(frame), Draft(frame["machine"])
    draft.add("bits a byte", cells, "length", lambda r: significant(r["bits_per_byte"]), "position")
    draft.add("next byte right, %", cells, "length", lambda r: significant(100 * r["accuracy"]), "position")
    draft.add("tokens used", cells, "length", lambda r: whole(r["tokens_used"]), "position")
    levels = sorted({f"{bits:.2f}" for bits in cells["bits_per_byte_guessing"].dropna()})
    hashes = ", ".join(sorted(cells["data_hash"].dropna().unique()))
    notes = (
        "Evaluation on files that training never read, hard argmax inference, mean over seeds.",
        f"Guessing by the frequency of bytes takes {' or '.join(levels)} bits a byte." if levels else "",
        f"Text (hash): {hashes}; rows of different texts do not compare." if hashes else "",
        "Only equal numbers of tokens compare; so few show who learns soon, not what a model would learn from more.",
        _unmixed(cells),
    )
    return draft.table("bytes", "Bits a byte of real text by sequence length N", cells, *filter(None, notes))


def _unmixed(cells: pd.DataFrame) -> str:
    above = models.ordered(task_summary.unmixed(cells))
    said = f"{', '.join(above)} do not do better than identity, which sees the last byte only: no context is used yet."
    return said if above else ""
