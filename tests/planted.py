"""Models outside the repository, `NAME=planted:Class`; all but Honest break the contract."""

from dataclasses import dataclass

import torch
from faulty_mixers import Good


class Honest(Good):
    """A causal running mean with a projection."""

    cost = "linear"
    position = "none"
    citation = "a test"


class Sneaky(Honest):
    """Sees one token ahead where a setting says so."""

    @dataclass(frozen=True)
    class Settings:
        leak: bool = False

    def __init__(self, shape, settings):
        super().__init__(shape)
        self.leak = settings.leak

    def sees(self, x):
        return x.roll(-1, dims=1) if self.leak else x


class Fragile(Honest):
    """Accepts one value of its setting alone."""

    def __init__(self, shape, *, power: int = 1):
        super().__init__(shape)
        self.power = {1: 1}[power]


class Turns(Honest):
    """Sees one token ahead once it has been trained for three steps."""

    steps = 0

    def sees(self, x):
        self.steps += self.training
        return x.roll(-1, dims=1) if self.steps > 3 else x


class PointsAhead(Turns):
    """As Turns, and points: each position at itself."""

    def forward(self, x, carry):
        y, _ = super().forward(x, carry)
        return y, torch.arange(x.shape[1]).expand(x.shape[0], 1, -1)
