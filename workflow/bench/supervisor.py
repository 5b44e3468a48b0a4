"""Runs one cell in a child process and always comes back with a row, however the child ends. Loads no torch.

The child is `python -m workflow.bench.worker SETTINGS_JSON RESULT_JSON`. Its memory is limited, its time is counted
from the moment it holds the machine's lock, and it never outlives this process.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
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
from pathlib import Path
from typing import IO, Any

from pointer.errors import InputError
from workflow.bench import hardware, provenance
from workflow.bench.clock import Clock
from workflow.bench.lock import marker_path
from workflow.bench.outcomes import StoppedError
from workflow.bench.rows import Row, RowError, complete, keys
from workflow.bench.settings import Settings
from workflow.bench.sources import ROOT

WORKER = (sys.executable, "-m", "workflow.bench.worker")
OUT_OF_MEMORY = re.compile(
    r"DefaultCPUAllocator|MemoryError|out of memory|OutOfMemoryError|Cannot allocate memory", re.IGNORECASE
)
NO_SPACE = os.strerror(errno.ENOSPC)
STOPPED = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # somebody's doing, not the measurement's
VMSTAT = Path("/proc/vmstat")
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
    memory_kills: int | None = None  # how often the kernel killed for want of memory meanwhile; None: it does not tell


def run(settings: Settings, folder: Path, worker: Sequence[str] = WORKER) -> Row:
    """Measures a cell and returns its row, complete but not yet sealed. `folder`, empty, keeps what the worker leaves.

    Raises InputError where only the worker could see that a setting is bad (one of a mixer's, say), StoppedError where
    somebody killed it, and OSError where the disk is full: none of these is a result.
    """
    clock = Clock()
    known = provenance.identity(settings)
    ending = execute(settings, folder, worker)
    status, reason = judge(ending, settings)
    if status == "error" and NO_SPACE in f"{reason}":
        raise OSError(errno.ENOSPC, NO_SPACE, str(folder))
    raise_bad_input(reason)
    measured = {key: _finite(value) for key, value in ending.reported.items() if key not in ("status", "reason")}
    row = {**known, **clock.times(), **measured, "status": status, "reason": reason}
    try:
        return complete(row)
    except RowError as error:
        kept = {key: value for key, value in row.items() if key in keys()}
        return complete({**kept, "status": "error", "reason": f"the worker returned what no row holds: {error}"})


def raise_bad_input(reason: str | None) -> None:
    """Raises the InputError that a child reports as the reason of its end."""
    bad_input = BAD_INPUT.fullmatch(reason or "")
    if bad_input:
        raise InputError(bad_input["message"])


def refused(settings: Settings, status: str, reason: str | None) -> Row:
    """The row of a cell that may not be measured, complete but not yet sealed."""
    return complete({**provenance.identity(settings), **Clock().times(), "status": status, "reason": reason})


def stopped(ending: Ending) -> bool:
    """Whether somebody ended the worker. The kernel kills by SIGKILL too, when memory runs out, and counts that."""
    if ending.timed_out or -ending.code not in STOPPED:
        return False
    return ending.code != -signal.SIGKILL or ending.memory_kills == 0


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
    """Starts the child and waits for its end; on an interrupt the child's whole process group is killed first.

    Raises StoppedError where somebody killed the child.
    """
    asked, result = (folder.absolute() / name for name in ("settings.json", "result.json"))  # it works elsewhere
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
    tail, kills = deque[str](maxlen=TAIL_LINES), memory_kills()
    relay = _relay(child.stdout, tail) if child.stdout else None
    try:
        timed_out = _wait(child, settings.timeout_s, marker_path(result))
    finally:
        _kill_group(child)
    if relay:
        relay.join(timeout=10)
    later = memory_kills()
    counted = None if kills is None or later is None else later - kills
    ending = Ending(child.returncode, _reported(result), "".join(tail), timed_out, counted)
    if stopped(ending):
        raise StoppedError(f"the worker was {_exit_words(ending.code)}, not by the kernel; no row was written")
    return ending


def memory_kills() -> int | None:
    """How many processes of this machine the kernel has killed for want of memory; None where it does not count."""
    try:
        counts = dict(line.split() for line in VMSTAT.read_text(encoding="ascii").splitlines())
        return int(counts["oom_kill"])
    except (OSError, ValueError, KeyError):
        return None


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
