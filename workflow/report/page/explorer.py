"""The pointer explorer's data: for each traced row the hops of one sequence, its tokens, and its histogram of hops."""

from __future__ import annotations

import base64
import gzip
import itertools
import json
import math
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from workflow.report import canvas, paper, summary
from workflow.report.frame import unpack
from workflow.report.layout import base, one_line
from workflow.report.page import chart

LARGEST_BYTES = 2_000_000  # of all traces in the page, packed; those beyond it are named and left out
ROW_HEIGHT = 0.78  # of a layer's share of the histogram
Record = dict[Hashable, Any]  # a row, as pandas gives it
Integers = npt.NDArray[np.int64]


def traced(frame: pd.DataFrame) -> dict[str, Any]:
    """`models`, one entry a traced row, the longest distance first; `left_out`, a line for each that is not there."""
    rows = summary.of(frame, "interpretability")
    rows = rows.sort_values(["distance", "seed"], ascending=[False, True], kind="stable")
    found: list[dict[str, Any]] = []
    left_out, used = list[str](), 0
    for row in rows.to_dict("records"):
        name = _name(row)
        try:
            entry = _entry(row, name)
        except _NoTraceError as error:
            left_out.append(one_line(f"{name}: {error}"))
            continue
        used += len(entry["packed"])
        if used > LARGEST_BYTES:
            left_out.append(
                f"{name}: the page holds {LARGEST_BYTES / 1e6:.0f} MB of traces; see the trace beside its row"
            )
            continue
        found.append(entry)
    return {"models": found, "left_out": left_out}


class _NoTraceError(Exception):
    """Why a row has nothing to explore."""


def _name(row: Record) -> str:
    where = chart.place([row[key] for key in summary.PLACE])
    task = summary.task(row["distance"], row["settings"])
    return f"{row['model']}, {task}, N = {row['length']}, seed {row['seed']}, {where}"


def _entry(row: Record, name: str) -> dict[str, Any]:
    """One traced row for the page's script; `packed` is base64 of gzipped JSON: hops int[L][H][N], tokens int[N]."""
    content = _read(row)
    hops, tokens = _hops(content["targets"]), content.get("tokens")
    counts, edges = content.get("hop_counts") or [], content.get("hop_edges_tokens") or []
    means, longest = unpack(row["hops_mean"]) or [], unpack(row["hops_max"]) or []
    return {
        "name": name,
        "model": row["model"],
        "task": summary.task(row["distance"], row["settings"]),
        "distance": None if pd.isna(row["distance"]) else int(row["distance"]),
        "layers": int(hops.shape[0]),
        "heads": int(hops.shape[1]),
        "length": int(hops.shape[2]),
        "means": [chart.number(value) for value in means],
        "longest": [chart.number(value) for value in longest],
        "histogram": histogram(counts, edges, canvas.looks_for([row["model"]])[base(row["model"])].colour),
        "packed": _pack({"hops": hops.tolist(), "tokens": tokens}),
    }


def _read(row: Record) -> dict[str, Any]:
    """The JSON beside a row. Raises _NoTraceError with the reason where there is none."""
    from workflow.bench.rows import attachment

    if row["status"] != "ok":
        raise _NoTraceError(f"{row['status']}. {row['reason']}")
    kept = (unpack(row["files"]) or {}).get("trace")
    path = attachment(Path(str(row["path"])), str(kept))
    if not kept or not path.is_file():
        raise _NoTraceError("no trace lies beside its row")
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _hops(targets: Any) -> Integers:
    """targets int[L][H][N] -> hops int64[L, H, N]; raises _NoTraceError where a position points at no earlier one."""
    found = np.asarray(targets, dtype=np.int64)
    hops: Integers = np.arange(found.shape[-1]) - found
    if found.ndim != 3 or (found < 0).any() or (hops < 0).any():
        raise _NoTraceError("its trace holds targets that are no earlier positions")
    return hops


def _pack(content: Any) -> str:
    """The same content gives the same text: no time in it."""
    text = json.dumps(content, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def histogram(counts: Sequence[Sequence[int]], edges: Sequence[int], colour: str) -> dict[str, Any]:
    """Hop lengths of the scored positions, a row of bars a layer, the top layer above, and the paper's figures."""
    layers, bins = len(counts), [_bin(low, high) for low, high in itertools.pairwise(edges)]
    data = [_bars(layer, counted, bins, colour) for layer, counted in enumerate(counts)]
    layout: dict[str, Any] = {
        f"yaxis{layer + 1 if layer else ''}": {
            "domain": [layer / layers, (layer + ROW_HEIGHT) / layers], "range": [0, 1], "showticklabels": False,
            "title": {"text": str(layer + 1), "standoff": 4},
        }
        for layer in range(layers)
    }  # fmt: skip
    layout["xaxis"] = {"tickvals": list(range(len(bins))), "ticktext": bins, "title": {"text": "Hop length (tokens)"}}
    return {"data": data, "layout": layout | {"shapes": list(_marks(edges))}, "alt": _spoken(counts, bins)}


def _bin(low: int, high: int) -> str:
    return str(low) if high == low + 1 else f"{low}–{high - 1}"


def _bars(layer: int, counted: Sequence[int], bins: Sequence[str], colour: str) -> dict[str, Any]:
    total = sum(counted) or 1
    said = [f"layer {layer + 1}, hop {b}: {n / total:.1%} of pointers" for b, n in zip(bins, counted, strict=True)]
    return {
        "type": "bar", "x": list(range(len(bins))), "y": [chart.number(n / total) for n in counted], "hovertext": said,
        "hoverinfo": "text", "yaxis": f"y{layer + 1 if layer else ''}", "marker": {"color": colour},
        "meta": {"layer": layer},
    }  # fmt: skip


def _marks(edges: Sequence[int]) -> Iterator[dict[str, Any]]:
    """The paper's mean hops of its early layers as a band, its longest hop as a line, over all layers."""
    ends = [paper.value("hops", f"{end} mean hop of the early layers") for end in ("lowest", "highest")]
    top = paper.value("hops", "longest hop of the later layers")
    near, far = ends
    for low, high, text in (
        (near, far, f"paper {near:.0f}–{far:.0f}"),
        (top, top, f"paper {top:.0f}"),
    ):
        if len(edges) > 1 and high < edges[-1]:
            yield {
                "type": "rect", "yref": "paper", "y0": 0, "y1": 1,
                "x0": _across(low, edges), "x1": _across(high, edges),
                "line": {"color": "#808080", "width": 1.2 if low == high else 0, "dash": "dash"}, "layer": "below",
                "fillcolor": "#808080", "opacity": 1 if low == high else 0.35,
                "label": {
                    "text": text, "textposition": "top center", "yanchor": "bottom", "xanchor": "right",
                    "font": {"size": 11},
                },
            }  # fmt: skip


def _across(hop: float, edges: Sequence[int]) -> float:
    """Where a hop lies on the axis of bins, logarithmically inside its own."""
    place = max(n for n, edge in enumerate(edges[:-1]) if edge <= hop)
    low, high = max(edges[place], 1), edges[place + 1]
    return place - 0.5 + (math.log(hop / low) / math.log(high / low) if hop > low else 0.0)


def _spoken(counts: Sequence[Sequence[int]], bins: Sequence[str]) -> str:
    """The commonest bin of every layer."""
    said = [
        f"layer {layer + 1} mostly {bins[int(np.argmax(counted))]} ({max(counted) / (sum(counted) or 1):.0%})"
        for layer, counted in enumerate(counts)
    ]
    return f"Histogram of hop lengths in tokens by layer: {'; '.join(said) or 'nothing counted'}."
