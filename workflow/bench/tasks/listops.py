"""ListOps, long (Nangia and Bowman 2018, arXiv 1804.06028, in the version of Long Range Arena, Tay
et al. 2020, arXiv 2011.04006): what does a nested expression over digits come to?

    [MAX 2 9 [MIN 4 7 ] 0 ]   is 9

    position  0    1 2 3    4 5 6 7 8 9
    token     MAX  2 9 MIN  4 7 ] 0 ] _        (_ is filler)
    target    .    . . .    . . . . 9 .        (. is IGNORED)

Grammar of LRA: operators MIN, MAX, MED (the median's whole part) and SM (sum modulo 10); 2 to 10
arguments, each an operator with probability 1/4 and else a digit; at most 10 levels. Expressions
have more than N/4 and at most N tokens; N = 2000 gives LRA's 500 to 2000. Shorter or longer ones
are drawn again, as there. LRA classifies whole sequences with an encoder; here the answer is asked
of a causal model at the expression's last token, where it has seen everything. The first operator
alone tells much: the likeliest answer to each is right for 36% at N = 2000 (MIN is 0 and MAX is 9
more than half of the time), against 17% without looking. A model that scores less has not begun to
evaluate.
"""

from __future__ import annotations

import statistics
from typing import ClassVar, Literal

import numpy as np
from numpy.random import Generator

from workflow.bench.tasks.base import LARGEST, Drawn, Task, blank, require

DIGITS = 10
MIN, MAX, MED, SM, END, FILLER = range(DIGITS, DIGITS + 6)
OPERATORS = (MIN, MAX, MED, SM)
NESTED = 0.25  # probability that an argument is an operator
MOST_ARGUMENTS = 10
DEPTH = 10
SHORTEST = 9  # N below which too few expressions fit


class TooLong(Exception):
    """The expression has outgrown its bound; it is drawn again."""


def draw(rng: Generator, tokens: list[int], longest: int, depth: int = 1) -> int:
    """Append a random expression to `tokens`; return its value. Raise TooLong beyond `longest`
    tokens."""
    operator = OPERATORS[rng.integers(len(OPERATORS))]
    count = int(rng.integers(2, MOST_ARGUMENTS + 1))
    nested = (rng.random(count) < NESTED) & (depth + 1 < DEPTH)
    values = rng.integers(DIGITS, size=count).tolist()
    tokens.append(operator)
    for place in range(count):
        if nested[place]:
            values[place] = draw(rng, tokens, longest, depth + 1)
        else:
            tokens.append(values[place])
    tokens.append(END)
    if len(tokens) > longest:
        raise TooLong
    return value(operator, values)


def value(operator: int, arguments: list[int]) -> int:
    """Return what an operator makes of its arguments."""
    if operator == MED:
        return int(statistics.median(arguments))
    return {MIN: min(arguments), MAX: max(arguments), SM: sum(arguments) % DIGITS}[operator]


class ListOps(Task):
    """Evaluate expressions of N/4 to N tokens."""

    question = "what do nested expressions of 500 to 2000 tokens come to? (Long Range Arena)"
    own_length = 2000
    own_symbols = FILLER + 1
    fixed_symbols = True
    evaluate_symbols = 500
    # Steps x batch, batch of Long Range Arena's base_listops_config.py.
    trained_in_source: ClassVar = (5_000 * 32, 32)

    name: Literal["listops"] = "listops"

    def check(self) -> None:
        """Require room for an expression."""
        require("length", self.length, SHORTEST, LARGEST)

    @property
    def supervised(self) -> int:
        """The last token of the expression."""
        return 1

    @property
    def chance(self) -> float:
        """Ten answers, not equally frequent: 0 and 9 are what MIN and MAX like, and one of them
        always is right this often (measured over 20,000 expressions of N = 2000)."""
        return 0.173

    def sequences(self, rng: Generator, count: int, stream: str) -> Drawn:
        """Return expressions, each with its value wanted at its end."""
        tokens = np.full((count, self.length), FILLER, dtype=np.int64)
        targets = blank(tokens)
        line = 0
        while line < count:
            drawn: list[int] = []
            try:
                answer = draw(rng, drawn, self.length)
            except TooLong:
                continue
            if len(drawn) > self.length // 4:
                tokens[line, : len(drawn)] = drawn
                targets[line, len(drawn) - 1] = answer
                line += 1
        return tokens, targets
