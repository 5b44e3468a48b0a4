"""The page's charts as plotly takes them: the charts of the estimates, losses, machines, hops.

A series carries `meta: {model, role}`, by which the page's script shows and colours it; a point
carries in `customdata` the numbers of the rows that it rests on. Plotly reads a little HTML in its
texts, so every name from a row goes through `shown`.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from workflow.report import charts, models, paper
from workflow.report.charts import CHARTS, LENGTH, NO_COPIES, NO_TIMES, Chart, Table
from workflow.report.estimates import PLACE, SEPARATOR, select
from workflow.report.estimates.runs import prepare
from workflow.report.frame import unpack
from workflow.report.layout import one_line, significant
from workflow.report.models import Look

Trace = dict[str, Any]
Rows = Mapping[str, int]  # row file -> the row's number on the page
SYMBOLS = {
    "o": "circle",
    "s": "square",
    "^": "triangle-up",
    "D": "diamond",
    "v": "triangle-down",
    "P": "cross",
    "X": "x",
    "<": "triangle-left",
    ">": "triangle-right",
    "h": "hexagon",
    "p": "pentagon",
    "*": "star",
    "d": "diamond-tall",
}
DASHES = {"-": "solid", "--": "dash", "-.": "dashdot", ":": "dot"}
GREY = "#808080"
WHITE = 0.35  # share of white in a colour on the dark page
MOST_POINTS = 120  # of one loss curve
MACHINES = (
    "Each point is a ratio of two rows of one machine; bars are the smallest and largest pair."
)
LOSSES = (
    "One line a seed, until training stopped: at its budget, or at the accuracy that the config "
    "states."
)


def shown(text: object) -> str:
    """Return untrusted text as plotly shows it: one line, its markup as characters."""
    return html.escape(one_line(str(text)), quote=False)


def number(value: Any) -> float | None:
    """Return a number in 6 significant digits; None where it is missing."""
    return None if pd.isna(value) else float(f"{float(value):.6g}")


def place(key: Iterable[Any]) -> str:
    """Return where numbers come from, on one line."""
    return one_line(charts.place(*key).replace("\n", ", "))


def all_charts(estimates: Table, frame: Table, rows: Rows) -> list[dict[str, Any]]:
    """Return the charts in the page's order; that of the machines is the last."""
    names = [name for name in CHARTS if name != "mqar"]
    made = {name: _chart(name, CHARTS[name], estimates, rows) for name in names}
    losses = _declared(
        "loss_curves", "Loss on the copy task", "Training tokens", NO_COPIES, LOSSES, "copy_loss"
    )
    losses |= {"panels": _losses(frame, rows), "log": [False, False]}
    ratios = _declared(
        "machines", "Speed-up, machine by machine", LENGTH, NO_TIMES, MACHINES, "speedup"
    )
    ratios |= {"panels": _machines(estimates, rows), "log": [True, True], "legend": True}
    recall = made.pop("recall")
    return [*made.values(), losses, recall, ratios]


def _declared(name: str, title: str, x: str, missing: str, note: str, table: str) -> dict[str, Any]:
    texts = {"name": name, "title": title, "x": x, "missing": missing, "note": note, "table": table}
    return texts | {"failures": [], "legend": False}


def _chart(name: str, declared: Chart, estimates: Table, rows: Rows) -> dict[str, Any]:
    """Return a chart of estimates, a panel a place."""
    chosen = pd.concat([charts.chosen(curves, estimates) for curves in declared.curves])
    panels = []
    for panel in charts.panels(declared, estimates):
        unit, band = panel.curves.label, panel.curves.band
        data = [
            _line(look, name, line, band, unit, rows)
            for name, look, line in charts.lines(panel.estimates)
        ]
        data += _published(panel.published, unit)
        for text, dash, x, y in charts.guides(panel.estimates) if declared.guides else ():
            guide = _series(
                Look(GREY, "o", dash), text, x, [number(height) for height in y], "guide"
            )
            data.append(guide | {"mode": "lines", "hovertext": text})
        panels.append(_panel(panel.title, unit, data, panel.levels))
    failures = [_failure(cell) for cell in chosen[chosen["status"] != "ok"].to_dict("records")]
    texts = _declared(
        name, declared.title, declared.x, declared.missing, declared.note, declared.table
    )
    log = [True, declared.log_y]
    return texts | {"panels": panels, "log": log, "failures": list(dict.fromkeys(failures))}


def _failure(cell: Mapping[Any, Any]) -> str:
    """Return which cell has no point, how it ended, and why."""
    name = models.label(cell["model"], cell["variant"])
    return one_line(
        f"{name} at {cell['axis']} = {cell['x']} on {cell['machine']}, {cell['device']}: "
        f"{cell['reason']}"
    )


def _panel(
    title: str, y: str, data: list[Trace], levels: Sequence[tuple[float, str, str]]
) -> dict[str, Any]:
    """Return a panel; `alt` says in words what it shows: the first and last point of each
    series."""
    texts = []
    for trace in data:
        points = [
            (x, value) for x, value in zip(trace["x"], trace["y"], strict=True) if value is not None
        ]
        ends = [
            f"{significant(value)} at {x:,.6g}"
            for x, value in dict.fromkeys((points[0], points[-1]))
        ]
        texts.append(f"{html.unescape(trace['name'])} {' to '.join(ends)}")
    label = one_line(title.replace("\n", ", "))
    ticks = sorted({x for trace in data for x in trace["x"]})
    shapes = [_level(*level) for level in levels]
    alt = f"{y}: {'; '.join(texts)}."
    return {"label": label, "y": y, "data": data, "shapes": shapes, "ticks": ticks, "alt": alt}


def _series(look: Look, name: str, x: Iterable[Any], y: Iterable[Any], role: str = "ours") -> Trace:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": shown(name),
        "x": list(x),
        "y": list(y),
        "hoverinfo": "text",
        "line": {"color": look.colour, "dash": DASHES[look.line], "width": 2},
        "marker": {"color": look.colour, "symbol": SYMBOLS[look.marker], "size": 8},
        "meta": {"model": name, "role": role},
    }


def _line(
    look: Look, name: str, line: Table, band: tuple[str, str] | None, unit: str, rows: Rows
) -> Trace:
    """Return a series with an interval at each point, its numbers in the hover, its rows behind a
    click."""
    trace = _series(look, name, line["x"].astype(int), [number(value) for value in line["value"]])
    low, high = line[band[0] if band else "value"], line[band[1] if band else "value"]
    if band:
        above = [number(end) or 0 for end in (high - line["value"]).clip(lower=0)]
        below = [number(end) or 0 for end in (line["value"] - low).clip(lower=0)]
        trace["error_y"] = {
            "type": "data",
            "array": above,
            "arrayminus": below,
            "thickness": 1.2,
            "width": 3,
        }
    trace["hovertext"] = [
        shown(f"{name} at {x:,}: {interval(*ends)}; {unit}; {n} runs (click for their commands)")
        for x, *ends, n in zip(line["x"], line["value"], low, high, line["n"], strict=True)
    ]
    return trace | {"customdata": [numbers(files, rows) for files in line["rows"]]}


def interval(value: float, low: float, high: float) -> str:
    """Return a number with its interval where it has one."""
    if pd.isna(low) or low == high:
        return significant(value)
    return f"{significant(value)} ({significant(low)} to {significant(high)})"


def numbers(files: str, rows: Rows) -> list[int]:
    """Return the numbers of the rows behind an estimate, each once."""
    return [rows[file] for file in dict.fromkeys(files.split(SEPARATOR)) if file in rows]


def _published(points: Table, unit: str) -> list[Trace]:
    """Return the paper's points: hollow markers in their model's colour, joined by dots."""
    traces = []
    for model, group in points.groupby("model"):
        look = models.looks([])[str(model), ""]
        trace = _series(
            look, str(model), group["x"].astype(int), group["value"].astype(float), "paper"
        )
        trace["name"] += f", {paper.PLACE}"
        trace["line"] |= {"dash": "dot", "width": 1.2}
        trace["marker"] |= {"symbol": f"{SYMBOLS[look.marker]}-open", "size": 9}
        texts = zip(group["x"], group["value"], group["source"], strict=True)
        trace["hovertext"] = [
            shown(f"{model} at {x:,}: {value:,.4g}; {unit}; paper ({source})")
            for x, value, source in texts
        ]
        traces.append(trace)
    return traces


def _level(height: float, text: str, dash: str) -> dict[str, Any]:
    label = {"text": text, "textposition": "end", "yanchor": "bottom", "font": {"size": 11}}
    line = {"color": GREY, "width": 1.2, "dash": DASHES[dash]}
    return {
        "type": "line",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "y0": height,
        "y1": height,
        "layer": "below",
        "line": line,
        "label": label,
    }


def _losses(frame: Table, rows: Rows) -> list[dict[str, Any]]:
    """Return training loss by tokens, a panel a distance and place, a line a seed."""
    runs = prepare(frame[frame["experiment"] == "copy"])
    runs["curve"] = runs["loss_curve"].map(_thinned, na_action=None)
    runs = runs[runs["curve"].map(len) > 1]
    looks = models.looks(models.series(runs))
    panels = []
    for (distance, *where), group in runs.groupby(["x", *PLACE], dropna=False):
        data = []
        lines: Iterable[Any] = group.itertuples()
        for run in lines:
            tokens, losses = zip(*run.curve, strict=True)
            name = models.label(run.model, run.variant)
            texts = [
                shown(f"{name}, seed {run.seed}: {loss:.3g} nats after {x:,} tokens")
                for x, loss in run.curve
            ]
            trace = _series(looks[run.model, run.variant], name, tokens, losses) | {
                "mode": "lines",
                "hovertext": texts,
            }
            data.append(trace | {"customdata": [numbers(run.path, rows)] * len(tokens)})
        levels = [(math.log(v), f"guessing, ln {v}", "--") for v in sorted(set(group["symbols"]))]
        panels.append(
            _panel(f"D = {distance}: {place(where)}", "Training loss (nats a symbol)", data, levels)
        )
    return panels


def _thinned(text: Any) -> list[tuple[int, float]]:
    """Return a loss curve as (tokens, loss), thinned to MOST_POINTS and its last point."""
    curve = [(int(x), float(f"{y:.4g}")) for x, y in unpack(text) or [] if y is not None]
    step = -(-len(curve) // MOST_POINTS) or 1
    return curve[:-1:step] + curve[-1:]


def _machines(estimates: Table, rows: Rows) -> list[dict[str, Any]]:
    """Return a panel for each phase, reference and model, a series for each place, and the
    paper's."""
    ratios = charts.finished(select(estimates, "speedup", against=charts.REFERENCES))
    label = "Ratio of tokens/s to the reference"
    panels = []
    ratios = ratios.sort_values("phase", ascending=False, kind="stable")  # training first
    for (phase, reference), pair in ratios.groupby(["phase", "against"], sort=False):
        for model, variant in models.series(pair):
            group = pair[(pair["model"] == model) & (pair["variant"] == variant)]
            data = []
            for slot, (where, line) in enumerate(group.groupby(PLACE, dropna=False), start=2):
                # A machine is no model: its look is not one of the first two, the pointer models'.
                look = Look(
                    models.COLOURS[slot % len(models.COLOURS)],
                    models.MARKERS[slot % len(models.MARKERS)],
                    "-",
                )
                trace = _line(
                    look, place(where), line.sort_values("x"), ("least", "most"), label, rows
                )
                data.append(trace | {"meta": {"role": "ours"}})
            if (model, variant, phase) == ("pointer", "", "training"):
                data += _published(paper.speedup(), label)
            title = f"{models.label(model, variant)} against {reference}, {phase}"
            panels.append(_panel(title, label, data, [(1.0, "as fast", "--")]))
    return panels


def on_dark(colour: str) -> str:
    """Return the colour lightened, so that it stands out from the dark page's ground."""
    parts = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(part + WHITE * (255 - part)):02x}" for part in parts)
