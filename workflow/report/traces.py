"""Reads the traces that lie beside rows: where every position of a trained pointer model points."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from workflow.report.estimates.runs import prepare
from workflow.report.frame import unpack


class NoTraceError(Exception):
    """A row without a trace, with the reason."""


def rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows that may have a trace, the longest copy distance first."""
    traced = prepare(frame[frame["experiment"] == "interpretability"])
    ordered = traced.sort_values(["distance", "seed"], ascending=[False, True], kind="stable")
    return [{str(key): value for key, value in row.items()} for row in ordered.to_dict("records")]


def read(row: Mapping[str, Any]) -> tuple[dict[str, Any], npt.NDArray[np.int64]]:
    """Return the trace of a row and its hops int64[L, H, N], from a position to its target.

    Raises NoTraceError where there is none, or where a target is no earlier position.
    """
    from workflow.bench.store import attachment

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


def task(row: Mapping[str, Any]) -> str:
    """Return what the model of a row was trained on, in words."""
    return f"copy, D={row['distance']}" if pd.notna(row["distance"]) else str(row["task"])
