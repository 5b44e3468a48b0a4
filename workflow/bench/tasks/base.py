"""What tasks share: seeded streams, and the interface to training, evaluation and rows.

A task is one file here and one line in workflow.bench.tasks: a class whose fields are the task's
settings in a cell (`task: {name: mqar, pairs: 16}`), and which makes sequences of tokens and, for
each position, the target symbol or IGNORED. All models of a seed read the same sequences in the
same order. Importing a task loads no torch, so that bad sizes are refused before any job starts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from pydantic import PrivateAttr

from pointer.errors import InputError
from workflow.bench.validation import Closed

if TYPE_CHECKING:
    from torch import Tensor

IGNORED = -100  # cross_entropy's ignore_index
ORDER_BLOCK = 1024  # steps among which a seed shuffles the order of its batches
STREAMS = ("train", "check", "evaluate", "order", "timing", "trace")
LARGEST = 2**22  # of any size
LARGEST_VOCABULARY = 2**20
Symbols = NDArray[np.int64]
Drawn = tuple[Symbols, Symbols]  # tokens and targets, int64[count, N] each


@dataclass(frozen=True)
class Seeds:
    """Seeds of the symbols, of the initial weights, and of batch order and training noise."""

    data: int
    init: int
    order: int

    @classmethod
    def of(cls, seed: int) -> Seeds:
        """Return three unrelated 32-bit seeds from one."""
        data, init, order = (int(word) for word in np.random.SeedSequence(seed).generate_state(3))
        return cls(data, init, order)


def generator(stream: str, seed: int, index: int) -> Generator:
    """Return a generator for entry `index` of a named stream; streams of one seed never meet."""
    sequence = np.random.SeedSequence(seed, spawn_key=(STREAMS.index(stream), index))
    return Generator(np.random.Philox(sequence))


@dataclass(frozen=True)
class Sizes:
    """What a task takes from its cell."""

    batch: int
    length: int
    symbols: int
    seeds: Seeds


class Task(Closed, ABC):
    """A task's settings and, once `at` has given it sizes, its data.

    Class attributes describe it to cells and reports. `axis` is the setting that distinguishes the
    task's cells, a parameter or the length; a tier lists its values under `axis_key`, and row paths
    have them after `sign`.
    """

    question: ClassVar[str]
    axis: ClassVar[str] = "length"
    axis_key: ClassVar[str] = "lengths"
    sign: ClassVar[str] = "n"
    symbol: ClassVar[str] = "N"  # of the axis, in a table's head
    axis_words: ClassVar[str] = "length N"
    own_length: ClassVar[int] = 0
    own_symbols: ClassVar[int] = 20
    fixed_symbols: ClassVar[bool] = False  # the vocabulary is no setting
    step_tokens: ClassVar[int] = 4096  # tokens a step, unless a batch is given
    evaluate_symbols: ClassVar[int] = 10_000

    name: Any
    _sizes: Sizes = PrivateAttr()

    def default_length(self) -> int:
        """Return N if the cell leaves it open."""
        return self.own_length

    @classmethod
    def length_in_words(cls, x: int, length: int) -> str:
        """Return N beside the value x along the axis; empty if x is N."""
        return "" if cls.axis == "length" else str(length)

    def at(self, batch: int, length: int, symbols: int, seeds: Seeds) -> Self:
        """Return the task at these sizes; raise InputError if they do not fit each other."""
        task = self.model_copy()
        task._sizes = Sizes(batch, length, symbols, seeds)
        task.check()
        return task

    @property
    def batch(self) -> int:
        """Sequences of a training step, B."""
        return self._sizes.batch

    @property
    def length(self) -> int:
        """Tokens of a sequence, N."""
        return self._sizes.length

    @property
    def symbols(self) -> int:
        """The vocabulary, V."""
        return self._sizes.symbols

    @property
    def seeds(self) -> Seeds:
        """What decides every symbol of the data."""
        return self._sizes.seeds

    @abstractmethod
    def check(self) -> None:
        """Raise InputError if sizes do not fit each other."""

    @property
    @abstractmethod
    def supervised(self) -> int:
        """Symbols of one sequence that carry loss; a training sequence may have fewer."""

    @property
    @abstractmethod
    def chance(self) -> float:
        """Accuracy of the best guess that reads no input."""

    @abstractmethod
    def sequences(self, rng: Generator, count: int, stream: str) -> Drawn:
        """Return `count` fresh sequences of a stream."""

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence that a model must take."""
        return self.length

    @property
    def tokens_a_step(self) -> int:
        """Inputs of one training step, B N."""
        return self.batch * self.length

    def further(self) -> dict[int, Task]:
        """Return size -> the same task at sizes that training never showed, scored as well."""
        return {}

    def facts(self, loss: float | None = None) -> dict[str, Any]:
        """Return the task's own row keys; loss: the evaluation's, in nats a symbol."""
        return {}

    def steps(self, budget: int) -> int:
        """Return the whole steps within a budget of tokens; raise InputError if there are none."""
        if budget < self.tokens_a_step:
            accepted = f"at least {self.tokens_a_step}, one step"
            raise InputError.about(
                "tokens", budget, accepted, "`--tokens`, or `tokens` in the config"
            )
        return budget // self.tokens_a_step

    def training_batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return a training step's batch: the order seed permutes the batches of the data seed."""
        block, place = divmod(step, ORDER_BLOCK)
        order = generator("order", self.seeds.order, block).permutation(ORDER_BLOCK)
        return self.batch_of("train", block * ORDER_BLOCK + int(order[place]), self.batch)

    def batch_of(self, stream: str, index: int, batch: int) -> tuple[Tensor, Tensor]:
        """Return tokens and targets of entry `index` of a stream, int64[batch, N], on the CPU."""
        import torch

        tokens, targets = self.sequences(generator(stream, self.seeds.data, index), batch, stream)
        return torch.from_numpy(tokens), torch.from_numpy(targets)


def require(name: str, value: int, low: int, high: int, why: str = "") -> None:
    """Raise InputError unless low <= value <= high; `why` says what bounds it."""
    if not low <= value <= high:
        accepted = f"{low:,} to {high:,}{why}" if high >= low else f"none{why}"
        raise InputError.about(name, value, accepted, f"`--{name}`, or the config")


def blank(tokens: Symbols) -> Symbols:
    """Return targets for `tokens`, all IGNORED."""
    return np.full_like(tokens, IGNORED)
