"""Is it attention or its positions that fails?

The Transformer with rotary positions (Su et al. 2021, RoFormer, arXiv 2104.09864) instead of
learned absolute ones. Cost: that of fused attention, O(N^2 d) time and O(N) memory.
"""

from __future__ import annotations

from torch import Tensor

from baselines.parts.rotary import check_rotary, rotate
from baselines.transformer import Attention
from pointer.trunk import LayerShape


class RotaryAttention(Attention):
    """Causal multi-head attention with rotated queries and keys."""

    def __init__(self, shape: LayerShape) -> None:
        super().__init__(shape)
        check_rotary(shape)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Map q, k, v float[B, H, N, e] to float[B, H, N, e]."""
        return super().attend(rotate(q), rotate(k), v)
