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
from workflow.bench.rows.run import DEADLINE

FILE = Path("results/.progress")
PRIOR = 0.1  # of the plan, which counts as done at the planned pace: the first rows say little
WIDTH = 20  # of the bar
CLEAR = "\r\x1b[K"  # on a terminal: the line from its start


def begin(
    seconds: Mapping[str, float], optional: Sequence[str] = (), deadline: float = math.inf
) -> None:
    """Write down what a pipeline makes, the seconds that each file is expected to take, and which
    come last and do not start after `deadline`, a time in seconds."""
    os.environ[DEADLINE] = str(deadline)
    plan = {"started": time.time(), "seconds": dict(seconds), "optional": list(optional)}
    write_atomically(FILE, json.dumps(plan))


def show(line: str) -> None:
    """Print what a job made: on a terminal above a bar, which the next job rewrites; in a log with
    how far the pipeline is, such as [45 of 130, 6 min, about 9 min left]; outside of a pipeline as
    it is."""
    try:
        plan = json.loads(FILE.read_text(encoding="utf-8")) if DEADLINE in os.environ else None
    except (OSError, ValueError):
        plan = None
    if plan is None:
        print(line, flush=True)
        return
    started, seconds, now = plan["started"], plan["seconds"], time.time()
    made = [f for f in seconds if os.path.exists(f) and os.path.getmtime(f) >= started]
    total, done = sum(seconds.values()), sum(seconds[file] for file in made)
    last = sum(seconds[file] for file in set(plan["optional"]).difference(made))
    elapsed = now - started
    pace = (elapsed + PRIOR * total) / (done + PRIOR * total) if total else 1.0
    left = pace * (total - done - last)
    left += min(pace * last, max(0.0, float(os.environ[DEADLINE]) - now - left))
    words = f"{len(made)} of {len(seconds)}, {duration(elapsed)}, about {duration(left)} left"
    if sys.stdout.isatty():
        share = elapsed / (elapsed + left or 1.0)
        bar = f"{'█' * round(WIDTH * share):░<{WIDTH}} {words}"
        width = shutil.get_terminal_size().columns - 1  # a wrapped line could not be cleared
        print(f"{CLEAR}{line}\n{bar[:width]}", end="", flush=True)
    else:
        print(f"[{words}] {line}", flush=True)


def wipe() -> None:
    """Take the bar from a terminal's last line."""
    if sys.stdout.isatty():
        print(CLEAR, end="", flush=True)
