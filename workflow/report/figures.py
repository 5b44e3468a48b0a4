"""The figures by name; `write` draws all of them as PNG and SVG."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from pointer.errors import InputError
from workflow.report import ablation_figures, canvas, claims_figure, copy_figures, curves, hop_figures, task_figures
from workflow.report.claims import Line

FIGURES: dict[str, Callable[[pd.DataFrame], Figure]] = {
    "time": curves.time,
    "throughput": curves.throughput,
    "speedup": curves.speedup,
    "memory": curves.memory,
    "operations": curves.operations,
    "copy_accuracy": copy_figures.copy_accuracy,
    "loss_curves": copy_figures.loss_curves,
    "hops": hop_figures.hops,
    "pointer_map": hop_figures.pointer_map,
    "ablation": ablation_figures.ablation,
    "two_hop": ablation_figures.two_hop,
    "mqar": task_figures.mqar,
    "trade_off": task_figures.trade_off,
}


def write(frame: pd.DataFrame, out: Path, tier: str = "", names: Iterable[str] = tuple(FIGURES)) -> list[Path]:
    """The named figures, all by default, in both formats; returns the files. Raises InputError for an unknown name."""
    for name in names:
        if name not in FIGURES:
            raise InputError.unknown("figure", name, FIGURES, "`--names`")
    with matplotlib.rc_context(canvas.STYLE):
        return [path for name in names for path in canvas.save(FIGURES[name](frame), out / name, tier)]


def write_claims(lines: Sequence[Line], out: Path, tier: str = "") -> list[Path]:
    """The figure of the verdicts, in both formats."""
    with matplotlib.rc_context(canvas.STYLE):
        return canvas.save(claims_figure.draw(lines), out / "claims", tier)
