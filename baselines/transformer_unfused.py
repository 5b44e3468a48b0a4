"""What does attention cost when the N x N matrix is written down?

Vaswani et al. 2017, Attention Is All You Need, arXiv 1706.03762, equation 1 step by step: most
likely what the paper timed as "vanilla". Cost: O(N^2 d) time, O(N^2 H) memory.
"""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.parts.heads import HeadMixer


class UnfusedAttention(HeadMixer):
    """Causal multi-head attention with the scores materialised."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return softmax(q k' / sqrt(e)) v over j <= i; all float[B, H, N, e]."""
        length = q.shape[-2]
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        future = torch.ones(length, length, dtype=torch.bool, device=q.device).triu(1)
        weights: Tensor = scores.masked_fill_(future, float("-inf")).softmax(dim=-1)
        return weights @ v
