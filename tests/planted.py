"""Models outside the repository, `NAME=planted:Class`; all but Honest break the contract."""

from dataclasses import dataclass

import torch
from torch import nn

from pointer.trunk import Mixer


class Honest(Mixer):
    """A causal running mean with a projection."""

    cost = "linear"
    position = "none"
    citation = "a test"

    def __init__(self, shape):
        super().__init__()
        self.linear = nn.Linear(shape.width, shape.width)

    def forward(self, x, carry):
        seen = torch.arange(1, x.shape[1] + 1, device=x.device).unsqueeze(-1)
        return self.linear(x.cumsum(1) / seen), carry


class Sneaky(Honest):
    """Sees one token ahead where a setting says so."""

    @dataclass(frozen=True)
    class Settings:
        leak: bool = False

    def __init__(self, shape, settings):
        super().__init__(shape)
        self.leak = settings.leak

    def forward(self, x, carry):
        return super().forward(x.roll(-1, dims=1) if self.leak else x, carry)


class Fragile(Honest):
    """Accepts one value of its setting alone."""

    def __init__(self, shape, *, power: int = 1):
        super().__init__(shape)
        self.power = {1: 1}[power]


class Positional(Honest):
    """Takes its setting without a `*`."""

    def __init__(self, shape, power: int = 1):
        super().__init__(shape)
        self.power = power


class Turns(Honest):
    """Sees one token ahead once it has been trained for three steps."""

    def __init__(self, shape):
        super().__init__(shape)
        self.steps = 0

    def forward(self, x, carry):
        self.steps += self.training
        return super().forward(x.roll(-1, dims=1) if self.steps > 3 else x, carry)


class PointsAhead(Turns):
    """As Turns, and points: each position at itself."""

    def forward(self, x, carry):
        y, _ = super().forward(x, carry)
        return y, torch.arange(x.shape[1], device=x.device).expand(x.shape[0], 1, -1)
