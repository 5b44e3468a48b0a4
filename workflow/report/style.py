"""What every figure shares: type, sizes, axes, legend, files that depend on the rows alone.

Figures are drawn by Agg without pyplot, inside `drawing`, which starts from matplotlib's own
defaults: neither a matplotlibrc nor MPLBACKEND changes them.
"""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from workflow.report import models
from workflow.report.models import Look
from workflow.report.render import STAMP

STYLE: dict[str, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "pointer-reproduction",  # the same rows give the same file
    "font.size": 8, "axes.titlesize": 8.5, "figure.titlesize": 9.5, "figure.titleweight": "bold",
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
    "axes.grid": True, "grid.color": "#e6e6e6", "grid.linewidth": 0.6,
    "lines.linewidth": 1.3, "lines.markersize": 4.5,
    "legend.frameon": False, "legend.handlelength": 2.0, "legend.columnspacing": 1.2,
    "legend.title_fontsize": 6.5,
    "figure.dpi": 100, "savefig.facecolor": "white",
}  # fmt: skip
PANEL_WIDTH, ALONE_WIDTH = 3.45, 5.2  # inches; two panels fill a printed page's width
LEGEND_LINE, MOST_COLUMNS = 0.17, 8  # height in inches
NOTE_CHARACTERS = 20  # an inch of the legend's note
BEYOND = 100.3  # per cent: where the axis of accuracies would end at infinity
NARROW = 4  # a range of values that needs no logarithm
COARSE, FINE = (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)  # ticks of each decade
TOUCHING, OVERLAPPING = 0.15, 0.04  # of the axis: ticks so near are turned, or left out
INK, SOFT = "#333333", "#777777"
HOLLOW: dict[str, Any] = {"markerfacecolor": "white", "linestyle": ":", "linewidth": 0.8}
KINDS: dict[str, dict[str, Any]] = {  # without dates
    "png": {"dpi": 200, "metadata": {"Software": None}},
    "svg": {"metadata": {"Date": None}},
}
Part = TypeVar("Part")


def drawing() -> AbstractContextManager[None]:
    """Return the context to draw and save figures in."""
    return matplotlib.style.context(["default", STYLE])


def accuracies(axis: Axes) -> None:
    """Make y per cent with the room of 90 to 100% that claims are about."""

    def stretch(percent: Any) -> Any:
        return -np.log10(BEYOND - percent)

    def shrink(height: Any) -> Any:
        return BEYOND - 10**-height

    axis.set_yscale("function", functions=(stretch, shrink))
    axis.set_ylim(-3, BEYOND - 0.15)
    axis.yaxis.set_major_locator(FixedLocator([0, 50, 80, 90, 95, 98, 99, 100]))
    axis.yaxis.set_minor_locator(NullLocator())


def _shared_lines(titles: Sequence[str]) -> list[str]:
    """Return the lines that the titles of all panels have, which then stand once above them; those
    of a single panel stay there."""
    if len(titles) < 2:
        return []
    return [line for line in titles[0].splitlines() if all(line in t.splitlines() for t in titles)]


def figure(
    title: str,
    parts: Mapping[str, Part],
    draw: Callable[[Axes, Part], None],
    *,
    missing: str = "",
    width: float = ALONE_WIDTH,
    height: float = 2.75,
    share_y: bool = False,
    looks: Mapping[str, Look] | None = None,
    keys: Sequence[Line2D] = (),
    note: str = "",
) -> Figure:
    """Return a figure with a panel a part, two side by side, and one legend below all of them.

    width: of a single panel, height: of a panel, in inches; missing: what a figure without parts
    says; looks: the models in the legend; keys: its further entries; note: a text above it.
    """
    columns = min(2, len(parts)) or 1
    rows = -(-len(parts) // columns)
    drawn = Figure(layout="constrained")
    FigureCanvasAgg(drawn)
    shared = _shared_lines(list(parts))
    drawn.suptitle("\n".join(filter(None, [title, ", ".join(shared)])))
    drawn.set_size_inches(PANEL_WIDTH * 2 if columns > 1 else width, 0.35 + height * rows)
    if not parts:
        drawn.set_figheight(1.6)
        text = f"{missing}: nothing to draw."
        drawn.text(0.5, 0.4, text, ha="center", va="center", wrap=True, color="#444444")
        return drawn
    axes = list(drawn.subplots(rows, columns, squeeze=False, sharey=share_y).flat)
    for spare in axes[len(parts) :]:
        spare.set_visible(False)
    for axis, (text, part) in zip(axes, parts.items(), strict=False):
        axis.set_title("\n".join(line for line in text.splitlines() if line not in shared))
        draw(axis, part)
    _legend(drawn, looks or {}, keys, note)
    return drawn


def _legend(drawn: Figure, looks: Mapping[str, Look], keys: Sequence[Line2D], note: str) -> None:
    """Put the legend below all panels; the figure grows by the height that it needs."""
    handles = [
        Line2D([], [], label=models.plain(name, 80), **look.options) for name, look in looks.items()
    ]
    handles += keys
    if not handles:
        return
    columns = 1
    for more in range(2, min(len(handles), MOST_COLUMNS) + 1):
        trial = drawn.legend(handles=handles, ncols=more)
        fits = trial.get_window_extent().width <= drawn.bbox.width
        trial.remove()
        if not fits:
            break
        columns = more
    text = textwrap.fill(note, int(drawn.get_figwidth() * NOTE_CHARACTERS))
    lines = -(-len(handles) // columns) + len(text.splitlines())
    drawn.set_figheight(drawn.get_figheight() + LEGEND_LINE * lines + 0.1)
    options: dict[str, Any] = {"title": text or None, "loc": "outside lower center"}
    legend = drawn.legend(handles=handles, ncols=columns, **options)
    legend.get_title().set_color("#555555")


def key(label: str, dash: str = "", colour: str = INK, **options: Any) -> Line2D:
    """Return an entry of the legend; `options` are those of a line."""
    line: dict[str, Any] = {"linestyle": dash, "color": colour, "linewidth": 0.9}
    return Line2D([], [], label=label, **line | options)


def level(axis: Axes, height: float, dash: str, colour: str = INK) -> None:
    """Draw a thin horizontal line: chance, 95%, a ratio of 1."""
    axis.axhline(height, color=colour, linestyle=dash, linewidth=0.9, zorder=1)


def sizes(axis: Axes, values: Sequence[float]) -> None:
    """Make x logarithmic and label it at the given sizes: 256, 512, ..."""
    ticks = sorted({int(value) for value in values})
    span = math.log2(ticks[-1] / ticks[0]) or 1.0
    kept = ticks[:1]
    for before, tick in itertools.pairwise(ticks):
        if math.log2(tick / before) > OVERLAPPING * span:
            kept.append(tick)
    gaps = [math.log2(right / left) / span for left, right in itertools.pairwise(kept)]
    axis.set_xscale("log", base=2)
    axis.set_xlim(ticks[0] / 1.25, ticks[-1] * 1.25)
    axis.xaxis.set_major_locator(FixedLocator(ticks))
    axis.xaxis.set_minor_locator(NullLocator())
    labels = FuncFormatter(lambda x, _: f"{x:.0f}" if round(x) in kept else "")
    axis.xaxis.set_major_formatter(labels)
    axis.tick_params(axis="x", labelrotation=90 if min(gaps, default=1.0) < TOUCHING else 0)


def magnitude(axis: Axes, values: Sequence[float]) -> None:
    """Let y start at zero where the values lie close together, else make it logarithmic."""
    if max(values) < NARROW * min(values):
        axis.set_ylim(bottom=0)
    else:
        plain_log(axis)


def plain_log(axis: Axes, steps: Sequence[float] = COARSE) -> None:
    """Make y logarithmic with numbers written out."""
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(base=10, subs=steps))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.yaxis.set_minor_locator(NullLocator())


def save(drawn: Figure, path: Path, tier: str = "") -> list[Path]:
    """Write `path`.png and `path`.svg; smoke rows are stamped in the title."""
    if tier == "smoke":
        drawn.suptitle(f"{drawn.get_suptitle()} ({STAMP})", color="#B00020")
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [path.with_name(f"{path.name}.{kind}") for kind in KINDS]
    for file, options in zip(files, KINDS.values(), strict=True):
        drawn.savefig(file, **options)
        drawn.set_layout_engine("none")  # the layout of the first format holds for the second
    return files
