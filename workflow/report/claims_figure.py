"""The figure of the verdicts: a line a claim, our number over the paper's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from workflow.report import style
from workflow.report.claims import Line
from workflow.report.rules import Cell, Verdict

VERDICTS: dict[Verdict, tuple[str, str]] = {  # colour and marker
    Verdict.REPRODUCED: ("#009E73", "o"),
    Verdict.PARTIALLY: ("#E69F00", "D"),
    Verdict.NOT_REPRODUCED: ("#D55E00", "X"),
    Verdict.INCONCLUSIVE: ("#56B4E9", "s"),
    Verdict.NOT_TESTABLE: ("#8f8f8f", "P"),
    Verdict.INVALID: ("#882255", "P"),
    Verdict.UNSOUND: ("#882255", "P"),
    Verdict.SMOKE: ("#8f8f8f", "P"),
}


def verdicts(lines: Sequence[Line]) -> Figure:
    """Draw a line a claim: our number over the paper's, and the verdict at the right edge."""
    shown = [cell.value / float(cell.paper or 1) for line in lines for cell in comparable(line)]

    def draw(axis: Axes, _: None) -> None:
        edge: dict[str, Any] = {"transform": axis.get_yaxis_transform()}
        words: dict[str, Any] = {"color": "#222222", "va": "center", "fontsize": 7.5} | edge
        for height, line in enumerate(lines):
            colour, marker = VERDICTS[line.verdict]
            axis.plot([1.03], [height], marker, color=colour, clip_on=False, **edge)
            axis.text(1.06, height, line.words, **words)
            cells = comparable(line)
            for slot, cell in enumerate(cells):
                beside = 0.5 * ((slot + 0.5) / len(cells) - 0.5)
                _over_the_papers(axis, cell, height + beside, {"color": colour, "marker": marker})
        axis.set_yticks(range(len(lines)), [line.name for line in lines])
        axis.set_ylim(len(lines) - 0.4, -0.6)
        axis.tick_params(axis="y", length=0)
        axis.axvline(1.0, color=style.INK, linewidth=0.9, linestyle="--", zorder=1)
        _times_axis(axis, shown)

    return style.figure(
        "Verdicts on the paper's claims",
        {"": None} if lines else {},
        draw,
        width=style.PANEL_WIDTH * 2,
        height=0.75 + 0.27 * len(lines),
        missing="The ledger holds no claim",
    )


def comparable(line: Line) -> list[Cell]:
    """Return the cells with a positive number of ours and of the claim's; none where it has two."""
    if line.claim.contradiction or line.claim.reason:
        return []
    return [cell for cell in line.cells if cell.paper and cell.paper > 0 and cell.value > 0]


def _over_the_papers(axis: Axes, cell: Cell, height: float, options: dict[str, Any]) -> None:
    """Draw a cell's number over the claim's, with its interval where it has one."""
    asked, error = float(cell.paper or 1), None
    if math.isfinite(cell.low) and math.isfinite(cell.high):
        error = [
            [max(0.0, cell.value - cell.low) / asked],
            [max(0.0, cell.high - cell.value) / asked],
        ]
    axis.errorbar([cell.value / asked], [height], xerr=error, ms=3, elinewidth=0.9, **options)


def _times_axis(axis: Axes, values: Sequence[float]) -> None:
    """Make x logarithmic in multiples of the claim's number."""
    low, high = min([0.5, *values]) / 1.4, max([2.0, *values]) * 1.4
    axis.set_xscale("log")
    axis.set_xlim(low, high)
    steps = [1.0] if high > 100 * low else [1.0, 2.0, 5.0]
    axis.xaxis.set_major_locator(LogLocator(10, subs=steps))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axis.set_xlabel("Our figure over the claim's, with its interval")


def write(lines: Sequence[Line], out: Path, tier: str = "") -> list[Path]:
    """Draw the figure of the verdicts in both formats; return the files."""
    with style.drawing():
        return style.save(verdicts(lines), out / "claims", tier)
