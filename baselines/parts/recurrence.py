"""Linear recurrences with a matrix as state, in chunks: linear attention, RetNet, GLA, Mamba-2.

    S_t = a_t * S_{t-1} + k_t' v_t,    y_t = q_t S_t
    S: float[e, f], a_t: float[e] in (0, 1], one a key channel

A c x c masked product within chunks of c positions, the state between them: O(N (c + e) e) time
(Hua et al. 2022, arXiv 2202.10447; decays as in Yang et al. 2023, arXiv 2312.06635).
"""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.parts.chunks import chunk, unchunk

CHUNK = 64


def linear_sums(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return the recurrence without decay, as v; q, k: float[..., N, e]; v: float[..., N, f]."""
    queries, keys, values = (chunk(part, CHUNK) for part in (q, k, v))
    added = keys.transpose(-2, -1) @ values
    before = added.cumsum(dim=-3) - added
    within = (queries @ keys.transpose(-2, -1)).tril() @ values
    return unchunk(within + queries @ before, q.shape[-2])


def normalised_sums(q: Tensor, k: Tensor, v: Tensor, eps: float = 1e-6) -> Tensor:
    """Return sum (q_i k_j) v_j / sum (q_i k_j) over j <= i; q, k >= 0. See `linear_sums`."""
    sums = linear_sums(q, k, torch.cat([v, torch.ones_like(v[..., :1])], dim=-1))
    return sums[..., :-1] / (sums[..., -1:] + eps)


def decayed_sums(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> Tensor:
    """Return the recurrence with log a_t = log_decay <= 0, float[..., N, f].

    Shapes as in `linear_sums`; log_decay broadcasts to k. A decay is a query's factor times a
    key's, both from the chunk's middle: |log_decay| * c / 2 must stay below 80, or they overflow in
    float32.
    """
    exact = torch.promote_types(log_decay.dtype, torch.float32)
    queries, keys, values, rate = (chunk(part, CHUNK) for part in (q, k, v, log_decay.to(exact)))
    total = rate.cumsum(dim=-2)  # log of the decay from the chunk's start, own position included
    end, middle = total[..., -1:, :], total[..., CHUNK // 2, None, :].detach()
    added = (keys * (end - total).exp()).transpose(-2, -1) @ values
    before = carried(end.exp().transpose(-2, -1), added)
    scores = (queries * (total - middle).exp()) @ (keys * (middle - total).exp()).transpose(-2, -1)
    return unchunk(scores.tril() @ values + (queries * total.exp()) @ before, q.shape[-2])


def gated_sums(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> Tensor:
    """Return the recurrence with one decay a position for all key channels, float[..., N, f].

    Shapes as in `linear_sums`; log_decay: float[..., N], log a_t <= 0, of any size: decays are only
    formed between positions and cannot overflow.
    """
    exact = torch.promote_types(log_decay.dtype, torch.float32)
    rate = log_decay.to(exact).unsqueeze(-1)
    queries, keys, values, rate = (chunk(part, CHUNK) for part in (q, k, v, rate))
    between, since, until = decays(rate)
    scores = (queries @ keys.transpose(-2, -1)).tril() * between
    added = keys.transpose(-2, -1) @ (values * until)
    before = carried(since[..., -1:, :], added)
    return unchunk(scores @ values + (queries * since) @ before, q.shape[-2])


def decays(rate: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return decays within chunks: between positions, from the start (own included), to the end.

    rate: log a_t, float[..., C, c, 1]. Returns float[..., C, c, c] and two of rate's shape.
    """
    total = rate.cumsum(dim=-2)
    # the lower triangle before exp: above it decays would grow
    between = (total - total.transpose(-2, -1)).tril().exp()
    return between, total.exp(), (total[..., -1:, :] - total).exp()


def carried(decay: Tensor, added: Tensor) -> Tensor:
    """Return the state before each of C chunks: S_0 = 0, S_{c+1} = decay_c S_c + added_c.

    decay: float[..., C, e or 1, 1]; added: float[..., C, e, f] -> float[..., C, e, f].
    """
    states = [torch.zeros_like(added[..., 0, :, :])]
    for rate, new in zip(decay.unbind(-3)[:-1], added.unbind(-3)[:-1], strict=True):
        states.append(torch.addcmul(new, rate, states[-1]))
    return torch.stack(states, dim=-3)
