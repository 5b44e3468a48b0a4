"""Selective copying (Gu and Dao 2023, Mamba, arXiv 2312.00752, section 4.1.1 and appendix E.1).

M data symbols lie at random places among noise; then come M markers, at which the data are wanted
in their order:

    M = 3, V = 8   position  0 1 2 3 4 5 6 7 8 9
                   token     0 5 0 0 3 0 5 7 7 7
                   target    . . . . . . . 5 3 5        (. is IGNORED)

Noise is 0, the marker V - 1, data are uniform from 1 to V - 2 (as in the data of state-spaces/s4,
copying.py, which the paper builds on). Mamba's setting is V = 16, M = 16 and 4096 tokens before the
markers. No marker tells which one it is: a model must count, or know positions.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from numpy.random import Generator
from pydantic import Field

from workflow.bench.tasks.base import LARGEST, LARGEST_VOCABULARY, Drawn, Task, blank, require
from workflow.bench.validation import Whole

NOISE = 0


class SelectiveCopy(Task):
    """Copy `items` data symbols out of noise."""

    question = "are data symbols among noise given back in order? (Mamba)"
    own_length = 256
    own_symbols = 16
    step_tokens = 1024
    trained_in_source: ClassVar = (400_000 * 64, 64)  # steps x batch, batch

    name: Literal["selective-copy"] = "selective-copy"
    items: Whole = Field(default=16, ge=1, le=LARGEST, description="data symbols among the noise")

    def check(self) -> None:
        """Require room for all data and markers, and two data symbols."""
        bound = f" at length {self.length}: 2 tokens an item"
        require("items", self.items, 1, self.length // 2, bound)
        require("symbols", self.symbols, 4, LARGEST_VOCABULARY)

    @property
    def supervised(self) -> int:
        """M."""
        return self.items

    @property
    def chance(self) -> float:
        """Data are uniform; noise and marker are never wanted."""
        return 1 / (self.symbols - 2)

    def sequences(self, rng: Generator, count: int, stream: str) -> Drawn:
        """Return data among noise, wanted in order at the markers behind it."""
        before = self.length - self.items
        data = rng.integers(1, self.symbols - 1, size=(count, self.items), dtype=np.int64)
        places = np.sort(np.argsort(rng.random((count, before)), axis=1)[:, : self.items], axis=1)
        tokens = np.full((count, self.length), NOISE, dtype=np.int64)
        np.put_along_axis(tokens, places, data, axis=1)
        tokens[:, before:] = self.symbols - 1
        targets = blank(tokens)
        targets[:, before:] = data
        return tokens, targets
