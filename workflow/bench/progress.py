"""How far is this cell? One updating line with time left on a terminal, else a quiet line now and then. On stderr."""

from __future__ import annotations

import sys
import time
from typing import TextIO

QUIET_SECONDS = 10.0  # between lines where nobody watches
WATCHED_SECONDS = 0.2


class Progress:
    """`report(done, loss=..., accuracy=...)`: `done` is the fraction of the cell, the rest is shown as it is."""

    def __init__(self, label: str, stream: TextIO | None = None) -> None:
        self.label = label
        self.stream = stream or sys.stderr
        self.watched = self.stream.isatty()
        self.start = self.last = time.monotonic()
        self.values: dict[str, float] = {}

    def __call__(self, done: float, **values: float) -> None:
        """Shows a line if the last one is old enough; values stay until they change."""
        self.values.update(values)
        now = time.monotonic()
        if now - self.last >= (WATCHED_SECONDS if self.watched else QUIET_SECONDS):
            self.last = now
            self._write(self.line(done, now - self.start))

    def line(self, done: float, elapsed_s: float) -> str:
        """E.g. "copy pointer D=512  42%  loss 2.41  accuracy 0.31  12 s left"."""
        shown = [f"{name} {value:.3g}" for name, value in self.values.items()]
        left = [f"{elapsed_s * (1 - done) / done:.0f} s left"] if done > 0 else []
        return "  ".join([self.label, f"{done:4.0%}", *shown, *left])

    def close(self) -> None:
        """Ends the updating line."""
        if self.watched:
            self.stream.write("\r\x1b[K")
            self.stream.flush()

    def _write(self, line: str) -> None:
        self.stream.write(f"\r\x1b[K{line}" if self.watched else f"{line}\n")
        self.stream.flush()
