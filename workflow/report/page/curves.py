"""The page's curves: the figures' own numbers, one panel a place, machines never mixed, the paper's points in each."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd

from workflow.report import canvas, paper, summary, task_summary
from workflow.report.frame import unpack
from workflow.report.page import chart
from workflow.report.page.chart import Chart, Panel, Trace

LENGTH, DISTANCE = "Sequence length N (tokens)", "Copy distance D (tokens)"
NO_TIMES, NO_COPIES = "No efficiency row has finished.", "No copy row has finished."
MOST_POINTS = 120  # of one loss curve
Cells = pd.DataFrame


def charts(frame: Cells) -> list[Chart]:
    """All curves, in the page's order."""
    made: tuple[Callable[[Cells], Chart], ...] = (
        time, throughput, inference, speedup, peak, kept, operations, accuracy, losses, recall,
    )  # fmt: skip
    return [make(frame) for make in made]


def _per_place(
    cells: Cells, axis: str, columns: tuple[str, str, str], theirs: Cells, unit: str, title: str,
    shapes: tuple[dict[str, Any], ...] = (), prefix: str = "",
) -> list[Panel]:  # fmt: skip
    """A panel for each place: our series, then the paper's."""
    y, low, high = columns
    panels = []
    for where, group in chart.by_place(cells).items():
        data = chart.lines(group, axis, y, low, high, unit) + chart.published(theirs, axis, unit)
        ticks = sorted({float(n) for n in [*group[axis], *theirs[axis].dropna()]})
        panels.append(Panel(prefix + where, data, chart.in_words(title, data, unit), list(shapes), ticks))
    return panels


def time(frame: Cells) -> Chart:
    """Seconds for 20 sequences, with the band of the step's 20th and 80th percentile."""
    cells, title, unit = summary.training_time(frame), "Training time", "s for 20 sequences"
    panels = _per_place(cells, "length", ("seconds", "seconds_low", "seconds_high"), paper.training_time(), unit, title)
    note = "Bars reach from the 20th to the 80th percentile of the steps. Seconds of two machines must not be compared."
    return Chart(
        "time", title, LENGTH, "Time for 20 sequences (s)", panels, note=note, table="training_time", empty=NO_TIMES,
        failures=chart.failed(cells, "length"),
    )  # fmt: skip


def _rates(frame: Cells, phase: summary.Phase, name: str, title: str, note: str) -> Chart:
    cells, unit = summary.throughput(frame, phase), "tokens/s"
    theirs = paper.throughput() if phase == "training" else paper.throughput().iloc[:0]
    panels = _per_place(cells, "length", ("rate", "rate_low", "rate_high"), theirs, unit, title)
    return Chart(
        name, title, LENGTH, "Throughput (tokens/s)", panels, note=note, table="throughput", empty=NO_TIMES,
        failures=chart.failed(cells, "length"),
    )  # fmt: skip


def throughput(frame: Cells) -> Chart:
    """Tokens/s of training."""
    note = "Median over repeats; bars reach from the 20th to the 80th percentile of the steps."
    return _rates(frame, "training", "throughput", "Training throughput", note)


def inference(frame: Cells) -> Chart:
    """Tokens/s of a forward pass without gradients."""
    return _rates(frame, "inference", "inference", "Inference throughput", "The paper gives no figure for inference.")


def speedup(frame: Cells) -> Chart:
    """Ratio to each reference; bars are the smallest and the largest pair."""
    title, panels, failures = "Speed-up of a training step", list[Panel](), list[str]()
    one = chart.level(1.0, "as fast")
    for reference in summary.references(frame):
        cells = summary.speedup(frame, "training", reference)
        columns = ("ratio", "ratio_low", "ratio_high")
        against = f"against {reference}: "
        panels += _per_place(cells, "length", columns, paper.speedup(), "times", title, (one,), against)
        failures += chart.failed(cells, "length")
    note = "Median over pairs of rows of one machine and repeat; bars are the smallest and the largest pair."
    return Chart(
        "speedup", title, LENGTH, "Ratio of tokens/s to the reference", panels, note=note, table="speedup",
        empty="No efficiency row has finished beside a Transformer's of the same machine.",
        failures=list(dict.fromkeys(failures)),
    )  # fmt: skip


def _memory(frame: Cells, column: str, size: int, name: str, title: str, label: str, note: str) -> Chart:
    cells = summary.memory(frame)
    cells[column] /= size
    unit = label.rpartition("(")[2].rstrip(")")
    panels = _per_place(cells, "length", (column, "", ""), paper.throughput().iloc[:0], unit, title)
    return Chart(
        name, title, LENGTH, label, [panel for panel in panels if any(trace["y"] for trace in panel.data)],
        log=(True, False), note=note, table="memory", empty=f"{NO_TIMES[:-1]} with this measure.",
        failures=chart.failed(cells, "length"),
    )  # fmt: skip


def peak(frame: Cells) -> Chart:
    """Peak of a training step in MiB."""
    note = "Peak of a training step beyond what the process held before it; about the same number of tokens at every N."
    return _memory(frame, "peak_memory_bytes", 2**20, "memory", "Peak memory", "Peak memory (MiB)", note)


def kept(frame: Cells) -> Chart:
    """Bytes kept for backward, KiB a token."""
    title, note = "Kept for the backward pass", "Counted, a token: flat where memory is linear in N."
    return _memory(frame, "saved_bytes_per_token", 2**10, "kept", title, "Kept for backward (KiB a token)", note)


def operations(frame: Cells) -> Chart:
    """Counted FLOPs of a training step of one sequence, with guides that grow like N and N^2."""
    cells, title, unit = summary.operations(frame), "Counted operations", "GFLOP"
    ran = cells[cells["status"] == "ok"].drop_duplicates(["model", "length"]).copy()
    ran["flops_step"] /= 1e9
    ran = ran.dropna(subset="flops_step")
    data = chart.lines(ran, "length", "flops_step", unit=unit) if len(ran) else []
    ticks = sorted({float(n) for n in ran["length"]})
    panels = [
        Panel("counted, the same on every machine", data + _guides(data), chart.in_words(title, data, unit), [], ticks)
    ]
    note = "Floating-point operations of one sequence, by formula where a kernel hides them."
    return Chart(
        "operations", title, LENGTH, "Operations of a training step (GFLOP)", panels if data else [], note=note,
        table="operations", empty="No complexity row has finished.", failures=chart.failed(cells, "length"),
    )  # fmt: skip


def _guides(data: list[Trace]) -> list[Trace]:
    """Lines of slope 1 and 2 from below the smallest value at the shortest length."""
    lengths = sorted({x for trace in data for x in trace["x"]})
    if len(lengths) < 2:
        return []
    start = 0.8 * min(y for trace in data for x, y in zip(trace["x"], trace["y"], strict=True) if x == lengths[0])
    return [
        {
            "type": "scatter", "mode": "lines", "name": f"grows like {text}", "x": lengths,
            "y": [chart.number(start * (n / lengths[0]) ** power) for n in lengths],
            "hovertext": f"grows like {text}", "hoverinfo": "text",
            "line": {"color": "#808080", "dash": dash, "width": 1.2}, "meta": {"role": "guide"},
        }
        for power, dash, text in ((1, "dot", "N"), (2, "dashdot", "N²"))
    ]  # fmt: skip


def accuracy(frame: Cells) -> Chart:
    """Accuracy in percent by distance, with intervals, 95% and guessing."""
    cells, title = summary.copy(frame), "Copy accuracy"
    columns = ("accuracy", "accuracy_low", "accuracy_high")
    cells[list(columns)] *= 100
    theirs = paper.published("copy_accuracy").dropna(subset="distance")
    panels = _per_place(cells, "distance", columns, theirs, "%", title, _levels(cells))
    note = (
        "Hard argmax inference on fresh sequences; bars are 95% intervals. What decides this task is how a model knows "
        "positions: compare pointer with transformer-relative, which has the same offset table."
    )
    return Chart(
        "copy_accuracy", title, DISTANCE, "Accuracy (%)", panels, log=(True, False), note=note, table="copy_accuracy",
        empty=NO_COPIES, failures=chart.failed(cells, "distance"),
    )  # fmt: skip


def _levels(cells: Cells) -> tuple[dict[str, Any], ...]:
    """The lines of 95% and of guessing."""
    chances = sorted(set(cells["chance"].dropna()))
    return chart.level(95, "95%", "dot"), *(chart.level(100 * float(chance), "guessing") for chance in chances)


def losses(frame: Cells) -> Chart:
    """Training loss by tokens, a panel a distance and place, a line a seed."""
    rows = summary.of(frame, "copy")
    rows["points"] = rows["loss_curve"].map(_points, na_action=None)
    rows = rows[rows["points"].map(len) > 1]
    panels = [
        _losses(f"D = {distance}: {chart.place(where)}", group)
        for (distance, *where), group in rows.groupby(["distance", *summary.PLACE], dropna=False, sort=True)
    ]
    note = (
        "One line a seed. A line ends where training stopped: at the budget, or at the accuracy that the config states."
    )
    return Chart(
        "loss_curves", "Loss on the copy task", "Training tokens", "Training loss (nats a symbol)", panels,
        log=(False, False), note=note, table="copy_loss", empty=NO_COPIES,
    )  # fmt: skip


def _losses(label: str, rows: Cells) -> Panel:
    looks = canvas.looks_for(rows["model"])
    data = []
    for _, row in rows.iterrows():
        tokens, values = zip(*row["points"], strict=True)
        trace = chart.series(looks[row["model"]], row["model"], tokens, values) | {"mode": "lines"}
        said = f"{row['model']}, seed {row['seed']}"
        trace["hovertext"] = [chart.shown(f"{said}: {y:.3g} nats after {x:,} tokens") for x, y in row["points"]]
        data.append(trace)
    guesses = [chart.level(math.log(v), f"guessing, ln {v}") for v in sorted(set(rows["symbols"]))]
    return Panel(label, data, chart.in_words("Training loss by tokens", data, "nats"), guesses)


def _points(cell: object) -> list[tuple[int, float]]:
    """A loss curve as (tokens, loss), thinned to MOST_POINTS and its last point."""
    points = [(int(x), float(f"{y:.4g}")) for x, y in unpack(cell) or [] if x is not None and y is not None]
    step = -(-len(points) // MOST_POINTS) or 1
    return points[::step] + ([points[-1]] if points and (len(points) - 1) % step else [])


def recall(frame: Cells) -> Chart:
    """Accuracy in percent by a task's size, with intervals, 95% and guessing; a panel a task and place."""
    cells = task_summary.recall(frame)
    columns = ("accuracy", "accuracy_low", "accuracy_high")
    cells[list(columns)] *= 100
    nothing = pd.DataFrame(columns=["model", "size", "value", "source"])
    panels = []
    for task, group in cells.groupby("task", observed=True, sort=True):
        title = f"{task} by {task_summary.axis(str(task))}"
        panels += _per_place(group, "size", columns, nothing, "%", title, _levels(group), prefix=f"{title}: ")
    note = "Hard argmax inference on fresh sequences; bars are 95% intervals. What each size is stands in table recall."
    cells["model"] = [f"{model} on {task}" for model, task in zip(cells["model"], cells["task"], strict=True)]
    return Chart(
        "recall", "Recall, induction, hops and other tasks", "Size of the task", "Accuracy (%)", panels,
        log=(True, False), note=note, table="recall", empty="No row of these tasks has finished.",
        failures=chart.failed(cells, "size"),
    )  # fmt: skip
