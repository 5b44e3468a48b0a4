"""Candidates that each position has for itself, beside the offsets that all positions share.

`candidates: offsets+chain` adds what the layer below points at (pointer.proposals), `offsets+content` earlier keys that
resemble the query (pointer.content), `offsets+blocks` one block near the lower target (pointer.blocks).
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from pointer.block import Pointed
from pointer.blocks import BlockSource
from pointer.content import ContentSource
from pointer.proposals import ChainSource, Source, offset_proposals
from pointer.select import Noise
from pointer.select_listed import select_listed
from pointer.settings import CandidateSettings
from pointer.trunk import LayerShape


class Sources(nn.Module):
    """The sources of one layer, and selection among what they and the shared offsets propose."""

    def __init__(self, sources: list[Source], settings: CandidateSettings) -> None:
        super().__init__()
        self.every, self.fused = nn.ModuleList(sources), settings.fused
        self.proposed = sum(source.proposed for source in sources)

    @classmethod
    def of(cls, shape: LayerShape, settings: CandidateSettings) -> Self | None:
        """A layer's sources; None where it has none: the first layer has nothing below that could point anywhere."""
        above = shape.layer > 0
        made: list[Source] = [ChainSource(settings)] if above and settings.uses("chain") else []
        made += [ContentSource(shape, settings)] if settings.uses("content") else []
        made += [BlockSource(settings)] if above and settings.uses("blocks") else []
        return cls(made, settings) if made else None

    @property
    def content(self) -> ContentSource | None:
        """The source by content, which also says how queries and keys are compared."""
        return next((source for source in self.every if isinstance(source, ContentSource)), None)

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, lower: Pointed | None, shared: tuple[Tensor, Tensor], noise: Noise
    ) -> tuple[Tensor, Pointed]:
        """As PointerBlock.point; `shared`: the layer's offsets int64[H, K'] and their bias float[H, K']."""
        (offsets, bias), hashed = shared, k
        if self.content is not None:
            q, k = self.content.scoring(q, k)
        fresh = noise.scale > 0
        found = [source(q, hashed if source is self.content else k, lower, fresh=fresh) for source in self.every]
        listed = torch.cat([offset_proposals(offsets, q.shape[0], q.shape[2]), *(at for at, _ in found)], dim=-1)
        bias = torch.cat([bias, *(own.to(q.dtype) for _, own in found)], dim=-1)
        feature, at = select_listed(q, k, v, bias, listed, noise, fused=self.fused)
        if self.content is not None and self.training and torch.is_grad_enabled():
            feature = self.content.credit(feature, q, k, v.detach())
        return feature, Pointed.at(at)

    def comparisons(self, batch: int, length: int) -> int:
        """Counted work of proposing, which torch's counter does not see."""
        return sum(source.comparisons(batch, length) for source in self.every if isinstance(source, Source))
