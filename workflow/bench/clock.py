"""The times of a row: one reading of the wall clock, then the monotonic one, which nobody sets back."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta


class Clock:
    """Starts when it is made."""

    def __init__(self) -> None:
        self.started = datetime.now(UTC)
        self._start = time.monotonic()

    def now(self) -> datetime:
        """The start and what has passed since; a wall clock that jumps meanwhile changes nothing."""
        return self.started + timedelta(seconds=time.monotonic() - self._start)

    def times(self) -> dict[str, str]:
        """The row keys `started` and `ended`: UTC in ISO 8601 to the microsecond."""
        return {
            key: time.isoformat(timespec="microseconds")
            for key, time in (("started", self.started), ("ended", self.now()))
        }
