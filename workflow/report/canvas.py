"""What every figure shares: size, type, axes in powers of two, legend, stamp, files that depend on the rows only.

Figures are made without pyplot, so nothing is global. A figure with nothing to show says in words what is missing.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from workflow.report import models, paper
from workflow.report.layout import base
from workflow.report.render import STAMP
from workflow.report.summary import PLACE

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "pointer-reproduction",  # the same rows give the same file
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "figure.dpi": 100,
}
PANEL_WIDTH, PANEL_HEIGHT = 3.45, 2.75  # inches; two panels fill a printed page's width
LEGEND_LINE, MOST_COLUMNS = 0.17, 8  # inches
SPACING: dict[str, Any] = {"handlelength": 2.0, "columnspacing": 1.2}
PNG_DPI = 200
ACROSS = 2  # panels side by side
FAILURES_NAMED = 6
NARROW = 4  # a range of values that needs no logarithm
COARSE, FINE = (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)  # numbers on a logarithmic axis, in each decade
NOTE_CHARACTERS = 20  # an inch of the legend's note


def panels(
    titles: Sequence[str], title: str, *, share_y: bool = False, height: float = PANEL_HEIGHT
) -> tuple[Figure, list[Axes]]:
    """A figure of one panel a title, two side by side, and its axes."""
    columns = min(ACROSS, len(titles))
    rows = -(-len(titles) // columns)
    width = 5.2 if columns == 1 else PANEL_WIDTH * columns
    figure = Figure(figsize=(width, 0.35 + height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=share_y)
    axes = list(grid.flat)
    for spare in axes[len(titles) :]:
        spare.set_visible(False)
    for axis, text in zip(axes, titles, strict=False):
        axis.set_title(text)
    figure.suptitle(title, fontsize=9.5, fontweight="bold")
    return figure, axes[: len(titles)]


def nothing(title: str, missing: str) -> Figure:
    """A figure in words, for when there is nothing to draw."""
    figure = Figure(figsize=(5.2, 1.6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=9.5, fontweight="bold")
    figure.text(0.5, 0.4, missing, ha="center", va="center", wrap=True, color="#444444")
    return figure


def powers_of_two(axis: Axes, values: Iterable[float]) -> None:
    """A log-2 x axis labelled at the given lengths: 256, 512, ..."""
    ticks = sorted({int(value) for value in values})
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_locator(FixedLocator(ticks))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    if len(ticks) > 7:
        axis.tick_params(axis="x", labelrotation=45)
    if ticks:
        axis.set_xlim(ticks[0] / 1.25, ticks[-1] * 1.25)


def magnitude(axis: Axes, values: Iterable[float]) -> None:
    """A y axis from zero where the values lie close together, else a logarithmic one."""
    low, high = min(values := list(values)), max(values)
    if high < NARROW * low:
        axis.set_ylim(0, 1.12 * high)
    else:
        plain_log(axis)


def plain_log(axis: Axes, steps: Sequence[float] = COARSE) -> None:
    """A logarithmic y axis with numbers written out."""
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(matplotlib.ticker.LogLocator(base=10, subs=steps))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.yaxis.set_minor_locator(NullLocator())


def line(axis: Axes, look: models.Look, cells: pd.DataFrame, x: str, y: str, low: str = "", high: str = "") -> None:
    """One model: a line through its cells, and a band where `low` and `high` name columns."""
    cells = cells.dropna(subset=[y]).sort_values(x)
    across = cells[x].astype(float)
    axis.plot(across, cells[y], color=look.colour, marker=look.marker, linestyle=look.line, zorder=3)
    if low and high:
        axis.fill_between(across, cells[low], cells[high], color=look.colour, alpha=0.2, linewidth=0, zorder=2)


def published_points(axis: Axes, looks: dict[str, models.Look], published: pd.DataFrame, x: str) -> None:
    """The paper's figures: hollow markers in their model's colour, joined by dots."""
    for model, points in published.groupby("model"):
        look = looks[str(model)]
        style: dict[str, Any] = {
            "color": look.colour,
            "marker": look.marker,
            "markerfacecolor": "white",
            "linestyle": ":",
            "linewidth": 0.8,
        }
        axis.plot(points[x].astype(float), points["value"], zorder=4, **style)


def legend(
    figure: Figure, looks: dict[str, models.Look], shown: Iterable[str], extra: Sequence[Line2D] = (), note: str = ""
) -> None:
    """One legend below all panels with `note` above it; the figure grows by the height that they need."""
    names = models.ordered(shown)
    handles = [
        Line2D([], [], color=looks[n].colour, marker=looks[n].marker, linestyle=looks[n].line, label=models.plain(n))
        for n in names
    ]
    handles += list(extra)
    said = "\n".join(textwrap.wrap(note, int(figure.get_figwidth() * NOTE_CHARACTERS)))
    columns = columns_that_fit(figure, handles)
    lines = -(-len(handles) // columns) + (said.count("\n") + 1 if said else 0)
    figure.set_figheight(figure.get_figheight() + LEGEND_LINE * lines + 0.1)
    drawn = figure.legend(
        handles=handles, loc="outside lower center", title=said or None, title_fontsize=6.5, ncols=columns, **SPACING
    )
    drawn.get_title().set_color("#555555")


def columns_that_fit(figure: Figure, handles: list[Line2D]) -> int:
    """The most columns of a legend, at most MOST_COLUMNS, that the figure's width holds."""
    for columns in range(min(len(handles), MOST_COLUMNS), 1, -1):
        tried = figure.legend(handles=handles, ncols=columns, **SPACING)
        width = tried.get_window_extent().width
        tried.remove()
        if width <= figure.bbox.width:
            return columns
    return 1


def paper_key() -> Line2D:
    """The legend's entry for hollow markers."""
    return Line2D(
        [], [], color="#333333", marker="o", markerfacecolor="white", linestyle=":", linewidth=0.8, label=paper.PLACE
    )


def reference_line(axis: Axes, height: float, style: str, colour: str = "#333333") -> None:
    """A thin horizontal line: chance, 95%, a ratio of 1."""
    axis.axhline(height, color=colour, linestyle=style, linewidth=0.9, zorder=1)


def line_key(style: models.LineStyle, label: str, colour: str = "#333333") -> Line2D:
    """The legend's entry for such a line."""
    return Line2D([], [], color=colour, linestyle=style, linewidth=0.9, label=label)


def failures(cells: pd.DataFrame, axis: str) -> str:
    """What the legend says of cells that have no point, and why; empty where all have one."""
    failed = cells[cells["status"] != "ok"].drop_duplicates(["model", axis, "status"])
    said = [f"{models.plain(r['model'])} at {r[axis]}: {r['status']}" for _, r in failed.iterrows()]
    more = [f"and {len(said) - FAILURES_NAMED} more"] if len(said) > FAILURES_NAMED else []
    return "No point: " + "; ".join(said[:FAILURES_NAMED] + more) if said else ""


def by_place(cells: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Panel title -> its cells, for each machine, device, dtype and thread count where something ran."""
    ran = cells[cells["status"] == "ok"]
    return {place(*key): group for key, group in ran.groupby(PLACE, dropna=False, sort=True)}


def place(machine: Any, device: Any, dtype: Any, threads: Any) -> str:
    """A panel's title: where its numbers come from."""
    where = f"{device}, {threads} thread{'s' if threads != 1 else ''}" if pd.notna(threads) else str(device)
    return f"{models.plain(machine, 50)}\n{where}, {dtype}"


def looks_for(*names: Iterable[str]) -> dict[str, models.Look]:
    """Looks for all names; a changed setting has its model's colour, and a marker and a line of its own."""
    everyone = {name for group in names for name in group}
    known = models.looks({base(name) for name in everyone} | {"pointer", "transformer"})
    for name in sorted(everyone - known.keys()):
        known[name] = models.changed(name, known[base(name)], known.values())
    return known


def save(figure: Figure, path: Path, tier: str = "") -> list[Path]:
    """`path`.png and `path`.svg, without dates; smoke rows are stamped in the title."""
    if tier == "smoke":
        figure.suptitle(f"{figure.get_suptitle()} ({STAMP})", fontsize=9.5, fontweight="bold", color="#B00020")
    path.parent.mkdir(parents=True, exist_ok=True)
    kinds: dict[str, dict[str, Any]] = {
        "png": {"dpi": PNG_DPI, "metadata": {"Software": None}},
        "svg": {"metadata": {"Date": None}},
    }
    files = []
    for suffix, options in kinds.items():
        files.append(path.with_name(f"{path.name}.{suffix}"))
        figure.savefig(files[-1], facecolor="white", **options)
    return files
