"""The pytest-benchmark suite of the mixers alone: its JSON as rows of the frame, and their table.

The rows carry `experiment: mixers`; `step_ms` is a forward and backward pass of one mixer, `inference_ms` a forward
pass. They are no row files: they have no command of their own and no digest.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from pointer.errors import InputError
from workflow.report import summary
from workflow.report.drafting import Draft
from workflow.report.layout import Table, significant

EXPERIMENT = "mixers"
COLUMN = {"forward": "inference_ms", "backward": "step_ms"}


def rows(path: Path) -> list[dict[str, Any]]:
    """One row a benchmark of a pytest-benchmark JSON; raises InputError where it is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [_row(entry, content) for entry in content["benchmarks"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a JSON of this suite's pytest-benchmark run ({error!r})") from error


def _row(entry: dict[str, Any], content: dict[str, Any]) -> dict[str, Any]:
    given = entry["extra_info"]
    column = COLUMN[entry["group"].rpartition(" ")[2]]
    return {
        "experiment": EXPERIMENT,
        "status": "ok",
        "device": "cpu",
        "dtype": "float32",
        "seed": 0,
        "repeat": 0,
        "started": content["datetime"],
        "git_commit": content["commit_info"].get("id"),
        column: 1000 * entry["stats"]["median"],
        **{key: given[key] for key in ("machine", "model", "length", "batch", "threads")},
    }


def mixers(frame: pd.DataFrame) -> Table:
    """Milliseconds of one mixer alone."""
    found, draft = summary.of(frame, EXPERIMENT), Draft(frame["machine"])
    data = []
    for quantity, column in (("forward and backward, ms", "step_ms"), ("forward, ms", "inference_ms")):
        ran = found[found[column].notna()].assign(ms=found[column])
        cells = summary.summarise(ran, summary.CELL, {"ms": "median", "batch": "median"})
        draft.add(quantity, cells, "length", lambda record: significant(record["ms"]))
        data.append(cells.assign(quantity=quantity))
    notes = (
        "One mixer of one layer alone, without trunk or optimiser, about 4096 tokens a call; median of the rounds.",
        "Made by `python -m pytest benchmarks --benchmark-only`; empty where that was not run.",
    )
    title = "Time of one mixer by sequence length N"
    return draft.table("mixers", title, pd.concat(data, ignore_index=True), *notes)
