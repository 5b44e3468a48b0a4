"""What every figure shares: type, sizes, axes, legend, files that depend on the rows alone.

Figures are drawn by Agg without pyplot, inside `drawing`, which starts from matplotlib's defaults.
"""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

from workflow.report import models
from workflow.report.models import Look
from workflow.report.render import stamped

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
LEGEND_LINE, ENTRY, CHARACTER = 0.17, 0.5, 0.055  # inches: a line, an entry's mark, of a text
NOTE_CHARACTERS = 20  # an inch of the legend's note
NAME_HEIGHT, NAME_WIDTH = 0.045, 0.017  # of a panel: a line of text, and a character of it
BEYOND = 100.3  # per cent: where the axis of accuracies would end at infinity
NARROW, LONG = 4, 1000  # ranges of values: one that needs no logarithm, one of decades
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


def figure(
    title: str,
    parts: Mapping[str, Part],
    draw: Callable[[Axes, Part], None],
    *,
    width: float = ALONE_WIDTH,
    height: float = 2.9,
    share_y: bool = False,
    looks: Mapping[str, Look] | None = None,
    keys: Sequence[Line2D] = (),
    note: str = "",
) -> Figure:
    """Return a figure with a panel a part, two side by side, and one legend below all of them.
    Lines that all parts' titles have stand once, above. width, height: of a panel, in inches."""
    columns = min(2, len(parts)) or 1
    rows = -(-len(parts) // columns)
    drawn = Figure(layout="constrained")
    FigureCanvasAgg(drawn)
    titles = [text.splitlines() for text in parts]
    shared = []
    if len(titles) > 1:
        shared = [line for line in titles[0] if all(line in lines for lines in titles)]
    drawn.suptitle("\n".join(filter(None, [title, ", ".join(shared)])))
    drawn.set_size_inches(PANEL_WIDTH * 2 if columns > 1 else width, 0.35 + height * rows)
    if not parts:
        drawn.set_figheight(1.6)
        text = "No row with these numbers has finished yet: nothing to draw."
        drawn.text(0.5, 0.4, text, ha="center", va="center", wrap=True, color="#444444")
        return drawn
    axes = list(drawn.subplots(rows, columns, squeeze=False, sharey=share_y).flat)
    for spare in axes[len(parts) :]:
        spare.set_visible(False)
    for axis, lines, part in zip(axes, titles, parts.values(), strict=False):
        axis.set_title("\n".join(line for line in lines if line not in shared))
        draw(axis, part)
    shown = (looks or {}).items()
    handles = [Line2D([], [], label=models.plain(name, 80), **look.options) for name, look in shown]
    handles += keys
    if handles:
        _legend(drawn, handles, note)
    return drawn


def _legend(drawn: Figure, handles: Sequence[Line2D], note: str) -> None:
    """Put the legend below all panels; the figure grows by the height that it needs."""
    longest = max(len(str(handle.get_label())) for handle in handles)
    columns = max(1, int(drawn.get_figwidth() / (ENTRY + CHARACTER * longest)))
    text = textwrap.fill(note, int(drawn.get_figwidth() * NOTE_CHARACTERS))
    lines = -(-len(handles) // columns) + len(text.splitlines())
    drawn.set_figheight(drawn.get_figheight() + LEGEND_LINE * lines + 0.1)
    options: dict[str, Any] = {"title": text or None, "loc": "outside lower center"}
    drawn.legend(handles=handles, ncols=columns, **options)


def key(label: str, dash: str = "", colour: str = INK, **options: Any) -> Line2D:
    """Return an entry of the legend; `options` are those of a line."""
    line: dict[str, Any] = {"linestyle": dash, "color": colour, "linewidth": 0.9}
    return Line2D([], [], label=label, **line | options)


def name_points(axis: Axes, points: Mapping[str, tuple[float, Sequence[float], str]]) -> None:
    """Write names (-> x; y, low and high; colour) near their points, each where it covers no other
    name or interval and ends inside the panel, as far as there is such a place."""
    to_share = axis.transData + axis.transAxes.inverted()
    marks, taken = {}, []
    for name, (x, heights, _) in points.items():
        shares = [to_share.transform((x, height)).tolist() for height in heights]
        marks[name] = shares[0]
        (at, _), (_, low), (_, high) = shares
        taken.append((at - 0.01, at + 0.01, low, high))
    for name, (x, y) in marks.items():
        width = NAME_WIDTH * len(name)
        free = []
        for step in range(12):
            for height in (y + step * NAME_HEIGHT, y - step * NAME_HEIGHT):
                above = min(max(0.0, x - width / 2), 1 - width)
                for start in (x + 0.03, x - 0.03 - width, above):
                    inside = start >= 0 and start + width <= 1 and 0 <= height <= 1
                    clear = all(
                        start > end
                        or start + width < begin
                        or not bottom - NAME_HEIGHT < height < top + NAME_HEIGHT
                        for begin, end, bottom, top in taken
                    )
                    if inside and clear:
                        free.append((start, height))
        start, height = free[0] if free else (x + 0.03, y)
        taken.append((start, start + width, height, height))
        thread = {"arrowstyle": "-", "lw": 0.4, "color": SOFT, "relpos": (float(start < x), 0.5)}
        to, heights, colour = points[name]
        axis.annotate(
            name, (to, heights[0]), (start, height), textcoords="axes fraction", va="center",
            color=colour, fontsize=6.5, arrowprops=thread,
        )  # fmt: skip


def level(axis: Axes, height: float, dash: str, colour: str = INK) -> None:
    """Draw a thin horizontal line: chance, 95%, a ratio of 1."""
    axis.axhline(height, color=colour, linestyle=dash, linewidth=0.9, zorder=1)


def sizes(axis: Axes, values: Iterable[float]) -> None:
    """Make x logarithmic and label it at the given sizes: 256, 512, ..."""
    ticks = sorted({int(value) for value in values})
    span = math.log2(ticks[-1] / ticks[0]) or 1.0
    labels, least = [str(ticks[0])], 1.0
    for before, tick in itertools.pairwise(ticks):
        gap = math.log2(tick / before) / span
        labels.append(str(tick) if gap > OVERLAPPING else "")
        least = min(least, gap) if gap > OVERLAPPING else least
    axis.set_xscale("log", base=2)
    axis.set_xlim(ticks[0] / 1.25, ticks[-1] * 1.25)
    axis.set_xticks(ticks, labels, rotation=90 if least < TOUCHING else 0)
    axis.xaxis.set_minor_locator(NullLocator())


def log_ticks(axis: Axis, form: Any = "{x:,.10g}") -> None:
    """Label a logarithmic axis at 1, 2, 5, or 1 alone, of each decade; form: matplotlib's."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(10, subs=(1.0,) if high > LONG * low else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(form)
    axis.set_minor_locator(NullLocator())


def magnitude(axis: Axes, values: Iterable[float]) -> None:
    """Let y start at zero where the values lie close together, else make it logarithmic."""
    if max(values) < NARROW * min(values):
        axis.set_ylim(bottom=0)
    else:
        axis.set_yscale("log")
        log_ticks(axis.yaxis)


def hops(axis: Axes, _: Any) -> None:
    """Make y logarithmic with a place for 0: a position that points at itself."""
    axis.set_yscale("symlog", linthresh=1)
    axis.set_ylim(bottom=-0.3)
    axis.yaxis.set_major_formatter("{x:,.0f}")


def accuracies(axis: Axes, _: Any) -> None:
    """Make y per cent with the room of 90 to 100% that claims are about."""
    stretch, shrink = lambda y: -np.log10(BEYOND - y), lambda height: BEYOND - 10**-height
    axis.set_yscale("function", functions=(stretch, shrink))
    axis.set_ylim(-3, BEYOND - 0.15)
    axis.yaxis.set_major_locator(FixedLocator([0, 50, 80, 90, 95, 98, 99, 100]))
    axis.yaxis.set_minor_locator(NullLocator())


SCALES: dict[str, Callable[[Axes, Iterable[float]], Any]] = {
    "magnitude": magnitude,
    "percent": accuracies,
    "linear": lambda axis, _: axis.set_ylim(bottom=0),
    "hops": hops,
    "free": lambda axis, _: None,
}


def save(drawn: Figure, path: Path, tier: str = "") -> list[Path]:
    """Write `path`.png and `path`.svg; smoke rows are stamped in the title."""
    drawn.suptitle(stamped(drawn.get_suptitle(), tier))
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [path.with_name(f"{path.name}.{kind}") for kind in KINDS]
    for file, options in zip(files, KINDS.values(), strict=True):
        drawn.savefig(file, **options)
        drawn.set_layout_engine("none")  # the layout of the first format holds for the second
    return files
