"""Tables of the tasks other than copy: accuracy on the recall tasks and ListOps, bits a byte of text."""

from __future__ import annotations

from typing import Any

import pandas as pd

from workflow.report import task_summary
from workflow.report.copy_tables import accuracy_text, until_text
from workflow.report.drafting import Draft
from workflow.report.layout import NOT_RUN, Table, significant, whole

OF_ONE = {
    "mqar": "On mqar, knowing which values a sequence has but not whose they are scores one over the pairs: no recall.",
    "string-copy": "string-copy is also scored on strings 2 and 4 times as long as any in training: sizes without "
    "tokens.",
    "listops": "listops is a classification at the expression's last token, by a causal model.",
}


def recall(frame: pd.DataFrame) -> Table:
    """Accuracy with its interval, the budget used, and the tokens until 95%, a block a task, sizes across."""
    cells, draft = task_summary.recall(frame), Draft()
    for task, group in cells.groupby("task", observed=True, sort=True):
        by = f"{task} by {task_summary.axis(str(task))}"
        draft.add(f"{by}: accuracy, %", group, "size", accuracy_text, "n", "position")
        draft.add(f"{by}: tokens used", group, "size", _used, "n", "position")
        draft.add(f"{by}: tokens until 95%", group, "size", until_text, "n", "position")
    if not draft.blocks:
        draft.add("accuracy, %", cells, "size", accuracy_text, "n", "position")
    notes = (
        "Hard argmax inference on fresh sequences; in brackets the 95% Wilson interval (over several seeds the mean, "
        "and the widest of the seeds' intervals). Column n: sequence length where the size does not say it.",
        _budgets(cells),
        _chances(cells),
        *(said for task, said in OF_ONE.items() if task in set(cells["task"])),
    )
    return draft.table("recall", "Accuracy on recall tasks and ListOps", cells, *filter(None, notes))


def _used(record: Any) -> str:
    return NOT_RUN if pd.isna(record["tokens_used"]) else whole(record["tokens_used"])


def _budgets(cells: pd.DataFrame) -> str:
    """The budgets of training, task by task."""
    budgets = cells.dropna(subset="tokens_budget").groupby("task", observed=True, sort=True)["tokens_budget"]
    said = [f"{task} {' or '.join(whole(budget) for budget in sorted(set(group)))}" for task, group in budgets]
    return f"Budgets in tokens, the same for every model, which may stop early: {'; '.join(said)}." if said else ""


def _chances(cells: pd.DataFrame) -> str:
    """What guessing gives, task by task."""
    levels = cells.dropna(subset="chance").groupby("task", observed=True, sort=True)["chance"]
    said = [f"{task} {' or '.join(sorted({f'{100 * level:.2f}%' for level in group}))}" for task, group in levels]
    return f"The best constant guess gives: {'; '.join(said)}." if said else ""


def bytes_(frame: pd.DataFrame) -> Table:
    """Bits a byte of real text, by sequence length."""
    cells, draft = task_summary.text(frame), Draft()
    draft.add("bits a byte", cells, "length", lambda r: significant(r["bits_per_byte"]), "position")
    draft.add("next byte right, %", cells, "length", lambda r: significant(100 * r["accuracy"]), "position")
    draft.add("tokens used", cells, "length", lambda r: whole(r["tokens_used"]), "position")
    levels = sorted({f"{bits:.2f}" for bits in cells["bits_per_byte_guessing"].dropna()})
    hashes = ", ".join(sorted(cells["data_hash"].dropna().unique()))
    notes = (
        "Evaluation on files that training never read, hard argmax inference, mean over seeds.",
        f"Guessing by the frequency of bytes takes {' or '.join(levels)} bits a byte." if levels else "",
        f"Text (hash): {hashes}; rows of different texts do not compare." if hashes else "",
        "Budgets are small: this ranks models after equal budgets, it is no language model.",
    )
    return draft.table("bytes", "Bits a byte of real text by sequence length N", cells, *filter(None, notes))
