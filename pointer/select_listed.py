"""Selection among candidates that differ from position to position: proposals beside the offsets of `pointer.select`.

The fast path is compiled by numba, as there; the plain path gathers C rows of values a position and runs anywhere.
Either way compute and memory are O(N C).
"""

from __future__ import annotations

import torch
from torch import Tensor

from pointer.noise import gumbel, starts
from pointer.select import Noise, straight_through

try:
    from pointer.select_listed_fused import FusedListed
except ImportError:  # numba is optional: the plain path is the same function, slower
    FusedListed = None  # type: ignore[assignment,misc]


def select_listed(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, positions: Tensor, noise: Noise, *, fused: bool = True
) -> tuple[Tensor, Tensor]:
    """Points every position at one of its candidates and reads its value.

    q, k: float[B, H, N, r]; v: float[B, H, N, w]; bias: float[H, C], added to the scores; positions: int64[B, H, N, C],
    -1 for none, at least one a position. Returns (value of the target float[B, H, N, w], target int64[B, H, N]). Of
    equal scores the nearest wins. Gradients are straight-through (Gumbel-Softmax).
    """
    start = starts(q.shape[0] * q.shape[1])
    if fused and FusedListed is not None and noise.hard and q.device.type == "cpu":
        groups = [t.flatten(0, 1).contiguous() for t in (q, k, v)]
        listed, relaxed = positions.flatten(0, 1).contiguous(), (noise.scale, noise.temperature)
        out, choice = FusedListed.apply(*groups, bias.contiguous(), listed, start, relaxed)  # type: ignore[no-untyped-call]
        out, choice = out.view(v.shape), choice.view(q.shape[:3])
    else:
        out, choice = listed_plain(q, k, v, bias, positions, start, noise)
    return out, positions.gather(3, choice.unsqueeze(-1)).squeeze(-1)


def listed_plain(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, positions: Tensor, start: Tensor, noise: Noise
) -> tuple[Tensor, Tensor]:
    """`select_listed` in plain torch. Returns (value, index of the chosen candidate int64[B, H, N])."""
    scores = (rows(k, positions) @ q.unsqueeze(-1)).squeeze(-1) + bias[:, None, :]
    if noise.scale > 0:
        drawn = gumbel(start.cpu(), q.shape[2], positions.shape[3]).view(scores.shape)
        scores = scores + noise.scale * drawn.to(scores)
    scores = scores.masked_fill(positions < 0, -torch.inf)
    nearest = positions.masked_fill(scores < scores.amax(-1, keepdim=True), -1)
    choice = nearest.argmax(-1)
    weights = straight_through(scores, choice, noise)
    return (weights.unsqueeze(-2) @ rows(v, positions)).squeeze(-2), choice


def rows(x: Tensor, positions: Tensor) -> Tensor:
    """x: float[B, H, N, w] at positions int64[B, H, N, C] -> float[B, H, N, C, w]; -1 reads row 0."""
    index = positions.clamp(min=0).flatten(2).unsqueeze(-1).expand(-1, -1, -1, x.shape[3])
    found: Tensor = x.gather(2, index).unflatten(2, positions.shape[2:])
    return found
