"""Figures of the copy task: accuracy against distance, loss against training tokens."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from workflow.report import canvas, models, paper, summary
from workflow.report.frame import unpack

NO_ROWS = "No copy row has finished yet: nothing to draw."
SPREAD = 0.16  # octaves over which the models of a distance are spread sideways, so that equal accuracies stay apart


def copy_accuracy(frame: pd.DataFrame) -> Figure:
    """Accuracy with its interval by distance, with the lines of 95% and of guessing, and the paper's points."""
    cells, title = summary.copy(frame), "Copy accuracy"
    places = canvas.by_place(cells)
    if not places:
        return canvas.nothing(title, NO_ROWS)
    published = paper.published("copy_accuracy").dropna(subset="distance")
    looks = canvas.looks_for(cells["model"], published["model"])
    figure, axes = canvas.panels(list(places), title, share_y=True, height=3.2)
    for axis, group in zip(axes, places.values(), strict=True):
        _distances(axis, [*group["distance"], *published["distance"]])
        accuracies(axis, looks, group, "distance")
        canvas.published_points(axis, looks, published, "distance")
        axis.set(xlabel="Copy distance D (tokens)", ylabel="Accuracy, hard argmax inference (%)", ylim=(-3, 104))
    keys = [canvas.line_key(":", "95%"), canvas.line_key("--", "guessing"), canvas.paper_key()]
    canvas.legend(figure, looks, {*cells["model"]}, keys, canvas.failures(cells, "distance"))
    return figure


def accuracies(axis: Axes, looks: dict[str, models.Look], cells: pd.DataFrame, across: str) -> None:
    """Every model of one panel over the column `across`, and the lines of 95% and of guessing."""
    shown = models.ordered(cells["model"])
    for slot, model in enumerate(shown):
        shift = SPREAD * ((slot + 0.5) / len(shown) - 0.5)
        _intervals(axis, looks[model], cells[cells["model"] == model], across, shift)
    canvas.reference_line(axis, 95, ":")
    for chance in {round(100 * float(level), 6) for level in cells["chance"].dropna()}:
        canvas.reference_line(axis, chance, "--")


def _distances(axis: Axes, distances: list[float]) -> None:
    """A log-2 axis labelled at the distances; labels that would touch are turned, or left out if that is not enough."""
    ticks = sorted({int(distance) for distance in distances})
    canvas.powers_of_two(axis, ticks)
    span = math.log2(ticks[-1] / ticks[0]) or 1.0
    kept = [
        tick for tick, left in zip(ticks, [0, *ticks], strict=False) if not left or math.log2(tick / left) / span > 0.04
    ]
    gaps = [math.log2(right / left) / span for left, right in itertools.pairwise(kept)]
    axis.tick_params(axis="x", labelrotation=90 if min(gaps, default=1.0) < 0.1 else 0)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}" if round(value) in kept else ""))


def _intervals(axis: Axes, look: models.Look, cells: pd.DataFrame, across: str, shift: float) -> None:
    """A model's means and the widest of its seeds' Wilson intervals, moved sideways by `shift` octaves."""
    cells = cells.dropna(subset=["accuracy"]).sort_values(across)
    x = cells[across].astype(float) * 2**shift
    below, above = cells["accuracy"] - cells["accuracy_low"], cells["accuracy_high"] - cells["accuracy"]
    error = (100 * pd.concat([below, above], axis=1)).fillna(0).clip(lower=0).to_numpy().T
    style: dict[str, Any] = {
        "color": look.colour,
        "marker": look.marker,
        "linestyle": look.line,
        "capsize": 2,
        "elinewidth": 0.9,
        "zorder": 3,
    }
    axis.errorbar(x, 100 * cells["accuracy"], error, **style)


def loss_curves(frame: pd.DataFrame) -> Figure:
    """Training loss by tokens, a panel a distance, a line a seed, and the loss of guessing."""
    rows, title = summary.of(frame, "copy"), "Loss on the copy task"
    rows["points"] = rows["loss_curve"].map(_points, na_action=None)
    rows = rows[rows["points"].map(len) > 0]
    if rows.empty:
        return canvas.nothing(title, NO_ROWS)
    looks = canvas.looks_for(rows["model"])
    distances = sorted(rows["distance"].unique())
    highest = max(loss for points in rows["points"] for _, loss in points)
    figure, axes = canvas.panels([f"D = {distance}" for distance in distances], title, share_y=True, height=2.3)
    for axis, distance in zip(axes, distances, strict=True):
        group = rows[rows["distance"] == distance]
        for _, row in group.iterrows():
            _curve(axis, looks[row["model"]], row["points"])
        for symbols in group["symbols"].unique():
            canvas.reference_line(axis, math.log(symbols), "--")
        axis.set(xlabel="Training tokens (thousands)", ylabel="Training loss (nats a symbol)")
        axis.set(xlim=(0, None), ylim=(-0.1, 1.06 * highest))
    canvas.legend(figure, looks, {*rows["model"]}, [canvas.line_key("--", "guessing, ln V")])
    return figure


def _points(cell: object) -> list[tuple[float, float]]:
    """A loss curve as (thousands of tokens, loss); empty where nothing was trained."""
    return [(tokens / 1000, loss) for tokens, loss in unpack(cell) or [] if tokens is not None and loss is not None]


def _curve(axis: Axes, look: models.Look, points: list[tuple[float, float]]) -> None:
    tokens, losses = zip(*points, strict=True)
    style: dict[str, Any] = {"color": look.colour, "linestyle": look.line, "marker": look.marker, "alpha": 0.85}
    axis.plot(tokens, losses, markersize=3, markevery=max(1, len(points) // 8), **style)
