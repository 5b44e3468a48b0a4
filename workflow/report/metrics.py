"""Where the cells of a claim come from: each metric turns the frame into estimates, one a cell, by name and arguments.

`device: any` takes every device; a claim that names one is judged there only. Nothing is mixed across machines: each
machine, device, dtype and thread count gives cells of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from workflow.report import intervals, paper, summary
from workflow.report.frame import unpack
from workflow.report.intervals import Interval
from workflow.report.rules import Estimate, exactly, missing
from workflow.report.summary import PLACE

Metric = Callable[..., list[Estimate]]
LEARNED = 0.9  # an accuracy below this on a copy task is not a model that learned it


class NotTestable(Exception):
    """A claim that these rows cannot judge, with the reason: a missing device, protocol or reference."""


def _on(rows: pd.DataFrame, device: str, what: str) -> pd.DataFrame:
    """The rows of a device; raises NotTestable where there is none."""
    rows = rows if device == "any" else rows[rows["device"] == device]
    if rows.empty:
        where = "" if device == "any" else f" on {device}"
        raise NotTestable(f"no {what}{where}")
    return rows


def _cells(
    rows: pd.DataFrame,
    axis: str,
    at: Sequence[int],
    estimate: Callable[[pd.DataFrame, str, str], Estimate],
    span: Sequence[int] = (),
    what: str = "",
) -> list[Estimate]:
    """One estimate for each place and each wanted length or distance; what is missing there stays as an open cell.

    `span` (least, most): whatever else was measured between them is judged too, so that "every" means every one. A
    place where nothing finished (a device that is absent) has no say; raises NotTestable if that is every place.
    """
    ran_here = rows[rows["status"] == "ok"].groupby(PLACE, dropna=False, sort=True).ngroups
    if not ran_here:
        raise NotTestable(f"no row has finished ({', '.join(sorted(set(rows['status'])))})")
    found = []
    for place, group in rows.groupby(PLACE, dropna=False, sort=True):
        where = summary.place(place)
        if not (group["status"] == "ok").any():
            continue
        for point in sorted({*at, *_further(group, axis, span)}):
            label = f"{what}{'N' if axis == 'length' else 'D'}={point}" + (f", {where}" if ran_here > 1 else "")
            cell = group[group[axis] == point]
            ran = cell[cell["status"] == "ok"]
            failed = ", ".join(_endings(cell)) or "not run"
            given = missing(label, failed, where) if ran.empty else estimate(ran, label, where)
            found.append(replace(given, open_because=given.open_because or _doubt(cell)))
    return found


def _endings(cell: pd.DataFrame) -> list[str]:
    """How rows ended that did not finish; of one without its partner, how that ended."""
    return sorted(
        {
            reason if status == "no pair" else status
            for status, reason in zip(cell["status"], cell["reason"], strict=True)
            if status != "ok"
        }
    )


def _further(group: pd.DataFrame, axis: str, span: Sequence[int]) -> set[int]:
    """What was measured within a span, or failed there."""
    return {point for point in map(int, group[axis].dropna()) if span and span[0] <= point <= span[1]}


def _doubt(cell: pd.DataFrame) -> str:
    """Why a cell with results decides nothing: those that failed are not a random sample, and copies are no repeats."""
    lost = cell[cell["status"] != "ok"]
    if len(lost):
        return f"{len(lost)} of {len(cell)} runs {', '.join(sorted(set(lost['status'])))}"
    return "several rows of one seed and repeat" if cell.duplicated(["seed", "repeat"]).any() else ""


def _estimate(label: str, interval: Interval, runs: int, published: float | None, where: str) -> Estimate:
    return Estimate(label, interval.value, interval.low, interval.high, runs, paper=published, series=where)


def _published(frame: pd.DataFrame, model: str, axis: str, point: int) -> float | None:
    found = frame[(frame["model"] == model) & (frame[axis] == point)]["value"]
    return float(found.iloc[0]) if len(found) else None


def speedup(
    frame: pd.DataFrame, *, model: str, reference: str, at: list[int], span: Sequence[int] = (), device: str = "any"
) -> list[Estimate]:
    """Ratio of training throughputs by paired repeats, at each N; a repeat that the reference never had has no say."""
    rows = summary.pairs(frame, "training", reference)
    alone = (rows["status"] == "no pair") & rows["status_partner"].isna()
    rows = _on(rows[(rows["model"] == model) & ~alone], device, f"timing row of {model} beside {reference}")

    def one(cell: pd.DataFrame, label: str, where: str) -> Estimate:
        published = _published(paper.speedup(), model, "length", int(cell["length"].iloc[0]))
        return _estimate(label, intervals.ratio(list(cell["ratio"])), len(cell), published, where)

    return _cells(rows, "length", at, one, span, what=f"over {reference}, ")


def throughput(frame: pd.DataFrame, *, model: str, at: list[int], device: str = "any") -> list[Estimate]:
    """Tokens/s of training, t interval over repeats, at each N."""
    rows = summary.rates(frame, "training")
    rows = _on(rows[rows["model"] == model], device, f"timing row of {model}")

    def one(cell: pd.DataFrame, label: str, where: str) -> Estimate:
        published = _published(paper.throughput(), model, "length", int(cell["length"].iloc[0]))
        return _estimate(label, intervals.mean(list(cell["rate"])), len(cell), published, where)

    return _cells(rows, "length", at, one)


def _counted(frame: pd.DataFrame, model: str) -> pd.DataFrame:
    """Counted work by N: the same on every machine, so once."""
    cells = summary.operations(frame)
    cells = cells[(cells["model"] == model) & (cells["status"] == "ok")].drop_duplicates("length").sort_values("length")
    if cells.empty:
        raise NotTestable(f"no complexity row of {model}")
    return cells


def growth(frame: pd.DataFrame, *, model: str, of: str, at: list[int]) -> list[Estimate]:
    """What doubling N multiplies the counted work of one sequence by: up to each N of `at`, and wherever else both are.

    Small N alone decide nothing: there a quadratic term hides behind the trunk.
    """
    grown = doublings(frame, model, of)
    return [up_to(grown, n, model) for n in sorted({*at, *map(int, grown.index)})]


def doublings(frame: pd.DataFrame, model: str, of: str) -> pd.Series:
    """What doubling N multiplied the counted work of one sequence by, at each N reached."""
    grown: pd.Series = _counted(frame, model).set_index("length")[f"{of}_growth"].dropna()
    if grown.empty:
        raise NotTestable(f"no complexity rows of {model} at both N and 2 N")
    return grown


def up_to(grown: pd.Series, n: int, what: str) -> Estimate:
    """The cell of `doublings` from n / 2 to n."""
    label = f"{what}, N={n // 2} to {n}"
    return exactly(label, float(grown[n])) if n in grown else missing(label, "not run")


def reduction(frame: pd.DataFrame, *, model: str, reference: str, of: str, at: int) -> list[Estimate]:
    """Counted work of the reference over that of the model at N = `at`: at another N it is another claim."""
    ours, theirs = (_counted(frame, name).set_index("length")[of] for name in (model, reference))
    label = f"{of} of {reference} over {model}, N={at}"
    if at not in ours or at not in theirs:
        return [missing(label, "not run")]
    return [exactly(label, float(theirs[at]) / float(ours[at]))]


def scaling_exponent(
    frame: pd.DataFrame, *, model: str, phase: summary.Phase, at: list[int], device: str = "any"
) -> list[Estimate]:
    """b of seconds a sequence ~ N^b over all N, a slope for each repeat; every N of `at` must be there."""
    rows = summary.rates(frame, phase)
    rows = _on(rows[(rows["model"] == model)], device, f"timing row of {model}")
    found = []
    for place, group in rows[rows["status"] == "ok"].groupby(PLACE, dropna=False, sort=True):
        where, lacking = summary.place(place), sorted(set(at) - set(group["length"]))
        label = f"time of {phase}, {where}"
        if lacking:
            found.append(missing(label, f"N={', '.join(map(str, lacking))} not run", where))
            continue
        exponent = summary.by_repeat(group, group["length"] / group["rate"])
        found.append(_estimate(label, exponent, int(group["length"].value_counts().min()), None, where))
    if not found:
        raise NotTestable(f"no timing of {model} has finished")
    return found


def copy_accuracy(
    frame: pd.DataFrame,
    *,
    model: str,
    at: list[int],
    span: Sequence[int] = (),
    device: str = "any",
    beside: str = "paper",
    dtype: str = "any",
) -> list[Estimate]:
    """Mean over seeds at each D; the bounds are the widest of the seeds' own intervals.

    Set `beside` the paper's figure, or what `counting` the symbols so far gives: the most without choosing a position.
    """
    rows = summary.of(frame, "copy")
    rows = rows[(rows["model"] == model) & ((rows["dtype"] == dtype) | (dtype == "any"))]
    rows = _on(rows, device, f"copy row of {model}")
    published = paper.published("copy_accuracy").dropna(subset="distance")

    def one(cell: pd.DataFrame, label: str, where: str) -> Estimate:
        distance, symbols = (int(cell[key].iloc[0]) for key in ("distance", "symbols"))
        figure = _published(published, model, "distance", distance)
        level = intervals.counting(symbols, distance + 1) if beside == "counting" else figure and figure / 100
        return _estimate(label, widest(cell), cell["seed"].nunique(), level, where)

    return _cells(rows, "distance", at, one, span, what=f"{model}, ")


def widest(rows: pd.DataFrame) -> Interval:
    """The mean accuracy of rows, one a seed, between the ends of the widest of their intervals."""
    seeds = [seed_interval(row) for _, row in rows.iterrows()]
    return Interval(sum(s.value for s in seeds) / len(seeds), min(s.low for s in seeds), max(s.high for s in seeds))


def seed_interval(row: Any) -> Interval:
    """A row's accuracy: sequences as units where the row has them, else the row's own Wilson bounds."""
    right = unpack(row.get("correct_by_sequence"))
    if right and pd.notna(row["n_evaluated"]):
        return intervals.accuracy(right, float(row["n_evaluated"]) / len(right))
    return Interval(*(float(row[key]) for key in ("accuracy", "accuracy_low", "accuracy_high")))


def copy_loss(frame: pd.DataFrame, *, model: str, at: list[int], device: str = "any") -> list[Estimate]:
    """Evaluation loss, t interval over seeds, at each D."""
    rows = summary.of(frame, "copy")
    rows = _on(rows[rows["model"] == model], device, f"copy row of {model}")

    def one(cell: pd.DataFrame, label: str, where: str) -> Estimate:
        return _estimate(label, intervals.mean(list(cell["loss"])), cell["seed"].nunique(), None, where)

    return _cells(rows, "distance", at, one)


def copy_spread(frame: pd.DataFrame, *, model: str, reference: str, at: list[int]) -> list[Estimate]:
    """Standard deviation of accuracy over the distances, the model's less the reference's, t interval over seeds.

    Raises NotTestable where one of them did not learn: guessing is the most consistent strategy of all.
    """
    rows = summary.of(frame, "copy")
    rows = rows[rows["model"].isin([model, reference]) & rows["distance"].isin(at)]
    found = []
    for place, every in rows.groupby(PLACE, dropna=False, sort=True):
        group, doubt = every[every["status"] == "ok"], _doubt_by_distance(every)
        table = group.pivot_table(index=["model", "seed"], columns="distance", values="accuracy").dropna()
        if not {model, reference} <= set(table.index.get_level_values("model")) or len(table.columns) < len(at):
            continue
        for name in (model, reference):
            if float(table.loc[name].to_numpy().max()) < LEARNED:
                raise NotTestable(f"{name} did not learn any distance, and guessing does not vary")
        spread = table.std(axis=1, ddof=1)
        less = (spread.loc[model] - spread.loc[reference]).dropna()
        given = _estimate(summary.place(place), intervals.mean(list(less)), len(less), None, summary.place(place))
        alike = "" if less.any() else "no difference: less is not shown by two that do not vary"
        found.append(replace(given, open_because=doubt or alike))
    if not found:
        raise NotTestable(f"no copy rows of {model} and {reference} at all distances")
    return found


def _doubt_by_distance(rows: pd.DataFrame) -> str:
    """The first doubt of any model and distance, and seeds that one of them lacks: a spread needs all of them."""
    doubts = [doubt for _, cell in rows.groupby(["model", "distance"]) if (doubt := _doubt(cell))]
    seeds = {frozenset(cell["seed"]) for _, cell in rows.groupby(["model", "distance"])}
    return next(iter(doubts), "not every seed at every distance" if len(seeds) > 1 else "")


def hops(frame: pd.DataFrame, *, half: str, of: str, model: str = "pointer") -> list[Estimate]:
    """Mean or longest hop of the lower or upper half of the layers, of a model trained on text; t over seeds."""
    rows = summary.of(frame, "interpretability")
    text = rows["distance"].isna() & rows["task"].fillna("bytes").eq("bytes")
    rows = rows[(rows["model"] == model) & text]
    if not (rows["status"] == "ok").any():
        raise NotTestable("no model trained on text yet, and a copy task prescribes its hops")
    found = []
    for place, every in rows.groupby(PLACE, dropna=False, sort=True):
        group = every[every["status"] == "ok"]
        if group.empty:
            continue
        by_seed = [_half(unpack(cell), half) for cell in group["hops_mean" if of == "mean" else "hops_max"]]
        values = [sum(s) / len(s) if of == "mean" else max(s) for s in by_seed]
        label = f"{of} hop of the {half} layers, {summary.place(place)}"
        reach = intervals.mean(values, least=0.0, most=float(group["length"].max()) - 1)
        given = _estimate(label, reach, group["seed"].nunique(), None, summary.place(place))
        found.append(replace(given, open_because=_doubt(every)))
    return found


def _half(layers: list[float], half: str) -> list[float]:
    middle = (len(layers) + 1) // 2
    return layers[:middle] if half == "lower" else layers[middle:]


def targets_per_position(frame: pd.DataFrame, *, model: str = "pointer") -> list[Estimate]:
    """Share of positions, layers and pointer heads of the traces with one target that is the position or before it."""
    from workflow.bench.rows import attachment

    rows = summary.of(frame, "interpretability")
    rows = rows[(rows["model"] == model) & (rows["status"] == "ok") & rows["files"].notna()]
    found = []
    for _, row in rows.iterrows():
        path = attachment(Path(str(row["path"])), str(unpack(row["files"]).get("trace")))
        if path.is_file():
            targets = json.loads(path.read_text(encoding="utf-8"))["targets"]
            label = f"{summary.task(row['distance'], row['settings'])}, seed {row['seed']}, {len(targets[0])} heads"
            found.append(exactly(label, _one_each(targets)))
    if not found:
        raise NotTestable(f"no trace of {model}")
    return found


def _one_each(targets: list[list[list[int]]]) -> float:
    """targets: int[L][H][N], each a position no later than its own."""
    heads = [head for layer in targets for head in layer]
    right = [isinstance(target, int) and 0 <= target <= i for head in heads for i, target in enumerate(head)]
    return sum(right) / max(1, len(right))
