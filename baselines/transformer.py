"""What does ordinary causal attention reach, and at what cost? The paper's main baseline (its section 4), fused.

Vaswani et al. 2017, Attention Is All You Need, arXiv 1706.03762. Cost: O(N^2 d) time; O(N) memory, since
`scaled_dot_product_attention` never writes the N x N scores down (Dao et al. 2022, arXiv 2205.14135).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from baselines.heads import HeadMixer


class Attention(HeadMixer):
    """Causal multi-head attention over all earlier positions."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """softmax(q k' / sqrt(e)) v over j <= i. q, k, v: float[B, H, N, e] -> float[B, H, N, e]."""
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
