"""Let one pipeline at a time work in a results folder, and tell how much of it is left.

Snakemake's own lock outlives a killed pipeline; this one is a kernel lock that ends with the
process. Its file names the owner, and lists the rows to come with their estimated seconds.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from workflow.bench.plan import Cell
from workflow.bench.rows import lock
from workflow.bench.rows.estimate import duration, wall_seconds

FILE = Path("results/.pipeline")


class PipelineBusyError(RuntimeError):
    """Another pipeline works in this results folder; the message names it."""


def begin(held: ExitStack, cells: Iterable[Cell], path: Path = FILE) -> None:
    """Take the lock, for as long as `held` is open, and write down the rows to come.

    Raise PipelineBusyError where another pipeline holds it.
    """
    try:
        descriptor = held.enter_context(lock.taken(path, wait=False))
    except BlockingIOError:
        raise PipelineBusyError(_busy(path)) from None
    owner = {"pid": os.getpid(), "host": socket.gethostname(), "started": time.time()}
    rows = {cell.path: wall_seconds(cell) for cell in cells}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps({**owner, "rows": rows}, indent=1).encode(), 0)


def left(path: Path = FILE, now: float | None = None) -> str:
    """Return such as "12 of 87 rows, about 9 min left", at the pace of what is done.

    Empty where no pipeline has written its rows down.
    """
    content = _read(path)
    rows: dict[str, float] = content.get("rows", {})
    if not rows:
        return ""
    done = [row for row in rows if _written_since(path.parent.parent / row, content["started"])]
    planned = sum(rows[row] for row in done)
    elapsed = max(0.0, (now or time.time()) - content["started"])  # a clock may be set back
    pace = elapsed / planned if planned else 1.0
    seconds = pace * (sum(rows.values()) - planned)
    count = f"{len(done)} of {len(rows)} rows"
    return f"{count}, about {duration(seconds)} left" if seconds > 0 else count


def _busy(path: Path) -> str:
    owner = _read(path)
    if not owner:
        return f"another pipeline works in {path.parent.resolve()}; wait for it to end"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(owner["started"]))
    process = f"process {owner['pid']} on {owner['host']}, since {since}"
    return f"another pipeline works in {path.parent.resolve()}: {process}. Wait for it, or end it."


def _read(path: Path) -> dict[str, Any]:
    """Return what a pipeline wrote down; empty where that cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rows = {str(row): float(seconds) for row, seconds in content["rows"].items()}
        return {**content, "started": float(content["started"]), "rows": rows}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _written_since(path: Path, started: float) -> bool:
    return path.is_file() and path.stat().st_mtime >= started - 1
