"""Machines side by side: ratios only, for absolute times of two machines say nothing of the models."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pandas as pd

from workflow.report import models, paper, summary
from workflow.report.layout import NOT_RUN, significant
from workflow.report.page import chart
from workflow.report.page.chart import Chart, Panel, Trace
from workflow.report.page.listing import Listing

TITLE = "Speed-up, machine by machine"
EMPTY = "No two finished efficiency rows of one machine to take a ratio of."


def _ratios(frame: pd.DataFrame) -> pd.DataFrame:
    """Every speed-up: phase, reference, place in words, model, length, ratio with its ends, status, reason."""
    parts = [
        summary.speedup(frame, phase, reference).assign(phase=phase, reference=reference)
        for phase in summary.PHASES
        for reference in summary.references(frame)
    ]
    if not parts:
        return pd.DataFrame(columns=["phase", "reference", "place", "model", "length", "ratio", "status", "machine"])
    cells = pd.concat(parts, ignore_index=True)
    cells["place"] = [chart.place(key) for key in cells[summary.PLACE].itertuples(index=False)]
    return cells


def side_by_side(frame: pd.DataFrame) -> Chart:
    """A panel for each model, reference and phase; a series for each machine, and the paper's."""
    cells = _ratios(frame)
    ran = cells[cells["status"] == "ok"]
    order = models.ordered(ran["model"])
    panels = [
        _panel(f"{model} against {reference}, {phase}", group)
        for (phase, reference), pair in ran.groupby(["phase", "reference"], sort=False)
        for model in order
        if len(group := pair[pair["model"] == model])
    ]
    note = "Each point is a ratio of two rows of one machine; bars are the smallest and the largest pair."
    return Chart(
        "machines", TITLE, "Sequence length N (tokens)", "Ratio of tokens/s to the reference", panels, note=note,
        table="ratios", legend=True, empty=EMPTY,
    )  # fmt: skip


def _panel(label: str, cells: pd.DataFrame) -> Panel:
    data = [_series(slot, place, group) for slot, (place, group) in enumerate(cells.groupby("place", sort=True))]
    if label.startswith("pointer against") and label.endswith("training"):
        theirs = chart.published(paper.speedup(), "length", "times")
        data += [trace | {"name": paper.PLACE} for trace in theirs]
    ticks = sorted({float(n) for trace in data for n in trace["x"]})
    return Panel(label, data, chart.in_words(label, data), [chart.level(1.0, "as fast")], ticks)


def _series(slot: int, place: Any, cells: pd.DataFrame) -> Trace:
    """A machine's series: its own colour and marker, for a machine is no model."""
    slot += 2  # the first two colours are the pointer models'
    look = models.Look(models.COLOURS[slot % len(models.COLOURS)], models.MARKERS[slot % len(models.MARKERS)], "-")
    trace = chart.line(look, str(place), cells, ("length", "ratio", "ratio_low", "ratio_high"), "times")
    return trace | {"meta": {"place": str(place), "role": "ours"}}


def table(frame: pd.DataFrame) -> Listing:
    """One line a ratio, one column a machine."""
    cells = _ratios(frame)
    places = sorted({str(place) for place in cells.loc[cells["status"] == "ok", "place"]})
    keys = ["phase", "model", "reference", "length"]
    lines = []
    for _, group in cells.groupby(keys, sort=False):
        said = {row["place"]: _said(row) for row in group.to_dict("records")}
        first = group.iloc[0]
        lines.append([*first[keys[:3]], int(first["length"]), *(said.get(place, NOT_RUN) for place in places)])
    columns = [
        {"key": k, "title": t, "numeric": k == "length"}
        for k, t in zip(keys, ["phase", "model", "against", "N"], strict=True)
    ]
    columns += [{"key": place, "title": place, "numeric": True} for place in places]
    note = "Median over pairs of rows of one machine and repeat, in brackets the smallest and the largest pair."
    return Listing(
        "ratios", "Ratios by machine", columns, lines, [note], filters=["phase", "model", "reference", "length"]
    )


def _said(row: dict[Hashable, Any]) -> str:
    if row["status"] != "ok":
        return f"{row['status']}: {row['reason']}"
    if row["ratio_low"] == row["ratio_high"]:
        return significant(row["ratio"])
    return f"{significant(row['ratio'])} ({significant(row['ratio_low'])} to {significant(row['ratio_high'])})"
