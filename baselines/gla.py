"""Does it help to decide by content what to forget? Gated linear attention.

Yang et al. 2023, Gated Linear Attention Transformers, arXiv 2312.06635: a decay per key channel and
position, sigmoid(low-rank map)^(1/16), a norm per head, a swish gate.
Deviations: keys as wide as values (original: half) and the trunk's heads, which leaves the state as
large; an RMS norm without learned scale; a decay of at least e^-1 a step, so that chunks of 64
cannot overflow (the original nests chunks).
Cost: O(N d e) time, O(N d) memory, chunked.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from baselines.parts.heads import HeadMixer, at_least, input_projection, merge_heads, split_heads
from baselines.parts.recurrence import decayed_sums
from pointer.trunk import LayerShape

NORM_EPS = 1e-5
SHARPNESS = 16.0  # the paper's tau
STRONGEST = -1.0  # log of the strongest decay of one step


class GatedLinearAttention(HeadMixer):
    """S_t = a_t * S_{t-1} + k_t' v_t with a_t from x_t; y = W_o(swish(W_g x) * norm(q S))."""

    def __init__(self, shape: LayerShape, *, rank: int = 16) -> None:
        super().__init__(shape)
        self.gate = input_projection(shape.width, shape.width)
        self.decay_down = input_projection(shape.width, at_least("rank", rank, 1))
        self.decay_up = nn.Linear(rank, shape.width)  # the one bias: where the decay starts
        nn.init.normal_(self.decay_up.weight, std=0.02)
        nn.init.zeros_(self.decay_up.bias)

    def log_decay(self, x: Tensor) -> Tensor:
        """Map x float[B, N, d] to log decays float[B, H, N, e] in [-1, 0)."""
        rate = F.logsigmoid(self.decay_up(self.decay_down(x))) / SHARPNESS
        return split_heads(rate.clamp(min=STRONGEST), self.heads)

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        """Map x float[B, N, d] to (float[B, N, d], carry unchanged)."""
        q, k, v = (split_heads(part, self.heads) for part in self.qkv(x).chunk(3, dim=-1))
        mixed = decayed_sums(q * q.shape[-1] ** -0.5, k, v, self.log_decay(x))
        normed = F.rms_norm(mixed, mixed.shape[-1:], eps=NORM_EPS)
        return self.out(F.silu(self.gate(x)) * merge_heads(normed)), carry
