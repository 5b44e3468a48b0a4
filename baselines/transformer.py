"""What does ordinary causal attention reach, and at what cost? The paper's main baseline (its section 4), fused.

Vaswani et al. 2017, Attention Is All You Need, arXiv 1706.03762. Cost: O(N^2 d) time; O(N) memory, since a fused kernel
never writes the N x N scores down (baselines.attention).
"""

from __future__ import annotations

from torch import Tensor

from baselines.attention import causal_attention
from baselines.heads import HeadMixer


class Attention(HeadMixer):
    """Causal multi-head attention over all earlier positions."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """softmax(q k' / sqrt(e)) v over j <= i. q, k, v: float[B, H, N, e] -> float[B, H, N, e]."""
        return causal_attention(q, k, v)
