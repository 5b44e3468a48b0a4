"""The model that a contract check examines, and what the checks share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from workflow.bench import registry

SYMBOLS, LENGTH = 20, 257
ODD = 131  # a length without divisors
TOLERANCE = 1e-5
STIR_STD = 0.1


class Broken(Exception):
    """A model fails a check; the message says how, to the author of the model."""


@dataclass(frozen=True)
class Subject:
    """A model under test with SYMBOLS symbols, initialised differently each time it is built."""

    name: str
    build: Callable[[int], nn.Module]  # length -> a small model (2 layers of 64)
    full: Callable[[int], nn.Module]  # length -> a model of the measured size
    trained: bool = True
    control: bool = False
    cost: registry.Cost = "linear"  # the class that its registry entry declares
    variant: bool = False  # has settings other than the defaults of its mixer

    def small(self) -> nn.Module:
        """Return a small model in inference mode."""
        return self.build(LENGTH).eval()

    def stirred(self, length: int = LENGTH) -> nn.Module:
        """Return a small model whose zero parameters, such as a gate's, are drawn at random.

        Training moves them, so faults that they hide at initialisation must show.
        """
        model = self.build(length).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if not bool(parameter.any()):
                    parameter.normal_(std=STIR_STD)
        return model


def random_tokens(batch: int, length: int) -> Tensor:
    """Return fixed random tokens, int64[batch, length]."""
    generator = np.random.default_rng([batch, length])
    return torch.from_numpy(generator.integers(SYMBOLS, size=(batch, length)))


def logits_of(model: nn.Module, tokens: Tensor) -> Tensor:
    """Return the logits float[B, N, V] of tokens int64[B, N], in the model's present mode."""
    with torch.no_grad():
        try:
            logits: Tensor = model(tokens)
        except Exception as error:
            error.add_note(f"at N = {tokens.shape[1]}")
            raise
    return logits


def require_same(
    logits: Tensor, expected: Tensor, condition: str, tolerance: float = TOLERANCE
) -> None:
    """Raise Broken with the first position where two logits float[B, N, V] differ."""
    if not bool(torch.isfinite(expected).all()):
        raise Broken("logits are not finite")
    difference = (logits - expected).abs().amax(dim=(0, 2))
    wrong = (~(difference <= tolerance)).nonzero()
    if len(wrong):
        position = int(wrong[0])
        by = float(difference[position])
        raise Broken(f"output {position} differs by {by:.2g} {condition}")
