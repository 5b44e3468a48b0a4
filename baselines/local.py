"""What does the nearest context alone reach? Attention to a short window and nothing else.

Causal local attention (Parmar et al. 2018, Image Transformer, arXiv 1802.05751) in its exact
sliding form. Six layers see 6 * 63 tokens back: a floor for tasks whose answer lies further.
Cost: O(N w d) time, O(N w) memory.
"""

from __future__ import annotations

from torch import Tensor

from baselines.longformer import window_attention
from baselines.parts.heads import HeadMixer, at_least
from pointer.trunk import LayerShape


class LocalAttention(HeadMixer):
    """Causal attention to the `window` nearest positions, own included."""

    def __init__(self, shape: LayerShape, *, window: int = 64) -> None:
        super().__init__(shape)
        self.window = at_least("window", window, 1)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Map q, k, v float[B, H, N, e] to float[B, H, N, e]."""
        return window_attention(q, k, v, self.window, dilation=1, global_tokens=0)
