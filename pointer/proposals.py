"""Candidates that a position has for itself, beside the offsets that all positions share.

A proposal is int64[B, H, N, E]: E positions for every position i, each at most i, -1 for none.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pointer.block import Pointed
from pointer.settings import CandidateSettings


class Source(nn.Module):
    """What proposes candidates: `proposed` of them for every position."""

    proposed: int

    def comparisons(self, batch: int, length: int) -> int:
        """Counted work of proposing that torch's counter does not see."""
        return 0


class ChainSource(Source):
    """Proposes what the layer below points at. Needs a layer below."""

    def __init__(self, settings: CandidateSettings) -> None:
        super().__init__()
        self.window, self.proposed = settings.chain_window, settings.chain_window + 1
        self.bias = nn.Parameter(torch.zeros(settings.pointer_heads, self.proposed))

    def forward(self, q: Tensor, k: Tensor, lower: Pointed, *, fresh: bool) -> tuple[Tensor, Tensor]:
        """lower: the layer below's pointers -> (proposals int64[B, H, N, E], bias float[H, E]); the rest is unused."""
        return chain_proposals(lower.targets, self.window), self.bias


def chain_proposals(lower: Tensor, window: int) -> Tensor:
    """Where the layer below pointed, its neighbours, and the target's own target (pointer jumping: reach doubles a
    layer).

    lower: int64[B, H, N], the lower layer's targets. Returns int64[B, H, N, window + 1].
    """
    around = lower.unsqueeze(-1) + torch.arange(window, device=lower.device) - window // 2
    jump = lower.gather(2, lower).unsqueeze(-1)
    return causal(torch.cat([around, jump], dim=-1))


def offset_proposals(offsets: Tensor, batch: int, length: int) -> Tensor:
    """The shared offsets int64[H, K] as positions, int64[B, H, N, K]."""
    positions = torch.arange(length, device=offsets.device)[:, None] - offsets[:, None, :]
    return causal(positions.expand(batch, -1, -1, -1))


def causal(positions: Tensor) -> Tensor:
    """int64[B, H, N, E] with -1 where a position lies after its reader or before the start."""
    own = torch.arange(positions.shape[2], device=positions.device)[:, None]
    return positions.masked_fill((positions > own) | (positions < 0), -1)
