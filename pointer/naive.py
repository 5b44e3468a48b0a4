"""The oracle's oracle: selection by loops over batch, head and position, as close to the paper's sentences as code
gets.

Slow on purpose. Tests hold `pointer.select` (plain and fused) and `pointer.dense` to it.
"""

from __future__ import annotations

import torch
from torch import Tensor


def select_naive(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, offsets: Tensor, noise: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """q, k: float[B, H, N, r]; v: float[B, H, N, w]; bias: float[H, K]; offsets: int64[H, K]; noise: float[B, H, N, K],
    added to scores.

    Returns (value of the target float[B, H, N, w], with the straight-through gradient; target int64[B, H, N]).
    """
    batch, heads, length, _ = q.shape
    out, targets = [], torch.empty(batch, heads, length, dtype=torch.int64)
    for b in range(batch):
        for h in range(heads):
            for i in range(length):
                value, target = _point(
                    q[b, h, i], k[b, h], v[b, h], bias[h], offsets[h].tolist(), noise[b, h, i], i, temperature
                )
                out.append(value)
                targets[b, h, i] = target
    return torch.stack(out).view(v.shape), targets


def _point(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, offsets: list[int], noise: Tensor, position: int, temperature: float
) -> tuple[Tensor, int]:
    """One position: q float[r], k float[N, r], v float[N, w] -> (float[w], its target)."""
    legal = [c for c, offset in enumerate(offsets) if offset <= position]
    scores = torch.stack([q @ k[position - offsets[c]] + bias[c] + noise[c] for c in legal])
    best = int(scores.argmax())
    soft = torch.softmax(scores / temperature, dim=0)
    weights = soft - soft.detach()
    weights[best] = weights[best] + 1.0
    value = sum(
        (w * v[position - offsets[c]] for w, c in zip(weights, legal, strict=True)), start=torch.zeros_like(v[0])
    )
    return value, position - offsets[legal[best]]
