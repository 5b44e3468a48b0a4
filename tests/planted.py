"""Models outside the repository, `NAME=planted:Class`: one keeps the contract, the others break
it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pointer.trunk import LayerShape, Mixer


class Honest(Mixer):
    """A causal running mean with a projection."""

    cost = "linear"
    position = "none"
    citation: ClassVar[str] = "a test"

    def __init__(self, shape: LayerShape) -> None:
        super().__init__()
        self.linear = nn.Linear(shape.width, shape.width)

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        """Map x float[B, N, d] to (float[B, N, d], carry)."""
        seen = torch.arange(1, x.shape[1] + 1, device=x.device).unsqueeze(-1)
        return self.linear(x.cumsum(1) / seen), carry


class Leaky(Honest):
    """Sees one token ahead."""

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        """As Honest, of x shifted by one."""
        return super().forward(x.roll(-1, dims=1), carry)


class Sneaky(Honest):
    """Sees one token ahead where a setting says so."""

    @dataclass(frozen=True)
    class Settings:
        """What `--set` accepts."""

        leak: bool = False

    def __init__(self, shape: LayerShape, settings: Settings) -> None:
        super().__init__(shape)
        self.leak = settings.leak

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        """As Honest, or of x shifted by one."""
        return super().forward(x.roll(-1, dims=1) if self.leak else x, carry)


class Fragile(Honest):
    """Accepts one value of its setting alone."""

    def __init__(self, shape: LayerShape, *, power: int = 1) -> None:
        super().__init__(shape)
        self.power = {1: 1}[power]


class Positional(Honest):
    """Takes its setting without a `*`."""

    def __init__(self, shape: LayerShape, power: int = 1) -> None:
        super().__init__(shape)
        self.power = power


class Turns(Honest):
    """Sees one token ahead once it has been trained for three steps."""

    def __init__(self, shape: LayerShape) -> None:
        super().__init__(shape)
        self.steps = 0

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        """As Honest, or of x shifted by one."""
        self.steps += self.training
        return super().forward(x.roll(-1, dims=1) if self.steps > 3 else x, carry)


class PointsAhead(Turns):
    """As Turns, and points: each position at itself."""

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        """Return one pointer head's targets int64[B, 1, N] as the carry."""
        y, _ = super().forward(x, carry)
        return y, torch.arange(x.shape[1], device=x.device).expand(x.shape[0], 1, -1)


class WrongShape(Honest):
    """Loses the last position."""

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        """As Honest, one shorter."""
        return super().forward(x[:, :-1], carry)


class AcrossBatch(Honest):
    """Mixes the sequences of a batch."""

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        """As Honest, less the mean over the batch."""
        y, carry = super().forward(x, carry)
        return y - x.mean(0, keepdim=True), carry


class Stateful(Honest):
    """Carries something from one batch to the next."""

    memory = 0.0

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        """As Honest, larger each time."""
        y, carry = super().forward(x, carry)
        self.memory += 1.0
        return y * self.memory, carry


class Heavy(Honest):
    """Twice the parameters that a whole model may have."""

    def __init__(self, shape: LayerShape) -> None:
        super().__init__(shape)
        wide = nn.Linear(shape.width, 16 * shape.width), nn.Linear(16 * shape.width, shape.width)
        self.linear = nn.Sequential(*wide)  # type: ignore[assignment]
