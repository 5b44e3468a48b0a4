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
from workflow.report.layout import one_line, significant
from workflow.report.models import Look

Trace = dict[str, Any]
Rows = Mapping[str, int]  # row file -> the row's number on the page
NAMES = (  # plotly's, of matplotlib's markers in models.MARKERS
    "circle square triangle-up diamond triangle-down cross x triangle-left triangle-right hexagon "
    "pentagon star diamond-tall"
)
SYMBOLS = dict(zip(models.MARKERS, NAMES.split(), strict=True))
DASHES = {"-": "solid", "--": "dash", "-.": "dashdot", ":": "dot"}
GREY = "#808080"
GROUNDS = {"light": ("#f6f7f9", 0), "dark": ("#1e2229", 255)}  # of cards; where marks move to
LEAST_CONTRAST = 3.1  # WCAG 2.1, 1.4.11 asks for 3
RATIO = "Ratio of tokens/s to the reference"
MACHINES = Chart(
    "Speed-up, machine by machine", LENGTH, (), NO_TIMES,
    "Each point is a ratio of two rows of one machine; bars are the smallest and largest pair. "
    "Copy another machine's results/runs beside these and both stand here.",
    "speedup",
)  # fmt: skip
LOSSES = Chart(
    "Loss on the copy task", "Training tokens", (), NO_COPIES,
    "One line a seed, until training stopped: at its budget, or at the accuracy that the config "
    "states.",
    "copy_loss",
)  # fmt: skip


def shown(text: object) -> str:
    """Return untrusted text as plotly shows it: one line, its markup as characters."""
    return html.escape(one_line(str(text)), quote=False)


def number(value: Any, unit: float = 1) -> float | None:
    """Return a number in 6 significant digits; None where it is missing."""
    return None if pd.isna(value) else float(f"{float(value) / unit:.6g}")


def numbers(files: str, rows: Rows) -> list[int]:
    """Return the numbers of the rows behind an estimate, each once."""
    return [rows[file] for file in dict.fromkeys(files.split(SEPARATOR)) if file in rows]


def place(key: Iterable[Any]) -> str:
    """Return where numbers come from, on one line."""
    return one_line(charts.place(*key).replace("\n", ", "))


def contrast(colour: str, ground: str) -> float:
    """Return the contrast of WCAG 2.1 of two colours #rrggbb, at least 1."""
    light = []
    for text in (colour, ground):
        parts = [int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        parts = [((x + 0.055) / 1.055) ** 2.4 if x > 0.04045 else x / 12.92 for x in parts]
        light.append(0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2])
    return (max(light) + 0.05) / (min(light) + 0.05)


def on_page(colour: str) -> dict[str, str]:
    """Return the colour on the light and on the dark page, moved until it stands out."""
    found = {}
    for scheme, (ground, end) in GROUNDS.items():
        moved = colour
        while contrast(moved, ground) < LEAST_CONTRAST:
            parts = [int(moved[i : i + 2], 16) for i in (1, 3, 5)]
            moved = "#" + "".join(f"{round(0.95 * part + 0.05 * end):02x}" for part in parts)
        found[scheme] = moved
    return found


def all_charts(estimates: Table, frame: Table, rows: Rows) -> list[dict[str, Any]]:
    """Return the charts in the page's order; that of the machines is the last."""
    made = {}
    for name, chart in CHARTS.items():
        if name != "mqar":
            failures = list(dict.fromkeys(_failures(chart, estimates)))
            panels = _panels(chart, estimates, rows)
            made[name] = _chart(name, chart, panels, [True, chart.log_y], failures=failures)
    recall = made.pop("recall")
    losses = _chart("loss_curves", LOSSES, _losses(frame, rows), [False, False])
    ratios = _chart("machines", MACHINES, _machines(estimates, rows), [True, True])
    return [*made.values(), losses, recall, ratios]


def _chart(
    name: str,
    chart: Chart,
    panels: list[dict[str, Any]],
    log: list[bool],
    failures: Sequence[str] = (),
) -> dict[str, Any]:
    texts = {key: getattr(chart, key) for key in ("title", "x", "missing", "note", "table")}
    further = {"panels": panels, "log": log, "failures": failures}
    return {"name": name} | texts | further


def _failures(chart: Chart, estimates: Table) -> Iterable[str]:
    """Yield which cell has no point, how it ended, and why."""
    for curves in chart.curves:
        chosen = charts.chosen(curves, estimates)
        for cell in chosen[chosen["status"] != "ok"].to_dict("records"):
            name = models.label(cell["model"], cell["variant"])
            where = f"{cell['axis']} = {cell['x']} on {cell['machine']}, {cell['device']}"
            yield one_line(f"{name} at {where}: {cell['reason']}")


def _panels(chart: Chart, estimates: Table, rows: Rows) -> list[dict[str, Any]]:
    """Return the panels of a chart of estimates, one a place."""
    panels = []
    for panel in charts.panels(chart, estimates):
        unit, band = panel.curves.label, panel.curves.band
        data = [
            _line(look, name, line, band, unit, rows)
            for name, look, line in charts.lines(panel.estimates)
        ]
        data += _published(panel.published, unit)
        for text, dash, x, y in charts.guides(panel.estimates) if chart.guides else ():
            guide = _series(Look(GREY, "o", dash), text, x, map(number, y), text, "guide")
            data.append(guide | {"mode": "lines"})
        panels.append(_panel(panel.title, unit, data, panel.levels))
    return panels


def _panel(
    title: str, y: str, data: list[Trace], levels: Sequence[tuple[float, str, str]]
) -> dict[str, Any]:
    """Return a panel; `alt` says in words what it shows: the first and last point of each
    series."""
    texts = []
    for trace in data:
        points = [
            point for point in zip(trace["x"], trace["y"], strict=True) if point[1] is not None
        ]
        ends = dict.fromkeys((points[0], points[-1]))
        values = " to ".join(f"{significant(value)} at {x:,.6g}" for x, value in ends)
        texts.append(f"{html.unescape(trace['name'])} {values}")
    shapes = []
    for height, text, dash in levels:
        words = {"text": text, "textposition": "end", "yanchor": "bottom", "font": {"size": 11}}
        line = {"color": GREY, "width": 1.2, "dash": DASHES[dash]}
        across = {"xref": "paper", "x0": 0, "x1": 1, "y0": height, "y1": height}
        shapes.append({"type": "line", **across, "layer": "below", "line": line, "label": words})
    ticks = sorted({x for trace in data for x in trace["x"]})
    label = one_line(title.replace("\n", ", "))
    alt = f"{y}: {'; '.join(texts)}."
    return {"label": label, "y": y, "data": data, "shapes": shapes, "ticks": ticks, "alt": alt}


def _series(
    look: Look, name: str, x: Iterable[Any], y: Iterable[Any], hover: Any, role: str = "ours"
) -> Trace:
    return {
        "type": "scatter", "mode": "lines+markers", "name": shown(name), "x": list(x), "y": list(y),
        "hoverinfo": "text", "hovertext": hover,
        "line": {"color": look.colour, "dash": DASHES[look.line], "width": 2},
        "marker": {"color": look.colour, "symbol": SYMBOLS[look.marker], "size": 8},
        "meta": {"model": name, "role": role},
    }  # fmt: skip


def _line(
    look: Look, name: str, line: Table, band: tuple[str, str] | None, unit: str, rows: Rows
) -> Trace:
    """Return a series with an interval at each point, its numbers in the hover, its rows behind a
    click."""
    low, high = line[band[0] if band else "value"], line[band[1] if band else "value"]
    hover = []
    for x, value, least, most, n in zip(
        line["x"], line["value"], low, high, line["n"], strict=True
    ):
        text = significant(value)
        if not pd.isna(least) and least != most:
            text += f" ({significant(least)} to {significant(most)})"
        hover.append(shown(f"{name} at {x:,}: {text}; {unit}; {n} runs (click for their commands)"))
    trace = _series(look, name, line["x"].astype(int), map(number, line["value"]), hover)
    if band:
        above = [number(end) or 0 for end in (high - line["value"]).clip(lower=0)]
        below = [number(end) or 0 for end in (line["value"] - low).clip(lower=0)]
        ends = {"type": "data", "array": above, "arrayminus": below}
        trace["error_y"] = ends | {"thickness": 1.2, "width": 3}
    return trace | {"customdata": [numbers(files, rows) for files in line["rows"]]}


def _published(points: Table, unit: str) -> list[Trace]:
    """Return the paper's points: hollow markers in their model's colour, joined by dots."""
    traces = []
    for model, group in points.groupby("model"):
        look = models.looks([])[str(model), ""]
        hover = [
            shown(f"{models.title(str(model))} at {x:,}: {value:,.4g}; {unit}; paper ({source})")
            for x, value, source in zip(group["x"], group["value"], group["source"], strict=True)
        ]
        x, y = group["x"].astype(int), group["value"].astype(float)
        trace = _series(look, models.title(str(model)), x, y, hover, "paper")
        trace["name"] += f", {paper.PLACE}"
        trace["line"] |= {"dash": "dot", "width": 1.2}
        trace["marker"] |= {"symbol": f"{SYMBOLS[look.marker]}-open", "size": 9}
        traces.append(trace)
    return traces


def _losses(frame: Table, rows: Rows) -> list[dict[str, Any]]:
    """Return training loss by tokens, a panel a distance and place, a line a seed."""
    runs = prepare(frame[frame["experiment"] == "copy"])
    runs["curve"] = runs["loss_curve"].map(charts.loss_curve, na_action=None)
    runs = runs[runs["curve"].map(len) > 1]
    looks = models.looks(models.series(runs))
    panels = []
    for (distance, *where), group in runs.groupby(["x", *PLACE], dropna=False):
        data = []
        for run in group.to_dict("records"):
            name = models.label(run["model"], run["variant"])
            hover = shown(f"{name}, seed {run['seed']}: tokens, nats")
            tokens, losses = zip(*run["curve"], strict=True)
            trace = _series(looks[run["model"], run["variant"]], name, tokens, losses, hover)
            behind = [numbers(run["path"], rows)] * len(tokens)
            trace |= {"mode": "lines", "hoverinfo": "x+y+text", "customdata": behind}
            data.append(trace)
        levels = [(math.log(v), f"guessing, ln {v}", "--") for v in sorted(set(group["symbols"]))]
        title = f"D = {distance}: {place(where)}"
        panels.append(_panel(title, "Training loss (nats a symbol)", data, levels))
    return panels


def _machines(estimates: Table, rows: Rows) -> list[dict[str, Any]]:
    """Return a panel for each phase, reference and model, a series for each place, and the
    paper's."""
    ratios = charts.finished(select(estimates, "speedup", against=charts.REFERENCES))
    panels = []
    ratios = ratios.sort_values("phase", ascending=False, kind="stable")  # training first
    for (phase, reference), pair in ratios.groupby(["phase", "against"], sort=False):
        for model, variant in models.series(pair):
            group = pair[(pair["model"] == model) & (pair["variant"] == variant)].sort_values("x")
            data = []
            for slot, (where, line) in enumerate(group.groupby(PLACE, dropna=False), start=2):
                # A machine is no model: its look is not one of the first two, the pointer models'.
                colour = models.COLOURS[slot % len(models.COLOURS)]
                look = Look(colour, models.MARKERS[slot % len(models.MARKERS)], "-")
                trace = _line(look, place(where), line, ("least", "most"), RATIO, rows)
                data.append(trace | {"meta": {"role": "ours"}})
            if (model, variant, phase) == ("pointer", "", "training"):
                data += _published(paper.speedup(), RATIO)
            title = f"{models.label(model, variant)} against {reference}, {phase}"
            panels.append(_panel(title, RATIO, data, [(1.0, "as fast", "--")]))
    return panels
