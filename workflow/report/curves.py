"""Figures against sequence length N: time, throughput, speed-up, memory, counted work; machines are never mixed."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workflow.report import canvas, models, paper, summary

LENGTH = "Sequence length N (tokens)"
RAN = "No efficiency row has finished yet"
Cells = pd.DataFrame


def _curves(axis: Axes, looks: dict[str, models.Look], cells: Cells, y: str, low: str = "", high: str = "") -> None:
    for model, group in cells.groupby("model"):
        canvas.line(axis, looks[str(model)], group, "length", y, low, high)


def _against_length(
    cells: Cells, published: pd.DataFrame, title: str, label: str, y: str, low: str, high: str
) -> Figure:
    """One panel a place, the paper's points in each of float32, logarithmic both ways."""
    places = canvas.by_place(cells)
    if not places:
        return canvas.nothing(title, f"{RAN}: nothing to draw.")
    looks = canvas.looks_for(cells["model"], published["model"])
    figure, axes = canvas.panels(list(places), title)
    for axis, group in zip(axes, places.values(), strict=True):
        theirs = _beside(published, group)
        _curves(axis, looks, group, y, low, high)
        canvas.published_points(axis, looks, theirs, "length")
        canvas.powers_of_two(axis, [*group["length"], *theirs["length"]])
        canvas.magnitude(axis, [*group[low].dropna(), *group[high].dropna(), *theirs["value"]])
        axis.set(xlabel=LENGTH, ylabel=label)
    canvas.legend(figure, looks, {*cells["model"]}, [canvas.paper_key()], canvas.failures(cells, "length"))
    return figure


def _beside(published: pd.DataFrame, cells: Cells) -> pd.DataFrame:
    """The paper's points for a panel of these cells: none beside lower precision, as the paper names none."""
    return published[[bool(cells["dtype"].eq("float32").all())] * len(published)]


def time(frame: pd.DataFrame) -> Figure:
    """Seconds for 20 sequences, with the band of the step's 20th and 80th percentile."""
    cells, title = summary.training_time(frame), "Training time"
    label = "Time for 20 sequences (s)"
    return _against_length(cells, paper.training_time(), title, label, "seconds", "seconds_low", "seconds_high")


def throughput(frame: pd.DataFrame) -> Figure:
    """Tokens/s of training, with the same band."""
    cells = summary.throughput(frame, "training")
    return _against_length(
        cells, paper.throughput(), "Training throughput", "Throughput (tokens/s)", "rate", "rate_low", "rate_high"
    )


def speedup(frame: pd.DataFrame) -> Figure:
    """Ratio to each reference: a panel a reference and place; the band is the smallest and largest pair."""
    title = "Speed-up of a training step"
    drawn: dict[tuple[str, str], pd.DataFrame] = {}
    everything: list[pd.DataFrame] = []
    for reference in summary.references(frame):
        cells = _asked_beside(frame, reference, summary.speedup(frame, "training", reference))
        everything.append(cells)
        drawn |= {(reference, name): group for name, group in canvas.by_place(cells).items()}
    if not drawn:
        return canvas.nothing(title, f"{RAN} beside a Transformer's of the same machine: nothing to draw.")
    cells = pd.concat(everything, ignore_index=True)
    looks, published = canvas.looks_for(cells["model"]), paper.speedup()
    figure, axes = canvas.panels([f"against {reference}\n{name}" for reference, name in drawn], title)
    for axis, group in zip(axes, drawn.values(), strict=True):
        theirs = _beside(published, group)
        _curves(axis, looks, group, "ratio", "ratio_low", "ratio_high")
        canvas.published_points(axis, looks, theirs, "length")
        canvas.reference_line(axis, 1.0, "--")
        canvas.powers_of_two(axis, [*group["length"], *theirs["length"]])
        canvas.magnitude(axis, [*group["ratio"].dropna(), *theirs["value"]])
        axis.set(xlabel=LENGTH, ylabel="Speed-up (ratio of tokens/s)")
    keys = [canvas.line_key("--", "as fast"), canvas.paper_key()]
    canvas.legend(figure, looks, {*cells["model"]}, keys, canvas.failures(cells, "length"))
    return figure


def _asked_beside(frame: pd.DataFrame, reference: str, cells: Cells) -> Cells:
    """The cells where the reference has a row as well, be it a failed one: elsewhere no pair was asked for."""
    rows = summary.of(frame, "efficiency")
    where = [*summary.PLACE, "length"]
    return cells.merge(rows.loc[rows["model"] == reference, where].drop_duplicates(), on=where)


def memory(frame: pd.DataFrame) -> Figure:
    """Left the measured peak of a step, right the counted bytes kept for its backward pass a token."""
    cells, title = summary.memory(frame), "Memory of a training step"
    places = canvas.by_place(cells)
    if not places:
        return canvas.nothing(title, f"{RAN}: nothing to draw.")
    looks = canvas.looks_for(cells["model"])
    figure, axes = canvas.panels(
        [f"{kind}\n{name.splitlines()[0]}" for name in places for kind in ("peak", "kept for backward")], title
    )
    units = (
        ("peak_memory_bytes", 2**20, "Peak memory (MiB)"),
        ("saved_bytes_per_token", 2**10, "Kept for backward (KiB a token)"),
    )
    for number, axis in enumerate(axes):
        group = list(places.values())[number // 2].copy()
        column, unit, label = units[number % 2]
        group[column] /= unit
        _panel(axis, looks, group, column, label)
    canvas.legend(figure, looks, {*cells["model"]}, note=canvas.failures(cells, "length"))
    return figure


def operations(frame: pd.DataFrame) -> Figure:
    """Counted FLOPs of a step and bytes kept, one sequence, with guides that grow like N and N^2."""
    cells, title = summary.operations(frame), "Counted work of one sequence"
    ran = cells[cells["status"] == "ok"].drop_duplicates(["model", "length"]).copy()
    if ran.empty:
        return canvas.nothing(title, "No complexity row has finished yet: nothing to draw.")
    looks = canvas.looks_for(cells["model"])
    figure, axes = canvas.panels(["operations of a training step", "kept for its backward pass"], title)
    for axis, (column, unit, label) in zip(
        axes, (("flops_step", 1e9, "GFLOP"), ("saved_bytes", 2**20, "Kept for backward (MiB)")), strict=True
    ):
        ran[column] /= unit
        _panel(axis, looks, ran, column, label, guides=True)
    keys = [canvas.line_key(":", "grows like N", "#777777"), canvas.line_key("-.", "grows like N²", "#777777")]
    canvas.legend(figure, looks, {*cells["model"]}, keys, canvas.failures(cells, "length"))
    return figure


def _panel(
    axis: Axes, looks: dict[str, models.Look], cells: Cells, column: str, label: str, *, guides: bool = False
) -> None:
    if cells[column].notna().any():
        _curves(axis, looks, cells, column)
        if guides and cells["length"].nunique() > 1:
            _guides(axis, cells, column)
        else:
            canvas.magnitude(axis, cells[column].dropna())
    else:
        axis.text(0.5, 0.5, "not measured here", transform=axis.transAxes, ha="center", color="#444444")
    canvas.powers_of_two(axis, cells["length"])
    axis.set(xlabel=LENGTH, ylabel=label)


def _guides(axis: Axes, cells: Cells, column: str) -> None:
    """Straight lines of slope 1 and 2 from the smallest value at the shortest length, on logarithmic axes."""
    lengths = sorted({float(n) for n in cells["length"]})
    canvas.plain_log(axis, canvas.FINE if len(lengths) == 2 else canvas.COARSE)
    start = cells.loc[cells["length"] == lengths[0], column].min() * 0.8
    for power, style in ((1, ":"), (2, "-.")):
        axis.plot(
            lengths,
            [start * (n / lengths[0]) ** power for n in lengths],
            color="#777777",
            linestyle=style,
            linewidth=0.9,
            zorder=1,
        )
