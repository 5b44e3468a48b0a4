"""Show how far a cell is: one updating line on a terminal, a quiet line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from workflow.bench.cell import Cell

QUIET_SECONDS = 10.0  # between lines of a log
WATCHED_SECONDS = 0.2


class Progress:
    """`progress(done, loss=...)`: `done` is the fraction of the cell, the rest is shown as is."""

    def __init__(self, cell: Cell, watched: bool, stream: TextIO | None = None) -> None:
        self.label = f"{cell.experiment} {cell.model} {cell.label()}"
        self.stream = stream or sys.stderr
        self.watched = watched  # by somebody at a terminal, to which the parent passes the lines
        self.start = self.last = time.monotonic()
        self.values: dict[str, float] = {}

    def __call__(self, done: float, **values: float) -> None:
        """Show a line if the last one is old enough; values stay until they change."""
        self.values.update(values)
        now = time.monotonic()
        if now - self.last < (WATCHED_SECONDS if self.watched else QUIET_SECONDS):
            return
        self.last = now
        line = self.line(done, now - self.start)
        self.stream.write(f"\r\x1b[K{line}" if self.watched else f"{line}\n")
        self.stream.flush()

    def line(self, done: float, elapsed_s: float) -> str:
        """Return such as "copy pointer d512-s0   42%  loss 2.41  12 s left"."""
        parts = [self.label, f"{done:4.0%}"]
        parts += [f"{name} {value:.3g}" for name, value in self.values.items()]
        if done > 0:
            parts.append(f"{elapsed_s * (1 - done) / done:.0f} s left")
        return "  ".join(parts)

    def close(self) -> None:
        """Clear the updating line."""
        if self.watched:
            self.stream.write("\r\x1b[K")
            self.stream.flush()
