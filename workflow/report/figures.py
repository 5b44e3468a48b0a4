"""The figures by name, each a function of estimates and rows; `write` draws them as PNG and SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator

from pointer.errors import InputError
from workflow.bench.cell import Trunk
from workflow.report import charts, models, style
from workflow.report.charts import CHARTS, NEVER, Line, Panel
from workflow.report.estimates import from_json, select
from workflow.report.layout import records, without_shared_settings
from workflow.report.models import Look
from workflow.report.page import explorer

Table = pd.DataFrame
FAILURES_NAMED = 6
MOST_NAMED = 10  # models of a panel; the table has all
DEFAULTS, CHANGED = models.COLOURS[2], models.COLOURS[0]  # blue, vermilion


def chart(name: str, estimates: Table, frame: Table) -> Figure:
    """Draw a chart of CHARTS; models that guess are one grey band with their number."""
    declared = CHARTS[name]
    every = {panel.title: panel for panel in charts.panels(declared, estimates, frame)}
    drawn = {title: _first_models(panel) for title, panel in every.items()}

    def draw(axis: Axes, panel: Panel) -> None:
        guessing = _guessing(panel)
        for line in reversed(panel.lines):  # the first models above the others
            if line not in guessing:
                _draw_line(axis, line)
        points = pd.concat([line.points[["x", "value"]] for line in panel.lines])
        if declared.log_x:
            style.sizes(axis, points["x"])
        else:
            axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        style.SCALES[declared.y](axis, points["value"])
        for height, _, dash in panel.levels:
            style.level(axis, height, dash)
        axis.set(xlabel=declared.x, ylabel=panel.label)
        if guessing:
            points = pd.concat([line.points for line in guessing])
            low, high = points["low"].min(), points["high"].max()
            axis.axhspan(low, high, color="#bbbbbb", alpha=0.6, zorder=1)
            words, across = f"models at guessing: {len(guessing)}", axis.get_yaxis_transform()
            axis.text(0.99, high + 8, words, transform=across, color="#444444", ha="right")

    # Each panel has its models in order; the fullest one gives the legend's.
    looks, keys = _legend(sorted(drawn.values(), key=lambda panel: -len(panel.lines)))
    fewer = drawn != every
    note = f"Of each panel {MOST_NAMED} models, those at most sizes first. " if fewer else ""
    note += _without_point(charts.failures(declared, estimates))
    return style.figure(
        declared.title, drawn, draw, share_y=declared.y == "percent",
        looks=looks, keys=list(keys.values()), note=note,
    )  # fmt: skip


def _first_models(panel: Panel) -> Panel:
    """Return a panel with MOST_NAMED of the models that do not guess, those at most sizes first."""
    guessing = _guessing(panel)
    ours = [line for line in panel.lines if line.model and not line.hollow]
    named = [line for line in ours if line not in guessing]
    left = sorted(named, key=lambda line: -len(line.points))[MOST_NAMED:]
    if not left:
        return panel
    return replace(panel, lines=[line for line in panel.lines if line not in left])


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
    names = [(models.plain(models.label(cell.model, cell.variant)), cell) for cell in cells]
    texts = list(dict.fromkeys(f"{name} at {cell.x}: {cell.status}" for name, cell in names))
    more = [f"and {len(texts) - FAILURES_NAMED} more"] if len(texts) > FAILURES_NAMED else []
    return f"No point: {'; '.join([*texts[:FAILURES_NAMED], *more])}" if texts else ""


def trade_off(estimates: Table, frame: Table) -> Figure:
    """Draw accuracy by throughput, the names of the most accurate models beside their points."""
    declared = CHARTS["trade_off"]
    drawn = {panel.title: panel for panel in charts.panels(declared, estimates, frame)}

    def draw(axis: Axes, panel: Panel) -> None:
        for line in panel.lines:
            _draw_line(axis, line)
        axis.margins(x=0.12)
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        style.accuracies(axis, None)
        for height, _, dash in panel.levels:
            style.level(axis, height, dash)
        axis.set(xlabel=declared.x, ylabel=panel.label)
        best = sorted(panel.lines, key=lambda line: -float(line.points["value"].iloc[0]))
        points = {}
        for line in best[:MOST_NAMED]:
            x, *heights = line.points[["x", "value", "low", "high"]].astype(float).iloc[0]
            name = models.plain(line.name).replace(" (this suite)", "")
            points[name] = (x, heights, line.look.colour)
        style.name_points(axis, points)

    keys = {text: dash for panel in drawn.values() for _, text, dash in panel.levels}
    most = max((len(panel.lines) for panel in drawn.values()), default=0)
    note = f"Named are the {MOST_NAMED} most accurate." if most > MOST_NAMED else ""
    lines = [style.key(text, dash) for text, dash in keys.items()]
    return style.figure(
        declared.title, drawn, draw, height=3.6, width=6.4, share_y=True, keys=lines, note=note
    )


def pointer_map(_: Table, frame: Table) -> Figure:
    """Draw how far back each position and head points, of the trace with the longest distance."""
    title, parts, keys = "Where each position points", {}, []
    row = next((row for row in explorer.traces(frame) if not row["missing"]), None)
    if row:
        length, series = row["hops"].shape[-1], (row["model"], "")
        colour = models.looks([series])[series].colour
        parts = {f"layer {layer}": heads for layer, heads in enumerate(row["hops"], start=1)}
        title += f": {models.plain(row['model'])}, {explorer.task(row)}, "
        title += f"N = {length}, seed {row['seed']}"
        keys.append(style.key("a position's pointer, all heads", colour=colour, marker="."))
        if pd.notna(row["distance"]):
            keys.append(style.key("copy distance", "--", style.SOFT))

    def draw(axis: Axes, heads: npt.NDArray[np.int64]) -> None:
        positions = np.broadcast_to(np.arange(length), heads.shape)
        # An image: a hundred thousand points would make the SVG unusable.
        axis.scatter(positions, heads, s=1.2, color=colour, linewidths=0, rasterized=True, zorder=2)
        if row and pd.notna(row["distance"]):
            style.level(axis, float(row["distance"]), "--", style.SOFT)
        style.hops(axis, heads)
        axis.set_ylim(top=2 * length)
        axis.set(xlabel="Position (tokens)", ylabel="Hop to its target (tokens)")

    return style.figure(title, parts, draw, height=2.2, share_y=True, keys=keys)


def curves(estimates: Table, _: Table) -> Figure:
    """Draw a point a run, and a line a model with its fitted exponent, dashed beyond the runs; a
    panel a trunk other than the paper's."""
    copied = {"experiment": "copy", "variant": ""}
    ran = select(estimates, "tokens_to_95", status="ok", **copied)
    ran = ran[ran["trunk"] != str(Trunk())]
    distances = ran.groupby(["trunk", "model"])["x"].transform("nunique")
    ran = ran[distances > 1]  # one distance is no curve
    fits = select(estimates, "tokens_to_95_fit", **copied)
    exponents = select(estimates, "tokens_to_95_exponent", trunk=[*ran["trunk"]], **copied)
    looks = models.looks(models.series(ran))
    named = dict[str, Look]()
    for series in models.series(ran):
        text = models.label(*series)
        for fit in records(exponents[exponents["model"] == series[0]]):
            text += f": D^{fit.value:z.2f} ({fit.low:z.2f} to {fit.high:z.2f})"
            text += f", {fit.runs - fit.n} never" if fit.runs > fit.n else ""
        named[text] = looks[series]

    def draw(axis: Axes, group: Table) -> None:
        own = fits[fits["trunk"] == group["trunk"].iloc[0]].sort_values("x")
        for model, line in group.groupby("model", sort=False):
            look = looks[str(model), ""]
            for cell in records(line):
                tokens = from_json(cell.values)
                learned = tokens.dropna() / 1000
                axis.plot(
                    [cell.x] * len(learned), learned, look.marker, color=look.colour, zorder=3
                )
                never = [NEVER * cell.tokens / 1000] * int(tokens.isna().sum())
                hollow: dict[str, Any] = {"color": look.colour, "markerfacecolor": "white"}
                axis.plot([cell.x] * len(never), never, look.marker, zorder=3, **hollow)
            fit, last = own[own["model"] == model], float(line["x"].max())
            if not line["n"].eq(line["runs"]).all():  # a fit of those that learned predicts nothing
                fit = fit[fit["x"] <= last]
            if len(fit):
                _draw_fit(axis, fit, last, look.colour)
        style.sizes(axis, [*group["x"], *own["x"]])
        axis.set_yscale("log")
        style.log_ticks(axis.yaxis)
        axis.set(xlabel="Copy distance D (tokens)", ylabel="Training tokens until 95% (thousands)")

    keys = [
        style.key("run that never reached 95%", marker="o", **style.HOLLOW),
        style.key("extrapolation, 97.5% prediction interval", "--"),
    ]
    parts = {f"trunk {trunk}": group for trunk, group in ran.groupby("trunk")}
    title = "Tokens until 95% copy accuracy over the distance"
    return style.figure(title, parts, draw, height=3.6, width=6.4, looks=named, keys=keys)


def _draw_fit(axis: Axes, fit: Table, last: float, colour: str) -> None:
    """Draw a fit as a line up to the last distance that was run, dashed with its band beyond."""
    inside, beyond = fit[fit["x"] <= last], fit[fit["x"] >= last]
    axis.plot(inside["x"].astype(float), inside["value"] / 1000, color=colour, zorder=2)
    x = beyond["x"].astype(float)
    axis.plot(x, beyond["value"] / 1000, "--", color=colour, linewidth=0.9, zorder=2)
    low, high = beyond["low"] / 1000, beyond["high"] / 1000
    axis.fill_between(x, low, high, color=colour, alpha=0.08, lw=0, zorder=1)


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
    "hops", "mqar", "recall_time", "text",
)  # fmt: skip
FIGURES: dict[str, Callable[[Table, Table], Figure]] = {  # of estimates and rows
    **{name: partial(chart, name) for name in DRAWN},
    "trade_off": trade_off,
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
    """Draw figures in both formats; return the files, or raise InputError for an unknown name."""
    files = []
    with style.drawing():
        for name in names:
            if name not in FIGURES:
                raise InputError.unknown("figure", name, FIGURES, "`--names`")
            files += style.save(FIGURES[name](estimates, frame), out / name, tier)
    return files
