"""How and when a measurement ends, and which errors are the machine's. Loads no torch."""

from __future__ import annotations

import errno
import time
from datetime import UTC, datetime, timedelta
from typing import Any

FULL = (errno.ENOSPC, errno.EDQUOT)
# Torch, numba and CPython raise these as RuntimeError, so only their words tell them apart.
NO_MEMORY = ("DefaultCPUAllocator", "out of memory", "can't allocate memory")
NO_CACHE_OR_THREAD = ("cannot cache function", "can't start new thread", "Thread creation failed")

DISTURBED = "disturbed: "  # how the warning begins of rows whose session decides nothing


class Outcome(Exception):
    """End a cell with a row: `status` names the way, the message is the row's `reason`."""

    status = "error"


class Unsupported(Outcome):
    """This machine, device or model cannot take part in this cell."""

    status = "unsupported"


class Diverged(Outcome):
    """The loss is not finite; the reason names the step. `row` holds what was measured before."""

    status = "diverged"

    def __init__(self, reason: str, row: dict[str, Any] | None = None) -> None:
        super().__init__(reason)
        self.row = row or {}


class StoppedError(Exception):
    """A signal killed the process that measures; no row is written and the cell stays pending."""


class EnvironmentFault(Exception):
    """A check could not be made on this machine; that is no verdict on the model."""


def out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out; under a limit torch raises a RuntimeError on a CPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return any(text in str(error) for text in NO_MEMORY)


def of_environment(error: BaseException) -> bool:
    """Return whether an error comes from the machine: memory, disk, threads, a missing package."""
    if isinstance(error, OSError | ImportError) or out_of_memory(error):
        return True
    return isinstance(error, RuntimeError) and any(w in str(error) for w in NO_CACHE_OR_THREAD)


class Clock:
    """One reading of the wall clock, then the monotonic one, which nobody sets back."""

    def __init__(self) -> None:
        self.started = datetime.now(UTC)
        self._start = time.monotonic()

    def now(self) -> datetime:
        """Return the start and what has passed since."""
        return self.started + timedelta(seconds=time.monotonic() - self._start)

    def times(self) -> dict[str, str]:
        """Return the row keys `started` and `ended`: UTC in ISO 8601 to the microsecond."""
        started, ended = (t.isoformat(timespec="microseconds") for t in (self.started, self.now()))
        return {"started": started, "ended": ended}
