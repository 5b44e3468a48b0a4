"""Is recall due to pointing, or to how queries and keys are compared?

Attention (Vaswani et al. 2017, Attention Is All You Need, arXiv 1706.03762) with pointer.content's
scoring: a short convolution on the keys, queries that start as the key's own projection, cosines.
As in Reformer (arXiv 2001.04451), which also shares queries and keys, no position attends to
itself; a key and value of zeros replace its own. Without this row the recall comparison would set a
built-in match of equal tokens against a learned one.
Cost: that of fused attention, O(N^2 d) time and O(N) memory.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from baselines.parts.attention import causal_attention
from baselines.parts.heads import HeadMixer, head_width
from pointer.content import ContentScoring
from pointer.settings import CandidateSettings
from pointer.trunk import LayerShape


class ContentAttention(HeadMixer):
    """softmax(q~ k~') v over j < i and a key of zeros, with q~, k~ by default `ContentScoring`."""

    def __init__(self, shape: LayerShape) -> None:
        super().__init__(shape)
        self.scoring = ContentScoring(shape.heads, head_width(shape), CandidateSettings())

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Map q, k, v float[B, H, N, e] to float[B, H, N, e]."""
        q, k = self.scoring(q, k)
        before_own = (0, 0, 1, -1)  # position i sees keys up to i - 1, and zeros in front
        return causal_attention(q * q.shape[-1] ** 0.5, F.pad(k, before_own), F.pad(v, before_own))
