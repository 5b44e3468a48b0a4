"""Does forgetting help a memory that corrects itself? Gated DeltaNet.

Yang, Kautz and Hatamizadeh 2024, Gated Delta Networks, arXiv 2412.06464, after the authors' code
(flash-linear-attention, gated_deltanet.py): DeltaNet with a decay per head and position, and a
swish gate after the norm:
    S_t = a_t S_{t-1} + k_t' b_t (v_t - a_t k_t S_{t-1}),    y_t = q_t S_t
    a_t = exp(-exp(A) softplus(w_a x_t + c))
Deviations: heads are the trunk's, values as wide as keys (original: few heads of 256, values of
512); the norm has no learned scale.
Cost: O(N (c + e) d) time for chunks of c, O(N d) memory.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.deltanet import NORM_EPS, TAPS
from baselines.parts.convolution import new_taps, short_convolution
from baselines.parts.delta import delta_rule
from baselines.parts.heads import HeadMixer, input_projection, merge_heads, split_heads
from pointer.trunk import LayerShape

SHORTEST, LONGEST = 1e-3, 1e-1  # step sizes at the start
LARGEST_RATE = 16.0  # exp(A) at the start is uniform up to it


class GatedDeltaNet(HeadMixer):
    """y = W_o(norm(q S) * swish(W_g x)), with S written by the gated delta rule."""

    def __init__(self, shape: LayerShape) -> None:
        super().__init__(shape)
        self.taps = new_taps(TAPS, 3 * shape.width)
        self.gate = input_projection(shape.width, shape.width)
        self.rates = input_projection(shape.width, 2 * shape.heads)
        self.log_rate = nn.Parameter((LARGEST_RATE * torch.rand(shape.heads)).log())
        self.step_bias = nn.Parameter(step_biases(shape.heads))

    def own_rates(self, lr: float) -> dict[nn.Parameter, float]:
        """Return the decay's parameters, which have no weight decay."""
        return {self.log_rate: lr, self.step_bias: lr}

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        """Map x float[B, N, d] to (float[B, N, d], carry unchanged)."""
        short = F.silu(short_convolution(self.qkv(x), self.taps))
        q, k, v = (split_heads(part, self.heads) for part in short.chunk(3, dim=-1))
        writing, step = self.rates(x).transpose(1, 2).unsqueeze(-1).chunk(2, dim=1)
        step = F.softplus(step + self.step_bias[:, None, None])
        log_decay = -self.log_rate.exp()[:, None, None] * step
        q, k = F.normalize(q, dim=-1) * q.shape[-1] ** -0.5, F.normalize(k, dim=-1)
        mixed = delta_rule(q, k, v, torch.sigmoid(writing), log_decay)
        normed = merge_heads(F.rms_norm(mixed, mixed.shape[-1:], eps=NORM_EPS))
        return self.out(normed * F.silu(self.gate(x))), carry


def step_biases(heads: int) -> Tensor:
    """Return float[heads] whose softplus is log-uniform from SHORTEST to LONGEST."""
    span = math.log(LONGEST) - math.log(SHORTEST)
    step = (torch.rand(heads) * span + math.log(SHORTEST)).exp()
    return step + torch.log(-torch.expm1(-step))
