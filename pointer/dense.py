"""`pointer-dense`: the formula read literally. Every position scores all j <= i: O(N^2).

The oracle for small N, and the honest answer to what the formula costs. It needs neither
candidates nor credit, because every offset is scored. `select_naive` is the oracle's oracle:
loops, slow on purpose, that tests hold every path of selection to.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pointer.block import Pointed, TableBlock
from pointer.noise import gumbel, starts
from pointer.select import straight_through
from pointer.settings import PointerSettings


class DensePointerMixer(TableBlock):
    """The Pointer block over all earlier positions; settings are `PointerSettings`."""

    Settings = PointerSettings

    def point(
        self, q: Tensor, k: Tensor, v: Tensor, lower: Pointed | None
    ) -> tuple[Tensor, Pointed]:
        """See PointerBlock.point. Scores are float[B, H, N, N]."""
        batch, heads, length, _ = q.shape
        positions = torch.arange(length, device=q.device)
        hops = (positions[:, None] - positions).clamp(min=0)
        scores = q @ k.transpose(2, 3) + self.offset_table[:, hops].to(q.dtype)
        noise = self.selection_noise()
        if noise.scale > 0:
            drawn = gumbel(starts(batch * heads), length, length).view(scores.shape)
            scores = scores + noise.scale * drawn.to(scores)
        future = positions > positions[:, None]
        scores = scores.masked_fill(future, -torch.inf)
        # the last of equal maxima is the nearest position
        targets = length - 1 - scores.flip(-1).argmax(-1)
        return straight_through(scores, targets, noise) @ v, Pointed.at(targets)


def select_naive(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    positions: Tensor,
    noise: Tensor,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """Select by loops over batch, head and position, as the paper's sentences say.

    q, k: float[B, H, N, r]; v: float[B, H, N, w]; bias: float[H, C]; positions: int64[B, H, N, C],
    the candidates of each position, -1 for none; noise: float[B, H, N, C], added to scores. Returns
    (value of the target float[B, H, N, w], with the straight-through gradient; target
    int64[B, H, N]).
    """
    batch, heads, length, _ = q.shape
    values, targets = [], torch.empty(batch, heads, length, dtype=torch.int64)
    for b in range(batch):
        for h in range(heads):
            for i in range(length):
                own = positions[b, h, i].tolist()
                value, target = _point(
                    q[b, h, i], k[b, h], v[b, h], bias[h], own, noise[b, h, i], temperature
                )
                values.append(value)
                targets[b, h, i] = target
    return torch.stack(values).view(v.shape), targets


def _point(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    positions: list[int],
    noise: Tensor,
    temperature: float,
) -> tuple[Tensor, int]:
    """One position: q float[r]; k float[N, r]; v float[N, w] -> (float[w], target)."""
    legal = [c for c, j in enumerate(positions) if j >= 0]
    scores = torch.stack([q @ k[positions[c]] + bias[c] + noise[c] for c in legal])
    tied = [n for n, score in enumerate(scores) if score == scores.max()]
    best = max(tied, key=lambda n: positions[legal[n]])
    soft = torch.softmax(scores / temperature, dim=0)
    weights = soft - soft.detach()
    weights[best] = weights[best] + 1.0
    value = torch.zeros_like(v[0])
    for weight, c in zip(weights, legal, strict=True):
        value = value + weight * v[positions[c]]
    return value, positions[legal[best]]
