"""The pointer explorer: where every position of a trained model points, from a row's trace."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workflow.bench.rows import attachment
from workflow.report import charts, models
from workflow.report.estimates import PLACE
from workflow.report.estimates.runs import prepare
from workflow.report.frame import unpack
from workflow.report.layout import one_line

LARGEST_BYTES = 2_000_000  # of all traces in the page, packed; those beyond it are left out


def traces(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield the rows that may have a trace, the longest copy distance first, each with `hops`
    int64[L, H, N], from a position to its target, and `tokens`, or `missing`, why it has none."""
    rows = prepare(frame[frame["experiment"] == "interpretability"])
    rows = rows.assign(distance=rows["x"].where(rows["axis"] == "distance"))
    ordered = rows.sort_values(["distance", "seed"], ascending=[False, True], kind="stable")
    for row in ordered.to_dict("records"):
        name = str((unpack(row["files"]) or {}).get("trace"))
        path = attachment(Path(str(row["path"])), name)
        trace, missing = {"targets": np.empty((0, 0, 0))}, ""
        if row["status"] != "ok":
            missing = f"{row['status']}. {row['reason']}"
        elif not path.is_file():
            missing = "no trace lies beside its row"
        else:
            trace = json.loads(path.read_text(encoding="utf-8"))
        targets = np.asarray(trace["targets"], dtype=np.int64)
        hops = np.arange(targets.shape[-1]) - targets
        if (targets < 0).any() or (hops < 0).any():
            missing = "its trace holds targets that are no earlier positions"
        found = {"hops": hops, "tokens": trace.get("tokens"), "missing": missing}
        yield {str(key): value for key, value in row.items()} | found


def task(row: Mapping[str, Any]) -> str:
    """Return what the model of a row was trained on, in words."""
    return f"copy, D={row['distance']}" if pd.notna(row["distance"]) else str(row["task"])


def traced(frame: pd.DataFrame) -> dict[str, Any]:
    """Return `models`, an entry a trace, and `left_out`, a line for each that is not there.
    `packed` of an entry is base64 of gzipped JSON: hops int[L][H][N], tokens int[N]."""
    entries, left_out, used = [], [], 0
    for row in traces(frame):
        hops, missing = row["hops"], row["missing"]
        where = charts.place(*(row[key] for key in PLACE)).replace("\n", ", ")
        model = models.label(row["model"], row["variant"])
        name = f"{model}, {task(row)}, N = {row['length']}, seed {row['seed']}, {where}"
        packed = pack(json.dumps({"hops": hops.tolist(), "tokens": row["tokens"]}))
        used += len(packed)
        if used > LARGEST_BYTES:
            missing = missing or f"the page holds {LARGEST_BYTES / 1e6:.0f} MB of traces"
        if missing:
            left_out.append(one_line(f"{name}: {missing}"))
            continue
        entry: dict[str, Any] = {"name": one_line(name), "packed": packed}
        entry |= dict(zip(("layers", "heads", "length"), hops.shape, strict=True))
        entry["distance"] = None if pd.isna(row["distance"]) else int(row["distance"])
        entries.append(entry)
    entries.sort(key=lambda entry: entry["distance"] is not None)  # real text first
    return {"models": entries, "left_out": left_out}


def pack(text: str) -> str:
    """Return base64 of the gzipped text; the same text gives the same, without a time in it."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
