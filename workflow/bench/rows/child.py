"""Run the worker in a child process with limits, and say how it ended. Loads no torch.

Its memory is limited, its time is counted from the moment it holds the machine's lock, its output
is passed on, and it never outlives this process.
"""

from __future__ import annotations

import codecs
import contextlib
import ctypes
import json
import math
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import killpg
from pathlib import Path
from typing import IO, Any, TextIO

from workflow.bench.outcomes import StoppedError
from workflow.bench.sources import ROOT

WORKER = (sys.executable, "-m", "workflow.bench.rows.worker")
STOPPING = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
VMSTAT = Path("/proc/vmstat")
POLL_SECONDS = 0.5
TAIL_CHARACTERS = 4000
PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True)
class Ending:
    """How a child ended: its exit code (negative: the signal), its result, its last output."""

    code: int
    result: dict[str, Any]
    tail: str = ""
    timed_out: bool = False

    @property
    def kind(self) -> str:
        """The result's kind (see the worker); "none" where the child left no result."""
        return str(self.result.get("kind", "none"))

    @property
    def message(self) -> str:
        """What the child said of its end, else its last line, else how it ended."""
        if self.code == -signal.SIGKILL:
            return "killed by the kernel (SIGKILL): most likely the machine ran out of memory"
        lines = [line.strip() for line in self.tail.splitlines() if line.strip()]
        last_line = lines[-1] if lines else ""
        if self.code == 0:
            return self.result.get("message") or "the worker ended without a result"
        return self.result.get("message") or last_line or exit_words(self.code)


def exit_words(code: int) -> str:
    """Return how a process ended, in words."""
    return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def execute(
    request: Mapping[str, Any],
    folder: Path,
    output: TextIO,
    *,
    seconds: int = 0,
    memory_bytes: int = 0,
    worker: Sequence[str] | None = None,
) -> Ending:
    """Start a worker on a request, wait for its end; on an interrupt kill its process group.

    Request and result are files in `folder`; what the worker prints goes to `output`. It is killed
    after `seconds` and may hold `memory_bytes` of data (0: no limit). Raise StoppedError where a
    signal ended the worker that the kernel did not send for want of memory.
    """
    folder = folder.absolute()  # the child works elsewhere
    request_path, result_path = folder / "request.json", folder / "result.json"
    request_path.write_text(json.dumps(request), encoding="utf-8")
    result_path.unlink(missing_ok=True)
    kills = memory_kills()
    child = subprocess.Popen(
        [*(worker or WORKER), str(request_path), str(result_path)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=_before_start(memory_bytes),
    )
    assert child.stdout is not None
    tail: list[str] = [""]
    relay = threading.Thread(target=_relay, args=(child.stdout, output, tail), daemon=True)
    relay.start()
    try:
        timed_out = _wait(child, seconds, result_path)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # the group is gone
            killpg(child.pid, signal.SIGKILL)
        child.wait()
    relay.join(timeout=10)
    ending = Ending(child.returncode, _read(result_path), tail[0], timed_out)
    if -child.returncode in STOPPING and not timed_out and not _killed_by_kernel(ending, kills):
        words = exit_words(child.returncode)
        raise StoppedError(f"the worker was {words}, not by the kernel; no row was written")
    return ending


def memory_kills() -> int | None:
    """Return how many processes the kernel has killed for want of memory; None if not counted."""
    try:
        counts = dict(line.split() for line in VMSTAT.read_text(encoding="ascii").splitlines())
        return int(counts["oom_kill"])
    except (OSError, ValueError, KeyError):
        return None


def _killed_by_kernel(ending: Ending, kills_before: int | None) -> bool:
    """Return whether a SIGKILL may be the kernel's: it counts those, where it counts at all."""
    kills = memory_kills()
    if ending.code != -signal.SIGKILL:
        return False
    return kills is None or kills_before is None or kills > kills_before


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


def _relay(stream: IO[bytes], output: TextIO, tail: list[str]) -> None:
    """Pass the child's output on as it comes, lines or not, and keep its end in `tail`."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    while True:
        chunk = stream.read1(65536)  # type: ignore[attr-defined]
        if not chunk:
            return
        text = decoder.decode(chunk)
        tail[0] = (tail[0] + text)[-TAIL_CHARACTERS:]
        output.write(text)
        output.flush()


def _read(path: Path) -> dict[str, Any]:
    """Return the result; empty where there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


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
