"""Candidates by content: which earlier positions are likely to match a query? Found by hashing, in O(N log N).

Queries and keys are hashed alike, by the signs of random directions (Charikar 2002, the hash for cosines; Reformer,
arXiv 2001.04451, buckets attention the same way). Keys are sorted by (bucket, position), so that the earlier members of
a bucket stand before each other, and a query finds the nearest of them by binary search. No later key can take the
place of an earlier one. What is wanted may stand after its key, as a value does: every round proposes the `members`
that it finds and the positions right behind them, as many as the scores' convolution spans (`ContentScoring`). So keys
are hashed before that convolution: equal tokens meet in nearly every round, whatever its taps have learned.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointer.block import Pointed
from pointer.content_credit import ContentCredit
from pointer.credit import MOST_CHANNELS
from pointer.proposals import Source
from pointer.settings import CandidateSettings
from pointer.trunk import LayerShape

TIE_BREAK = 1e-3  # what the nearest proposal gains over the farthest: of keys that are the same it must win
SHARE = 0.1  # of the layer's own query at the start: not none, or no gradient would reach it
SPARE_BITS = 2  # buckets are 4 times as many as fill at full length: few members crowd out a far target


class ContentScoring(nn.Module):
    """Queries and keys of content: a short causal convolution on the keys, unit length, a learned scale.

    The convolution lets a position be found by the token before it, which is what recall asks for: the value stands
    after its key. With `content_shared` the query is the key before its convolution plus a learned share, small at
    the start, of the layer's query (Reformer, arXiv 2001.04451, shares queries and keys for the same reason): equal
    tokens then have a cosine that the taps alone decide, where two free projections have to be aligned first. Taps
    start positive, from 0 to 1: the positions right after an equal token then resemble the query from the first step
    on, and which of them is wanted is all that is left to learn; of either sign they would average out.
    """

    def __init__(self, heads: int, score_width: int, settings: CandidateSettings) -> None:
        super().__init__()
        self.taps = nn.Parameter(torch.empty(heads, score_width, settings.content_taps).uniform_(0, 1))
        self.taps_rate = settings.content_taps_rate
        self.share = nn.Parameter(torch.full((heads, 1, 1), SHARE)) if settings.content_shared else None
        self.log_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(settings.content_scale)))

    def table_rates(self) -> dict[nn.Parameter, float]:
        """The taps under AdamW, with the multiple of the learning rate (pointer.optim)."""
        return {self.taps: self.taps_rate}

    def forward(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """q, k: float[B, H, N, r] -> the same shapes; q has length `scale`, k has length 1."""
        q = q if self.share is None else k + self.share.to(q.dtype) * q
        mixed = torch.zeros_like(k)
        for tap, weight in enumerate(self.taps.to(k.dtype).unbind(-1)):
            mixed = mixed + F.pad(k, (0, 0, tap, 0))[:, :, : k.shape[2]] * weight[:, None]
        return F.normalize(q, dim=-1) * self.log_scale.exp().to(q.dtype), F.normalize(mixed, dim=-1)


class ContentSource(Source):
    """Proposes positions by hashing: with fixed directions in inference, with fresh ones while training is noisy."""

    fixed: Tensor  # float[H, r, rounds, bits]

    def __init__(self, shape: LayerShape, settings: CandidateSettings) -> None:
        super().__init__()
        heads = settings.pointer_heads
        self.span, self.beyond = settings.content_taps, settings.window
        self.members, self.proposed = settings.content // (settings.content_rounds * self.span), settings.content
        self.credited = settings.content_credit
        self.credit_channels = min(settings.credit_channels or MOST_CHANNELS, shape.width // heads)
        self.scoring = ContentScoring(heads, settings.score_width, settings)
        self.bias = nn.Parameter(torch.zeros(heads, 1))  # the offsets' scores have their table
        bits = settings.content_bits or SPARE_BITS + max(0, math.ceil(math.log2(shape.length / self.members)))
        size = (heads, settings.score_width, settings.content_rounds, bits)
        generator = torch.Generator(device="cpu").manual_seed(shape.layer)
        self.register_buffer("fixed", torch.randn(size, generator=generator, device="cpu"))

    def forward(self, q: Tensor, k: Tensor, lower: Pointed | None, *, fresh: bool) -> tuple[Tensor, Tensor]:
        """q, k: float[B, H, N, r], keys before their convolution -> (proposals int64[B, H, N, E], each at least
        `window` back; bias float[H, E]); `lower` is unused. `fresh`: hash by new directions."""
        directions = torch.randn_like(self.fixed) if fresh else self.fixed
        nearness = torch.arange(self.proposed, device=q.device) * (TIE_BREAK / self.proposed)  # proposals ascend
        proposals = propose(q, k, directions.to(q.dtype), self.members, self.span, self.beyond)
        return proposals, self.bias + nearness

    def credit(self, out: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The selected values float[B, H, N, w], unchanged; in backward queries and keys learn from all positions."""
        if not self.credited:
            return out
        credited: Tensor = ContentCredit.apply(out, q, k, v, self.credit_channels)  # type: ignore[no-untyped-call]
        return credited

    def comparisons(self, batch: int, length: int) -> int:
        """Counted work of the binary searches, which torch's counter does not see."""
        heads, _, rounds, _ = self.fixed.shape
        return int(batch * heads * rounds * length * math.log2(length + 1))


@torch.no_grad()
def propose(q: Tensor, k: Tensor, directions: Tensor, members: int, span: int, beyond: int) -> Tensor:
    """Earlier keys that share a bucket with the query in any round, and the span - 1 positions behind each; directions:
    float[H, r, rounds, bits].

    q, k: float[B, H, N, r] -> int64[B, H, N, rounds * members * span], each at least `beyond` back, ascending, -1 for
    none, no position twice.
    """
    found = nearest_members(buckets(q, directions), buckets(k, directions), members, beyond)
    found = found.permute(0, 1, 3, 2, 4).flatten(3).unsqueeze(-1)
    behind = found + torch.arange(span, device=q.device)
    last = torch.arange(q.shape[2], device=q.device)[:, None, None] - beyond
    return without_repeats(torch.where((found >= 0) & (behind <= last), behind, -1).flatten(3))


def buckets(x: Tensor, directions: Tensor) -> Tensor:
    """Every round's bucket, the signs along its directions read as one number: float[B, H, N, r], float[H, r, rounds,
    bits] -> int64[B, H, rounds, N]."""
    signs = (x @ directions.flatten(2) > 0).unflatten(-1, directions.shape[2:])
    numbers: Tensor = (signs.long() << torch.arange(directions.shape[-1], device=x.device)).sum(-1)
    return numbers.transpose(2, 3).contiguous()


def nearest_members(wanted: Tensor, buckets: Tensor, members: int, beyond: int) -> Tensor:
    """For each position i the nearest j <= i - beyond with buckets[j] == wanted[i], nearest first, -1 for none.

    wanted, buckets: int64[..., N]. Returns int64[..., N, members]. Sorted by bucket, then position, the members of a
    bucket that a query may see stand right before the place where (its bucket, i - beyond) would be inserted.
    """
    length = wanted.shape[-1]
    positions = torch.arange(length, device=wanted.device)
    order = (buckets * length + positions).sort(-1).values
    behind = torch.searchsorted(order, wanted * length + positions - beyond, right=True)
    at = behind.unsqueeze(-1) - torch.arange(1, members + 1, device=wanted.device)
    found = order.gather(-1, at.clamp(min=0).flatten(-2)).view(at.shape)
    legal = (at >= 0) & (found // length == wanted.unsqueeze(-1)) & (positions >= beyond).unsqueeze(-1)
    return torch.where(legal, found % length, -1)


def without_repeats(positions: Tensor) -> Tensor:
    """int64[..., E] sorted along E, all but one of equal entries -1."""
    ordered = positions.sort(-1).values
    ordered[..., 1:][ordered[..., 1:] == ordered[..., :-1]] = -1
    return ordered
