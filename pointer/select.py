"""Selection: each position scores K candidates and points at one (paper section 2.2).

`select` takes candidates that all positions share: candidate c of position i is i - offsets[c].
`select_listed` takes a list for each position. Both run compiled where they can (numba on a CPU;
`select` by Triton on CUDA), else in plain torch, in O(N K) time and memory.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pointer.noise import gumbel, starts

try:
    from pointer.select_fused import FusedSelect
    from pointer.select_listed_fused import FusedListed
except ImportError:  # numba is optional: the plain path is the same function, slower
    FusedSelect = FusedListed = None  # type: ignore[assignment,misc]


@dataclass(frozen=True)
class Noise:
    """How training relaxes selection; the defaults are inference."""

    scale: float = 0.0  # of standard Gumbel noise on the scores
    temperature: float = 1.0  # divides scores in the gradient's softmax
    hard: bool = True  # False: the output is the softmax average, too


def select(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    offsets: Tensor,
    noise: Noise,
    *,
    fused: bool = True,
) -> tuple[Tensor, Tensor]:
    """Point every position at one candidate and return that candidate's value.

    q, k: float[B, H, N, r]; v: float[B, H, N, w]; bias: float[H, K], added to the scores; offsets:
    int64[H, K], ascending from 0. Returns (float[B, H, N, w], index of the chosen candidate
    int64[B, H, N]). Gradients are straight-through (Gumbel-Softmax).
    """
    start = starts(q.shape[0] * q.shape[1])
    kernel = fused_select(q.device.type) if fused and noise.hard else None
    if kernel is None:
        return select_plain(q, k, v, bias, offsets, start, noise)
    groups = [t.flatten(0, 1).contiguous() for t in (q, k, v)]
    relaxed = (noise.scale, noise.temperature)
    start = start.to(q.device, non_blocking=True)
    out, choice = kernel.apply(*groups, bias.contiguous(), offsets.contiguous(), start, relaxed)
    return out.view(v.shape), choice.view(q.shape[:3])


@functools.cache
def fused_select(device: str) -> Any | None:
    """Return the compiled autograd function for a device type, or None without one."""
    if device != "cuda":
        return FusedSelect if device == "cpu" else None
    try:
        from pointer.select_triton import TritonSelect
    except ImportError:  # torch's CUDA build brings Triton on Linux only
        return None
    return TritonSelect


def targets(choice: Tensor, offsets: Tensor) -> Tensor:
    """Map candidate indices int64[B, H, N] to target positions int64[B, H, N]."""
    hop = offsets.unsqueeze(0).expand(choice.shape[0], -1, -1).gather(2, choice)
    return torch.arange(choice.shape[2], device=choice.device) - hop


def select_plain(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, offsets: Tensor, start: Tensor, noise: Noise
) -> tuple[Tensor, Tensor]:
    """Select in plain torch, by shifted slices. See `select`; start: int64[B*H], of the noise."""
    candidates = range(offsets.shape[1])
    by_candidate = [(q * shifted(k, offsets[:, c])).sum(-1) for c in candidates]
    scores = torch.stack(by_candidate, dim=-1) + bias[:, None, :]
    if noise.scale > 0:
        drawn = gumbel(start.cpu(), q.shape[2], offsets.shape[1]).view(scores.shape)
        scores = scores + noise.scale * drawn.to(scores)
    positions = torch.arange(q.shape[2], device=q.device)
    scores = scores.masked_fill(offsets[:, None, :] > positions[:, None], -torch.inf)
    choice = scores.argmax(-1)
    weights = straight_through(scores, choice, noise)
    out = torch.zeros_like(v)
    for c in candidates:
        out = out + weights[..., c : c + 1] * shifted(v, offsets[:, c])
    return out, choice


def straight_through(scores: Tensor, choice: Tensor, noise: Noise) -> Tensor:
    """Map scores float[..., K] to one-hot weights with softmax gradients; softmax if not hard."""
    soft = torch.softmax(scores / noise.temperature, dim=-1)
    if not noise.hard:
        return soft
    return torch.nn.functional.one_hot(choice, scores.shape[-1]).to(soft) + soft - soft.detach()


def shifted(x: Tensor, offset: Tensor) -> Tensor:
    """Return y[:, h, i] = x[:, h, i - offset[h]], 0 before the start; x, y: float[B, H, N, w]."""
    rows = []
    for h, o in enumerate(offset.tolist()):
        moved = torch.zeros_like(x[:, h])
        if o < x.shape[2]:
            moved[:, o:] = x[:, h, : x.shape[2] - o]
        rows.append(moved)
    return torch.stack(rows, dim=1)


def select_listed(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    positions: Tensor,
    noise: Noise,
    *,
    fused: bool = True,
) -> tuple[Tensor, Tensor]:
    """Point every position at one of its own candidates and return that candidate's value.

    As `select`, with bias float[H, C] and positions int64[B, H, N, C], -1 for none, at least one a
    position. Returns (float[B, H, N, w], target position int64[B, H, N]). The nearest wins ties.
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
    """Select in plain torch; return (value, index of the chosen candidate int64[B, H, N])."""
    scores = (gathered(k, positions) @ q.unsqueeze(-1)).squeeze(-1) + bias[:, None, :]
    if noise.scale > 0:
        drawn = gumbel(start.cpu(), q.shape[2], positions.shape[3]).view(scores.shape)
        scores = scores + noise.scale * drawn.to(scores)
    scores = scores.masked_fill(positions < 0, -torch.inf)
    nearest = positions.masked_fill(scores < scores.amax(-1, keepdim=True), -1)
    choice = nearest.argmax(-1)
    weights = straight_through(scores, choice, noise)
    return (weights.unsqueeze(-2) @ gathered(v, positions)).squeeze(-2), choice


def gathered(x: Tensor, positions: Tensor) -> Tensor:
    """Return x float[B, H, N, w] at int64[B, H, N, C], float[B, H, N, C, w]; -1 reads row 0."""
    index = positions.clamp(min=0).flatten(2).unsqueeze(-1).expand(-1, -1, -1, x.shape[3])
    rows: Tensor = x.gather(2, index).unflatten(2, positions.shape[2:])
    return rows


def selection_flops(
    pointers: int,
    candidates: int,
    score_width: int,
    value_width: int,
    *,
    gated: bool,
    softmax: bool,
) -> tuple[int, int]:
    """Return a compiled kernel's (forward, backward) operations for `pointers` = B H N.

    A multiply-add counts as two. Per candidate, forward: score (2r), bias, noise (2), comparison;
    backward: gradient of the weight (2w), Jacobian (5), sum over positions, gradients of query and
    key (4r), and 5 where the kernel takes the softmax. Per channel of the value, backward: one
    addition; with the gate in the kernel, a product forward and 4 for its gradients.
    """
    forward = candidates * (2 * score_width + 4) + value_width * gated
    by_candidate = 2 * value_width + 6 + 4 * score_width + 5 * softmax
    backward = candidates * by_candidate + value_width * (1 + 4 * gated)
    return pointers * forward, pointers * backward
