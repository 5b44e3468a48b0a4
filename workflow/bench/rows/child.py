"""Run the worker in a child process, and say how it ended. Its memory is limited, its time counts
from the moment it holds the machine's lock, and it never outlives this process."""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow.bench.outcomes import EnvironmentFault
from workflow.bench.sources import ROOT

WORKER = (sys.executable, "-m", "workflow.bench.rows.worker")
STOPPING = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
VMSTAT = Path("/proc/vmstat")
POLL_SECONDS = 0.5
PR_SET_PDEATHSIG = 1  # linux/prctl.h
STDERR = 2


@dataclass(frozen=True)
class Ending:
    """How a child ended: its exit code (negative: the signal) and its result."""

    code: int
    result: dict[str, Any]
    timed_out: bool = False

    @property
    def kind(self) -> str:
        """The result's kind (see the worker); "none" where the child left no result."""
        return str(self.result.get("kind", "none"))

    @property
    def message(self) -> str:
        """What the child wrote of its end, else how it ended."""
        if self.code == -signal.SIGKILL:
            return "killed by the kernel (SIGKILL): most likely the machine ran out of memory"
        if self.result.get("message"):
            return str(self.result["message"])
        if self.code < 0:
            return f"ended by {signal.Signals(-self.code).name}"
        return f"ended with exit code {self.code}" if self.code else "ended without a result"


def execute(
    request: Mapping[str, Any],
    folder: Path,
    seconds: int = 0,
    memory_bytes: int = 0,
    stdout: int | None = STDERR,
) -> Ending:
    """Start a worker on a request and wait for its end, at most `seconds`; it may hold
    `memory_bytes` of data (0: no limit). What it prints goes to stderr, with `stdout` None to
    stdout. Raise EnvironmentFault where somebody killed it."""
    folder = folder.absolute()  # the child works elsewhere
    request_path, result_path = folder / "request.json", folder / "result.json"
    request_path.write_text(json.dumps(request), encoding="utf-8")
    result_path.unlink(missing_ok=True)
    kills = memory_kills()
    told = os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    told["PYTHONIOENCODING"] = ":backslashreplace"
    told.pop("NUMBA_NUM_THREADS", None)  # the cell alone says how many
    child = subprocess.Popen(
        [*WORKER, str(request_path), str(result_path)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        env=told,
        start_new_session=True,
        preexec_fn=_before_start(memory_bytes),
    )
    try:
        timed_out = _wait(child, seconds, result_path)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # the group is gone
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    killed = -child.returncode
    by_kernel = killed == signal.SIGKILL and (kills is None or memory_kills() != kills)
    if killed in STOPPING and not timed_out and not by_kernel:
        name = signal.Signals(killed).name
        raise EnvironmentFault(f"ended by {name}, and not by the kernel; no row was written")
    try:
        text = result_path.read_text(encoding="utf-8")
        result = json.loads(text, parse_constant=lambda _: None)  # NaN, which a row lacks
    except (OSError, ValueError):
        result = {}
    return Ending(child.returncode, result, timed_out)


def memory_kills() -> int | None:
    """Return how many processes the kernel has killed for want of memory; None if not counted."""
    try:
        counts = dict(line.split() for line in VMSTAT.read_text(encoding="ascii").splitlines())
        return int(counts["oom_kill"])
    except (OSError, ValueError, KeyError):
        return None


def _wait(child: subprocess.Popen[bytes], seconds: int, started: Path) -> bool:
    """Wait for the end; return whether it took longer than `seconds` since `started` exists."""
    deadline = math.inf
    while time.monotonic() < deadline:
        try:
            child.wait(timeout=POLL_SECONDS)
            return False
        except subprocess.TimeoutExpired:
            if seconds and math.isinf(deadline) and started.exists():
                deadline = time.monotonic() + seconds
    return True


def _before_start(limit_bytes: int) -> Callable[[], None]:
    """Return what the child does first: limit its memory, and die with its parent (Linux)."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    if hard != resource.RLIM_INFINITY:
        limit_bytes = min(limit_bytes, hard) or hard

    def apply() -> None:
        if limit_bytes:
            resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    return apply
