"""Selection: each position scores K candidates at shared offsets and points at one of them (paper section 2.2).

`select` is what mixers call; it takes the fused path of the device (numba on a CPU, Triton on CUDA) where that can run
and the plain path elsewhere. Candidate c of position i is j = i - offsets[c]. Every path touches K candidates a
position: compute and memory are O(N K), nothing is N x N.
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
except ImportError:  # numba is optional: the plain path is the same function, slower
    FusedSelect = None  # type: ignore[assignment,misc]


@dataclass(frozen=True)
class Noise:
    """How selection is relaxed in training. `scale` multiplies standard Gumbel noise; `temperature` divides scores in
    the gradient's softmax; `hard=False` also outputs the softmax average instead of one value."""

    scale: float = 0.0
    temperature: float = 1.0
    hard: bool = True


def select(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, offsets: Tensor, noise: Noise, *, fused: bool = True
) -> tuple[Tensor, Tensor]:
    """Points every position at one candidate and reads its value.

    q, k: float[B, H, N, r]; v: float[B, H, N, w]; bias: float[H, K], added to the scores; offsets: int64[H, K],
    ascending, the first one 0. Returns (value of the target float[B, H, N, w], index of the chosen
    candidate int64[B, H, N]). Gradients are
    straight-through (Gumbel-Softmax).
    """
    start = starts(q.shape[0] * q.shape[1])
    kernel = fused_select(q.device.type) if fused and noise.hard else None
    if kernel is None:
        return select_plain(q, k, v, bias, offsets, start, noise)
    groups = [t.flatten(0, 1).contiguous() for t in (q, k, v)]
    relaxed = (noise.scale, noise.temperature)
    there = start.to(q.device, non_blocking=True)
    out, choice = kernel.apply(*groups, bias.contiguous(), offsets.contiguous(), there, relaxed)
    return out.view(v.shape), choice.view(q.shape[:3])


def fused_select(device: str) -> Any | None:
    """The compiled selection of a kind of device (cpu, cuda, mps), an autograd function; None where there is none."""
    if device == "cuda":
        return _triton_select()
    return FusedSelect if device == "cpu" else None


@functools.cache
def _triton_select() -> Any | None:
    try:
        from pointer.select_triton import TritonSelect
    except ImportError:  # torch's CUDA build brings Triton on Linux; elsewhere the plain path must do
        return None
    return TritonSelect


def targets(choice: Tensor, offsets: Tensor) -> Tensor:
    """Candidate index int64[B, H, N] -> target position int64[B, H, N]."""
    hop = offsets.unsqueeze(0).expand(choice.shape[0], -1, -1).gather(2, choice)
    return torch.arange(choice.shape[2], device=choice.device) - hop


def select_plain(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, offsets: Tensor, start: Tensor, noise: Noise
) -> tuple[Tensor, Tensor]:
    """`select` in plain torch: shifted slices, one candidate at a time. Returns (value, candidate index int64[B, H,
    N]).
    """
    scores = (
        torch.stack([(q * shifted(k, offsets[:, c])).sum(-1) for c in range(offsets.shape[1])], dim=-1)
        + bias[:, None, :]
    )
    if noise.scale > 0:
        drawn = gumbel(start.cpu(), q.shape[2], offsets.shape[1]).view(scores.shape)
        scores = scores + noise.scale * drawn.to(scores)
    positions = torch.arange(q.shape[2], device=q.device)
    scores = scores.masked_fill(offsets[:, None, :] > positions[:, None], -torch.inf)
    choice = scores.argmax(-1)
    weights = straight_through(scores, choice, noise)
    out = sum(
        (weights[..., c : c + 1] * shifted(v, offsets[:, c]) for c in range(offsets.shape[1])),
        start=torch.zeros_like(v),
    )
    return out, choice


def straight_through(scores: Tensor, choice: Tensor, noise: Noise) -> Tensor:
    """Weights float[..., K] of the candidates with scores float[..., K]: one-hot at choice int64[...] with the gradient
    of the softmax, or the softmax itself where selection is soft.
    """
    soft = torch.softmax(scores / noise.temperature, dim=-1)
    hard = torch.nn.functional.one_hot(choice, scores.shape[-1]).to(soft) + soft - soft.detach()
    return hard if noise.hard else soft


def shifted(x: Tensor, offset: Tensor) -> Tensor:
    """x: float[B, H, N, w] moved down the sequence by offset int64[H]: y[:, h, i] = x[:, h, i - offset[h]], zero before
    the start.
    """
    rows = []
    for h, o in enumerate(offset.tolist()):
        moved = torch.zeros_like(x[:, h])
        if o < x.shape[2]:
            moved[:, o:] = x[:, h, : x.shape[2] - o]
        rows.append(moved)
    return torch.stack(rows, dim=1)


def selection_flops(
    pointers: int, candidates: int, score_width: int, value_width: int, *, gated: bool, softmax: bool
) -> tuple[int, int]:
    """Operations of a compiled kernel for `pointers` = B H N: (forward, backward), a multiply-add counted as two.

    A candidate, forward: score (2r), bias, noise (2), comparison; backward: gradient of the weight (2w), Jacobian (5),
    sum over positions, gradients of query and key (4r), and 5 where the kernel, not torch, takes the softmax. A value's
    channel, backward: one addition; where the kernel also gates it: a product forward, and 4 for the gradients.
    """
    forward = candidates * (2 * score_width + 4) + value_width * gated
    backward = candidates * (2 * value_width + 6 + 4 * score_width + 5 * softmax) + value_width * (1 + 4 * gated)
    return pointers * forward, pointers * backward
