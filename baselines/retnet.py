"""Does a fixed forgetting rate a head suffice? Retention, the mixer of RetNet.

Sun et al. 2023, Retentive Network, arXiv 2307.08621: rotated queries and keys, decay gamma_h = 1 -
2^(-5-h), a norm per head, a swish gate.
Deviations: values are d wide, not 2 d; heads are the trunk's, 32 wide (original: keys 256, values
512): 8 times the decays, a sixteenth of the state; plain rotary angles; an RMS norm without learned
scale.
Cost: O(N d e) time, O(N d) memory, chunked.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.parts.heads import HeadMixer, input_projection, merge_heads, split_heads
from baselines.parts.recurrence import decayed_sums
from baselines.parts.rotary import check_rotary, rotate
from pointer.trunk import LayerShape

NORM_EPS = 1e-5


class Retention(HeadMixer):
    """y = W_o(swish(W_g x) * norm(retention(q, k, v)))."""

    def __init__(self, shape: LayerShape) -> None:
        super().__init__(shape)
        check_rotary(shape)
        self.gate = input_projection(shape.width, shape.width)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return sum over j <= i of gamma^(i - j) (q_i k_j) v_j; all float[B, H, N, e]."""
        log_decay = [math.log1p(-(2.0 ** -(5 + head))) for head in range(self.heads)]
        rates = torch.tensor(log_decay, dtype=q.dtype, device=q.device)[:, None, None]
        k = rotate(k) * k.shape[-1] ** -0.5
        return decayed_sums(rotate(q), k, v, rates.expand(-1, q.shape[2], 1))

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        """Map x float[B, N, d] to (float[B, N, d], carry unchanged)."""
        q, k, v = (split_heads(part, self.heads) for part in self.qkv(x).chunk(3, dim=-1))
        retained = self.attend(q, k, v)
        normed = F.rms_norm(retained, retained.shape[-1:], eps=NORM_EPS)
        return self.out(F.silu(self.gate(x)) * merge_heads(normed)), carry
