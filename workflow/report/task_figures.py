"""Figures of the tasks other than copy: MQAR by number of pairs, and what accuracy costs in throughput."""

from __future__ import annotations

from collections import Counter

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workflow.report import canvas, layout, models, task_summary
from workflow.report.copy_figures import accuracies


def mqar(frame: pd.DataFrame) -> Figure:
    """Accuracy with its interval by number of pairs, with the lines of 95% and of guessing, a panel a place."""
    cells, title = task_summary.recall(frame), "Multi-query associative recall"
    cells = cells[cells["task"] == "mqar"]
    places = canvas.by_place(cells)
    if not places:
        return canvas.nothing(title, "No mqar row has finished yet: nothing to draw.")
    looks = canvas.looks_for(cells["model"])
    figure, axes = canvas.panels(list(places), title, share_y=True, height=3.2)
    for axis, group in zip(axes, places.values(), strict=True):
        canvas.powers_of_two(axis, group["size"])
        accuracies(axis, looks, group, "size")
        axis.set(xlabel="Pairs of key and value", ylabel="Accuracy, hard argmax inference (%)", ylim=(-3, 104))
    keys = [canvas.line_key(":", "95%"), canvas.line_key("--", "guessing")]
    canvas.legend(figure, looks, {*cells["model"]}, keys, canvas.failures(cells, "size"))
    return figure


def trade_off(frame: pd.DataFrame) -> Figure:
    """Accuracy against training throughput, a point a model, a panel a task: better is up and to the right."""
    panels, title = task_summary.trade_off(frame), "Accuracy against training throughput"
    if not panels:
        missing = "No model has both a timing and a score on copy or MQAR yet: nothing to draw."
        return canvas.nothing(title, missing)
    drawn = {name: cells[cells["rate"].notna()] for name, cells in panels.items()}
    everyone = {name for cells in drawn.values() for name in cells["model"]}
    looks = canvas.looks_for(everyone)
    figure, axes = canvas.panels(list(panels), title, share_y=True, height=3.0)
    for axis, cells in zip(axes, drawn.values(), strict=True):
        _points(axis, looks, cells)
    keys = [canvas.line_key(":", "95%"), canvas.line_key("--", "guessing")]
    canvas.legend(figure, looks, everyone, keys, note=_untimed(panels))
    return figure


def _untimed(panels: dict[str, pd.DataFrame]) -> str:
    """Which models a panel leaves out: trained and scored, but not timed there."""
    left = {
        " on ".join(title.splitlines()[:2]): models.ordered(
            cells["model"][cells["rate"].isna() & cells["tokens_used"].gt(0)]
        )
        for title, cells in panels.items()
    }
    said = [f"{where}: {', '.join(_together(names))}" for where, names in left.items() if names]
    return "No point, as not timed: " + "; ".join(said) if said else ""


def _together(names: list[str]) -> list[str]:
    """Names in few words: several variants of one model as their number."""
    variants = Counter(base for name in names if (base := layout.base(name)) != name)
    alone = [models.plain(name) for name in names if (base := layout.base(name)) == name or variants[base] < 2]
    return alone + [f"{count} variants of {models.plain(name)}" for name, count in variants.items() if count > 1]


def _points(axis: Axes, looks: dict[str, models.Look], cells: pd.DataFrame) -> None:
    for _, cell in cells.iterrows():
        look = looks[cell["model"]]
        reach = [
            [100 * max(0.0, cell["accuracy"] - cell["accuracy_low"])],
            [100 * (cell["accuracy_high"] - cell["accuracy"])],
        ]
        axis.errorbar([cell["rate"]], [100 * cell["accuracy"]], reach, color=look.colour, marker=look.marker, capsize=2)
    canvas.reference_line(axis, 95, ":")
    for chance in {round(100 * float(level), 6) for level in cells["chance"].dropna()}:
        canvas.reference_line(axis, chance, "--")
    axis.set(xlabel="Training throughput (tokens/s)", ylabel="Accuracy, hard argmax inference (%)", ylim=(-3, 104))
    axis.set_xlim(0, 1.1 * float(cells["rate"].max()))
