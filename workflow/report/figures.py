"""The figures by name, each a function of estimates and rows; `write` draws them as PNG and SVG.

Charts are declared in `charts`; the others are drawn here, a map of pointers of a row's trace.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from pointer.errors import InputError
from workflow.report import charts, models, style
from workflow.report.charts import CHARTS, NEVER, Line, Panel
from workflow.report.curves import curves
from workflow.report.estimates import from_json, select
from workflow.report.layout import records, without_shared_settings
from workflow.report.models import Look
from workflow.report.page import explorer

Table = pd.DataFrame
FAILURES_NAMED = 6
DEFAULTS, CHANGED = models.COLOURS[2], models.COLOURS[0]  # blue, vermilion


def chart(name: str, estimates: Table, frame: Table) -> Figure:
    """Draw a chart of CHARTS; models that guess are one grey band with their number."""
    declared = CHARTS[name]
    drawn = {panel.title: panel for panel in charts.panels(declared, estimates, frame)}

    def draw(axis: Axes, panel: Panel) -> None:
        guessing = _guessing(panel)
        for line in reversed(panel.lines):  # the first models above the others
            if line not in guessing:
                _draw_line(axis, line)
        points = pd.concat([line.points[["x", "value"]] for line in panel.lines])
        if declared.log_x:
            style.sizes(axis, points["x"])
        else:
            style.counts(axis)
        style.SCALES[declared.y](axis, points["value"])
        for height, _, dash in panel.levels:
            style.level(axis, height, dash)
        axis.set(xlabel=declared.x, ylabel=panel.label)
        if guessing:
            _draw_band(axis, guessing)

    looks, keys = _legend(drawn.values())
    order = [models.label(*series) for series in models.series(estimates)]
    looks = {name: looks[name] for name in order if name in looks}
    note = _without_point(charts.failures(declared, estimates))
    return style.figure(
        declared.title, drawn, draw, share_y=declared.y == "percent",
        looks=looks, keys=list(keys.values()), note=note,
    )  # fmt: skip


def _legend(panels: Iterable[Panel]) -> tuple[dict[str, Look], dict[str, Line2D]]:
    """Return the looks of models and the other entries of the legend, by their text."""
    looks = dict[str, Look]()
    keys = dict[str, Line2D]()
    for panel in panels:
        guessing = _guessing(panel)
        keys |= {text: style.key(text, dash) for _, text, dash in panel.levels}
        for line in panel.lines:
            if line.hollow:
                keys[line.hollow] = style.key(line.hollow, marker="o", **style.HOLLOW)
            elif not line.model:
                keys[line.name] = style.key(line.name, line.look.line, line.look.colour)
            elif line not in guessing:
                looks[line.name] = line.look
    return looks, keys


def _guessing(panel: Panel) -> list[Line]:
    """Return the lines that nowhere score more than guessing."""
    levels = [height for height, text, _ in panel.levels if text == "guessing"]
    ours = [line for line in panel.lines if levels and line.model and not line.hollow]
    return [line for line in ours if line.points["low"].max() <= max(levels)]


def _draw_band(axis: Axes, lines: list[Line]) -> None:
    points = pd.concat([line.points for line in lines])
    low, high = points["low"].min(), points["high"].max()
    axis.axhspan(low, high, color="#bbbbbb", alpha=0.6, zorder=1)
    words, across = f"models at guessing: {len(lines)}", axis.get_yaxis_transform()
    axis.text(0.99, high + 8, words, transform=across, color="#444444", ha="right")


def _draw_line(axis: Axes, line: Line) -> None:
    """Draw a line with its intervals."""
    points, options = line.points, line.look.options | {"zorder": 3}
    if line.hollow:
        options |= style.HOLLOW
    error = None
    if "low" in points:
        reach = [points["value"] - points["low"], points["high"] - points["value"]]
        error = [ends.clip(lower=0) for ends in reach]
    options["markevery"] = max(1, len(points) // 8)
    axis.errorbar(points["x"].astype(float), points["value"], error, elinewidth=0.9, **options)


def _without_point(cells: Iterable[Any]) -> str:
    """Return a sentence of the first estimates without a point; empty where all have one."""
    found = []
    for cell in cells:
        name = models.plain(models.label(cell.model, cell.variant))
        found.append(f"{name} at {cell.x}: {cell.status}")
    texts = list(dict.fromkeys(found))
    if len(texts) > FAILURES_NAMED:
        texts = [*texts[:FAILURES_NAMED], f"and {len(texts) - FAILURES_NAMED} more"]
    return f"No point: {'; '.join(texts)}" if texts else ""


def pointer_map(_: Table, frame: Table) -> Figure:
    """Draw how far back each position and head points, of the trace with the longest distance."""
    title, parts, keys = "Where each position points", {}, []
    first = next((found for found in explorer.traces(frame) if not found.reason), None)
    if first:
        row, length = first.row, first.hops.shape[-1]
        parts = {f"layer {layer}": heads for layer, heads in enumerate(first.hops, start=1)}
        title += f": {models.plain(row['model'])}, {explorer.task(row)}, "
        title += f"N = {length}, seed {row['seed']}"
        colour = models.looks([(row["model"], "")])[row["model"], ""].colour
        keys.append(style.key("a position's pointer, all heads", colour=colour, marker="."))

    def draw(axis: Axes, heads: npt.NDArray[np.int64]) -> None:
        positions = np.broadcast_to(np.arange(length), heads.shape)
        # An image: a hundred thousand points would make the SVG unusable.
        axis.scatter(positions, heads, s=1.2, color=colour, linewidths=0, rasterized=True, zorder=2)
        if pd.notna(row["distance"]):
            style.level(axis, float(row["distance"]), "--", style.SOFT)
        style.hops(axis, heads)
        axis.set_ylim(top=2 * length)
        axis.set(xlabel="Position (tokens)", ylabel="Hop to its target (tokens)")

    if first and pd.notna(row["distance"]):
        keys.append(style.key("copy distance", "--", style.SOFT))
    return style.figure(title, parts, draw, height=2.2, share_y=True, keys=keys)


def ablation(experiment: str, title: str, estimates: Table, _: Table) -> Figure:
    """Draw tokens until 95% by variant, a panel a model and distance; never is a cross."""
    told_apart = without_shared_settings(experiment)(estimates)
    chosen = select(told_apart, "tokens_to_95", experiment=experiment)
    ran = chosen[chosen["status"] == "ok"]

    def draw(axis: Axes, group: Table) -> None:
        order = sorted(set(group["variant"]), key=models.natural)
        labels = [models.plain(models.in_words(variant) or "defaults") for variant in order]
        budget = float(group["tokens"].max())
        for cell in records(group):
            line, seeds = order.index(cell.variant), from_json(cell.values)
            colour = CHANGED if cell.variant else DEFAULTS
            for seed, tokens in enumerate(seeds):
                height = line + 0.24 * (seed - (len(seeds) - 1) / 2)
                marker, x = ("x", NEVER * budget) if math.isnan(tokens) else ("o", tokens)
                axis.plot(x, height, marker, color=colour, markersize=4, zorder=3)
            if not cell.variant and pd.notna(cell.value):
                axis.axvline(cell.value, color=DEFAULTS, linewidth=0.9, zorder=1)
        axis.axvline(budget, color=style.INK, linestyle=":", linewidth=0.9, zorder=1)
        axis.set_xscale("log")
        style.log_ticks(axis.xaxis, EngFormatter(sep=""))
        axis.set_yticks(range(len(order)), labels)
        axis.set(ylim=(len(order) - 0.4, -0.6), xlabel="Tokens until 95%")

    keys = [
        style.key("defaults (line: mean)", "-", DEFAULTS, marker="o", linewidth=1.3),
        style.key("a changed setting, a point a seed", colour=CHANGED, marker="o"),
        style.key("never within the budget", marker="x"),
        style.key("budget", ":"),
    ]
    parts, most = {}, 0
    for (model, distance), group in ran.groupby(["model", "x"]):
        if len(group) > 1:  # one setting compares nothing
            parts[f"{models.title(str(model))}\nD = {distance} tokens"] = group
            most = max(most, group["variant"].nunique())
    common = next(iter(chosen["shared"]), "")
    note = _without_point(records(chosen[chosen["status"] != "ok"]))
    return style.figure(
        title, parts, draw, height=0.9 + 0.175 * most, keys=keys,
        note=f"All rows: {common}. {note}".strip() if common else note,
    )  # fmt: skip


ABLATION = "Which part makes it learn: tokens until 95% copy accuracy"
TWO_HOP = "Beyond one pointer's reach: tokens until 95% copy accuracy"
DRAWN = (
    "time", "throughput", "speedup", "memory", "operations", "copy_accuracy", "loss_curves",
    "hops", "mqar", "trade_off",
)  # fmt: skip
FIGURES: dict[str, Callable[[Table, Table], Figure]] = {  # of estimates and rows
    **{name: partial(chart, name) for name in DRAWN},
    "curves": curves,
    "pointer_map": pointer_map,
    "ablation": partial(ablation, "ablation", ABLATION),
    "two_hop": partial(ablation, "two_hop", TWO_HOP),
}
NAMES = tuple(FIGURES)
# Of the main report; the rest is its section "more".
MAIN = ("speedup", "copy_accuracy", "operations", "pointer_map", "ablation", "trade_off")


def write(
    estimates: Table, frame: Table, out: Path, tier: str = "", names: Iterable[str] = NAMES
) -> list[Path]:
    """Draw the named figures of estimates and rows in both formats; return the files.

    Raises InputError for an unknown name.
    """
    files = []
    with style.drawing():
        for name in names:
            if name not in FIGURES:
                raise InputError.unknown("figure", name, FIGURES, "`--names`")
            files += style.save(FIGURES[name](estimates, frame), out / name, tier)
    return files
