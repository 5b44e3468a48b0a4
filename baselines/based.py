"""Do a Taylor series of the softmax and a short window recall what attention does? Based.

Arora et al. 2024, Simple linear attention language models balance the recall-throughput tradeoff,
arXiv 2402.18668: linear attention whose features give exp(q k / sqrt(r)) to the second order of its
Taylor series, alternating with layers of exact attention to a short window, which come first.
Deviations: no gated convolution layers (three in five in the paper); rotary positions in the window
layers; a window of 64.
Cost: O(N d r^2) time for r = 16 features, O(N d) memory, chunked.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from baselines.longformer import window_attention
from baselines.parts.heads import (
    HeadMixer,
    at_least,
    input_projection,
    merge_heads,
    output_projection,
    split_heads,
)
from baselines.parts.recurrence import normalised_sums
from baselines.parts.rotary import check_rotary, rotate
from pointer.trunk import LayerShape, Mixer


class Taylor(Mixer):
    """Weights 1 + s + s^2 / 2 with s = q k / sqrt(r), divided by their sum."""

    one_mode = True

    def __init__(self, shape: LayerShape, features: int) -> None:
        super().__init__()
        self.parts = [features * shape.heads, features * shape.heads, shape.width]
        self.heads = shape.heads
        self.qkv = input_projection(shape.width, sum(self.parts))
        self.out = output_projection(shape)

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        """Map x float[B, N, d] to (float[B, N, d], carry unchanged)."""
        parts = self.qkv(x).split(self.parts, dim=-1)
        q, k, v = (split_heads(part, self.heads) for part in parts)
        mixed = normalised_sums(expanded(q), expanded(k), v, eps=1e-12)
        return self.out(merge_heads(mixed)), carry


def expanded(x: Tensor) -> Tensor:
    """Map x float[..., r] to float[..., 1 + r + r^2] with inner products 1 + s + s^2 / 2."""
    root = x.shape[-1] ** 0.5
    squares = (x.unsqueeze(-1) * x.unsqueeze(-2)).flatten(-2) / (root * 2**0.5)
    return torch.cat([torch.ones_like(x[..., :1]), x / root**0.5, squares], dim=-1)


class Window(HeadMixer):
    """Causal attention to the nearest positions, with rotary positions."""

    def __init__(self, shape: LayerShape, window: int) -> None:
        super().__init__(shape)
        check_rotary(shape)
        self.window = window

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Map q, k, v float[B, H, N, e] to float[B, H, N, e]."""
        return window_attention(rotate(q), rotate(k), v, self.window, 1, 0)


class Based(Mixer):
    """A window in even layers from the lowest, Taylor linear attention in odd ones."""

    one_mode = True

    def __init__(self, shape: LayerShape, *, features: int = 16, window: int = 64) -> None:
        super().__init__()
        at_least("features", features, 1)
        at_least("window", window, 1)
        self.mixer: Mixer = Taylor(shape, features) if shape.layer % 2 else Window(shape, window)

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        """Map x float[B, N, d] to (float[B, N, d], carry unchanged)."""
        mixed: tuple[Tensor, Any] = self.mixer(x, carry)
        return mixed
