"""Figures of the ablations: a line a variant, a point a seed, tokens until 95% across; never is a place of its own."""

from __future__ import annotations

import itertools
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from workflow.report import ablation_summary, canvas, models
from workflow.report.layout import base

LINE_HEIGHT = 0.175  # inches a variant
NEVER = 1.5  # times the budget: where seeds stand that never got there
STEPS = (1, 2, 5)
OURS, CHANGED = models.COLOURS[2], models.COLOURS[0]  # the defaults blue, variants vermilion


def ablation(frame: pd.DataFrame) -> Figure:
    """Tokens until 95% with one setting changed, a panel a distance."""
    return _dots(frame, "ablation", "Which part makes it learn: tokens until 95% copy accuracy")


def two_hop(frame: pd.DataFrame) -> Figure:
    """The same beyond one pointer's reach."""
    return _dots(frame, "two_hop", "Beyond one pointer's reach: tokens until 95% copy accuracy")


def _dots(frame: pd.DataFrame, experiment: str, title: str) -> Figure:
    found = ablation_summary.rows(frame, experiment)
    ran = found[found["status"] == "ok"]
    if ran.empty:
        return canvas.nothing(title, f"No {experiment} row has finished yet: nothing to draw.")
    names, distances = _order(ran), sorted(ran["distance"].unique())
    titles = [f"D = {distance} tokens" for distance in distances]
    figure, axes = canvas.panels(titles, title, share_y=True, height=0.75 + LINE_HEIGHT * len(names))
    for axis, distance in zip(axes, distances, strict=True):
        _panel(axis, ran[ran["distance"] == distance], names)
    shared = ablation_summary.shared(frame, experiment)
    failed = canvas.failures(ablation_summary.cells(found), "distance")
    note = " ".join(filter(None, [f"All rows: {shared}." if shared else "", failed]))
    canvas.legend(figure, {}, [], _keys(ran), note)
    return figure


def _order(ran: pd.DataFrame) -> list[str]:
    """Variants behind their model's defaults, from the top down."""
    first = models.ordered(ran["model"].map(base))
    return sorted(set(ran["model"]), key=lambda name: (first.index(base(name)), ablation_summary.natural(name)))


def _panel(axis: Axes, ran: pd.DataFrame, names: list[str]) -> None:
    """One distance: the defaults as a line from top to bottom, every seed as a point, the budget as an edge."""
    budget, places = float(ran["tokens_budget"].max()), {name: place for place, name in enumerate(names)}
    for name, group in ran.groupby("model"):
        _seeds(axis, group, places[str(name)], NEVER * budget)
    for _, solved in ran[ran["model"].map(base) == ran["model"]].groupby("model"):
        if solved["tokens_to_95"].notna().any():
            axis.axvline(float(solved["tokens_to_95"].mean()), color=OURS, linewidth=0.9, zorder=1)
    axis.axvline(budget, color="#333333", linestyle=":", linewidth=0.9, zorder=1)
    axis.set_yticks(range(len(names)), [_label(name, names) for name in names])
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_xlabel("Training tokens until 95% (thousands)")
    _tokens_axis(axis, [*ran["tokens_to_95"].dropna().astype(float)], budget)


def _seeds(axis: Axes, group: pd.DataFrame, place: int, never: float) -> None:
    """Seeds one below the other on the line of their variant, so that equal ones stay apart."""
    colour = OURS if base(group["model"].iloc[0]) == group["model"].iloc[0] else CHANGED
    seeds = sorted(group["seed"].unique())
    for _, row in group.iterrows():
        height = place + 0.24 * (seeds.index(row["seed"]) - (len(seeds) - 1) / 2)
        solved = pd.notna(row["tokens_to_95"])
        style: dict[str, Any] = {"color": colour, "markersize": 4, "linestyle": "", "clip_on": False, "zorder": 3}
        axis.plot(row["tokens_to_95"] if solved else never, height, marker="o" if solved else "x", **style)


def _label(name: str, names: list[str]) -> str:
    """The changed settings; the model too where several were changed."""
    settings = name.partition(" {")[2].removesuffix("}")
    alone = len({base(every) for every in names}) == 1
    return models.plain((settings or f"{name}, defaults") if alone else name, 44)


def _tokens_axis(axis: Axes, solved: list[float], budget: float) -> None:
    """Logarithmic in tokens, with `never` as the last tick."""
    low = 0.7 * min([*solved, budget])
    powers = (step * 10.0**power for power, step in itertools.product(range(2, 12), STEPS))
    ticks = [tick for tick in powers if low <= tick <= budget]
    axis.set_xscale("log")
    axis.set_xlim(low, 1.25 * NEVER * budget)
    axis.xaxis.set_major_locator(FixedLocator([*ticks, NEVER * budget]))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: "never" if x > budget else f"{x / 1000:,.10g}"))


def _keys(ran: pd.DataFrame) -> list[Line2D]:
    """What marks mean; what no row shows is left out."""
    keys = [Line2D([], [], color=CHANGED, marker="o", linestyle="", label="a changed setting, a point a seed")]
    if (ran["model"].map(base) == ran["model"]).any():
        keys.insert(0, Line2D([], [], color=OURS, marker="o", linestyle="-", label="defaults (line: mean)"))
    if ran["tokens_to_95"].isna().any():
        keys.append(Line2D([], [], color="#333333", marker="x", linestyle="", label="never within the budget"))
    return [*keys, canvas.line_key(":", "budget")]
