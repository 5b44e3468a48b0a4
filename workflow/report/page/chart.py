"""A chart as plotly takes it: panels of one question, each with data, layout and the same in words.

Series carry `meta: {model, role}`: the page's script shows and colours them by it. Plotly reads a little HTML in its
texts, so that every name from a row goes through `shown`.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from workflow.report import canvas, models, paper, summary
from workflow.report.layout import base, one_line, significant
from workflow.report.models import Look

Trace = dict[str, Any]
SYMBOLS = {
    "o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "v": "triangle-down", "P": "cross", "X": "x",
    "<": "triangle-left", ">": "triangle-right", "h": "hexagon", "p": "pentagon", "*": "star", "d": "diamond-tall",
}  # fmt: skip
DASHES = {"-": "solid", "--": "dash", "-.": "dashdot", ":": "dot"}
SHORT = {"length": "N", "distance": "D"}  # an axis in a sentence
DIGITS = 6  # significant, of a number in the page
DARK, CONTRAST = "#15181d", 3.0  # the dark page's ground, and what a mark must keep from it (WCAG 2.1, 1.4.11)


@dataclass(frozen=True)
class Panel:
    """One plot: `label` says where its numbers come from, `alt` says in words what it shows."""

    label: str
    data: list[Trace]
    alt: str
    shapes: list[dict[str, Any]] = field(default_factory=list)
    ticks: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Chart:
    """Panels of one question, of which the reader picks one; `log` is how x and y start."""

    name: str
    title: str
    x: str
    y: str
    panels: list[Panel]
    log: tuple[bool, bool] = (True, True)
    note: str = ""
    table: str = ""
    legend: bool = False  # of its own, where series are no models
    empty: str = ""
    failures: list[str] = field(default_factory=list)


def shown(text: object) -> str:
    """Untrusted text as plotly shows it: one line, its markup as characters."""
    return html.escape(one_line(str(text)), quote=False)


def number(value: Any) -> float | None:
    """A finite number in DIGITS significant digits; None for missing."""
    return None if pd.isna(value) else float(f"{float(value):.{DIGITS}g}")


def place(key: Sequence[Any]) -> str:
    """A place (summary.PLACE) in words, on one line."""
    return one_line(summary.place(key))


def by_place(cells: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Place -> its cells, where something ran; the place with most cells first."""
    ran = cells[cells["status"] == "ok"]
    groups = [(place(key), group) for key, group in ran.groupby(summary.PLACE, dropna=False, sort=True)]
    return dict(sorted(groups, key=lambda item: -len(item[1])))


def lines(cells: pd.DataFrame, x: str, y: str, low: str = "", high: str = "", unit: str = "") -> list[Trace]:
    """A series for each model, controls last, with an interval at each point where `low` and `high` name columns."""
    looks = canvas.looks_for(cells["model"])
    return [
        line(looks[model], model, cells[cells["model"] == model], (x, y, low, high), unit) for model in _order(cells)
    ]


def _order(cells: pd.DataFrame) -> list[str]:
    """Variants follow their model."""
    rank = {name: n for n, name in enumerate(models.ordered({base(name) for name in cells["model"]}))}
    return sorted(set(cells["model"]), key=lambda name: (rank[base(name)], name))


def line(look: Look, model: str, cells: pd.DataFrame, columns: tuple[str, str, str, str], unit: str) -> Trace:
    """One series: columns are x, y and the ends of y's interval, or nothing for them."""
    x, y, low, high = columns
    cells = cells.dropna(subset=[y]).sort_values(x)
    values = [number(value) for value in cells[y]]
    across = [number(value) for value in cells[x]]
    trace = series(look, model, across, values)
    if not low:
        return trace | {"hovertext": [_said(model, x, a, v, unit) for a, v in zip(across, values, strict=True)]}
    ends = list(zip(cells[low], cells[high], strict=True))
    trace["error_y"] = {
        "type": "data", "symmetric": False, "thickness": 1.2, "width": 3,
        "array": [number(max(0.0, b - v)) if pd.notna(b) else 0 for v, (_, b) in zip(cells[y], ends, strict=True)],
        "arrayminus": [number(max(0.0, v - a)) if pd.notna(a) else 0 for v, (a, _) in zip(cells[y], ends, strict=True)],
    }  # fmt: skip
    said = zip(across, values, ends, strict=True)
    return trace | {"hovertext": [_said(model, x, a, v, unit, end) for a, v, end in said]}


def _said(model: str, x: str, at: Any, value: Any, unit: str, ends: tuple[Any, Any] | None = None) -> str:
    axis = SHORT.get(x, x)
    interval = f" ({significant(ends[0])} to {significant(ends[1])})" if ends and pd.notna(ends[0]) else ""
    return shown(f"{model}, {axis} = {at:g}: {significant(value)}{interval} {unit}")


def series(look: Look, model: str, x: Sequence[Any], y: Sequence[Any], role: str = "ours") -> Trace:
    """A line with markers in a model's look."""
    return {
        "type": "scatter", "mode": "lines+markers", "name": shown(model), "x": list(x), "y": list(y),
        "hoverinfo": "text", "line": {"color": look.colour, "dash": DASHES[look.line], "width": 2},
        "marker": {"color": look.colour, "symbol": SYMBOLS[look.marker], "size": 8},
        "meta": {"model": model, "role": role},
    }  # fmt: skip


def published(points: pd.DataFrame, x: str, unit: str, scale: float = 1.0) -> list[Trace]:
    """The paper's figures: hollow markers in their model's colour, joined by dots."""
    looks = canvas.looks_for(points["model"])
    found = []
    for model, group in points.dropna(subset=[x]).groupby("model"):
        values = [number(scale * value) for value in group["value"]]
        across = [number(value) for value in group[x]]
        trace = series(looks[str(model)], str(model), across, values, "paper")
        trace["name"] = f"{trace['name']}, {paper.PLACE}"
        trace["line"] |= {"dash": "dot", "width": 1.2}
        trace["marker"] |= {"symbol": trace["marker"]["symbol"] + "-open", "size": 9}
        said = zip(across, values, group["source"], strict=True)
        trace["hovertext"] = [_said(str(model), x, a, v, f"{unit}, paper ({source})") for a, v, source in said]
        found.append(trace)
    return found


def level(height: float, text: str, dash: str = "dash") -> dict[str, Any]:
    """A horizontal line over the whole plot: a ratio of 1, 95%, guessing."""
    return {
        "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": height, "y1": height,
        "line": {"color": "#808080", "width": 1.2, "dash": dash}, "layer": "below",
        "label": {"text": shown(text), "textposition": "end", "yanchor": "bottom", "font": {"size": 11}},
    }  # fmt: skip


def in_words(title: str, data: Iterable[Trace], unit: str = "") -> str:
    """What a plot shows, for who cannot see it: the first and last point of every series."""
    said = []
    for trace in data:
        points = [(x, y) for x, y in zip(trace["x"], trace["y"], strict=True) if y is not None]
        if points:
            (first, a), (last, b) = points[0], points[-1]
            name = html.unescape(trace["name"])
            to = f" to {significant(b)} at {last:,.6g}" if len(points) > 1 else ""
            said.append(f"{name} {significant(a)} at {first:,.6g}{to}")
    return f"{title}{f' in {unit}' if unit else ''}: {'; '.join(said) or 'nothing to show'}."


def failed(cells: pd.DataFrame, axis: str) -> list[str]:
    """A line for each cell without a point: which, how it ended, and why."""
    lost = cells[cells["status"] != "ok"].drop_duplicates(["model", axis, "status", "reason"])
    short = SHORT.get(axis, axis)
    return [
        one_line(f"{row['model']} at {short} = {row[axis]} on {row['machine']}, {row['device']}: {_why(row)}")
        for _, row in lost.iterrows()
    ]


def _why(row: Mapping[str, Any] | pd.Series) -> str:
    status, reason = str(row["status"]), str(row["reason"])
    return reason if reason.startswith(status) else f"{status}. {reason}".rstrip(". ")


def on_dark(colour: str) -> str:
    """The colour, mixed with white until it stands out from the dark ground."""
    for step in range(20):
        mixed = _mixed(colour, step / 20)
        if _contrast(mixed, DARK) >= CONTRAST:
            return mixed
    return "#ffffff"


def _mixed(colour: str, white: float) -> str:
    parts = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(part + (255 - part) * white):02x}" for part in parts)


def _contrast(one: str, other: str) -> float:
    """WCAG 2.1's ratio of relative luminances."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    shares = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
