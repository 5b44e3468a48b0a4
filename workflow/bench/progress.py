"""How far the pipeline in this folder is, for the line that each of its jobs prints."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

from workflow.bench.rows import write_atomically
from workflow.bench.rows.estimate import duration

FILE = Path("results/.progress")
INSIDE = "POINTER_BENCH_PIPELINE"  # set for the jobs of a pipeline, and not for a row made by hand
PRIOR = 0.1  # of the plan, which counts as done at the planned pace: the first rows say little


def begin(seconds: Mapping[str, float]) -> None:
    """Write down what a pipeline makes, and the seconds that each file is expected to take."""
    os.environ[INSIDE] = "1"
    write_atomically(FILE, json.dumps({"started": time.time(), "seconds": dict(seconds)}))


def words() -> str:
    """Return how far it is, such as "[45 of 130, 6 min, about 9 min left] "; "" outside of a
    pipeline."""
    if INSIDE not in os.environ:
        return ""
    try:
        plan = json.loads(FILE.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    started, seconds = plan["started"], plan["seconds"]
    made = [file for file in seconds if _is_made(Path(file), started)]
    total, done = sum(seconds.values()), sum(seconds[file] for file in made)
    elapsed = time.time() - started
    pace = (elapsed + PRIOR * total) / (done + PRIOR * total) if total else 1.0
    left = duration(pace * (total - done))
    return f"[{len(made)} of {len(seconds)}, {duration(elapsed)}, about {left} left] "


def _is_made(file: Path, started: float) -> bool:
    return file.exists() and file.stat().st_mtime >= started
