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

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from workflow.bench.tasks.base import LARGEST, Parameters, Symbols, Task, blank, require
from workflow.bench.validation import Whole

NOISE = 0


@dataclass(frozen=True, kw_only=True)
class SelectiveCopyTask(Task):
    """Copies `items` data symbols out of noise."""

    items: int

    def __post_init__(self) -> None:
        require(
            "items", self.items, 1, self.length // 2, f" at length {self.length}: 2 tokens an item"
        )
        require("symbols", self.symbols, 4, 2**20)

    @property
    def supervised(self) -> int:
        """M."""
        return self.items

    @property
    def chance(self) -> float:
        """Data are uniform; noise and marker are never wanted."""
        return 1 / (self.symbols - 2)

    def sequences(
        self, rng: np.random.Generator, count: int, stream: str
    ) -> tuple[Symbols, Symbols]:
        """See the module."""
        before = self.length - self.items
        data = rng.integers(1, self.symbols - 1, size=(count, self.items), dtype=np.int64)
        places = np.sort(np.argsort(rng.random((count, before)), axis=1)[:, : self.items], axis=1)
        tokens = np.full((count, self.length), NOISE, dtype=np.int64)
        np.put_along_axis(tokens, places, data, axis=1)
        tokens[:, before:] = self.symbols - 1
        targets = blank(tokens)
        targets[:, before:] = data
        return tokens, targets


class SelectiveCopy(Parameters):
    """Settings of the task."""

    question = "are data symbols among noise given back in order? (Mamba)"
    length = 256
    symbols = 16
    step_tokens = 1024
    made_by = SelectiveCopyTask

    name: Literal["selective-copy"] = "selective-copy"
    items: Whole = Field(default=16, ge=1, le=LARGEST, description="data symbols among the noise")
