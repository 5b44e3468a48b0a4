"""Candidates by content: earlier positions that likely match a query, by hashing, in O(N log N).

Queries and keys are hashed alike, by the signs of random directions (Charikar 2002, the hash for
cosines; Reformer, arXiv 2001.04451, buckets attention the same way). Keys are sorted by (bucket,
position), so that the earlier members of a bucket stand before each other, and a query finds the
nearest of them by binary search. No later key can take the place of an earlier one.

What is wanted may stand after its key, as a value does: every round proposes the matches and the
positions right behind them, as many as the scores' convolution spans (`ContentScoring`). So keys
are hashed before that convolution: equal tokens meet in nearly every round, whatever its taps have
learned. Queries and keys whose match is not proposed learn by `ContentCredit`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointer.credit import channel_run
from pointer.settings import CandidateSettings

SHARE = 0.1  # of the layer's own query at the start: not none, or no gradient would reach it
CHUNK = 256  # positions with pairwise weights; those before come as sums over r^2 / 2 features


class ContentScoring(nn.Module):
    """Compare queries and keys by cosine, after a short causal convolution on the keys.

    The convolution lets a position be found by the token before it, which recall asks for: the
    value stands after its key. With `content_shared` the query is the key before its convolution
    plus a learned share, small at first, of the layer's query (as in Reformer, arXiv 2001.04451):
    the taps alone decide the cosine of equal tokens, where two free projections would first have to
    be aligned. Taps start in 0..1, so that the positions right after an equal token resemble the
    query from the first step on; of either sign they would average out.
    """

    def __init__(self, heads: int, score_width: int, settings: CandidateSettings) -> None:
        super().__init__()
        taps = torch.empty(heads, score_width, settings.content_taps).uniform_(0, 1)
        self.taps, self.taps_rate = nn.Parameter(taps), settings.content_taps_rate
        share = nn.Parameter(torch.full((heads, 1, 1), SHARE)) if settings.content_shared else None
        self.share = share
        self.log_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(settings.content_scale)))

    def own_rates(self, lr: float) -> dict[nn.Parameter, float]:
        """Return the rate of the taps (pointer.optim)."""
        return {self.taps: lr * self.taps_rate}

    def forward(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Map q, k float[B, H, N, r] to q of length `scale` and k of length 1, in those shapes."""
        q = q if self.share is None else k + self.share.to(q.dtype) * q
        mixed = torch.zeros_like(k)
        for tap, weight in enumerate(self.taps.to(k.dtype).unbind(-1)):
            mixed = mixed + F.pad(k, (0, 0, tap, 0))[:, :, : k.shape[2]] * weight[:, None]
        q = F.normalize(q, dim=-1) * self.log_scale.exp().to(q.dtype)
        return q, F.normalize(mixed, dim=-1)


@torch.no_grad()
def propose(
    q: Tensor, k: Tensor, directions: Tensor, members: int, span: int, beyond: int
) -> Tensor:
    """Return earlier keys in the query's bucket of any round, and span - 1 positions behind each.

    q, k: float[B, H, N, r]; directions: float[H, r, rounds, bits]. Returns int64[B, H, N, rounds *
    members * span], each at least `beyond` back, ascending, -1 for none, no position twice.
    """
    wanted, held = buckets(q, directions), buckets(k, directions)
    matches = nearest_members(wanted, held, members, beyond)
    matches = matches.permute(0, 1, 3, 2, 4).flatten(3).unsqueeze(-1)
    behind = matches + torch.arange(span, device=q.device)
    last = torch.arange(q.shape[2], device=q.device)[:, None, None] - beyond
    legal = (matches >= 0) & (behind <= last)
    return without_repeats(torch.where(legal, behind, -1).flatten(3))


def buckets(x: Tensor, directions: Tensor) -> Tensor:
    """Return every round's bucket: the signs along its directions, read as one number.

    x: float[B, H, N, r]; directions: float[H, r, rounds, bits] -> int64[B, H, rounds, N].
    """
    signs = (x @ directions.flatten(2) > 0).unflatten(-1, directions.shape[2:])
    numbers: Tensor = (signs.long() << torch.arange(directions.shape[-1], device=x.device)).sum(-1)
    return numbers.transpose(2, 3).contiguous()


def nearest_members(wanted: Tensor, buckets: Tensor, members: int, beyond: int) -> Tensor:
    """Return for each i the nearest j <= i - beyond with buckets[j] == wanted[i], nearest first.

    wanted, buckets: int64[..., N]. Returns int64[..., N, members], -1 for none. Sorted by bucket,
    then position, the members of a bucket that a query may see stand right before the index where
    (its bucket, i - beyond) would be inserted.
    """
    length = wanted.shape[-1]
    positions = torch.arange(length, device=wanted.device)
    order = (buckets * length + positions).sort(-1).values
    behind = torch.searchsorted(order, wanted * length + positions - beyond, right=True)
    at = behind.unsqueeze(-1) - torch.arange(1, members + 1, device=wanted.device)
    matches = order.gather(-1, at.clamp(min=0).flatten(-2)).view(at.shape)
    legal = (at >= 0) & (matches // length == wanted.unsqueeze(-1))
    legal = legal & (positions >= beyond).unsqueeze(-1)
    return torch.where(legal, matches % length, -1)


def without_repeats(positions: Tensor) -> Tensor:
    """Sort int64[..., E] along E and set all but one of equal entries to -1."""
    ordered = positions.sort(-1).values
    ordered[..., 1:][ordered[..., 1:] == ordered[..., :-1]] = -1
    return ordered


class ContentCredit(torch.autograd.Function):
    """Identity in the forward pass; backward lets queries and keys learn from all positions.

    Add, straight-through with value zero, z - detach(z), where z is `taylor_attention`. Gradients
    are much as soft attention's where t > 0. Below t = -1 the weight rises again, which softmax's
    does not: such keys are pushed the wrong way, less than similar ones are pulled. Values get
    nothing. A deviation from the paper, as is pointer.credit.
    """

    @staticmethod
    def forward(ctx: Any, out: Tensor, q: Tensor, k: Tensor, v: Tensor, channels: int) -> Tensor:
        """Return `out` as it is.

        out, v: float[B, H, N, w], the selected and the selectable values; q, k: float[B, H, N, r];
        channels: how many of the w channels carry the credit, a random run of them.
        """
        ctx.save_for_backward(q, k, v)
        ctx.run = channel_run(channels, v.shape[3])
        return out.view_as(out)

    @staticmethod
    def backward(ctx: Any, g_out: Tensor) -> tuple[Tensor | None, ...]:
        """Pass g_out through and add d loss / d q and d loss / d k."""
        q, k, v = ctx.saved_tensors
        with torch.enable_grad():
            q, k = q.detach().requires_grad_(), k.detach().requires_grad_()
            z = taylor_attention(q, k, v[..., ctx.run].detach())
        g_q, g_k = torch.autograd.grad(z, (q, k), g_out[..., ctx.run])
        return g_out, g_q, g_k, None, None


def taylor_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return causal attention with weights w = 1 + t + t^2/2, t = q_i.k_j, float[B, H, N, w].

    q, k: float[B, H, N, r]; v: float[B, H, N, w]. w is the Taylor series of exp(t) to second order,
    always positive (Arora et al. 2024, arXiv 2402.18668). Computed chunk by chunk: O(N).
    """
    length = q.shape[2]
    padding = (0, 0, 0, -length % CHUNK)
    counted = torch.cat([v, torch.ones_like(v[..., :1])], dim=-1)  # the last sums the weights
    chunks = (F.pad(part, padding).unflatten(2, (-1, CHUNK)) for part in (q, k, counted))
    q, k, counted = chunks
    t = q @ k.transpose(-2, -1)
    own = (1 + t + t.square() / 2).tril() @ counted
    sums = (features(k[:, :, :-1]).transpose(-2, -1) @ counted[:, :, :-1]).cumsum(2)
    before = features(q[:, :, 1:]) @ sums
    total = torch.cat([own[:, :, :1], own[:, :, 1:] + before], dim=2)
    mixed, mass = total.flatten(2, 3)[:, :, :length].split([v.shape[3], 1], dim=-1)
    normalised: Tensor = mixed / mass
    return normalised


def features(x: Tensor) -> Tensor:
    """Map float[..., r] to float[..., (r + 1)(r + 2) / 2] with inner products 1 + t + t^2/2.

    Of x x^T, half the products are enough. They are made from slices, whose gradients are slices
    too.
    """
    r = x.shape[-1]
    squares = x.square() / math.sqrt(2)
    products = [x[..., s:] * x[..., : r - s] for s in range(1, r)]
    return torch.cat([torch.ones_like(x[..., :1]), x, squares, *products], dim=-1)
