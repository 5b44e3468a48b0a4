"""The charts as plotly takes them, and colours that stand out on the page.

`meta: {model}` of a trace shows and colours it; `customdata` of a point are numbers of its rows.
Plotly reads a little HTML, so every name from a row goes through `shown`.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import pandas as pd

from workflow.report import charts, models
from workflow.report.charts import CHARTS, Line, Panel, Table
from workflow.report.estimates import SEPARATOR
from workflow.report.layout import one_line, significant

Rows = Mapping[str, int]  # row file -> the row's number on the page
NAMES = (  # plotly's, of matplotlib's markers in models.MARKERS
    "circle square triangle-up diamond triangle-down cross x triangle-left triangle-right hexagon "
    "pentagon star diamond-tall"
)
SYMBOLS = dict(zip(models.MARKERS, NAMES.split(), strict=True))
DASHES = {"-": "solid", "--": "dash", "-.": "dashdot", ":": "dot"}
GROUNDS = {"light": ("#f6f7f9", 0), "dark": ("#1e2229", 255)}  # of cards; where marks move to
LEAST_CONTRAST = 3.1  # WCAG 2.1, 1.4.11 asks for 3


def shown(text: object) -> str:
    """Return untrusted text as plotly shows it: one line, its markup as characters."""
    return html.escape(one_line(str(text)), quote=False)


def number(value: Any) -> float | None:
    """Return a number in 6 significant digits; None where it is missing."""
    return None if pd.isna(value) else float(f"{float(value):.6g}")


def numbers(files: str, rows: Rows) -> list[int]:
    """Return the numbers of the rows behind an estimate, each once."""
    return [rows[file] for file in dict.fromkeys(files.split(SEPARATOR)) if file in rows]


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
    """Return the charts in their order; that of the machines is the last."""
    found = []
    for name, chart in CHARTS.items():
        failures = []
        for cell in charts.failures(chart, estimates):
            text = f"{models.label(cell.model, cell.variant)} at {cell.x} on {cell.machine}"
            failures.append(one_line(f"{text}, {cell.device}: {cell.reason}"))
        texts = {key: getattr(chart, key) for key in ("title", "x", "table")}
        panels = [_panel(panel, rows) for panel in charts.panels(chart, estimates, frame)]
        log = [chart.log_x, chart.y == "magnitude"]
        further = {"panels": panels, "log": log, "failures": list(dict.fromkeys(failures))}
        found.append({"name": name, **texts, **further})
    return found


def _panel(panel: Panel, rows: Rows) -> dict[str, Any]:
    """Return a panel; `alt` says in words what it shows: the first and last point of each line."""
    data = [_trace(line, rows) for line in panel.lines]
    texts, shapes = [], []
    for trace in data:
        points = list(zip(trace["x"], trace["y"], strict=True))
        ends = dict.fromkeys((points[0], points[-1]))
        values = " to ".join(f"{significant(y)} at {x:,.6g}" for x, y in ends)
        texts.append(f"{html.unescape(trace['name'])} {values}")
    for height, text, dash in panel.levels:
        words = {"text": text, "textposition": "end", "yanchor": "bottom", "font": {"size": 11}}
        line = {"color": charts.GREY, "width": 1.2, "dash": DASHES[dash]}
        across = {"xref": "paper", "x0": 0, "x1": 1, "y0": height, "y1": height}
        shapes.append({"type": "line", **across, "layer": "below", "line": line, "label": words})
    return {
        "label": one_line(panel.title.replace("\n", ", ")), "y": panel.label, "data": data,
        "shapes": shapes, "ticks": sorted({x for trace in data for x in trace["x"]}),
        "alt": f"{panel.label}: {'; '.join(texts)}.",
    }  # fmt: skip


def _trace(line: Line, rows: Rows) -> dict[str, Any]:
    """Return a line with the interval of each point and, behind a click, its rows."""
    points, look = line.points, line.look
    trace: dict[str, Any] = {
        "type": "scatter", "mode": "lines+markers" if look.marker else "lines",
        "name": shown(line.name), "x": points["x"].astype(float).tolist(),
        "y": [number(value) for value in points["value"]],
        "line": {"color": look.colour, "dash": DASHES[look.line], "width": 2},
        "marker": {"color": look.colour, "symbol": SYMBOLS.get(look.marker, "circle"), "size": 8},
        "meta": {"model": line.model},
    }  # fmt: skip
    if line.hollow:
        trace["name"] += f", {line.hollow}"
        trace["line"] |= {"dash": "dot", "width": 1.2}
        trace["marker"]["symbol"] += "-open"
    if "source" in points:
        trace["text"] = points["source"].tolist()
    if "rows" in points:
        trace["customdata"] = [numbers(files, rows) for files in points["rows"]]
    if "low" in points:
        above = (points["high"] - points["value"]).clip(lower=0)
        below = (points["value"] - points["low"]).clip(lower=0)
        ends = {"array": [number(x) for x in above], "arrayminus": [number(x) for x in below]}
        trace["error_y"] = {"type": "data", **ends, "thickness": 1.2, "width": 3}
    return trace
