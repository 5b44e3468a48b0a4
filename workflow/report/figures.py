"""The figures by name, each a function of estimates and rows; `write` draws them as PNG and SVG.

Charts over a size are declared in `charts`. Loss curves and pointer maps are series, not numbers:
these two figures read rows and traces.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
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
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from pointer.errors import InputError
from workflow.bench.cell import Trunk
from workflow.report import charts, models, paper, style
from workflow.report.charts import CHARTS, NEVER, Panel, finished
from workflow.report.curves import curves
from workflow.report.estimates import PLACE, from_json, select
from workflow.report.estimates.runs import prepare
from workflow.report.layout import records, without_shared_settings
from workflow.report.models import Look, Series
from workflow.report.page import explorer

Table = pd.DataFrame
FAILURES_NAMED = 6
DEFAULTS, CHANGED = models.COLOURS[2], models.COLOURS[0]  # blue, vermilion


def looks_of(estimates: Table) -> dict[str, Look]:
    """Return the looks of the models and variants of estimates, by name in the order of the
    legend."""
    shown = models.series(estimates)
    looks = models.looks(shown)
    return {models.label(*series): looks[series] for series in shown}


def failures(estimates: Table) -> str:
    """Return which cells have no point, and how they ended; empty where all have one."""
    texts = []
    for cell in records(estimates[estimates["status"] != "ok"]):
        name = models.plain(models.label(cell.model, cell.variant))
        texts.append(f"{name} at {cell.x if pd.isna(cell.layer) else cell.task}: {cell.status}")
    texts = list(dict.fromkeys(texts))
    if len(texts) > FAILURES_NAMED:
        texts = [*texts[:FAILURES_NAMED], f"and {len(texts) - FAILURES_NAMED} more"]
    return f"No point: {'; '.join(texts)}" if texts else ""


def chart(name: str, estimates: Table, _: Table) -> Figure:
    """Draw a chart of CHARTS."""
    declared = CHARTS[name]
    drawn = {panel.title: panel for panel in charts.panels(declared, estimates)}
    everything = pd.concat([charts.chosen(curves, estimates) for curves in declared.curves])
    keys: dict[str, Line2D] = {}
    for panel in drawn.values():
        keys |= {text: style.key(text, dash) for _, text, dash in panel.levels}
        for text, dash, _lengths, _heights in (
            charts.guides(panel.estimates) if declared.guides else ()
        ):
            keys[text] = style.key(text, dash, style.SOFT)
    if any(len(panel.published) for panel in drawn.values()):
        keys["paper"] = style.key(paper.PLACE, marker="o", **style.HOLLOW)
    percent = any(panel.curves.quantity == "accuracy" for panel in drawn.values())

    def draw(axis: Axes, panel: Panel) -> None:
        if percent:
            _accuracies(axis, panel)
        else:
            _values(axis, panel, declared.guides)
        for model, group in panel.published.groupby("model"):
            options = models.looks([])[str(model), ""].options | style.HOLLOW
            axis.plot(group["x"].astype(float), group["value"], zorder=4, **options)
        style.sizes(axis, [*panel.estimates["x"], *panel.published["x"]])
        for height, _, dash in panel.levels:
            style.level(axis, height, dash)
        axis.set(xlabel=declared.x, ylabel=panel.curves.label)

    shown = set()
    for panel in drawn.values():
        guessing = charts.guessing(panel)
        series = [pair for pair in models.series(panel.estimates) if pair not in guessing]
        shown |= {models.label(*pair) for pair in series}
    looks = looks_of(finished(everything))
    looks = {name: look for name, look in looks.items() if name in shown}
    height = 3.2 if percent else 2.75
    return style.figure(
        declared.title, drawn, draw, height=height, share_y=percent, missing=declared.missing,
        looks=looks, keys=list(keys.values()), note=failures(everything),
    )  # fmt: skip


def _values(axis: Axes, panel: Panel, guides: bool) -> None:
    """Draw lines, each with its band, and guides that start below the smallest value."""
    lines = charts.lines(panel.estimates)
    for _, look, line in reversed(lines):  # the first models above the others
        x = line["x"].astype(float)
        axis.plot(x, line["value"], zorder=3, **look.options)
        if panel.curves.band:
            low, high = (line[column] for column in panel.curves.band)
            axis.fill_between(x, low, high, color=look.colour, alpha=0.2, lw=0, zorder=2)
    grown = charts.guides(panel.estimates) if guides else []
    if not grown:
        style.magnitude(axis, [*panel.estimates["value"], *panel.published["value"]])
        return
    style.plain_log(axis, style.FINE if panel.estimates["x"].nunique() == 2 else style.COARSE)
    for _, dash, lengths, heights in grown:
        axis.plot(lengths, heights, color=style.SOFT, linestyle=dash, linewidth=0.9, zorder=1)


def _accuracies(axis: Axes, panel: Panel) -> None:
    """Draw accuracies with their intervals; models that guess are one grey band with their
    number."""
    names = pd.MultiIndex.from_frame(panel.estimates[["model", "variant"]])
    guess = names.isin(charts.guessing(panel))
    for _, look, line in reversed(charts.lines(panel.estimates[~guess])):
        _with_intervals(axis, look, line["x"].astype(float), line)
    band = panel.estimates[guess]
    if len(band):
        axis.axhspan(band["low"].min(), band["high"].max(), color="#bbbbbb", alpha=0.6, zorder=1)
        words = f"{names[guess].nunique()} models at guessing"
        options: dict[str, Any] = {"color": "#444444", "fontsize": 8, "va": "bottom", "ha": "right"}
        across = axis.get_yaxis_transform()
        axis.text(0.99, band["high"].max() + 8, words, transform=across, **options)
    style.accuracies(axis)


def _with_intervals(axis: Axes, look: Look, x: Any, line: Table) -> None:
    reach = [line["value"] - line["low"], line["high"] - line["value"]]
    error = [ends.fillna(0).clip(lower=0) for ends in reach]
    drawn: dict[str, Any] = look.options | {"capsize": 2, "elinewidth": 0.9, "zorder": 3}
    axis.errorbar(x, line["value"], error, **drawn)


def trade_off(estimates: Table, _: Table) -> Figure:
    """Draw accuracy against training throughput, a point a model: best is up and to the right."""
    rates = select(estimates, "throughput", phase="training")
    drawn: dict[str, Panel] = {}
    left_out = []
    for name, words in (("copy_accuracy", "copy over {} tokens"), ("mqar", "MQAR with {} pairs")):
        found = charts.panels(CHARTS[name], estimates)
        size = charts.commonest_size([panel.estimates for panel in found])
        for panel in found:
            here = panel.estimates.iloc[0]
            there = {key: here[key] for key in ("device", "dtype")}
            sized = select(panel.estimates, "accuracy", x=size)
            for machine, own in select(rates, "throughput", **there).groupby("machine"):
                timed = charts.with_rates(sized, own)
                if timed.empty:
                    continue
                place = f"{here['device']}, {here['dtype']}, timed at N={timed['timed_at'].iloc[0]}"
                title = f"{words.format(size)}\n{models.plain(machine)}\n{place}"
                drawn[title] = replace(panel, estimates=timed[timed["rate"].notna()])
                untimed = models.series(timed[timed["rate"].isna()])
                untimed = [series for series in untimed if not models.is_control(series[0])]
                if untimed:
                    where = f"{words.format(size)} on {models.plain(machine)}"
                    left_out.append(f"{where}: {together(untimed)}")

    def draw(axis: Axes, panel: Panel) -> None:
        for _, look, line in charts.lines(panel.estimates):
            _with_intervals(axis, look, line["rate"], line)
        for height, _, dash in panel.levels:
            style.level(axis, height, dash)
        axis.set(xlabel="Training throughput (tokens/s)", ylabel=panel.curves.label)
        axis.set(xlim=(0, 1.1 * panel.estimates["rate"].max()), ylim=(-3, 104))

    looks = looks_of(pd.concat([panel.estimates for panel in drawn.values()])) if drawn else {}
    missing = "No model has both a timing and a score on copy or MQAR yet"
    keys = [style.key("95%", ":"), style.key("guessing", "--")]
    note = f"No point, as not timed: {'; '.join(left_out)}" if left_out else ""
    return style.figure(
        "Accuracy against training throughput", drawn, draw,
        height=3.0, share_y=True, missing=missing, looks=looks, keys=keys, note=note,
    )  # fmt: skip


def together(untimed: Iterable[Series]) -> str:
    """Return models in few words: of each the number of its variants."""
    variants = Counter(model for model, variant in untimed if variant)
    texts = [models.plain(model) for model, variant in sorted(untimed) if not variant]
    texts += [f"variants of {models.plain(model)}: {count}" for model, count in variants.items()]
    return ", ".join(texts)


def loss_curves(_: Table, frame: Table) -> Figure:
    """Draw training loss by tokens, a panel a distance, a line a seed, and the loss of guessing."""
    rows = prepare(frame[(frame["experiment"] == "copy") & (frame["trunk"] == str(Trunk()))])
    rows["curve"] = rows["loss_curve"].map(charts.loss_curve, na_action=None)
    rows = rows[rows["curve"].map(len) > 0]
    looks = looks_of(rows)
    highest = max((loss for curve in rows["curve"] for _, loss in curve), default=0.0)

    def draw(axis: Axes, group: Table) -> None:
        for row in records(group):
            tokens, losses = zip(*row.curve, strict=True)
            options = looks[models.label(row.model, row.variant)].options
            every = max(1, len(tokens) // 8)
            thousands = [number / 1000 for number in tokens]
            axis.plot(thousands, losses, markersize=3, markevery=every, alpha=0.85, **options)
        for symbols in group["symbols"].unique():
            style.level(axis, math.log(symbols), "--")
        axis.set(xlabel="Training tokens (thousands)", ylabel="Training loss (nats a symbol)")
        axis.set(xlim=(0, None), ylim=(-0.1, 1.06 * highest))

    parts = {f"D = {distance}": group for distance, group in rows.groupby("x")}
    keys = [style.key("guessing, ln V", "--")]
    return style.figure(
        "Loss on the copy task", parts, draw,
        height=2.3, share_y=True, missing=charts.NO_COPIES, looks=looks, keys=keys,
    )  # fmt: skip


def pointer_map(_: Table, frame: Table) -> Figure:
    """Draw how far back each position and head points, of the trace with the longest distance."""
    title, parts, keys = "Where each position points", {}, []
    for row in explorer.traced_rows(frame):
        try:
            _trace, hops = explorer.read(row)
        except explorer.NoTraceError:
            continue
        parts = {f"layer {layer}": heads for layer, heads in enumerate(hops, start=1)}
        title += f": {models.plain(row['model'])}, {explorer.task(row)}, "
        title += f"N = {hops.shape[-1]}, seed {row['seed']}"
        colour = models.looks([(row["model"], "")])[row["model"], ""].colour
        keys.append(style.key("a position's pointer, all heads", colour=colour, marker="."))
        if row["axis"] == "distance":
            keys.append(style.key("copy distance", "--", style.SOFT))
        break

    def draw(axis: Axes, heads: npt.NDArray[np.int64]) -> None:
        positions = np.broadcast_to(np.arange(heads.shape[-1]), heads.shape)
        # An image: a hundred thousand points would make the SVG unusable.
        axis.scatter(positions, heads, s=1.2, color=colour, linewidths=0, rasterized=True, zorder=2)
        if row["axis"] == "distance":
            style.level(axis, float(row["x"]), "--", style.SOFT)
        _hop_axis(axis)
        axis.set(xlabel="Position (tokens)", ylabel="Hop to its target (tokens)")
        axis.set_ylim(-0.3, 2 * heads.shape[-1])

    missing = "No interpretability row with a trace has finished yet"
    return style.figure(title, parts, draw, missing=missing, height=2.2, share_y=True, keys=keys)


def _hop_axis(axis: Axes) -> None:
    """Make y logarithmic with a place for 0: a position that points at itself."""
    axis.set_yscale("symlog", linthresh=1)
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def hops(estimates: Table, _: Table) -> Figure:
    """Draw mean (filled) and longest (hollow) hop by layer, a panel a task and place."""
    means, longest = select(estimates, "mean_hop"), select(estimates, "longest_hop")
    lowest, highest = "lowest mean hop of the early layers", "highest mean hop of the early layers"
    near, far = paper.value("hops", lowest), paper.value("hops", highest)
    top = paper.value("hops", "longest hop of the later layers")
    limit = 2 * max(top, longest["value"].max())

    def draw(axis: Axes, group: Table) -> None:
        for quantity, hollow in (("mean_hop", {}), ("longest_hop", style.HOLLOW)):
            for _, look, line in charts.lines(select(group, quantity)):
                layers = line["layer"].astype(int)
                axis.plot(layers, line["value"], **look.options | hollow)
        axis.axhspan(near, far, color="#bbbbbb", alpha=0.6, zorder=0, linewidth=0)
        style.level(axis, top, "-.", style.SOFT)
        _hop_axis(axis)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set(xlabel="Layer (1 is the lowest)", ylabel="Hop distance (tokens)", ylim=(0, limit))

    parts = {}
    ran = finished(pd.concat([means, longest]))
    by_task = ran.groupby(["task", "axis", "x", *PLACE], dropna=False)
    for (task, axis_name, x, *where), group in by_task:
        size = f", D={x}" if axis_name == "distance" else ""
        parts[f"{task}{size}\n{charts.place(*where)}"] = group
    keys = [
        style.key("mean", "-", marker="o", linewidth=1.3),
        style.key("longest", marker="o", **style.HOLLOW),
        style.key(f"paper: mean {near:.0f} to {far:.0f}", "-", "#bbbbbb", linewidth=5),
        style.key(f"paper: longest {top:.0f}", "-.", style.SOFT),
    ]
    missing, note = "No interpretability row has finished yet", failures(means)
    return style.figure(
        "Hop distance by layer", parts, draw,
        share_y=True, missing=missing, looks=looks_of(ran), keys=keys, note=note,
    )  # fmt: skip


def ablation(experiment: str, title: str, estimates: Table, _: Table) -> Figure:
    """Draw tokens until 95% by variant, a panel a model and distance; never has a place of its
    own."""
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
                axis.plot(x, height, marker, color=colour, markersize=4, clip_on=False, zorder=3)
            if not cell.variant and pd.notna(cell.value):
                axis.axvline(cell.value, color=DEFAULTS, linewidth=0.9, zorder=1)
        axis.axvline(budget, color=style.INK, linestyle=":", linewidth=0.9, zorder=1)
        axis.set_yticks(range(len(order)), labels)
        axis.set(ylim=(len(order) - 0.4, -0.6), xlabel="Tokens until 95% (thousands)")
        _tokens_axis(axis, float(group["least"].min()), budget)

    keys = [style.key("a changed setting, a point a seed", colour=CHANGED, marker="o")]
    if (ran["variant"] == "").any():
        keys.insert(0, style.key("defaults (line: mean)", "-", DEFAULTS, marker="o", linewidth=1.3))
    if (ran["n"] < ran["runs"]).any():
        keys.append(style.key("never within the budget", marker="x"))
    keys.append(style.key("budget", ":"))
    common = next(iter(chosen["shared"]), "")
    note = f"All rows: {common}. " if common else ""
    groups: dict[str, Table] = {}
    for model in models.ordered(ran["model"]):
        for distance, group in ran[ran["model"] == model].groupby("x"):
            groups[f"{models.title(model)}\nD = {distance} tokens"] = group
    # A panel with one setting compares nothing.
    compared = {name: group for name, group in groups.items() if len(group) > 1}
    parts = compared or groups
    most = max((group["variant"].nunique() for group in parts.values()), default=0)
    missing, height = f"No {experiment} row has finished yet", 0.9 + 0.175 * most
    return style.figure(
        title, parts, draw,
        height=height, missing=missing, keys=keys, note=note + failures(chosen),
    )  # fmt: skip


def _tokens_axis(axis: Axes, least: float, budget: float) -> None:
    """Make x logarithmic in tokens, with `never` as the last tick. least: NaN where all never."""
    low = 0.7 * np.fmin(least, budget)
    steps = [step * 10.0**power for power, step in itertools.product(range(2, 12), (1, 2, 5))]
    ticks = [tick for tick in steps if low <= tick < budget]
    axis.set_xscale("log")
    axis.set_xlim(low, 1.25 * NEVER * budget)
    axis.xaxis.set_major_locator(FixedLocator([*ticks, NEVER * budget]))
    axis.xaxis.set_minor_locator(NullLocator())
    labels = FuncFormatter(lambda x, _: "never" if x > budget else f"{x / 1000:,.10g}")
    axis.xaxis.set_major_formatter(labels)


ABLATION = "Which part makes it learn: tokens until 95% copy accuracy"
TWO_HOP = "Beyond one pointer's reach: tokens until 95% copy accuracy"
FIGURES: dict[str, Callable[[Table, Table], Figure]] = {  # of estimates and rows
    "time": partial(chart, "time"),
    "throughput": partial(chart, "throughput"),
    "speedup": partial(chart, "speedup"),
    "memory": partial(chart, "memory"),
    "operations": partial(chart, "operations"),
    "copy_accuracy": partial(chart, "copy_accuracy"),
    "curves": curves,
    "loss_curves": loss_curves,
    "hops": hops,
    "pointer_map": pointer_map,
    "ablation": partial(ablation, "ablation", ABLATION),
    "two_hop": partial(ablation, "two_hop", TWO_HOP),
    "mqar": partial(chart, "mqar"),
    "trade_off": trade_off,
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
