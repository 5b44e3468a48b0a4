"""The copy task (paper section 3.2).

A sequence of N uniform symbols; the target at position t >= D is the symbol at t - D, earlier
positions carry no loss:

    D = 3   position  0 1 2 3 4 5 6
            token     7 2 9 4 4 0 1
            target    . . . 7 2 9 4        (. is IGNORED)

No position outside its own past is needed, and no symbol predicts another, so a model without reach
stays at chance 1/V.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.random import Generator
from pydantic import Field

from workflow.bench.tasks.base import LARGEST, Drawn, Task, blank, require
from workflow.bench.validation import Whole

SCORED = 128  # symbols of a sequence with a target, unless a length is given


def copy_batch(rng: Generator, batch: int, length: int, distance: int, symbols: int) -> Drawn:
    """Return B fresh sequences; raise InputError unless 1 <= D < N."""
    require("distance", distance, 1, length - 1, f" at length {length}")
    tokens = rng.integers(symbols, size=(batch, length), dtype=np.int64)
    targets = blank(tokens)
    targets[:, distance:] = tokens[:, :-distance]
    return tokens, targets


class Copy(Task):
    """Copy over `distance` tokens."""

    question = "is the token D positions back found, after a budget of training tokens?"
    axis, axis_key, sign = "distance", "distances", "d"
    symbol, axis_words = "D", "distance D"
    step_tokens = 1280  # two sequences at D = 512, one where N is longer

    name: Literal["copy"] = "copy"
    distance: Whole = Field(default=512, ge=1, le=LARGEST, description="copy distance D in tokens")

    def default_length(self) -> int:
        """Return D + 128: as many symbols are scored at every distance."""
        return self.distance + SCORED

    def check(self) -> None:
        """Require that D < N."""
        require("distance", self.distance, 1, self.length - 1, f" at length {self.length}")

    @property
    def supervised(self) -> int:
        """N - D."""
        return self.length - self.distance

    @property
    def chance(self) -> float:
        """1 / V: symbols are uniform."""
        return 1 / self.symbols

    def sequences(self, rng: Generator, count: int, stream: str) -> Drawn:
        """Return uniform symbols, with targets D positions later."""
        return copy_batch(rng, count, self.length, self.distance, self.symbols)
