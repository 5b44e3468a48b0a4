"""Candidates that each position has for itself, beside the offsets that all positions share.

`candidates: offsets+chain` adds what the layer below points at, `offsets+content` earlier keys that
resemble the query (pointer.content), `offsets+blocks` one block near the lower target. A source
returns (proposals int64[B, H, N, E], bias float[H, E]): E positions j <= i for every i, -1 for
none, and what their scores add.
"""

from __future__ import annotations

import math
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointer.block import Pointed
from pointer.content import ContentCredit, ContentScoring, propose
from pointer.credit import MOST_CHANNELS
from pointer.select import Noise, select_listed
from pointer.settings import CandidateSettings
from pointer.trunk import LayerShape

TIE_BREAK = 1e-3  # the nearest proposal's gain over the farthest: of equal keys it must win
SPARE_BITS = 2  # buckets are 4 times as many as fill at full length: few keys crowd out a far one


class Source(nn.Module):
    """Propose `proposed` candidates for every position."""

    proposed: int

    def comparisons(self, batch: int, length: int) -> int:
        """Return the operations of proposing that torch does not count."""
        return 0


class ChainSource(Source):
    """Propose what the layer below points at. Needs a layer below."""

    def __init__(self, settings: CandidateSettings) -> None:
        super().__init__()
        self.window, self.proposed = settings.chain_window, settings.chain_window + 1
        self.bias = nn.Parameter(torch.zeros(settings.pointer_heads, self.proposed))

    def forward(
        self, q: Tensor, k: Tensor, lower: Pointed, *, fresh: bool
    ) -> tuple[Tensor, Tensor]:
        """Return proposals int64[B, H, N, E] and their bias; only `lower` is used."""
        return chain_proposals(lower.targets, self.window), self.bias


class BlockSource(Source):
    """Propose the block that a block pointer chooses near the lower target. Needs a layer below.

    Hierarchical pointer chains are the paper's future work (section 5.2), without a formula; ours:
    the lower target names a region, a block pointer picks one of its blocks, the token pointer a
    position in it. A block's summary is its mean key, as in MoBA (arXiv 2502.13189). Cost: O(N
    (region + block)).
    """

    def __init__(self, settings: CandidateSettings) -> None:
        super().__init__()
        self.size, self.region = settings.block, settings.block_region
        self.score_width, self.proposed = settings.score_width, settings.block
        self.bias = nn.Parameter(torch.zeros(settings.pointer_heads, self.size))

    def forward(
        self, q: Tensor, k: Tensor, lower: Pointed, *, fresh: bool
    ) -> tuple[Tensor, Tensor]:
        """Return proposals and bias; q, k: float[B, H, N, r]. `fresh` is unused."""
        block = choose_block(q, k, lower.targets, self.size, self.region)
        within = torch.arange(self.size, device=q.device)
        return causal((block * self.size).unsqueeze(-1) + within), self.bias

    def comparisons(self, batch: int, length: int) -> int:
        """Return the operations of the block pointer's elementwise scores."""
        heads = self.bias.shape[0]
        return batch * heads * length * self.region * (2 * self.score_width + 1)


class ContentSource(Source):
    """Propose by hashing, with fresh directions while training is noisy, else fixed ones."""

    fixed: Tensor  # float[H, r, rounds, bits]

    def __init__(self, shape: LayerShape, settings: CandidateSettings) -> None:
        super().__init__()
        heads = settings.pointer_heads
        self.span, self.beyond = settings.content_taps, settings.window
        self.members = settings.content // (settings.content_rounds * self.span)
        self.proposed, self.credited = settings.content, settings.content_credit
        channels = settings.credit_channels or MOST_CHANNELS
        self.credit_channels = min(channels, shape.width // heads)
        self.scoring = ContentScoring(heads, settings.score_width, settings)
        self.bias = nn.Parameter(torch.zeros(heads, 1))  # the offsets' scores have their table
        full = SPARE_BITS + max(0, math.ceil(math.log2(shape.length / self.members)))
        bits = settings.content_bits or full
        size = (heads, settings.score_width, settings.content_rounds, bits)
        generator = torch.Generator(device="cpu").manual_seed(shape.layer)
        self.register_buffer("fixed", torch.randn(size, generator=generator, device="cpu"))

    def forward(
        self, q: Tensor, k: Tensor, lower: Pointed | None, *, fresh: bool
    ) -> tuple[Tensor, Tensor]:
        """Return proposals and bias; q, k: float[B, H, N, r], unconvolved; fresh: redraw hashes."""
        directions = torch.randn_like(self.fixed) if fresh else self.fixed
        # proposals ascend
        nearness = torch.arange(self.proposed, device=q.device) * (TIE_BREAK / self.proposed)
        proposals = propose(q, k, directions.to(q.dtype), self.members, self.span, self.beyond)
        return proposals, self.bias + nearness

    def credit(self, out: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return out float[B, H, N, w]; its backward adds `ContentCredit`."""
        if not self.credited:
            return out
        credited: Tensor = ContentCredit.apply(out, q, k, v, self.credit_channels)  # type: ignore[no-untyped-call]
        return credited

    def comparisons(self, batch: int, length: int) -> int:
        """Return the comparisons of the binary searches."""
        heads, _, rounds, _ = self.fixed.shape
        return int(batch * heads * rounds * length * math.log2(length + 1))


class Sources(nn.Module):
    """A layer's sources, and selection among their proposals and the shared offsets."""

    def __init__(self, sources: list[Source], settings: CandidateSettings) -> None:
        super().__init__()
        self.every, self.fused = nn.ModuleList(sources), settings.fused
        self.proposed = sum(source.proposed for source in sources)

    @classmethod
    def of(cls, shape: LayerShape, settings: CandidateSettings) -> Self | None:
        """Return a layer's sources, or None; the first layer has no pointers below."""
        sources: list[Source] = []
        above = shape.layer > 0
        if above and settings.uses("chain"):
            sources.append(ChainSource(settings))
        if settings.uses("content"):
            sources.append(ContentSource(shape, settings))
        if above and settings.uses("blocks"):
            sources.append(BlockSource(settings))
        return cls(sources, settings) if sources else None

    @property
    def content(self) -> ContentSource | None:
        """The content source, which also defines how queries and keys are compared."""
        return next((source for source in self.every if isinstance(source, ContentSource)), None)

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, lower: Pointed | None,
        shared: tuple[Tensor, Tensor], noise: Noise,
    ) -> tuple[Tensor, Pointed]:  # fmt: skip
        """See PointerBlock.point; shared: offsets int64[H, K'] and their bias float[H, K']."""
        (offsets, bias), hashed = shared, k
        if self.content is not None:
            q, k = self.content.scoring(q, k)
        proposals, biases = [offset_proposals(offsets, q.shape[0], q.shape[2])], [bias]
        for source in self.every:
            keys = hashed if source is self.content else k
            positions, own_bias = source(q, keys, lower, fresh=noise.scale > 0)
            proposals.append(positions)
            biases.append(own_bias.to(q.dtype))
        listed, bias = torch.cat(proposals, dim=-1), torch.cat(biases, dim=-1)
        feature, at = select_listed(q, k, v, bias, listed, noise, fused=self.fused)
        if self.content is not None and self.training and torch.is_grad_enabled():
            feature = self.content.credit(feature, q, k, v.detach())
        return feature, Pointed.at(at)

    def comparisons(self, batch: int, length: int) -> int:
        """Return the operations of proposing that torch does not count."""
        sources = (source for source in self.every if isinstance(source, Source))
        return sum(source.comparisons(batch, length) for source in sources)


def chain_proposals(lower: Tensor, window: int) -> Tensor:
    """Return each lower target, its neighbours, and the target's own target, int64[B, H, N, E].

    lower: int64[B, H, N]; E = window + 1. The last is pointer jumping: reach doubles each layer.
    """
    around = lower.unsqueeze(-1) + torch.arange(window, device=lower.device) - window // 2
    jump = lower.gather(2, lower).unsqueeze(-1)
    return causal(torch.cat([around, jump], dim=-1))


def offset_proposals(offsets: Tensor, batch: int, length: int) -> Tensor:
    """Return the shared offsets int64[H, K] as positions, int64[B, H, N, K]."""
    positions = torch.arange(length, device=offsets.device)[:, None] - offsets[:, None, :]
    return causal(positions.expand(batch, -1, -1, -1))


def causal(positions: Tensor) -> Tensor:
    """Return int64[B, H, N, E] with -1 for positions after their reader or before the start."""
    own = torch.arange(positions.shape[2], device=positions.device)[:, None]
    return positions.masked_fill((positions > own) | (positions < 0), -1)


@torch.no_grad()
def choose_block(q: Tensor, k: Tensor, targets: Tensor, size: int, region: int) -> Tensor:
    """Return the best of `region` blocks around each lower target, int64[B, H, N].

    q, k: float[B, H, N, r]; targets: int64[B, H, N]. The first wins ties. An incomplete block's
    mean would look ahead, so the target's own block is chosen where no block is complete.
    """
    length, blocks = q.shape[2], -(-q.shape[2] // size)
    padded = F.pad(k, (0, 0, 0, blocks * size - length))
    means = padded.unflatten(2, (blocks, size)).mean(3).flatten(0, 1)  # [B H, blocks, r]
    at = (targets // size).unsqueeze(-1) + torch.arange(region, device=q.device) - region // 2
    index = at.clamp(0, blocks - 1)
    group = torch.arange(len(means), device=q.device)[:, None, None]
    summaries = means[group, index.flatten(0, 1)].view(*index.shape, -1)
    scores = (q.unsqueeze(-2) * summaries).sum(-1)
    positions = torch.arange(length, device=q.device)[:, None]
    complete = (at >= 0) & ((at + 1) * size <= positions + 1)
    scores = scores.masked_fill(~complete, -torch.inf)
    best = index.gather(-1, scores.argmax(-1, keepdim=True)).squeeze(-1)
    return torch.where(complete.any(-1), best, targets // size)
