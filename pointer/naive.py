"""The oracle's oracle: selection by loops over batch, head and position, as close to the paper's sentences as code
gets.

Slow on purpose. Tests hold `pointer.select` (plain and fused) and `pointer.dense` to it.
"""

from __future__ import annotations

import torch
from torch import Tensor


def select_naive(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, positions: Tensor, noise: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """q, k: float[B, H, N, r]; v: float[B, H, N, w]; bias: float[H, C]; positions: int64[B, H, N, C], the candidates of
    each position, -1 for none; noise: float[B, H, N, C], added to scores.

    Returns (value of the target float[B, H, N, w], with the straight-through gradient; target int64[B, H, N]).
    """
    batch, heads, length, _ = q.shape
    out, targets = [], torch.empty(batch, heads, length, dtype=torch.int64)
    for b in range(batch):
        for h in range(heads):
            for i in range(length):
                value, target = _point(
                    q[b, h, i], k[b, h], v[b, h], bias[h], positions[b, h, i].tolist(), noise[b, h, i], temperature
                )
                out.append(value)
                targets[b, h, i] = target
    return torch.stack(out).view(v.shape), targets


def _point(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, positions: list[int], noise: Tensor, temperature: float
) -> tuple[Tensor, int]:
    """One position: q float[r], k float[N, r], v float[N, w] -> (float[w], its target). The nearest wins a tie."""
    legal = [c for c, j in enumerate(positions) if j >= 0]
    scores = torch.stack([q @ k[positions[c]] + bias[c] + noise[c] for c in legal])
    tied = [n for n, score in enumerate(scores) if score == scores.max()]
    best = max(tied, key=lambda n: positions[legal[n]])
    soft = torch.softmax(scores / temperature, dim=0)
    weights = soft - soft.detach()
    weights[best] = weights[best] + 1.0
    value = sum((w * v[positions[c]] for w, c in zip(weights, legal, strict=True)), start=torch.zeros_like(v[0]))
    return value, positions[legal[best]]
