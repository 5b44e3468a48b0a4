"""Figures of where pointers point: hop distance by layer, and every pointer of one trained model, a panel a layer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from workflow.report import canvas, models, paper, summary
from workflow.report.frame import unpack

NO_ROWS = "No interpretability row has finished yet: nothing to draw."


def hops(frame: pd.DataFrame) -> Figure:
    """Mean (filled) and longest (hollow) hop by layer, a panel a task and place, beside what the paper gives."""
    cells, title = summary.hops(frame), "Hop distance by layer"
    ran = cells.dropna(subset=["mean_hop_tokens"])
    drawn = {
        f"{task}\n{name}": part
        for name, group in canvas.by_place(ran).items()
        for task, part in group.groupby("task", sort=False)
    }
    if not drawn:
        return canvas.nothing(title, NO_ROWS)
    looks = canvas.looks_for(ran["model"])
    figure, axes = canvas.panels(list(drawn), title, share_y=True)
    low, high = (paper.value("hops", f"{end} mean hop of the early layers") for end in ("lowest", "highest"))
    longest = paper.value("hops", "longest hop of the later layers")
    for axis, group in zip(axes, drawn.values(), strict=True):
        _hops(axis, looks, group)
        axis.axhspan(low, high, color="#bbbbbb", alpha=0.6, zorder=0, linewidth=0)
        canvas.reference_line(axis, longest, "-.", "#777777")
        axis.set_ylim(0, 2 * max(longest, ran["max_hop_tokens"].max()))
    keys = [
        Line2D([], [], color="#333333", marker="o", linestyle="-", label="mean"),
        Line2D([], [], color="#333333", marker="o", markerfacecolor="white", linestyle=":", label="longest"),
        Line2D([], [], color="#bbbbbb", linewidth=5, label=f"paper: mean {low:.0f} to {high:.0f}"),
        canvas.line_key("-.", f"paper: longest {longest:.0f}", "#777777"),
    ]
    canvas.legend(figure, looks, {*ran["model"]}, keys, canvas.failures(cells, "task"))
    return figure


def _hops(axis: Axes, looks: dict[str, models.Look], cells: pd.DataFrame) -> None:
    for model, lines in cells.groupby("model"):
        look, group = looks[str(model)], lines.sort_values("layer").astype({"layer": int})
        style: dict[str, Any] = {"color": look.colour, "marker": look.marker}
        axis.plot(group["layer"], group["mean_hop_tokens"], linestyle=look.line, **style)
        axis.plot(
            group["layer"], group["max_hop_tokens"], linestyle=":", markerfacecolor="white", linewidth=0.8, **style
        )
    _hop_axis(axis)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set(xlabel="Layer (1 is the lowest)", ylabel="Hop distance (tokens)")


def _hop_axis(axis: Axes) -> None:
    """Logarithmic, but with a place for 0: a position that points at itself."""
    axis.set_yscale("symlog", linthresh=1)
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def pointer_map(frame: pd.DataFrame) -> Figure:
    """How far back every position and head of the trained pointer model with the longest distance points."""
    title = "Where each position points"
    found = _traced(frame)
    if found is None:
        return canvas.nothing(title, "No interpretability row with a trace has finished yet: nothing to draw.")
    row, targets = found
    task = summary.task(row["distance"], row["settings"])
    what = f"{models.plain(row['model'])}, {task}, N = {targets.shape[-1]}, seed {row['seed']}"
    figure, axes = canvas.panels(
        [f"layer {layer + 1}" for layer in range(len(targets))], f"{title}: {what}", share_y=True, height=2.2
    )
    colour = canvas.looks_for([row["model"]])[row["model"]].colour
    for axis, heads in zip(axes, targets, strict=True):
        _map(axis, heads, colour)
        if pd.notna(row["distance"]):
            canvas.reference_line(axis, float(row["distance"]), "--", "#777777")
    keys = [Line2D([], [], color=colour, marker=".", linestyle="", label="a position's pointer, all heads")]
    keys += [canvas.line_key("--", "copy distance", "#777777")] if pd.notna(row["distance"]) else []
    canvas.legend(figure, {}, [], keys)
    return figure


def _traced(frame: pd.DataFrame) -> tuple[Any, np.ndarray[Any, np.dtype[np.int64]]] | None:
    """The row to draw and its targets int[L, H, N] of the first sequence; None where no trace can be read."""
    from workflow.bench.rows import attachment

    rows = summary.of(frame, "interpretability")
    rows = rows[(rows["status"] == "ok") & rows["files"].notna()].sort_values(
        ["distance", "seed"], ascending=[False, True], kind="stable"
    )
    for _, row in rows.iterrows():
        name = (unpack(row["files"]) or {}).get("trace")
        path = attachment(Path(str(row["path"])), str(name))
        if name and path.is_file():
            targets = np.asarray(json.loads(path.read_text(encoding="utf-8"))["targets"], dtype=np.int64)
            return row, targets[:, 0] if targets.ndim == 4 else targets
    return None


def _map(axis: Axes, heads: np.ndarray[Any, np.dtype[np.int64]], colour: str) -> None:
    """heads: int[H, N]. Points are drawn as an image: a hundred thousand of them would make the SVG unusable."""
    positions = np.broadcast_to(np.arange(heads.shape[-1]), heads.shape)
    hop = positions - heads
    axis.scatter(positions.ravel(), hop.ravel(), s=1.2, color=colour, linewidths=0, rasterized=True, zorder=2)
    _hop_axis(axis)
    axis.set(xlabel="Position (tokens)", ylabel="Hop to its target (tokens)", ylim=(-0.3, 2 * heads.shape[-1]))
