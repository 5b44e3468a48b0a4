"""Candidates by blocks, a hierarchical chain: the lower layer's target names a region, a block pointer picks one block
of it, and the token pointer one of that block's positions.

The paper names hierarchical pointer chains as future work (section 5.2) and gives no formula; this is ours. A block is
summarised by the mean of its keys, as in MoBA (arXiv 2502.13189). Only the blocks of the region are compared with the
query, so the cost is O(N (region + block)).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointer.block import Pointed
from pointer.proposals import Source, causal
from pointer.settings import CandidateSettings


class BlockSource(Source):
    """Proposes the positions of the block that the block pointer chose. Needs a layer below."""

    def __init__(self, settings: CandidateSettings) -> None:
        super().__init__()
        self.size, self.region, self.score_width = settings.block, settings.block_region, settings.score_width
        self.proposed = self.size
        self.bias = nn.Parameter(torch.zeros(settings.pointer_heads, self.size))

    def forward(self, q: Tensor, k: Tensor, lower: Pointed, *, fresh: bool) -> tuple[Tensor, Tensor]:
        """q, k: float[B, H, N, r]; lower: the layer below's pointers -> (proposals int64[B, H, N, b], -1 for none; bias
        float[H, b]). `fresh` has no meaning here."""
        block = choose_block(q, k, lower.targets, self.size, self.region)
        within = torch.arange(self.size, device=q.device)
        return causal((block * self.size).unsqueeze(-1) + within), self.bias

    def comparisons(self, batch: int, length: int) -> int:
        """Counted work of the block pointer's scores, elementwise and so not seen by torch's counter."""
        heads, width = self.bias.shape[0], self.score_width
        return batch * heads * length * self.region * (2 * width + 1)


@torch.no_grad()
def choose_block(q: Tensor, k: Tensor, targets: Tensor, size: int, region: int) -> Tensor:
    """The best block of `region` blocks around each position's lower target: int64[B, H, N], never one that begins
    after the position; of equal blocks the first.

    q, k: float[B, H, N, r]; targets: int64[B, H, N]. A block that is not yet complete is summarised by nothing that
    lies ahead: it is chosen only where no complete one is in the region.
    """
    length, blocks = q.shape[2], -(-q.shape[2] // size)
    means = F.pad(k, (0, 0, 0, blocks * size - length)).unflatten(2, (blocks, size)).mean(3)
    at = (targets // size).unsqueeze(-1) + torch.arange(region, device=q.device) - region // 2
    index = at.clamp(0, blocks - 1)
    summaries = means.flatten(0, 1)[
        torch.arange(means.shape[0] * means.shape[1], device=q.device)[:, None, None], index.flatten(0, 1)
    ].view(*index.shape, -1)
    scores = (q.unsqueeze(-2) * summaries).sum(-1)
    positions = torch.arange(length, device=q.device)[:, None]
    complete = (at >= 0) & ((at + 1) * size <= positions + 1)
    scores = scores.masked_fill(~complete, -torch.inf)
    best = index.gather(-1, scores.argmax(-1, keepdim=True)).squeeze(-1)
    return torch.where(complete.any(-1), best, targets // size)
