"""Which question does NAME answer? A sentence here.

Author et al. YEAR, Title, arXiv ID, and where this file deviates. Cost: O(N d^2), a running sum.
Its entry in baselines/registry.yaml says where the model takes part and how tables name it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from baselines.parts.heads import input_projection, output_projection
from pointer.trunk import LayerShape, Mixer


class Template(Mixer):
    """y_i = W_o (sigmoid(W_g x_i) * sum over j <= i of W_v x_j / (i + 1)^power). Put yours here."""

    def __init__(self, shape: LayerShape, *, power: float = 1.0) -> None:
        """Build a layer of `shape`. Typed keywords are settings: `--set power=0.5`."""
        super().__init__()  # the trunk's feed-forward fills every model up to 3.2 M parameters
        self.power = power
        self.value = input_projection(shape.width, shape.width)
        self.gate = input_projection(shape.width, shape.width)
        self.out = output_projection(shape)

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        """Map normalised x float[B, N, d] to (float[B, N, d], carry), for any N from 1.

        Causal: y[:, i] depends on x[:, : i + 1] only. The lowest layer's carry is None; pass it on.
        """
        seen = torch.arange(1, x.shape[1] + 1, device=x.device, dtype=torch.float32)
        mean = self.value(x).cumsum(dim=1) / seen[:, None].pow(self.power).to(x.dtype)
        return self.out(torch.sigmoid(self.gate(x)) * mean), carry
