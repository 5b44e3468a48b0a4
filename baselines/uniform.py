"""What does context give when nothing is selected?

Control: the average of earlier values. The public repository lizixi-0x2F/Pointer at 7ccc83e
averages all positions; this is its mixing part made causal, without the two-layer map per head that
also reads the own token. Cost: O(N d^2), a running sum.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from baselines.parts.heads import input_projection, output_projection
from pointer.trunk import LayerShape, Mixer


class UniformAverage(Mixer):
    """y_i = W_o mean over j <= i of W_v x_j."""

    one_mode = True

    def __init__(self, shape: LayerShape) -> None:
        super().__init__()
        self.value = input_projection(shape.width, shape.width)
        self.out = output_projection(shape)

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        """Map x float[B, N, d] to (float[B, N, d], carry)."""
        total = self.value(x).cumsum(dim=1)
        seen = torch.arange(1, x.shape[1] + 1, device=x.device, dtype=total.dtype)
        return self.out(total / seen[:, None]), carry
