"""Does it matter where a pointer points?

Control: a pointer block (Li 2025, arXiv 2508.02631, section 3) whose targets are drawn once and
never learned; values, gate and output are learned.
Cost: O(N d^2), one gather a layer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from baselines.parts.heads import head_width, input_projection, output_projection
from pointer.trunk import LayerShape, Mixer


class RandomPointer(Mixer):
    """y_i = W_o(sigmoid(W_g x_i) * v_t), with one frozen t, uniform over 0..i, a head and i."""

    targets_table: Tensor

    def __init__(self, shape: LayerShape, *, target_seed: int = 0) -> None:
        super().__init__()
        head_width(shape)
        self.heads = shape.heads
        self.value = input_projection(shape.width, shape.width)
        self.gate = input_projection(shape.width, shape.width)
        self.out = output_projection(shape)
        self.register_buffer("targets_table", draw_targets(shape, target_seed), persistent=False)

    def targets(self, x: Tensor, carry: Any) -> Tensor:
        """Return each head's target positions int64[B, H, N], for x float[B, N, d]."""
        batch, length, _ = x.shape
        return self.targets_table[:length].T.expand(batch, -1, -1)

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Tensor]:
        """Map x float[B, N, d] to (float[B, N, d], targets int64[B, H, N] for the trace)."""
        length = x.shape[1]
        head = torch.arange(self.heads, device=x.device)
        rows = (self.targets_table[:length] * self.heads + head).flatten()  # of values [N H, e]
        values = self.value(x).unflatten(-1, (self.heads, -1)).flatten(1, 2)
        picked = values.index_select(1, rows).view_as(x)
        return self.out(torch.sigmoid(self.gate(x)) * picked), self.targets(x, carry)


def draw_targets(shape: LayerShape, seed: int) -> Tensor:
    """Return int64[length, H], row i uniform over 0..i whatever the length, new in each layer."""
    generator = torch.Generator(device="cpu").manual_seed(seed * shape.layers + shape.layer)
    size = (shape.length, shape.heads)
    share = torch.rand(size, generator=generator, device="cpu", dtype=torch.float64)
    count = torch.arange(1, shape.length + 1, device="cpu")[:, None]
    return torch.minimum((share * count).long(), count - 1)
