"""The copy task (paper section 3.2) and the seeded streams that every model of a seed reads in the same order.

A sequence of N uniform symbols; the target at position t >= D is the symbol at t - D, earlier positions carry no loss:

    D = 3   position  0 1 2 3 4 5 6
            token     7 2 9 4 4 0 1
            target    . . . 7 2 9 4        (. is IGNORED)

No position outside its own past is needed, and no symbol predicts another, so a model without reach stays at chance
1/V.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pointer.errors import InputError

IGNORED = -100  # cross_entropy's ignore_index
ORDER_BLOCK = 1024  # steps among which a seed shuffles the order of its batches
STREAMS = ("train", "check", "evaluate", "order", "timing", "trace")


@dataclass(frozen=True)
class Seeds:
    """What one seed stands for, apart: the symbols, the initial weights, the order of batches and the training
    noise."""

    data: int
    init: int
    order: int

    @classmethod
    def of(cls, seed: int) -> Seeds:
        """Three unrelated 32-bit seeds from one."""
        data, init, order = (int(word) for word in np.random.SeedSequence(seed).generate_state(3))
        return cls(data, init, order)


def generator(stream: str, seed: int, index: int) -> np.random.Generator:
    """A generator for entry `index` of a named stream. Streams of one seed never meet: the name is part of the key."""
    sequence = np.random.SeedSequence(seed, spawn_key=(STREAMS.index(stream), index))
    return np.random.Generator(np.random.Philox(sequence))


def copy_batch(rng: np.random.Generator, batch: int, length: int, distance: int, symbols: int) -> tuple[Tensor, Tensor]:
    """B fresh sequences -> (tokens int64[B, N], targets int64[B, N] with IGNORED where t < D), on the CPU.

    Raises InputError unless 1 <= D < N.
    """
    if not 1 <= distance < length:
        raise InputError.about(
            "distance", distance, f"1 to {length - 1} at length {length}", "`--distance` or `--length`"
        )
    tokens = torch.from_numpy(rng.integers(symbols, size=(batch, length), dtype=np.int64))
    targets = torch.full_like(tokens, IGNORED)
    targets[:, distance:] = tokens[:, :-distance]
    return tokens, targets


@dataclass(frozen=True)
class CopyTask:
    """One copy cell: its sizes and its data. `seeds` decides every symbol."""

    batch: int
    length: int
    distance: int
    symbols: int
    seeds: Seeds

    @property
    def tokens_a_step(self) -> int:
        """Inputs of one training step, B N."""
        return self.batch * self.length

    @property
    def supervised(self) -> int:
        """Symbols of one sequence that carry loss, N - D."""
        return self.length - self.distance

    def steps(self, budget: int) -> int:
        """Whole steps within a budget of tokens. Raises InputError where not even one fits."""
        if budget < self.tokens_a_step:
            raise InputError.about(
                "tokens", budget, f"at least {self.tokens_a_step}, one step", "`--tokens`, or `tokens` in the config"
            )
        return budget // self.tokens_a_step

    def training_batch(self, step: int) -> tuple[Tensor, Tensor]:
        """The batch of a training step: the order seed permutes which of the data seed's batches comes when."""
        block, place = divmod(step, ORDER_BLOCK)
        order = generator("order", self.seeds.order, block).permutation(ORDER_BLOCK)
        return self.batch_of("train", block * ORDER_BLOCK + int(order[place]), self.batch)

    def batch_of(self, stream: str, index: int, batch: int) -> tuple[Tensor, Tensor]:
        """`batch` sequences, entry `index` of a stream that training never reads unless it is "train"."""
        return copy_batch(generator(stream, self.seeds.data, index), batch, self.length, self.distance, self.symbols)
