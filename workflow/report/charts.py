"""The charts: what the figures draw for print and the page on a screen, each an entry of CHARTS.

Machines are never mixed: a panel shows one machine, device, dtype and number of threads; counted
work, which is the same everywhere, has one panel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pandas as pd

from workflow.bench.cell import Trunk
from workflow.report import models, paper
from workflow.report.estimates import PLACE, largest_budget, select
from workflow.report.estimates.runs import prepare
from workflow.report.frame import unpack
from workflow.report.layout import (
    RECALL,
    axis,
    device,
    records,
    shared_settings,
    short,
    without_settings,
)
from workflow.report.models import LineStyle, Look

Table = pd.DataFrame
Levels = list[tuple[float, str, str]]  # height, text and dash of horizontal lines
NUMBERS = ["value", "low", "high", "least", "most"]
SERIES = ["model", "variant"]
LENGTH = "Sequence length N (tokens)"
ACCURACY = "Accuracy, hard argmax inference (%)"
MOST_POINTS = 40  # of one loss curve
NEVER = 1.5  # times the budget: where runs stand that never got to 95%
REFERENCES = ("transformer", "transformer-unfused")  # what speed-ups are shown against
GREY = "#808080"
GUIDES: tuple[tuple[str, int, LineStyle], ...] = (
    ("grows like N", 1, ":"),
    ("grows like N²", 2, "-."),
)


@dataclass(frozen=True)
class Curves:
    """A quantity, a line a model and variant, a panel a place; one panel where it is counted.

    unit: what the estimates are divided by; ends: the interval's columns; published: the paper's.
    """

    quantity: str
    label: str
    where: Mapping[str, Any] = field(default_factory=dict)
    unit: float = 1
    prefix: str = ""
    ends: tuple[str, str] = ("low", "high")
    published: Callable[[], Table] | None = None
    counted: bool = False


@dataclass(frozen=True, eq=False)
class Line:
    """A series: `points` has x and value, and may have low, high, rows and source.

    model: its label, None if always shown; hollow: what hollow markers stand for.
    """

    name: str
    look: Look
    points: Table
    model: str | None = None
    hollow: str = ""


@dataclass(frozen=True)
class Panel:
    """Lines over one x, `label` is that of y."""

    title: str
    label: str
    lines: list[Line]
    levels: Levels


@dataclass(frozen=True)
class Chart:
    """Curves of one question, or panels that `made` returns; table: the one with its numbers."""

    title: str
    x: str
    table: str
    curves: tuple[Curves, ...] = ()
    made: Callable[[Table, Table], Iterator[Panel]] | None = None
    log_x: bool = True
    y: Literal["magnitude", "percent", "linear", "hops", "free"] = "magnitude"


def panels(chart: Chart, estimates: Table, frame: Table) -> list[Panel]:
    """Return the panels of a chart that have something to show."""
    if chart.made:
        return list(chart.made(estimates, frame))
    return [panel for curves in chart.curves for panel in _of_curves(curves, estimates)]


def failures(chart: Chart, estimates: Table) -> list[Any]:
    """Return the estimates of a chart that have no point."""
    chosen = [select(estimates, curves.quantity, **curves.where) for curves in chart.curves]
    cells = records(pd.concat(chosen)) if chosen else []
    return [cell for cell in cells if cell.status != "ok"]


def place(machine: Any, name: Any, dtype: Any, threads: Any, trunk: Any = "") -> str:
    """Return where numbers come from, in two lines; one where no machine matters. The trunk is
    named where it is not the paper's."""
    own = f", trunk {trunk}" if trunk not in ("", str(Trunk())) else ""
    return f"{models.plain(short(str(machine)), 50)}\n{device(name, threads)}, {dtype}{own}".strip()


def finished(estimates: Table) -> Table:
    """Return the estimates that have a value."""
    return estimates[(estimates["status"] == "ok") & estimates["value"].notna()]


def _of_curves(curves: Curves, estimates: Table) -> Iterator[Panel]:
    ran = largest_budget(finished(select(estimates, curves.quantity, **curves.where)))
    ran = ran.assign(**{column: ran[column] / curves.unit for column in NUMBERS})
    by_place = ran.groupby([*PLACE, "trunk"], dropna=False)
    groups = {curves.prefix + place(*where): group for where, group in by_place}
    if curves.counted and groups:
        groups = {curves.prefix: ran.drop_duplicates([*SERIES, "x"])}
    # The places with most numbers come first.
    for title, group in sorted(groups.items(), key=lambda item: -len(item[1])):
        if group["model"].map(models.is_control).all():  # which are there to be compared with
            continue
        own, shared = without_shared(group)
        lines = _lines(own, curves.ends)
        # The paper names no precision: its points stand beside float32 alone.
        if curves.published and group["dtype"].eq("float32").all():
            lines += _published(curves.published(), curves.unit)
        if curves.counted:  # slope 1 and 2 from below the smallest value at the shortest length
            x = pd.Series(sorted(set(group["x"])), dtype="int64")
            start = 0.8 * group.loc[group["x"] == x[0], "value"].min()
            for name, power, dash in GUIDES:
                points = Table({"x": x, "value": start * (x / x[0]) ** power})
                lines.append(Line(name, Look(GREY, "", dash), points))
        title = ", ".join([title, *shared])
        yield Panel(title, curves.label, lines, _levels(curves.quantity, curves.where, estimates))


def without_shared(estimates: Table) -> tuple[Table, list[str]]:
    """Return estimates without the changed settings that all of them share, and those in words."""
    shared = shared_settings(estimates["variant"])
    kept = without_settings(estimates["variant"], shared)
    return estimates.assign(variant=kept), [models.in_words(setting) for setting in shared]


def _lines(estimates: Table, ends: tuple[str, str] = ("low", "high")) -> list[Line]:
    """Return a line for each model and variant, in order, sorted by x."""
    low, high = (estimates[column] for column in ends)
    points = estimates.assign(low=low, high=high).sort_values("x")
    groups, shown = dict(tuple(points.groupby(SERIES))), models.series(estimates)
    looks, names = models.looks(shown), {series: models.label(*series) for series in shown}
    return [Line(name, looks[own], groups[own], name) for own, name in names.items()]


def _published(points: Table, unit: float = 1) -> list[Line]:
    """Return the paper's points, in their model's colour."""
    points = points.dropna(subset="x").assign(value=points["value"] / unit)
    looks, lines = models.looks([]), []
    for model, group in points.groupby("model"):
        name = models.title(str(model))
        lines.append(Line(name, looks[str(model), ""], group, name, paper.PLACE))
    return lines


def _levels(quantity: str, where: Mapping[str, Any], estimates: Table) -> Levels:
    if quantity == "speedup":
        return [(1.0, "as fast", "--")]
    if quantity != "accuracy":
        return []
    chance = finished(select(estimates, "chance", **where))["value"].round(8)
    return [(95.0, "95%", ":"), *((100 * share, "guessing", "--") for share in sorted(set(chance)))]


def loss_curve(text: Any) -> Table:
    """Return a row's loss curve as x (tokens) and value, thinned to MOST_POINTS and its last."""
    curve = [(int(x), float(f"{y:.4g}")) for x, y in unpack(text) or [] if y is not None]
    step = -(-len(curve) // MOST_POINTS) or 1
    return Table(curve[:-1:step] + curve[-1:], columns=["x", "value"])


def _losses(_: Table, frame: Table) -> Iterator[Panel]:
    """Yield training loss by tokens, a panel a distance and place, a line a seed."""
    runs = prepare(frame[(frame["experiment"] == "copy") & (frame["trunk"] == str(Trunk()))])
    looks = models.looks(models.series(runs))
    for (distance, *where), group in runs.groupby(["x", *PLACE], dropna=False):
        lines = []
        for run in records(group):
            name, points = models.label(run.model, run.variant), loss_curve(run.loss_curve)
            if len(points) > 1:
                look = looks[run.model, run.variant]
                lines.append(Line(name, look, points.assign(rows=run.path), name))
        levels = [(math.log(v), f"guessing, ln {v}", "--") for v in sorted(set(group["symbols"]))]
        if lines:
            title = f"D = {distance}\n{place(*where)}"
            yield Panel(title, "Training loss (nats a symbol)", lines, levels)


def _hops(estimates: Table, _: Table) -> Iterator[Panel]:
    """Yield mean and longest hop by layer, a panel a task and place, beside the paper's."""
    published = paper.published("hops")["value"].astype("float64")  # two means, and the longest
    texts = [*2 * [("paper, mean of early layers", ":")], ("paper, longest of later layers", "-.")]
    levels = [(value, *text) for value, text in zip(published, texts, strict=True)]
    ran = finished(select(estimates, ["mean_hop", "longest_hop"]))
    for (task, name, x, *where), group in ran.groupby(["task", "axis", "x", *PLACE], dropna=False):
        by_layer = group.assign(x=group["layer"])
        lines = _lines(select(by_layer, "mean_hop"))
        for line in _lines(select(by_layer, "longest_hop")):
            lines.append(replace(line, hollow="longest hop"))
        size = f", D={x}" if name == "distance" else ""
        yield Panel(f"{task}{size}\n{place(*where)}", "Hop distance (tokens)", lines, levels)


def _trade_off(estimates: Table, _: Table) -> Iterator[Panel]:
    """Yield accuracy by throughput of a task and trunk, at the size and nearest length that most
    models have, on the machine that timed most of them."""
    rates = finished(select(estimates, "throughput", phase="training"))
    for task, words in (("copy", "copy over {} tokens"), ("mqar", "MQAR with {} pairs")):
        learned = largest_budget(finished(select(estimates, "accuracy", experiment=task)))
        for trunk, scores in learned.groupby("trunk"):
            scores = scores.assign(**{column: 100 * scores[column] for column in NUMBERS})
            size = scores.drop_duplicates([*SERIES, "x"])["x"].mode().max()
            timed = select(rates, trunk=trunk)[[*SERIES, *PLACE, "x", "value"]]
            own = select(scores, x=size).drop_duplicates([*SERIES, "device", "dtype"])
            own = own.drop(columns=["machine", "threads"])
            same = [*SERIES, "device", "dtype"]
            both = own.merge(timed, on=same, suffixes=("", "_timed"))
            if both.empty:
                continue
            by_place = both.groupby(PLACE, dropna=False)
            where, points = max(by_place, key=lambda group: group[1]["model"].nunique())
            lengths = points["x_timed"].mode()
            nearest = min(lengths, key=lambda n: abs(math.log(n / own["length"].iloc[0])))
            points = points[points["x_timed"] == nearest].assign(x=lambda t: t["value_timed"])
            points, shared = without_shared(points)
            title = ", ".join([words.format(size), *shared])
            title += f"\ntrunk {trunk}, timed at N={nearest}\n{place(*where)}"
            levels = _levels("accuracy", {"experiment": task, "trunk": trunk, "x": size}, estimates)
            yield Panel(title, ACCURACY, _lines(points), levels)


def _machines(estimates: Table, _: Table) -> Iterator[Panel]:
    """Yield a panel for each phase, reference and model, a line a place, and the paper's."""
    ratios = finished(select(estimates, "speedup", against=REFERENCES))
    ratios = ratios.sort_values("phase", ascending=False, kind="stable")  # training first
    for (phase, reference), pair in ratios.groupby(["phase", "against"], sort=False):
        for model, variant in models.series(pair):
            group = select(pair, model=model, variant=variant).sort_values("x")
            group = group.assign(low=group["least"], high=group["most"])
            lines = []
            by_place = group.groupby([*PLACE, "trunk"], dropna=False)
            for slot, (where, points) in enumerate(by_place, start=2):
                # A machine is no model: its look is not one of the first two, the pointer models'.
                colour = models.COLOURS[slot % len(models.COLOURS)]
                look = Look(colour, models.MARKERS[slot % len(models.MARKERS)], "-")
                lines.append(Line(place(*where).replace("\n", ", "), look, points))
            if (model, variant, phase) == ("pointer", "", "training"):
                lines += _published(paper.speedup())
            title = f"{models.label(model, variant)} against {reference}, {phase}"
            label, levels = "Ratio of tokens/s to the reference", [(1.0, "as fast", "--")]
            yield Panel(title, label, lines, levels)


def _accuracy(experiment: str, prefix: str = "") -> Curves:
    return Curves("accuracy", ACCURACY, {"experiment": experiment}, 0.01, prefix)


TRAINING, INFERENCE = {"phase": "training"}, {"phase": "inference"}
OVER, RATE = "Speed-up over transformer (ratio of tokens/s)", "Throughput (tokens/s)"
BESIDE = {"phase": "training", "against": REFERENCES[0]}
MIB, KIB = 2**20, 2**10
TIME = Curves("training_time", "Time for 20 sequences (s)", TRAINING, published=paper.training_time)
TRAINED = Curves("throughput", RATE, TRAINING, published=paper.throughput)
INFERRED = Curves("throughput", RATE, INFERENCE)
SPEEDUP = Curves("speedup", OVER, BESIDE, ends=("least", "most"), published=paper.speedup)
PEAK = Curves("peak_memory", "Peak memory (MiB)", {}, MIB, "peak\n")
TOKEN, SEQUENCE = "Kept for backward (KiB a token)", "Kept for backward (MiB)"
KEPT = Curves("saved_bytes_per_token", TOKEN, {}, KIB, "kept for backward\n")
STEP = Curves("flops_step", "GFLOP", {}, 1e9, "operations of a training step", counted=True)
SAVED = Curves("saved_bytes_per_sequence", SEQUENCE, {}, MIB, "kept for backward", counted=True)
COPIED = Curves(  # on other trunks: the figure `curves`
    "accuracy", ACCURACY, {"experiment": "copy", "trunk": str(Trunk())}, 0.01,
    published=paper.copy_accuracy,
)  # fmt: skip
PAIRED = _accuracy("mqar")
RECALLED = tuple(_accuracy(task, f"{task} by {axis(task)}\n") for task in RECALL)
BY_PAIRS = {"experiment": "mqar", "length": 16 * 16}  # 16 pairs
RECALLED_IN_TIME = Curves("accuracy_by_time", "Accuracy (%)", BY_PAIRS, 0.01, "16 pairs\n")
TEXT_IN_TIME = Curves("bits_per_byte_by_time", "Bits a byte")
MEAN_HOP = Curves("mean_hop", "")
SECONDS = "Seconds of training at the measured throughput"
DISTANCE, PAIRS, LAYER = "Copy distance D (tokens)", "Pairs of key and value", "Layer (1 is lowest)"
ELSEWHERE = "Recall, induction, hops and other tasks"
CHARTS = {
    "time": Chart("Training time", LENGTH, "training_time", (TIME,)),
    "throughput": Chart("Training throughput", LENGTH, "throughput", (TRAINED,)),
    "inference": Chart("Inference throughput", LENGTH, "throughput", (INFERRED,)),
    "speedup": Chart("Speed-up of a training step", LENGTH, "speedup", (SPEEDUP,)),
    "memory": Chart("Memory of a training step", LENGTH, "memory", (PEAK, KEPT)),
    "operations": Chart("Counted work of one sequence", LENGTH, "operations", (STEP, SAVED)),
    "copy_accuracy": Chart("Copy accuracy", DISTANCE, "copy_accuracy", (COPIED,), y="percent"),
    "loss_curves": Chart(
        "Loss on the copy task", "Training tokens", "copy_loss",
        made=_losses, log_x=False, y="linear",
    ),
    "mqar": Chart("Multi-query associative recall", PAIRS, "recall", (PAIRED,), y="percent"),
    "recall_time": Chart(
        "Associative recall over time", SECONDS, "learning_time", (RECALLED_IN_TIME,), y="percent",
    ),
    "text": Chart("Real text over time", SECONDS, "learning_time", (TEXT_IN_TIME,), y="free"),
    "recall": Chart(ELSEWHERE, "Size of the task", "recall", RECALLED, y="percent"),
    "hops": Chart(
        "Hop distance by layer", LAYER, "hops", (MEAN_HOP,), made=_hops, log_x=False, y="hops",
    ),
    "trade_off": Chart(
        "Accuracy against training throughput", "Training throughput (tokens/s)", "models",
        made=_trade_off, log_x=False, y="percent",
    ),
    "machines": Chart("Speed-up, machine by machine", LENGTH, "speedup", made=_machines),
}  # fmt: skip
