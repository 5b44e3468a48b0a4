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

    def __init__(self, reason: str, row: dict[str, Any] | None = None) -> None:
        super().__init__(reason)
        self.row = row or {}  # what was measured before


class Unsupported(Outcome):
    """This machine, device or model cannot take part in this cell."""

    status = "unsupported"


class Diverged(Outcome):
    """The loss is not finite; the reason names the step."""

    status = "diverged"


class EnvironmentFault(Exception):
    """The machine could not do it, or a signal ended it: there is no row, and no verdict."""


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

    def times(self) -> dict[str, str]:
        """Return the row keys `started` and `ended`: UTC in ISO 8601 to the microsecond."""
        ended = self.started + timedelta(seconds=time.monotonic() - self._start)
        times = {"started": self.started, "ended": ended}
        return {key: value.isoformat(timespec="microseconds") for key, value in times.items()}
