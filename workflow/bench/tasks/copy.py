"""The copy task (paper section 3.2).

A sequence of N uniform symbols; the target at position t >= D is the symbol at t - D, earlier positions carry no loss:

    D = 3   position  0 1 2 3 4 5 6
            token     7 2 9 4 4 0 1
            target    . . . 7 2 9 4        (. is IGNORED)

No position outside its own past is needed, and no symbol predicts another, so a model without reach stays at chance
1/V.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pointer.errors import InputError
from workflow.bench.tasks import Symbols, Task, blank


def copy_batch(
    rng: np.random.Generator, batch: int, length: int, distance: int, symbols: int
) -> tuple[Symbols, Symbols]:
    """B fresh sequences -> (tokens int64[B, N], targets int64[B, N] with IGNORED where t < D).

    Raises InputError unless 1 <= D < N.
    """
    if not 1 <= distance < length:
        raise InputError.about(
            "distance", distance, f"1 to {length - 1} at length {length}", "`--distance` or `--length`"
        )
    tokens = rng.integers(symbols, size=(batch, length), dtype=np.int64)
    targets = blank(tokens)
    targets[:, distance:] = tokens[:, :-distance]
    return tokens, targets


@dataclass(frozen=True, kw_only=True)
class CopyTask(Task):
    """Copies over `distance` tokens."""

    distance: int

    @property
    def supervised(self) -> int:
        """N - D."""
        return self.length - self.distance

    @property
    def chance(self) -> float:
        """Symbols are uniform."""
        return 1 / self.symbols

    def sequences(self, rng: np.random.Generator, count: int, stream: str) -> tuple[Symbols, Symbols]:
        """See the module."""
        return copy_batch(rng, count, self.length, self.distance, self.symbols)
