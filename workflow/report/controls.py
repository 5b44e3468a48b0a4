"""Positive controls: does each baseline learn what the literature shows it to learn?

config/controls.yaml names the task of each, its source and what differs here."""

from __future__ import annotations

from typing import Any, Literal

import pandas as pd
from pydantic import Field

from workflow.bench import registry
from workflow.bench.sources import ROOT
from workflow.bench.validation import Closed, Settings, Text, Whole, read_yaml
from workflow.report.estimates import describe, from_json, select
from workflow.report.layout import NOT_RUN, Table, records, share

FILE = ROOT / "config" / "controls.yaml"
TRUNK = "2x64x2"
TITLE = "Positive controls: what the literature shows each baseline to learn"
NEEDED, SEEDS = 0.95, 3
COLUMNS = [
    "model", "task", "source", "source figure", "differs", "ours", "seeds", "rate", "validated",
]  # fmt: skip
NOTES = (
    f"Validated: at least {NEEDED:.0%} on each of {SEEDS} seeds, on the trunk {TRUNK}, at the "
    "learning rate that a search chose.",
    "ours: accuracy in %, mean over the seeds, in brackets the least of them.",
)


class Control(Closed):
    """A model's control: the cell, where the literature shows the same, and what differs here."""

    model: Text
    task: Text
    size: Whole = Field(description="along the task's axis: pairs of mqar, the distance of copy")
    mixer: Settings = Field(default={}, description="changed settings")
    short_convolution: Literal["source", "on"] = "source"
    source: str
    source_figure: str
    differs: str
    checked: str = Field(description="how the source figure was checked")

    @property
    def variant(self) -> str:
        """Return its changed settings as estimates name them."""
        return describe(self.model_dump())

    def estimate(self, estimates: pd.DataFrame) -> Any:
        """Return the accuracy of its cell, of several that of most seeds and tokens, or None."""
        cell = {"model": self.model, "variant": self.variant, "x": self.size, "trunk": TRUNK}
        own = select(estimates, "accuracy", experiment=self.task, dtype="float32", **cell)
        own = own.sort_values(["runs", "tokens"], kind="stable")
        return records(own)[-1] if len(own) else None


def read() -> list[Control]:
    """Return the controls in the order of the registry."""
    found = {name: Control(model=name, **fields) for name, fields in read_yaml(FILE).items()}
    return [found[name] for name in registry.names() if name in found]


def verdict(estimate: Any) -> str:
    """Return whether an estimate validates its model, else what is missing."""
    if estimate is None:
        return "not run"
    values = from_json(estimate.values)
    if not len(values):
        return f"unvalidated: {estimate.status}"
    if values.min() < NEEDED:
        return f"unvalidated: {100 * values.min():.0f}% of {100 * NEEDED:.0f}% needed"
    return "yes" if len(values) >= SEEDS else f"unvalidated: {len(values)} of {SEEDS} seeds"


def table(estimates: pd.DataFrame) -> Table:
    """Return the table of controls; without lines where none was run."""
    found = [(control, control.estimate(estimates)) for control in read()]
    if all(own is None for _, own in found):
        found = []
    shown, numbers, rows = [], [], []
    for control, own in found:
        task = ", ".join(filter(None, [f"{control.task} {control.size}", control.variant]))
        about = [control.model, task, control.source, control.source_figure, control.differs]
        ours, texts = [None, 0, None], [NOT_RUN, NOT_RUN, NOT_RUN]
        if own is not None:
            ours = [own.value, own.runs, own.learning_rate]
            texts = [f"{share(own.value)} ({share(own.least)})", str(own.runs)]
            texts.append(f"{own.learning_rate:g}")
        shown.append([*about, *texts, verdict(own)])
        numbers.append([*about, *ours, verdict(own)])
        rows.append("" if own is None else own.rows)
    wide = pd.DataFrame(shown, columns=COLUMNS, dtype="str")
    data = pd.DataFrame(numbers, columns=COLUMNS).rename(columns={"source figure": "source_figure"})
    data.insert(0, "quantity", "accuracy")
    return Table("controls", TITLE, wide, data, NOTES, tuple(rows))


def unvalidated(estimates: pd.DataFrame, shown: pd.DataFrame) -> str:
    """Return a note that names the models of a table which missed their control; else nothing."""
    names = [
        control.model
        for control in read()
        if control.model in set(shown["model"])
        and verdict(control.estimate(estimates)).startswith("unvalidated")
    ]
    return f"Unvalidated (table of controls): {', '.join(names)}." if names else ""
