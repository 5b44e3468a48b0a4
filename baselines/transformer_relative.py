"""Is the pointer's copying due to pointing, or to its table of offsets?

Attention with a learned bias per head and offset (Raffel et al. 2020, T5, arXiv 1910.10683, section
2.1), which learns by the rule of Pointer's offset table. Without this row the copy comparison would
set learned offsets against learned absolute positions.
Deviations: a number for every offset (T5: buckets), a table per layer (T5: one for all), scores
over sqrt(e) (T5: none).
Cost: O(N^2 d) time, O(N) memory: backward recomputes blocks of query rows, since no fused kernel
gives a bias its gradient.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from baselines.parts.heads import HeadMixer
from pointer.optim import TableMomentum
from pointer.trunk import LayerShape

ROWS = 128  # queries whose scores exist at one time


class RelativeAttention(HeadMixer):
    """softmax(q k' / sqrt(e) + table[i - j]) v over j <= i."""

    def __init__(
        self, shape: LayerShape, *, table_step: float = 0.05, table_momentum: float = 0.9
    ) -> None:
        super().__init__(shape)
        self.table_step, self.table_momentum = table_step, table_momentum
        self.offset_table = nn.Parameter(torch.zeros(shape.heads, shape.length))

    def table_optimizer(self) -> torch.optim.Optimizer:
        """Return the rule of Pointer's table: momentum on the gradient over its RMS."""
        return TableMomentum([self.offset_table], self.table_step, self.table_momentum)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Map q, k, v float[B, H, N, e] to float[B, H, N, e], by blocks of rows."""
        q = q * q.shape[-1] ** -0.5
        recomputed = partial(checkpoint, attend_rows, use_reentrant=False, preserve_rng_state=False)
        blocks: list[Tensor] = []
        for rows in q.split(ROWS, dim=2):
            end = sum(block.shape[2] for block in blocks) + rows.shape[2]
            block = (rows, k[:, :, :end], v[:, :, :end], self.offset_table)
            blocks.append(recomputed(*block))
        return torch.cat(blocks, dim=2)


def attend_rows(q: Tensor, k: Tensor, v: Tensor, table: Tensor) -> Tensor:
    """Attend with bias table float[H, >= n] from q float[B, H, c, e], the last c of n positions."""
    scores = q @ k.transpose(-2, -1) + toeplitz(table[:, : k.shape[2]], q.shape[2]).to(q.dtype)
    return scores.softmax(dim=-1) @ v


def toeplitz(table: Tensor, rows: int) -> Tensor:
    """Return float[H, rows, n] from float[H, n]: entry (r, j) is table[i - j], i = n - rows + r.

    -inf for j > i. Repeats the reversed table and reads the copies with a row length one shorter
    (Dai et al. 2019, arXiv 1901.02860): the gradient is a sum over rows, not a scatter.
    """
    heads, length = table.shape
    reversed_table = F.pad(table.flip(-1), (0, rows), value=float("-inf"))
    copies = reversed_table[:, None].expand(-1, rows, -1).flatten(1)
    stride = length + rows - 1
    return copies[:, rows - 1 : rows - 1 + rows * stride].view(heads, rows, stride)[:, :, :length]
