"""How far does a state space model with one decay a head come? Mamba-2.

Dao and Gu 2024, Transformers are SSMs, arXiv 2405.21060, after the authors' code
(state-spaces/mamba, mamba2_simple.py): twice the width inside, a convolution of 4 taps and silu on
x, B and C, which all heads share, one decay per head and position, then a swish gate, an RMS norm
and the output:
    S_t = a_t S_{t-1} + B_t' (dt_t x_t),    y_t = C_t S_t + D x_t,    a_t = exp(-exp(A) dt_t)
Deviation: heads are the trunk's, so 2 d / H wide (original: 64 or 128).
Cost: O(N (c + n) d) time for chunks of c and n states, O(N d) memory.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.gated_deltanet import step_biases
from baselines.parts.convolution import new_taps, short_convolution
from baselines.parts.heads import at_least, head_width, input_projection, merge_heads, split_heads
from baselines.parts.recurrence import gated_sums
from pointer.trunk import INIT_STD, LayerShape, Mixer

EXPANSION = 2
TAPS = 4
NORM_EPS = 1e-5
SLOWEST, FASTEST = 1.0, 16.0  # exp(A) at the start


class Mamba2(Mixer):
    """y = W_o norm((C S + D x) * swish(z)), with x, z, B, C and dt projections of the input."""

    one_mode = True

    def __init__(self, shape: LayerShape, *, states: int = 64) -> None:
        super().__init__()
        head_width(shape)
        self.heads, inner = shape.heads, EXPANSION * shape.width
        self.parts = [inner, inner, at_least("states", states, 1), states, shape.heads]
        convolved = inner + 2 * states
        self.project = input_projection(shape.width, sum(self.parts))
        self.taps = new_taps(TAPS, convolved)
        self.taps_bias = nn.Parameter((2 * torch.rand(convolved) - 1) * TAPS**-0.5)
        spread = torch.rand(shape.heads) * (FASTEST - SLOWEST) + SLOWEST
        self.log_rate = nn.Parameter(spread.log())
        self.step_bias = nn.Parameter(step_biases(shape.heads))
        self.skip = nn.Parameter(torch.ones(shape.heads))
        self.norm = nn.RMSNorm(inner, eps=NORM_EPS)
        self.out = nn.Linear(inner, shape.width, bias=False)
        nn.init.normal_(self.out.weight, std=INIT_STD / (2 * shape.layers) ** 0.5)

    def own_rates(self, lr: float) -> dict[nn.Parameter, float]:
        """Return the recurrence's parameters, which have no weight decay."""
        return {self.log_rate: lr, self.step_bias: lr, self.skip: lr}

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        """Map x float[B, N, d] to (float[B, N, d], carry unchanged)."""
        gate, inner, key, query, step = self.project(x).split(self.parts, dim=-1)
        joined = torch.cat([inner, key, query], dim=-1)
        short = F.silu(short_convolution(joined, self.taps) + self.taps_bias)
        inner, key, query = short.split(self.parts[1:4], dim=-1)
        values = split_heads(inner, self.heads)
        step = F.softplus(step + self.step_bias).transpose(1, 2)
        log_decay = -self.log_rate.exp()[:, None] * step
        seen = gated_sums(query[:, None], key[:, None], values * step[..., None], log_decay)
        mixed = merge_heads(seen + self.skip[:, None, None] * values)
        return self.out(self.norm(mixed * F.silu(gate))), carry
