"""How far the pipeline in this folder is, for the line that each of its jobs prints."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from workflow.bench.rows import write_atomically
from workflow.bench.rows.estimate import duration

FILE = Path("results/.progress")
INSIDE = "POINTER_BENCH_PIPELINE"  # set for the jobs of a pipeline, and not for a row made by hand
PRIOR = 0.1  # of the plan, which counts as done at the planned pace: the first rows say little
WIDTH = 20  # of the bar
CLEAR = "\r\x1b[K"  # on a terminal: the line from its start


def begin(
    seconds: Mapping[str, float], optional: Sequence[str] = (), deadline: float = math.inf
) -> None:
    """Write down what a pipeline makes, the seconds that each file is expected to take, and which
    come last and do not start after `deadline`, a time in seconds."""
    os.environ[INSIDE] = "1"
    plan = {"seconds": dict(seconds), "optional": list(optional), "deadline": deadline}
    write_atomically(FILE, json.dumps({"started": time.time(), **plan}))


def show(line: str) -> None:
    """Print what a job made: on a terminal above a bar, which the next job rewrites; in a log with
    how far the pipeline is; outside of a pipeline as it is."""
    share, words = _so_far()
    if not words:
        print(line, flush=True)
    elif sys.stdout.isatty():
        bar = f"{'█' * round(WIDTH * share):░<{WIDTH}} {words}"
        width = shutil.get_terminal_size().columns - 1  # a wrapped line could not be cleared
        print(f"{CLEAR}{line}\n{bar[:width]}", end="", flush=True)
    else:
        print(f"[{words}] {line}", flush=True)


def wipe() -> None:
    """Take the bar from a terminal's last line."""
    if sys.stdout.isatty():
        print(CLEAR, end="", flush=True)


def _so_far() -> tuple[float, str]:
    """Return the share of the time that has passed, and words such as "45 of 130, 6 min, about
    9 min left"; "" outside of a pipeline."""
    if INSIDE not in os.environ:
        return 0.0, ""
    try:
        plan = json.loads(FILE.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0.0, ""
    started, seconds, now = plan["started"], plan["seconds"], time.time()
    made = [file for file in seconds if _is_made(Path(file), started)]
    total, done = sum(seconds.values()), sum(seconds[file] for file in made)
    last = sum(seconds[file] for file in set(plan["optional"]).difference(made))
    elapsed = now - started
    pace = (elapsed + PRIOR * total) / (done + PRIOR * total) if total else 1.0
    left = pace * (total - done - last)
    left += min(pace * last, max(0.0, plan["deadline"] - now - left))
    words = f"{len(made)} of {len(seconds)}, {duration(elapsed)}, about {duration(left)} left"
    return elapsed / (elapsed + left or 1.0), words


def _is_made(file: Path, started: float) -> bool:
    return file.exists() and file.stat().st_mtime >= started
