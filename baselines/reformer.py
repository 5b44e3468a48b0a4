"""Can hashing find what attention would have found? Attention within hash buckets.

Kitaev et al. 2020, Reformer: The Efficient Transformer, arXiv 2001.04451, section 2: one projection
for queries and keys (keys of unit length), buckets by the nearest of random directions, positions
sorted by bucket, rounds joined by the mass of their scores, attention to the own position only
where nothing else is there. Buckets grow in number with N; beyond 64 they are products of several
hashes, as in the authors' code, or hashing alone would cost O(N^2 d / window).
Deviations: a position sees the `window` nearest earlier members of its bucket, not its chunk of the
sorted order, which would shift with future tokens; a key found in several rounds counts in each
(the original subtracts the logarithm of how often); directions are drawn once, so outputs are
deterministic; 4 rounds (the paper trains with up to 8); all layers hash (the authors'
configurations alternate with local ones); no reversible layers.
Cost: O(N log N) for sorting and hashing, O(N window d rounds) time, O(N window H rounds) memory.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.parts.chunks import chunk, unchunk, with_past
from baselines.parts.heads import (
    at_least,
    head_width,
    input_projection,
    merge_heads,
    output_projection,
    split_heads,
)
from baselines.parts.mass import attend_with_mass, joined
from pointer.trunk import LayerShape, Mixer

LARGEST_HALF = 32  # directions of one hash, which with their opposites make twice as many buckets
SELF_SCORE = -1e5  # the original's penalty: a position sees itself only if alone in its bucket


class HashAttention(Mixer):
    """Attention to the nearest earlier positions of the same bucket, over rounds of hashing."""

    directions: Tensor

    def __init__(
        self, shape: LayerShape, *, window: int = 64, rounds: int = 4, hash_seed: int = 0
    ) -> None:
        super().__init__()
        self.heads, self.window = shape.heads, at_least("window", window, 1)
        self.query_key = input_projection(shape.width, shape.width)
        self.value = input_projection(shape.width, shape.width)
        self.out = output_projection(shape)
        # about `window` positions a bucket at full length
        self.halves = hash_halves(max(1, round(shape.length / (2 * window))))
        seed = hash_seed * shape.layers + shape.layer
        generator = torch.Generator(device="cpu").manual_seed(seed)
        size = (at_least("rounds", rounds, 1), shape.heads, head_width(shape), sum(self.halves))
        self.register_buffer("directions", torch.randn(size, generator=generator, device="cpu"))

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        """Map x float[B, N, d] to (float[B, N, d], carry unchanged)."""
        q, v = split_heads(self.query_key(x), self.heads), split_heads(self.value(x), self.heads)
        buckets = self.buckets(q).unbind()
        rounds = [bucket_attention(q, v, bucket, self.window) for bucket in buckets]
        parts = torch.stack([part for part, _ in rounds], dim=-2)
        masses = torch.stack([mass for _, mass in rounds], dim=-1)
        return self.out(merge_heads(joined(parts, masses))), carry

    @torch.no_grad()
    def buckets(self, q: Tensor) -> Tensor:
        """Hash q float[B, H, N, e] to int64[rounds, B, H, N], one digit for each hash."""
        along = q @ self.directions.unsqueeze(1).to(q.dtype)
        bucket = torch.zeros(along.shape[:-1], dtype=torch.int64, device=q.device)
        for half, part in zip(self.halves, along.split(self.halves, dim=-1), strict=True):
            bucket = bucket * (2 * half) + torch.cat([part, -part], dim=-1).argmax(dim=-1)
        return bucket


def hash_halves(half: int) -> list[int]:
    """Return the directions of each hash, O(log N): together at least 2 `half` buckets."""
    if half <= LARGEST_HALF:
        return [half]
    return [LARGEST_HALF, *hash_halves(-(-half // (2 * LARGEST_HALF)))]


def bucket_attention(q: Tensor, v: Tensor, bucket: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Return one round's float[B, H, N, e] and log mass float[B, H, N].

    q, v: float[B, H, N, e]; bucket: int64[B, H, N]. A stable sort by bucket puts the nearest
    earlier members of a position's bucket right before it: a sliding window.
    """
    length, width = q.shape[-2:]
    order = bucket.argsort(dim=-1, stable=True)
    place = order.argsort(dim=-1)
    by_row = order.unsqueeze(-1).expand(-1, -1, -1, width)
    rows, values = q.gather(2, by_row), v.gather(2, by_row)
    size = min(window, length)
    past = -(-window // size)
    keys = with_past(chunk(F.normalize(rows, dim=-1), size), past)
    scores = chunk(rows * width**-0.5, size) @ keys.transpose(-2, -1)
    scores = mask_scores(scores, bucket.gather(2, order), window, size, past)
    mixed, mass = attend_with_mass(scores, with_past(chunk(values, size), past))
    mixed = unchunk(mixed, length).gather(2, place.unsqueeze(-1).expand(-1, -1, -1, width))
    return mixed, mass.flatten(-2)[..., :length].gather(2, place)


def mask_scores(scores: Tensor, ordered: Tensor, window: int, size: int, past: int) -> Tensor:
    """Keep the `window` sorted positions before a query in its bucket, and its own at SELF_SCORE.

    scores, as returned: float[B, H, C, size, (past + 1) size]; ordered: int64[B, H, N], sorted.
    """
    group = chunk(ordered.unsqueeze(-1) + 1, size)  # padding is 0, no bucket's number
    same = group == with_past(group, past).transpose(-2, -1)
    query = torch.arange(size, device=scores.device)[:, None]
    behind = query - torch.arange(-past * size, size, device=scores.device)
    near = (behind > 0) & (behind <= window)
    return scores.masked_fill(~(same & near), float("-inf")).masked_fill(behind == 0, SELF_SCORE)
