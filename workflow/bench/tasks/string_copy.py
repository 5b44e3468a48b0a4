"""Copy of a string (Jelassi et al. 2024, Repeat After Me, arXiv 2402.01032, section 4.1), at
lengths never trained on.

Begin, L uniform letters, copy, and the same letters again, which are wanted one step ahead, then
the end:

    L = 3   position  0 1 2 3 4 5 6 7
            token     B 7 2 9 C 7 2 9
            target    . . . . 7 2 9 E        (. is IGNORED)

Letters are 0 to V - 4; B = V - 3, C = V - 2, E = V - 1, which also fills up short sequences.
Training draws L uniformly from 1 to `letters` (the paper: up to 50 for this question); scores are
at L = `letters` and, beyond training, at 2 and 4 times that. E is learned but not scored, as in the
paper's code (get_score of sjelassi/transformers_ssm_copy). A string is generated right exactly if
all its letters are right with the true ones before them, so the paper's string accuracy is the
fraction of evaluated sequences without a wrong symbol. Deviation: a training sequence holds one
string and filler, where the paper's code packs several into a context, so about half of the tokens
that a budget counts are filler.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.random import Generator
from pydantic import Field

from workflow.bench.tasks.base import LARGEST, LARGEST_VOCABULARY, Drawn, Task, blank, require
from workflow.bench.validation import Whole

SPECIAL = 3  # begin, copy, end
FURTHER = (2, 4)  # evaluated lengths, in multiples of the longest in training


class StringCopy(Task):
    """Repeat a string of at most `letters` letters."""

    question = "is a string repeated, also where it is longer than in training? (Repeat After Me)"
    axis, axis_key, sign = "letters", "letters", "l"
    symbol, axis_words = "letters", "letters"
    own_symbols = 29
    step_tokens = 1024

    name: Literal["string-copy"] = "string-copy"
    letters: Whole = Field(default=50, ge=1, le=LARGEST, description="letters of a string, at most")

    def default_length(self) -> int:
        """Return two tokens a letter and two more."""
        return _length(self.letters)

    @classmethod
    def length_in_words(cls, x: int, length: int) -> str:
        """Return how N follows from the letters, also of strings longer than training's."""
        return "2 a letter"

    def check(self) -> None:
        """Require a letter beside the special symbols, and room for the longest string."""
        require("symbols", self.symbols, SPECIAL + 1, LARGEST_VOCABULARY)
        bound = f" at length {self.length}: 2 tokens a letter and 2 more"
        require("letters", self.letters, 1, (self.length - 2) // 2, bound)

    @property
    def supervised(self) -> int:
        """The letters; in training the end carries loss as well."""
        return self.letters

    @property
    def chance(self) -> float:
        """Letters are uniform."""
        return 1 / (self.symbols - SPECIAL)

    @property
    def longest(self) -> int:
        """The longest further one."""
        return max(self.length, _length(FURTHER[-1] * self.letters))

    def further(self) -> dict[int, Task]:
        """Return the task at longer strings than training had."""
        tasks: dict[int, Task] = {}
        for factor in FURTHER:
            size = factor * self.letters
            longer = self.model_copy(update={"letters": size})
            tasks[size] = longer.at(self.batch, _length(size), self.symbols, self.seeds)
        return tasks

    def sequences(self, rng: Generator, count: int, stream: str) -> Drawn:
        """Return strings and their copies: of every length in training, else of the longest."""
        begin, copy, end = range(self.symbols - SPECIAL, self.symbols)
        tokens = np.full((count, self.length), end, dtype=np.int64)
        targets = blank(tokens)
        lengths = np.full(count, self.letters)
        if stream == "train":
            lengths = rng.integers(1, self.letters + 1, size=count)
        for line, size in enumerate(lengths.tolist()):
            string = rng.integers(begin, size=size)
            tokens[line, : 2 * size + 2] = [begin, *string, copy, *string]
            targets[line, size + 1 : 2 * size + 1] = string
            if stream == "train":
                targets[line, 2 * size + 1] = end
        return tokens, targets


def _length(letters: int) -> int:
    return 2 * letters + 2
