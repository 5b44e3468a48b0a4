"""The running pipeline: one at a time in a results folder, and how much of it is left.

Snakemake's own lock outlives a killed pipeline; this one is a kernel lock on a file that names its owner, so it ends
with the process. The file also lists the rows to come with their estimated seconds, from which each job tells the time
left.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pointer.errors import InputError
from workflow.bench.cell import Cell
from workflow.bench.estimate import duration, wall_seconds
from workflow.bench.lock import open_shared
from workflow.bench.store import Store


class PipelineBusyError(RuntimeError):
    """Another pipeline works in this results folder; the message names it."""


@dataclass
class Pipeline:
    """The lock of this process on a results folder; the kernel gives it back when the process ends, however it ends."""

    path: Path
    descriptor: int

    @classmethod
    def begin(cls, path: Path, cells: Iterable[Cell], store: Store) -> Pipeline:
        """Takes the lock and writes down the rows to come; raises PipelineBusyError if another pipeline holds it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = open_shared(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise PipelineBusyError(_busy(path)) from None
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "started": time.time()}
        text = json.dumps({**owner, "rows": {cell.path: wall_seconds(cell, store) for cell in cells}}, indent=1)
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, text.encode(), 0)
        except OSError as error:
            os.close(descriptor)
            raise OSError(error.errno, error.strerror, str(path)) from None
        return cls(path, descriptor)


def _busy(path: Path) -> str:
    try:
        owner = read(path)
    except InputError:
        owner = {}
    if not owner:
        return f"another pipeline works in {path.parent.resolve()}; wait for it to end"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(owner["started"]))
    process = f"process {owner['pid']} on {owner['host']}, since {since}"
    return f"another pipeline works in {path.parent.resolve()}: {process}. Wait for it, or end it."


def read(path: Path) -> dict[str, Any]:
    """What a pipeline wrote down; raises InputError where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        started, rows = float(content["started"]), {str(row): float(s) for row, s in content["rows"].items()}
        return {**content, "started": started, "rows": rows}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError.about("--pipeline", str(path), "the file of a running pipeline", "the command line") from error


def progress(path: Path, now: float | None = None) -> str:
    """E.g. "12 of 87 rows, about 9 min left": estimates of what is missing, at the pace of what is done."""
    content = read(path)
    rows: Mapping[str, float] = content["rows"]
    folder = path.parent.parent
    done = [row for row in rows if _written_since(folder / row, content["started"])]
    planned = sum(rows[row] for row in done)
    elapsed = max(0.0, (now or time.time()) - content["started"])  # a clock may be set back
    pace = elapsed / planned if planned else 1.0
    left = pace * (sum(rows.values()) - planned)
    return f"{len(done)} of {len(rows)} rows" + (f", about {duration(left)} left" if left > 0 else "")


def _written_since(path: Path, started: float) -> bool:
    try:
        return path.stat().st_mtime >= started - 1
    except OSError:
        return False
