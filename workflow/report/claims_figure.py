"""The verdicts at a glance: each in colour and word, and our figure over the claim's where both exist."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from workflow.report import canvas, claims
from workflow.report.claims import Line
from workflow.report.rules import Cell, Verdict

COLOURS = {
    Verdict.REPRODUCED: "#009E73",
    Verdict.PARTIALLY: "#E69F00",
    Verdict.NOT_REPRODUCED: "#D55E00",
    Verdict.INCONCLUSIVE: "#56B4E9",
    Verdict.NOT_TESTABLE: "#8f8f8f",
    Verdict.INVALID: "#882255",
    Verdict.UNSOUND: "#882255",
    Verdict.SMOKE: "#8f8f8f",
}
MARKERS = {Verdict.REPRODUCED: "o", Verdict.PARTIALLY: "D", Verdict.NOT_REPRODUCED: "X", Verdict.INCONCLUSIVE: "s"}
LINE = 0.27  # inches a claim


def draw(lines: Sequence[Line]) -> Figure:
    """One line a claim: its id, our figure over the paper's with intervals, and the verdict."""
    title = "Verdicts on the paper's claims"
    if not lines:
        return canvas.nothing(title, "The ledger holds no claim: nothing to draw.")
    figure = Figure(figsize=(canvas.PANEL_WIDTH * 2, 1.1 + LINE * len(lines)), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=9.5, fontweight="bold")
    axis = figure.subplots()
    for place, line in enumerate(lines):
        _line(axis, place, line)
    _axis(axis, lines)
    return figure


def _line(axis: Axes, place: int, line: Line) -> None:
    """The verdict's word at the right edge; a point and interval for each cell that the paper gives a figure for."""
    colour, marker = COLOURS[line.verdict], MARKERS.get(line.verdict, "P")
    axis.plot([1.03], [place], marker=marker, color=colour, transform=axis.get_yaxis_transform(), clip_on=False)
    words: dict[str, Any] = {"transform": axis.get_yaxis_transform(), "va": "center", "fontsize": 7.5}
    axis.text(1.06, place, claims.verdict(line), color="#222222", **words)
    cells = comparable(line)
    for slot, cell in enumerate(cells):
        _cell(axis, cell, place + 0.5 * ((slot + 0.5) / len(cells) - 0.5), {"color": colour, "marker": marker})


def _cell(axis: Axes, cell: Cell, height: float, style: dict[str, Any]) -> None:
    paper = float(cell.paper or math.nan)
    reach = [[max(0.0, cell.value - cell.low) / paper], [max(0.0, cell.high - cell.value) / paper]]
    known = math.isfinite(cell.low) and math.isfinite(cell.high)
    axis.errorbar([cell.value / paper], [height], xerr=reach if known else None, markersize=3, elinewidth=0.9, **style)


def comparable(line: Line) -> list[Cell]:
    """The cells with a positive figure of ours and of the claim's; none where the paper has none or two."""
    if line.claim.contradiction or line.claim.reason:
        return []
    return [cell for cell in line.cells if cell.paper and cell.paper > 0 and cell.value > 0]


def _axis(axis: Axes, lines: Sequence[Line]) -> None:
    axis.set_yticks(range(len(lines)), [line.claim.id for line in lines])
    axis.set_ylim(len(lines) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.axvline(1.0, color="#333333", linewidth=0.9, linestyle="--", zorder=1)
    shown = [cell.value / float(cell.paper or 1) for line in lines for cell in comparable(line)] or [1.0]
    low, high = min([0.5, *shown]) / 1.4, max([2.0, *shown]) * 1.4
    axis.set_xscale("log")
    axis.set_xlim(low, high)
    axis.xaxis.set_major_locator(LogLocator(10, subs=[1.0] if high > 100 * low else [1.0, 2.0, 5.0]))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axis.set_xlabel("Our figure over the claim's, with its interval")
