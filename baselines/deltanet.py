"""Does a state that corrects itself recall better than one that only adds? DeltaNet.

Yang et al. 2024, Parallelizing Linear Transformers with the Delta Rule over Sequence Length, arXiv
2406.06484, with unit queries and keys, b_t = sigmoid(w x_t), a causal convolution of 4 taps, silu,
and an RMS norm per head:
    S_t = S_{t-1} + k_t' b_t (v_t - k_t S_{t-1}),    y_t = q_t S_t
Deviations: heads are the trunk's, 32 wide (original: 128), so the state is a quarter as large; the
norm has no learned scale.
Cost: O(N (c + e) d) time for chunks of c, O(N d) memory.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.parts.convolution import new_taps, short_convolution
from baselines.parts.delta import delta_rule
from baselines.parts.heads import HeadMixer, input_projection, merge_heads, split_heads
from pointer.trunk import LayerShape

NORM_EPS = 1e-5
TAPS = 4


class DeltaNet(HeadMixer):
    """A key-value memory of e x e numbers a head, written by the delta rule."""

    def __init__(self, shape: LayerShape) -> None:
        super().__init__(shape)
        self.taps = new_taps(TAPS, 3 * shape.width)
        self.rate = input_projection(shape.width, shape.heads)

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        """Map x float[B, N, d] to (float[B, N, d], carry unchanged)."""
        short = F.silu(short_convolution(self.qkv(x), self.taps))
        q, k, v = (split_heads(part, self.heads) for part in short.chunk(3, dim=-1))
        rate = torch.sigmoid(self.rate(x)).transpose(1, 2).unsqueeze(-1)
        mixed = delta_rule(F.normalize(q, dim=-1), F.normalize(k, dim=-1), v, rate)
        return self.out(merge_heads(F.rms_norm(mixed, mixed.shape[-1:], eps=NORM_EPS))), carry
