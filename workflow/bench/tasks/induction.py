"""Induction heads (Gu and Dao 2023, Mamba, arXiv 2312.00752, section 4.1.2 and appendix E.1, after
Dao et al. 2022).

Random symbols, among them once the special one, S = V - 1; the sequence ends in S again, where the
symbol that followed the first S is wanted:

    V = 10   position  0 1 2 3 4 5 6 7
             token     4 0 9 6 6 2 1 9
             target    . . . . . . . 6        (. is IGNORED)

Other symbols are uniform from 0 to V - 2; the first S is at a uniform place from 0 to N - 3.
Mamba's setting is V = 16, N = 256. Deviation: the last symbol alone carries loss, where the source
trains on every token, so a step teaches little: budgets are larger than those of other tasks.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from numpy.random import Generator

from workflow.bench.tasks.base import LARGEST, LARGEST_VOCABULARY, Drawn, Task, blank, require


class Induction(Task):
    """Recall what followed the special symbol."""

    question = "is the symbol found that once followed a special one? (Mamba)"
    own_length = 256
    own_symbols = 16
    evaluate_symbols = 1000
    # Steps x batch, batch, for attention and Mamba.
    trained_in_source: ClassVar = (25 * 8192 * 8, 8)

    name: Literal["induction"] = "induction"

    def check(self) -> None:
        """Require room for the special symbol, what follows it, and the special symbol."""
        require("length", self.length, 3, LARGEST)
        require("symbols", self.symbols, 3, LARGEST_VOCABULARY)

    @property
    def supervised(self) -> int:
        """The last symbol."""
        return 1

    @property
    def chance(self) -> float:
        """The special symbol is never wanted."""
        return 1 / (self.symbols - 1)

    def sequences(self, rng: Generator, count: int, stream: str) -> Drawn:
        """Return sequences whose last position wants what followed the first S."""
        special, lines = self.symbols - 1, np.arange(count)
        tokens = rng.integers(special, size=(count, self.length), dtype=np.int64)
        first = rng.integers(self.length - 2, size=count)
        tokens[lines, first] = tokens[:, -1] = special
        targets = blank(tokens)
        targets[:, -1] = tokens[lines, first + 1]
        return tokens, targets
