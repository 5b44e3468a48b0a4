"""Candidates by content: earlier positions that likely match a query, by hashing, in O(N log N).

Queries and keys are hashed by the signs of random directions (Charikar 2002; Reformer, arXiv
2001.04451, buckets attention the same way). Keys are sorted by (bucket, position), and binary
search finds a query's nearest earlier bucket members, so later keys never displace earlier ones.

In recall the value follows its key, so every round proposes the matches and the positions behind
them, as many as `ContentScoring` has taps. Keys are hashed before that convolution: equal tokens
collide in nearly every round, whatever the taps have learned.
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
    """Score by cosine, after a short causal convolution on the keys.

    The convolution finds a position by the token before it, as recall needs: the value follows its
    key. With `content_shared` the query is the unconvolved key plus a learned share, small at
    first, of the layer's query (as in Reformer, arXiv 2001.04451), so that equal tokens match
    without first aligning two projections. Taps start in 0..1, so that positions right after an
    equal token resemble the query; with either sign they would average out.
    """

    def __init__(self, heads: int, score_width: int, settings: CandidateSettings) -> None:
        super().__init__()
        taps = torch.empty(heads, score_width, settings.content_taps).uniform_(0, 1)
        self.taps, self.taps_rate = nn.Parameter(taps), settings.content_taps_rate
        share = nn.Parameter(torch.full((heads, 1, 1), SHARE)) if settings.content_shared else None
        self.share = share
        self.log_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(settings.content_scale)))

    def own_rates(self, lr: float) -> dict[nn.Parameter, float]:
        """Return the taps' learning rate."""
        return {self.taps: lr * self.taps_rate}

    def forward(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Map q, k float[B, H, N, r] to q of length `scale` and k of length 1."""
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

    q, k: float[B, H, N, r]; directions: float[H, r, rounds, bits]. Returns int64[B, H, N, E], E =
    rounds * members * span: at least `beyond` back, ascending, without repeats, -1 for none.
    """
    wanted, held = buckets(q, directions), buckets(k, directions)
    matches = nearest_members(wanted, held, members, beyond)
    matches = matches.permute(0, 1, 3, 2, 4).flatten(3).unsqueeze(-1)
    behind = matches + torch.arange(span, device=q.device)
    last = torch.arange(q.shape[2], device=q.device)[:, None, None] - beyond
    legal = (matches >= 0) & (behind <= last)
    return without_repeats(torch.where(legal, behind, -1).flatten(3))


def buckets(x: Tensor, directions: Tensor) -> Tensor:
    """Hash x float[B, H, N, r] by directions float[H, r, rounds, bits]: int64[B, H, rounds, N]."""
    signs = (x @ directions.flatten(2) > 0).unflatten(-1, directions.shape[2:])
    numbers: Tensor = (signs.long() << torch.arange(directions.shape[-1], device=x.device)).sum(-1)
    return numbers.transpose(2, 3).contiguous()


def nearest_members(wanted: Tensor, buckets: Tensor, members: int, beyond: int) -> Tensor:
    """Return for each i the nearest j <= i - beyond with buckets[j] == wanted[i], nearest first.

    wanted, buckets: int64[..., N]. Returns int64[..., N, members], -1 for none. Sorted by (bucket,
    position), they precede the insertion index of (wanted[i], i - beyond).
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
    """Sort int64[..., E] along E and set repeats to -1."""
    ordered = positions.sort(-1).values
    ordered[..., 1:][ordered[..., 1:] == ordered[..., :-1]] = -1
    return ordered


class ContentCredit(torch.autograd.Function):
    """Identity in the forward pass; backward trains queries and keys on all earlier positions.

    Adds z - detach(z), z = `taylor_attention`; values get no gradient. A deviation from the paper,
    as is pointer.credit. Gradients resemble soft attention's where t > 0; below t = -1 the weight
    rises again, unlike softmax's, and pushes such keys the wrong way, less than similar ones are
    pulled.
    """

    @staticmethod
    def forward(ctx: Any, out: Tensor, q: Tensor, k: Tensor, v: Tensor, channels: int) -> Tensor:
        """Return `out`; shapes as in `taylor_attention`, `channels` of v's w carry the credit."""
        ctx.save_for_backward(q, k, v)
        ctx.run = channel_run(channels, v.shape[3])
        return out.view_as(out)

    @staticmethod
    def backward(ctx: Any, g_out: Tensor) -> tuple[Tensor | None, ...]:
        """Pass g_out through; return the gradients of q and k."""
        q, k, v = ctx.saved_tensors
        with torch.enable_grad():
            q, k = q.detach().requires_grad_(), k.detach().requires_grad_()
            z = taylor_attention(q, k, v[..., ctx.run].detach())
        g_q, g_k = torch.autograd.grad(z, (q, k), g_out[..., ctx.run])
        return g_out, g_q, g_k, None, None


def taylor_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return causal attention float[B, H, N, w] with weights 1 + t + t^2/2, t = q_i.k_j, in O(N).

    q, k: float[B, H, N, r]; v: float[B, H, N, w]. The weights are the Taylor series of exp(t) to
    second order, always positive (Arora et al. 2024, arXiv 2402.18668).
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
    """Map float[..., r] to float[..., (r + 1)(r + 2) / 2] with inner products 1 + t + t^2/2."""
    r = x.shape[-1]
    squares = x.square() / math.sqrt(2)
    # half the products of x x^T suffice; slices have slices as gradients
    products = [x[..., s:] * x[..., : r - s] for s in range(1, r)]
    return torch.cat([torch.ones_like(x[..., :1]), x, squares, *products], dim=-1)
