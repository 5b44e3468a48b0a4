"""Runs one cell in a child process and always comes back with a row, however the child ends. Loads no torch.

The child is `python -m workflow.bench.worker SETTINGS_JSON RESULT_JSON`. Its memory is limited, its time is counted
from the moment it holds the machine's lock, and it never outlives this process.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from pointer.errors import InputError
from workflow.bench import hardware, provenance
from workflow.bench.lock import marker_path
from workflow.bench.rows import Row, RowError, complete, keys
from workflow.bench.settings import Settings
from workflow.bench.sources import ROOT

WORKER = (sys.executable, "-m", "workflow.bench.worker")
OUT_OF_MEMORY = re.compile(
    r"DefaultCPUAllocator|MemoryError|out of memory|OutOfMemoryError|Cannot allocate memory", re.IGNORECASE
)
BAD_INPUT = re.compile(
    r"InputError: (?P<message>.*?)( \(\S+:\d+\))?"
)  # how the worker reports one, with the place in the code
POLL_SECONDS = 0.5
TAIL_LINES = 20
PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True)
class Ending:
    """How a child ended: its exit code (negative: the signal), what it reported, the last lines of its stderr."""

    code: int
    reported: dict[str, Any]
    tail: str
    timed_out: bool = False


def run(settings: Settings, folder: Path, worker: Sequence[str] = WORKER) -> Row:
    """Measures a cell and returns its row, complete but not yet sealed. `folder`, empty, keeps what the worker leaves.

    Raises InputError where only the worker could see that a setting is bad (one of a mixer's, say).
    """
    started = _now()
    known = provenance.identity(settings)
    ending = execute(settings, folder, worker)
    status, reason = judge(ending, settings)
    bad_input = BAD_INPUT.fullmatch(reason or "")
    if bad_input:
        raise InputError(bad_input["message"])
    measured = {key: _finite(value) for key, value in ending.reported.items() if key not in ("status", "reason")}
    row = {**known, "started": started, "ended": _now(), **measured, "status": status, "reason": reason}
    try:
        return complete(row)
    except RowError as error:
        kept = {key: value for key, value in row.items() if key in keys()}
        return complete({**kept, "status": "error", "reason": f"the worker returned what no row holds: {error}"})


def refused(settings: Settings, status: str, reason: str | None) -> Row:
    """The row of a cell that may not be measured, complete but not yet sealed."""
    times = {"started": _now(), "ended": _now()}
    return complete({**provenance.identity(settings), **times, "status": status, "reason": reason})


def judge(ending: Ending, settings: Settings) -> tuple[str, str | None]:
    """(status, reason) of a row from how its child ended."""
    status, reason = ending.reported.get("status", "ok" if ending.code == 0 else "error"), ending.reported.get("reason")
    if ending.timed_out:
        return "timeout", f"still running after {settings.timeout_s} s (`timeout_s`)"
    if ending.code == -signal.SIGKILL:
        return "oom", "killed by the kernel (SIGKILL): most likely the machine ran out of memory"
    if status == "error" and OUT_OF_MEMORY.search(f"{reason or ''}\n{ending.tail}"):
        return "oom", reason or _last_line(ending.tail)
    if ending.code == 0 and not ending.reported:
        return "error", "the worker ended without a result"
    return status, reason if status == "ok" else reason or _last_line(ending.tail) or _exit_words(ending.code)


def _exit_words(code: int) -> str:
    return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def execute(settings: Settings, folder: Path, worker: Sequence[str]) -> Ending:
    """Starts the child and waits for its end; on an interrupt the child's whole process group is killed first."""
    asked, result = folder / "settings.json", folder / "result.json"
    asked.write_text(json.dumps(settings.to_dict()), encoding="utf-8")
    watched = sys.stderr.isatty()
    child = subprocess.Popen(
        [*worker, str(asked), str(result)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr if watched else subprocess.PIPE,
        stderr=None if watched else subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=_limits(settings),
    )
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    relay = _relay(child.stdout, tail) if child.stdout else None
    try:
        timed_out = _wait(child, settings.timeout_s, marker_path(result))
    finally:
        _kill_group(child)
    if relay:
        relay.join(timeout=10)
    return Ending(child.returncode, _reported(result), "".join(tail), timed_out)


def _wait(child: subprocess.Popen[bytes], timeout_s: int, marker: Path) -> bool:
    """Waits for the child's end; True if it took longer than `timeout_s` (0: no limit) since its marker appeared."""
    deadline = math.inf
    while time.monotonic() < deadline:
        try:
            child.wait(timeout=POLL_SECONDS)
            return False
        except subprocess.TimeoutExpired:
            if timeout_s and math.isinf(deadline) and marker.exists():
                deadline = time.monotonic() + timeout_s
    return True


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # the group is gone
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _relay(stream: IO[bytes], tail: deque[str]) -> threading.Thread:
    """Passes the child's lines on to stderr and keeps the last ones."""

    def pump() -> None:
        for line in stream:
            text = line.decode("utf-8", errors="replace")
            tail.append(text)
            sys.stderr.write(text)
            sys.stderr.flush()

    thread = threading.Thread(target=pump, daemon=True)
    thread.start()
    return thread


def _reported(result: Path) -> dict[str, Any]:
    try:
        content = json.loads(result.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _limits(settings: Settings) -> Callable[[], None]:
    """What the child does before it becomes the worker: limit its own memory, and die with its parent (Linux)."""
    limit = settings.memory_limit_bytes or (hardware.ram_bytes() if settings.device == "cpu" else 0)
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def apply() -> None:
        if limit:
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    return apply


def _finite(value: Any) -> Any:
    """NaN and infinities become null, wherever they stand: JSON has neither."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    return [_finite(entry) for entry in value] if isinstance(value, list) else value


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
