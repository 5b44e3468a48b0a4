"""The figure of the verdicts: a line a claim, our number over the paper's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

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

    def draw(axis: Axes, _: None) -> None:
        edge: dict[str, Any] = {"transform": axis.get_yaxis_transform()}
        words: dict[str, Any] = {"color": "#222222", "va": "center", "fontsize": 7.5} | edge
        axis.set_xscale("log")
        for height, line in enumerate(lines):
            colour, marker = VERDICTS[line.verdict]
            axis.plot([1.03], [height], marker, color=colour, clip_on=False, **edge)
            axis.text(1.06, height, line.words, **words)
            cells = comparable(line)
            for slot, cell in enumerate(cells):
                beside = 0.5 * ((slot + 0.5) / len(cells) - 0.5)
                paper = float(cell.paper or 1)
                ours, low, high = cell.value / paper, cell.low / paper, cell.high / paper
                error = [[max(0.0, ours - low)], [max(0.0, high - ours)]]
                if not (math.isfinite(low) and math.isfinite(high)):
                    error = [[0.0], [0.0]]
                options: dict[str, Any] = {"color": colour, "marker": marker, "ms": 3}
                axis.errorbar([ours], [height + beside], xerr=error, elinewidth=0.9, **options)
        axis.set_yticks(range(len(lines)), [line.name for line in lines])
        axis.set_ylim(len(lines) - 0.4, -0.6)
        axis.tick_params(axis="y", length=0)
        axis.axvline(1.0, color=style.INK, linewidth=0.9, linestyle="--", zorder=1)
        style.log_ticks(axis.xaxis, "{x:g}×")
        axis.set_xlabel("Our figure over the claim's, with its interval")

    return style.figure(
        "Verdicts on the paper's claims",
        {"": None} if lines else {},
        draw,
        width=style.PANEL_WIDTH * 2,
        height=0.75 + 0.27 * len(lines),
    )


def comparable(line: Line) -> list[Cell]:
    """Return the cells with a positive number of ours and of the claim's; none where it has two."""
    if line.claim.contradiction or line.claim.reason:
        return []
    return [cell for cell in line.cells if cell.paper and cell.paper > 0 and cell.value > 0]


def write(lines: Sequence[Line], out: Path, tier: str = "") -> list[Path]:
    """Draw the figure of the verdicts in both formats; return the files."""
    with style.drawing():
        return style.save(verdicts(lines), out / "claims", tier)
