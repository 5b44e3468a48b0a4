"""The pointer explorer: for each traced row the hops of a sequence, its tokens, and hops by layer.

A trace lies beside its row and says where every position of a trained pointer model points.
"""

from __future__ import annotations

import base64
import gzip
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from workflow.bench.rows import attachment
from workflow.report import models, paper
from workflow.report.estimates import PLACE
from workflow.report.estimates.runs import prepare
from workflow.report.frame import unpack
from workflow.report.layout import one_line
from workflow.report.page.plots import place

LARGEST_BYTES = 2_000_000  # of all traces in the page, packed; those beyond it are left out
Row = Mapping[str, Any]


class NoTraceError(Exception):
    """A row without a trace, with the reason."""


def traced_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows that may have a trace, the longest copy distance first."""
    rows = prepare(frame[frame["experiment"] == "interpretability"])
    rows = rows.assign(distance=rows["x"].where(rows["axis"] == "distance"))
    ordered = rows.sort_values(["distance", "seed"], ascending=[False, True], kind="stable")
    return [{str(key): value for key, value in row.items()} for row in ordered.to_dict("records")]


def read(row: Row) -> tuple[dict[str, Any], npt.NDArray[np.int64]]:
    """Return the trace of a row and its hops int64[L, H, N], from a position to its target.

    Raises NoTraceError where there is none, or where a target is no earlier position.
    """
    if row["status"] != "ok":
        raise NoTraceError(f"{row['status']}. {row['reason']}")
    name = (unpack(row["files"]) or {}).get("trace")
    path = attachment(Path(str(row["path"])), str(name))
    if not name or not path.is_file():
        raise NoTraceError("no trace lies beside its row")
    trace: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    targets = np.asarray(trace["targets"], dtype=np.int64)
    hops: npt.NDArray[np.int64] = np.arange(targets.shape[-1]) - targets
    if targets.ndim != 3 or (targets < 0).any() or (hops < 0).any():
        raise NoTraceError("its trace holds targets that are no earlier positions")
    return trace, hops


def task(row: Row) -> str:
    """Return what the model of a row was trained on, in words."""
    return f"copy, D={row['distance']}" if pd.notna(row["distance"]) else str(row["task"])


def traced(frame: pd.DataFrame) -> dict[str, Any]:
    """Return `models`, an entry a trace, and `left_out`, a line for each that is not there.

    `packed` of an entry is base64 of gzipped JSON: hops int[L][H][N], tokens int[N].
    """
    entries, left_out, used = [], [], 0
    for row in traced_rows(frame):
        where = place([row[key] for key in PLACE])
        model = models.label(row["model"], row["variant"])
        name = one_line(f"{model}, {task(row)}, N = {row['length']}, seed {row['seed']}, {where}")
        try:
            trace, hops = read(row)
        except NoTraceError as error:
            left_out.append(one_line(f"{name}: {error}"))
            continue
        packed = pack(json.dumps({"hops": hops.tolist(), "tokens": trace.get("tokens")}))
        used += len(packed)
        if used > LARGEST_BYTES:
            left_out.append(f"{name}: the page holds {LARGEST_BYTES / 1e6:.0f} MB of traces")
            continue
        entry: dict[str, Any] = {"name": name, "model": model, "packed": packed}
        entry |= dict(zip(("layers", "heads", "length"), hops.shape, strict=True))
        entry["distance"] = None if pd.isna(row["distance"]) else int(row["distance"])
        counts, edges = trace.get("hop_counts") or [], trace.get("hop_edges_tokens") or []
        entries.append(entry | {"histogram": histogram(counts, edges)})
    entries.sort(key=lambda entry: entry["distance"] is not None)  # real text first
    return {"models": entries, "left_out": left_out}


def pack(text: str) -> str:
    """Return base64 of the gzipped text; the same text gives the same, as there is no time in
    it."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def histogram(counts: Sequence[Sequence[int]], edges: Sequence[int]) -> dict[str, Any]:
    """Return hop lengths by layer as a heatmap of shares, beside the paper's hops.

    counts: int[L][bins] of the scored positions; edges: of the bins, 0 and powers of two.
    """
    bins = []
    for low, high in itertools.pairwise(edges):
        bins.append(str(low) if high == low + 1 else f"{low}–{high - 1}")
    shares = np.asarray(counts, dtype=float)
    shares = shares / np.maximum(1, shares.sum(axis=1, keepdims=True)) if len(counts) else shares
    texts, spoken = [], []
    for layer, row in enumerate(shares, start=1):
        of = f"layer {layer}"
        hover = [
            f"{of}, hop {name}: {x:.1%} of pointers" for name, x in zip(bins, row, strict=True)
        ]
        texts.append(hover)
        spoken.append(f"{of} mostly {bins[int(row.argmax())]} ({row.max():.0%})")
    layers, z = list(range(1, len(counts) + 1)), shares.round(4).tolist()
    heat = {"type": "heatmap", "z": z, "x": bins, "y": layers}
    heat |= {"hovertext": texts, "hoverinfo": "text"}
    alt = f"Hop lengths in tokens by layer: {'; '.join(spoken) or 'nothing counted'}."
    return {"data": [heat], "shapes": papers_hops(edges), "alt": alt}


def papers_hops(edges: Sequence[int]) -> list[dict[str, Any]]:
    """Return the paper's mean hops of its early layers as a band, its longest hop as a line."""
    near = paper.value("hops", "lowest mean hop of the early layers")
    far = paper.value("hops", "highest mean hop of the early layers")
    top = paper.value("hops", "longest hop of the later layers")
    words = {"textposition": "top center", "yanchor": "bottom", "font": {"size": 11}}
    line = {"color": "#808080", "width": 1.5, "dash": "dash"}
    shapes = []
    for low, high, text in ((near, far, f"{near:.0f}–{far:.0f}"), (top, top, f"{top:.0f}")):
        if len(edges) > 1 and high < edges[-1]:
            # The axis has a bin a power of two: a hop lies inside its own, by its logarithm.
            ends = {"x0": math.log2(low) + 0.5, "x1": math.log2(high) + 0.5, "y0": 0, "y1": 1}
            label = {"text": f"paper {text}", **words}
            shapes.append({"type": "rect", "yref": "paper", **ends, "line": line, "label": label})
    return shapes
