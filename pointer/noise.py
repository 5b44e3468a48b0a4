"""Gumbel noise from a pool: drawn once, read from a fresh random start in each call.

Drawing K values a position costs more than scoring the candidates (6.1 ms against 2.1 ms a layer at
4096 tokens in a prototype), so every call, batch row and head reads POOL_SIZE fixed draws from its
own random index on.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

POOL_SIZE = 1 << 18  # a power of two: an index wraps with one bit mask
POOL_MASK = POOL_SIZE - 1
POOL_SEED = 20250806


@lru_cache(maxsize=1)
def pool() -> Tensor:
    """Return standard Gumbel draws -log(-log u), float32[POOL_SIZE], the same in every process."""
    generator = torch.Generator().manual_seed(POOL_SEED)
    uniform = torch.rand(POOL_SIZE, generator=generator, dtype=torch.float64)
    return -torch.log(-torch.log(uniform.clamp(1e-12, 1 - 1e-12))).float()


def starts(groups: int) -> Tensor:
    """Draw where each of B*H groups starts to read, int64[groups], from torch's generator."""
    return torch.randint(POOL_SIZE, (groups,))


def gumbel(start: Tensor, length: int, candidates: int) -> Tensor:
    """Return the noise float32[groups, N, K]: (i, c) is pool[(start + i K + c) mod POOL_SIZE]."""
    index = start[:, None] + torch.arange(length * candidates)
    return pool()[index & POOL_MASK].view(len(start), length, candidates)
