"""The charts of estimates over a size: what the figures draw for print and the page on a screen.

A chart of your own is one entry of CHARTS. Machines are never mixed: a panel shows one machine,
device, dtype and number of threads, and counted work, which is the same everywhere, has one panel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from workflow.bench.cell import Trunk
from workflow.report import models, paper
from workflow.report.estimates import PLACE, largest_budget, select
from workflow.report.frame import unpack
from workflow.report.layout import RECALL, axis
from workflow.report.models import LineStyle, Look, Series

Table = pd.DataFrame
Published = Callable[[], Table] | None
NUMBERS = ["value", "low", "high", "least", "most"]
LENGTH = "Sequence length N (tokens)"
NO_TIMES = "No efficiency row has finished yet"
NO_COPIES = "No copy row has finished yet"
MOST_POINTS = 40  # of one loss curve
NEVER = 1.5  # times the budget: where runs stand that never got to 95%
REFERENCES = ("transformer", "transformer-unfused")  # what speed-ups are shown against


@dataclass(frozen=True)
class Curves:
    """A quantity, a line a model and variant, a panel a place.

    label: of y, with its unit; unit: what the estimates are divided by; prefix: of the panels'
    titles; band: the columns of the lower and upper end; published: the paper's points.
    """

    quantity: str
    label: str
    where: Mapping[str, Any] = field(default_factory=dict)
    unit: float = 1
    prefix: str = ""
    band: tuple[str, str] | None = None
    published: Published = None
    counted: bool = False


@dataclass(frozen=True)
class Chart:
    """Curves of one question. note, table: what the page says below, and the table it links to."""

    title: str
    x: str
    curves: tuple[Curves, ...]
    missing: str
    note: str
    table: str
    guides: bool = False  # lines that grow like N and N^2
    log_y: bool = True


@dataclass(frozen=True)
class Panel:
    """Finished estimates in the unit of `curves`, the paper's points, and lines (y, text, dash)."""

    title: str
    curves: Curves
    estimates: Table
    published: Table
    levels: list[tuple[float, str, str]]


def place(machine: Any, device: Any, dtype: Any, threads: Any) -> str:
    """Return where numbers come from, in two lines."""
    counted = f", {threads} thread{'s' if threads != 1 else ''}" if pd.notna(threads) else ""
    return f"{models.plain(machine, 50)}\n{device}{counted}, {dtype}"


def finished(estimates: Table) -> Table:
    """Return the estimates that have a value."""
    return estimates[(estimates["status"] == "ok") & estimates["value"].notna()]


def chosen(curves: Curves, estimates: Table) -> Table:
    """Return the estimates of curves, failed ones too."""
    return select(estimates, curves.quantity, **curves.where)


def panels(chart: Chart, estimates: Table) -> list[Panel]:
    """Return the panels of a chart that have something to show."""
    found = []
    for curves in chart.curves:
        ran = largest_budget(finished(chosen(curves, estimates)))
        ran = ran.assign(**{column: ran[column] / curves.unit for column in NUMBERS})
        if curves.counted and len(ran):
            groups = {curves.prefix: ran.drop_duplicates(["model", "variant", "x"])}
        else:
            by_place = ran.groupby(PLACE, dropna=False)
            groups = {curves.prefix + place(*where): group for where, group in by_place}
        levels = _levels(curves, estimates)
        points = pd.DataFrame(columns=["model", "x", "value", "source"])
        if curves.published:
            points = curves.published().dropna(subset="x")
            points["value"] /= curves.unit
        # The places with most numbers come first.
        for title, group in sorted(groups.items(), key=lambda item: -len(item[1])):
            # The paper names no precision: its points stand beside float32 alone.
            beside = points if group["dtype"].eq("float32").all() else points.iloc[:0]
            found.append(Panel(title, curves, group, beside, levels))
    return found


def _levels(curves: Curves, estimates: Table) -> list[tuple[float, str, str]]:
    if curves.quantity == "speedup":
        return [(1.0, "as fast", "--")]
    if curves.quantity != "accuracy":
        return []
    chance = finished(select(estimates, "chance", **curves.where))["value"].round(8)
    return [(95.0, "95%", ":"), *((100 * share, "guessing", "--") for share in sorted(set(chance)))]


def lines(estimates: Table) -> list[tuple[str, Look, Table]]:
    """Return name, look and estimates of each model and variant, in order, sorted by x."""
    groups = dict(tuple(estimates.sort_values(["x", "layer"]).groupby(["model", "variant"])))
    shown = models.series(estimates)
    looks = models.looks(shown)
    return [(models.label(*series), looks[series], groups[series]) for series in shown]


def guessing(panel: Panel) -> list[Series]:
    """Return the models that nowhere score more than guessing."""
    levels = [height for height, text, _ in panel.levels if text == "guessing"]
    low = panel.estimates.groupby(["model", "variant"])["low"].max()
    return list(low.index[low <= max(levels)]) if levels else []


def guides(estimates: Table) -> list[tuple[str, LineStyle, list[int], list[float]]]:
    """Return text, dash, x and y of lines of slope 1 and 2 from below the smallest value at the
    shortest length."""
    lengths = sorted({int(x) for x in estimates["x"]})
    if len(lengths) < 2:
        return []
    start = 0.8 * estimates.loc[estimates["x"] == lengths[0], "value"].min()
    linear = [start * length / lengths[0] for length in lengths]
    square = [start * (length / lengths[0]) ** 2 for length in lengths]
    return [("grows like N", ":", lengths, linear), ("grows like N²", "-.", lengths, square)]


def commonest_size(tables: Sequence[Table]) -> Any:
    """Return the size that most models have, the larger of equals; None where there is none."""
    if not tables:
        return None
    models_with = pd.concat(tables).drop_duplicates(["model", "variant", "x"]).groupby("x").size()
    return models_with[models_with == models_with.max()].index.max()


def with_rates(accuracy: Table, rates: Table) -> Table:
    """Return accuracies of one place with `rate` (tokens/s) and the length N `timed_at`.

    All rates are of one length: of those at which most of the models were timed, the nearest to
    the accuracies' own. Empty where nothing was timed.
    """
    series = ["model", "variant"]
    timed = finished(rates).merge(accuracy[series].drop_duplicates(), on=series)
    if timed.empty:
        return accuracy.iloc[:0]
    having = timed.groupby("x").size()
    own = float(accuracy["length"].iloc[0])
    lengths = sorted(having[having == having.max()].index)
    nearest = min(lengths, key=lambda length: abs(math.log(length / own)))
    chosen = timed.loc[timed["x"] == nearest, [*series, "value"]].rename(columns={"value": "rate"})
    return accuracy.assign(timed_at=nearest).merge(chosen, on=series, how="left")


def loss_curve(text: Any) -> list[tuple[int, float]]:
    """Return a row's loss curve as (tokens, loss), thinned to MOST_POINTS and its last point."""
    curve = [(int(x), float(f"{y:.4g}")) for x, y in unpack(text) or [] if y is not None]
    step = -(-len(curve) // MOST_POINTS) or 1
    return curve[:-1:step] + curve[-1:]


def _accuracy(experiment: str, prefix: str = "", published: Published = None) -> Curves:
    label = "Accuracy, hard argmax inference (%)"
    where = {"experiment": experiment, "trunk": str(Trunk())}  # the paper's; curves has others
    return Curves("accuracy", label, where, 0.01, prefix, ENDS, published)


ENDS = ("low", "high")
TRAINING, INFERENCE = {"phase": "training"}, {"phase": "inference"}
TIME, RATE = "Time for 20 sequences (s)", "Throughput (tokens/s)"
BANDS = "Bands are 97.5% intervals over sessions."
INTERVALS = "Hard argmax inference on fresh sequences; bars are 97.5% intervals."
CHARTS = {
    "time": Chart(
        "Training time",
        LENGTH,
        (Curves("training_time", TIME, TRAINING, band=ENDS, published=paper.training_time),),
        NO_TIMES,
        f"{BANDS} Seconds of two machines must not be compared.",
        "training_time",
    ),
    "throughput": Chart(
        "Training throughput",
        LENGTH,
        (Curves("throughput", RATE, TRAINING, band=ENDS, published=paper.throughput),),
        NO_TIMES,
        f"Geometric mean over sessions. {BANDS}",
        "throughput",
    ),
    "inference": Chart(
        "Inference throughput",
        LENGTH,
        (Curves("throughput", RATE, INFERENCE, band=ENDS),),
        NO_TIMES,
        "The paper gives no figure for inference.",
        "throughput",
    ),
    "speedup": Chart(
        "Speed-up of a training step",
        LENGTH,
        (
            Curves(
                "speedup",
                "Speed-up over transformer (ratio of tokens/s)",
                {"phase": "training", "against": REFERENCES[0]},
                band=("least", "most"),
                published=paper.speedup,
            ),
        ),
        f"{NO_TIMES} beside a Transformer's of the same machine",
        "Ratio of wall times in the same rounds, geometric mean over sessions; bands are the "
        "smallest and the largest session. Over transformer-unfused: Machines, and the table.",
        "speedup",
    ),
    "memory": Chart(
        "Memory of a training step",
        LENGTH,
        (
            Curves("peak_memory", "Peak memory (MiB)", {}, 2**20, "peak\n"),
            Curves(
                "saved_bytes_per_token",
                "Kept for backward (KiB a token)",
                {},
                2**10,
                "kept for backward\n",
            ),
        ),
        NO_TIMES,
        "Peak beyond what the process held before the step, at about the same number of tokens for "
        "every N. Kept for backward is counted, a token: flat where memory is linear in N.",
        "memory",
        log_y=False,
    ),
    "operations": Chart(
        "Counted work of one sequence",
        LENGTH,
        (
            Curves("flops_step", "GFLOP", {}, 1e9, "operations of a training step", counted=True),
            Curves(
                "saved_bytes_per_sequence",
                "Kept for backward (MiB)",
                {},
                2**20,
                "kept for its backward pass",
                counted=True,
            ),
        ),
        "No complexity row has finished yet",
        "The same on every machine; by formula where a kernel hides its operations.",
        "operations",
        guides=True,
    ),
    "copy_accuracy": Chart(
        "Copy accuracy",
        "Copy distance D (tokens)",
        (_accuracy("copy", published=paper.copy_accuracy),),
        NO_COPIES,
        f"{INTERVALS} What decides this task is the positional encoding: compare pointer with "
        "transformer-relative, which has the same offset table.",
        "copy_accuracy",
        log_y=False,
    ),
    "mqar": Chart(
        "Multi-query associative recall",
        "Pairs of key and value",
        (_accuracy("mqar"),),
        "No mqar row has finished yet",
        INTERVALS,
        "recall",
        log_y=False,
    ),
    "recall": Chart(
        "Recall, induction, hops and other tasks",
        "Size of the task",
        tuple(_accuracy(task, f"{task} by {axis(task)}\n") for task in RECALL),
        "No row of these tasks has finished yet",
        f"{INTERVALS} What each size is stands in table recall.",
        "recall",
        log_y=False,
    ),
}
