"""What does the author's public code compute? Control, written anew from its description.

The block of lizixi-0x2F/Pointer at commit 7ccc83e: a softmax over one score repeated N times, which
is uniform, as an N x N tensor; its mean of all positions, later ones included, and the same again
as the "chain"; a two-layer GELU map per head of [own, mean, mean]. The repository trains it with
targets equal to inputs and reports perplexity 1.15, pointer utilisation 99.8% and a hop of 128 at
N=512; this control is judged on these figures only. It declares itself not causal, so the causality
checks skip it. `uniform` is its mixing part made causal.
Cost: O(N^2 d) time, O(N^2 H) memory.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.parts.heads import (
    head_width,
    input_projection,
    merge_heads,
    output_projection,
    split_heads,
)
from pointer.trunk import LayerShape, Mixer


class RepositoryBlock(Mixer):
    """Every head maps its own channels and the mean of all positions; the mean is its pointer."""

    one_mode = True

    def __init__(self, shape: LayerShape) -> None:
        super().__init__()
        self.heads, width = shape.heads, head_width(shape)
        self.value = input_projection(shape.width, shape.width)
        self.score = input_projection(shape.width, shape.heads)
        scale = (3 * width) ** -0.5
        self.up = nn.Parameter(torch.randn(shape.heads, 3 * width, width) * scale)
        self.down = nn.Parameter(torch.randn(shape.heads, width, width) * width**-0.5)
        self.out = output_projection(shape)

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        """Map x float[B, N, d] to (float[B, N, d], expected positions int64[B, H, N])."""
        own = split_heads(self.value(x), self.heads)
        length = x.shape[1]
        score = self.score(x).transpose(1, 2).unsqueeze(-1)
        weights = torch.softmax(score.expand(-1, -1, -1, length), dim=-1)  # uniform
        mean = weights @ own
        hidden = F.gelu(torch.cat([own, mean, mean], dim=-1) @ self.up)
        positions = torch.arange(length, device=x.device, dtype=weights.dtype)
        targets = (weights @ positions + 1e-3).long()  # rounding must not decide
        return self.out(merge_heads(hidden @ self.down)), targets
