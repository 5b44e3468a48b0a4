"""Multi-query associative recall, MQAR (Arora et al. 2023, Zoology, arXiv 2312.04927).

P pairs of key and value stand first; then each key comes once more, and its value is wanted there:

    P = 2, V = 12   position  0 1 2 3 4 5 6 7 8 9 10 11
                    token     2 8 4 7 0 0 4 0 0 0 2  0
                    target    . . . . . . 7 . . . 8  .        (. is IGNORED)

Keys are different symbols from 1 to V/2 - 1, values different ones from V/2 to V - 1, all else is
0. Queries stand at even places behind the pairs; a query's place i (from 1) has a probability that
falls as i^(a - 1), a = 0.01, each place at most once. Layout, places, a and the zeros are those of
Zoology's figure 2 (HazyResearch/zoology, configuration iclr24_zoology_figure2), where N = 16 P as
well, but 8 P at its longest, 512 tokens. Ours differs in V, 8192 there: at 256 channels so large an
embedding would be most of the model's parameters. Guessing among a sequence's own values scores
1/P, far above the chance of a constant guess, and is where training rests before a model recalls.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from numpy.random import Generator
from pydantic import Field

from workflow.bench.tasks.base import LARGEST, Drawn, Symbols, Task, blank, require
from workflow.bench.validation import Whole

POWER = 0.01  # a
FILLER = 0
PAIR_TOKENS = 16  # N = 16 P unless a length is given


def query_places(rng: Generator, count: int, places: int, pairs: int) -> Symbols:
    """Return int64[count, pairs]: different places from 0, drawn one after another with weights
    (i + 1)^(a - 1).

    The largest of log weight + Gumbel noise are such a draw (Efraimidis and Spirakis 2006, IPL
    97:181).
    """
    weights = (POWER - 1) * np.log(np.arange(1, places + 1))
    ranked = np.argsort(-(weights + rng.gumbel(size=(count, places))), axis=1, kind="stable")
    return ranked[:, :pairs]


def distinct(rng: Generator, count: int, low: int, high: int, wanted: int) -> Symbols:
    """Return int64[count, wanted]: different symbols from low to high - 1 in each line."""
    return low + np.argsort(rng.random((count, high - low)), axis=1)[:, :wanted]


class Mqar(Task):
    """Recall the values of `pairs` keys."""

    question = "are the values of keys recalled, by number of pairs? (Zoology)"
    axis, axis_key, sign = "pairs", "pairs", "p"
    symbol, axis_words = "P", "pairs"
    own_symbols = 256
    step_tokens = 1024
    # Epochs x examples, examples a step of figure 2.
    trained_in_source: ClassVar = (64 * 100_000, 256)

    name: Literal["mqar"] = "mqar"
    pairs: Whole = Field(default=16, ge=1, le=LARGEST, description="pairs of key and value")

    def default_length(self) -> int:
        """Return 16 tokens a pair."""
        return PAIR_TOKENS * self.pairs

    @classmethod
    def length_in_words(cls, x: int, length: int) -> str:
        """Return "16 a pair" where no other length was given."""
        return f"{PAIR_TOKENS} a pair" if length == PAIR_TOKENS * x else str(length)

    def check(self) -> None:
        """Require room for all pairs, and symbols for all keys."""
        bound = f" at length {self.length}: 4 tokens a pair"
        require("pairs", self.pairs, 1, self.length // 4, bound)
        bound = f" with {self.symbols} symbols: half of them are keys"
        require("pairs", self.pairs, 1, self.symbols // 2 - 1, bound)

    @property
    def supervised(self) -> int:
        """Each pair is asked for once."""
        return self.pairs

    @property
    def chance(self) -> float:
        """Values are uniform in their half of the symbols."""
        return 1 / (self.symbols - self.symbols // 2)

    def sequences(self, rng: Generator, count: int, stream: str) -> Drawn:
        """Return pairs, then their keys among filler, each with its value wanted."""
        front = 2 * self.pairs
        keys = distinct(rng, count, 1, self.symbols // 2, self.pairs)
        values = distinct(rng, count, self.symbols // 2, self.symbols, self.pairs)
        tokens = np.full((count, self.length), FILLER, dtype=np.int64)
        tokens[:, 0:front:2] = keys
        tokens[:, 1:front:2] = values
        places = query_places(rng, count, (self.length - front) // 2, self.pairs)
        queries = front + 2 * places
        targets = blank(tokens)
        np.put_along_axis(tokens, queries, keys, axis=1)
        np.put_along_axis(targets, queries, values, axis=1)
        return tokens, targets
