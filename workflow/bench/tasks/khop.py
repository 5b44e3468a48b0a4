"""k-hop induction (Sanford, Hsu and Telgarsky 2024, arXiv 2402.09268, section 4): follow "where did
this symbol last stand, and what came next" k times.

find(i) is the largest j <= i whose token before it, j - 1, is the symbol at i; the target at i is
the symbol at find(find(...(i))), k times, and the symbol V - 1, "none", where a find has no answer:

    k = 1, V = 5   position  0 1 2 3 4 5 6
                   token     0 1 2 0 3 1 2
                   find      - - - 1 - 2 3
                   target    4 4 4 1 4 2 0        (4 is none)

    k = 2          target    4 4 4 4 4 4 1        (position 6 -> 3 -> 1)

Symbols are from 0 to V - 2, each uniform among those that differ from the one before it, as in the
paper's code (chsanford/hop-induction-heads, get_strings); every position carries loss. The paper
has 4 symbols and N = 100, and shows that depth log k is enough for attention, by doubling the
pointers that lower layers found, as a chain of pointers can. Deviation: a model is trained for one
k, where the paper mixes k = 0 to 16 and says which in the first token, so that small k may teach
the larger. What no mixing between positions reaches: with 4 symbols and N = 128, always answering a
function of the symbol at hand is right for 32% (k = 1), 48% (2), 27% (3) and 31% (4).
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from numpy.random import Generator
from pydantic import Field

from workflow.bench.tasks.base import LARGEST_VOCABULARY, Drawn, Symbols, Task, require
from workflow.bench.validation import Whole

NOWHERE = -1


def find(tokens: Symbols) -> Symbols:
    """Return the largest j <= i with token[j - 1] == token[i], or NOWHERE: int64[B, N]."""
    lines, found = np.arange(len(tokens)), np.full_like(tokens, NOWHERE)
    follower = np.full((len(tokens), int(tokens.max()) + 1), NOWHERE)
    for i in range(tokens.shape[1]):
        found[:, i] = follower[lines, tokens[:, i]]
        follower[lines, tokens[:, i]] = i + 1
    return found


def hop(found: Symbols, hops: int) -> Symbols:
    """Apply `find` `hops` times to each position; NOWHERE once a step has no answer."""
    reached = found
    for _ in range(hops - 1):
        further = np.take_along_axis(found, np.maximum(reached, 0), axis=1)
        reached = np.where(reached == NOWHERE, NOWHERE, further)
    return reached


class Khop(Task):
    """Follow `hops` hops."""

    question = "are chains of k induction steps followed? (k-hop induction heads)"
    axis, axis_key, sign = "hops", "hops", "k"
    symbol, axis_words = "k", "hops k"
    own_length = 128
    own_symbols = 5
    step_tokens = 1024
    # Steps x batch, batch of the code's conf/runs/width4-depth4.yaml.
    trained_in_source: ClassVar = (100_001 * 32, 32)

    name: Literal["khop"] = "khop"
    hops: Whole = Field(default=1, ge=1, le=1000, description="induction steps in a row, k")

    def check(self) -> None:
        """Require two symbols beside "none", and no more hops than positions."""
        require("symbols", self.symbols, 3, LARGEST_VOCABULARY)
        require("hops", self.hops, 1, self.length)

    @property
    def supervised(self) -> int:
        """All of them."""
        return self.length

    @property
    def chance(self) -> float:
        """Symbols are alike and share what "none" leaves.

        Every hop goes D >= 1 positions back with probability (1 - q)^(D - 1) q, q = 1/(V - 2): read
        backwards, each symbol that is not the one sought is followed by it with probability q,
        whatever the hops before have shown. Position p has an answer while the sum of all D is
        below p.
        """
        q, places = 1 / (self.symbols - 2), np.arange(self.length)
        back = np.where(places > 0, (1 - q) ** np.maximum(places - 1, 0) * q, 0)
        answered = (places > 0).astype(float)
        for _ in range(self.hops):
            answered = np.convolve(back, answered)[: self.length]
        share = answered.mean()
        return float(max(share / (self.symbols - 1), 1 - share))

    def sequences(self, rng: Generator, count: int, stream: str) -> Drawn:
        """Return sequences without a symbol twice in a row, and where k hops lead."""
        steps = rng.integers(1, self.symbols - 1, size=(count, self.length), dtype=np.int64)
        steps[:, :1] = rng.integers(self.symbols - 1, size=(count, 1))
        tokens = steps.cumsum(axis=1) % (self.symbols - 1)
        reached = hop(find(tokens), self.hops)
        symbols = np.take_along_axis(tokens, np.maximum(reached, 0), axis=1)
        return tokens, np.where(reached == NOWHERE, self.symbols - 1, symbols)
