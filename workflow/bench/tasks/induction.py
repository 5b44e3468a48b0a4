"""Induction heads (Gu and Dao 2023, Mamba, arXiv 2312.00752, section 4.1.2 and appendix E.1, after
Dao et al. 2022).

Random symbols, among them once the special one, S = V - 1; the sequence ends in S again, where the
symbol that followed the first S is wanted:

    V = 10   position  0 1 2 3 4 5 6 7
             token     4 0 9 6 6 2 1 9
             target    . . . . . . . 6        (. is IGNORED)

Other symbols are uniform from 0 to V - 2; the first S is at a uniform place from 0 to N - 3.
Mamba's setting is V = 16, N = 256. One symbol a sequence carries loss, so a step teaches little:
budgets are larger than those of other tasks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from workflow.bench.tasks.base import Parameters, Symbols, Task, blank, require


@dataclass(frozen=True, kw_only=True)
class InductionTask(Task):
    """Recalls what followed the special symbol."""

    def __post_init__(self) -> None:
        require("length", self.length, 3, 2**22)
        require("symbols", self.symbols, 3, 2**20)

    @property
    def supervised(self) -> int:
        """The last symbol."""
        return 1

    @property
    def chance(self) -> float:
        """The special symbol is never wanted."""
        return 1 / (self.symbols - 1)

    def sequences(
        self, rng: np.random.Generator, count: int, stream: str
    ) -> tuple[Symbols, Symbols]:
        """See the module."""
        special, lines = self.symbols - 1, np.arange(count)
        tokens = rng.integers(special, size=(count, self.length), dtype=np.int64)
        first = rng.integers(self.length - 2, size=count)
        tokens[lines, first] = tokens[:, -1] = special
        targets = blank(tokens)
        targets[:, -1] = tokens[lines, first + 1]
        return tokens, targets


class Induction(Parameters):
    """Settings of the task."""

    question = "is the symbol found that once followed a special one? (Mamba)"
    length = 256
    symbols = 16
    evaluate_symbols = 1000
    made_by = InductionTask

    name: Literal["induction"] = "induction"
