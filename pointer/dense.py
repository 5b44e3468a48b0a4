"""`pointer-dense`: the formula read literally. Every position scores all j <= i before its argmax: O(N^2).

The oracle for small N, and the honest answer to what the formula costs. It needs no candidates and no credit: every
offset is scored.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pointer.block import Pointed, PointerBlock
from pointer.noise import gumbel, starts
from pointer.select import straight_through
from pointer.settings import PointerSettings
from pointer.trunk import LayerShape


class DensePointerMixer(PointerBlock):
    """See the module; settings are `PointerSettings`."""

    Settings = PointerSettings

    def __init__(self, shape: LayerShape, settings: PointerSettings) -> None:
        super().__init__(shape, settings)

    def point(self, q: Tensor, k: Tensor, v: Tensor, lower: Pointed | None) -> tuple[Tensor, Pointed]:
        """See PointerBlock.point. Scores are float[B, H, N, N]."""
        batch, heads, length, _ = q.shape
        positions = torch.arange(length, device=q.device)
        hops = (positions[:, None] - positions).clamp(min=0)
        scores = q @ k.transpose(2, 3) + self.offset_table[:, hops].to(q.dtype)
        relaxation = self.relaxation()
        if relaxation.scale > 0:
            drawn = gumbel(starts(batch * heads), length, length).view(scores.shape)
            scores = scores + relaxation.scale * drawn.to(scores)
        future = positions > positions[:, None]
        scores = scores.masked_fill(future, -torch.inf)
        # the last of equal maxima is the nearest position
        targets = length - 1 - scores.flip(-1).argmax(-1)
        return straight_through(scores, targets, relaxation) @ v, Pointed.at(targets)
