"""What does ordinary causal attention reach, and at what cost?

The paper's main baseline (its section 4), fused. Vaswani et al. 2017, Attention Is All You Need,
arXiv 1706.03762. Cost: O(N^2 d) time, O(N) memory: the kernel never writes the N x N scores
(baselines.parts.attention).
"""

from __future__ import annotations

from torch import Tensor

from baselines.parts.attention import causal_attention
from baselines.parts.heads import HeadMixer


class Attention(HeadMixer):
    """Causal multi-head attention over all earlier positions."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return softmax(q k' / sqrt(e)) v over j <= i; all float[B, H, N, e]."""
        return causal_attention(q, k, v)
