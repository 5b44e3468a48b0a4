"""Cutting a sequence into chunks, the building block of every linear-time baseline here. No loop over N anywhere."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def chunk(x: Tensor, size: int) -> Tensor:
    """float[..., N, e] -> float[..., C, size, e] with C = ceil(N / size); zeros fill the last chunk."""
    missing = -x.shape[-2] % size
    padded = F.pad(x, (0, 0, 0, missing)) if missing else x
    chunks: Tensor = padded.unflatten(-2, (-1, size))
    return chunks


def unchunk(x: Tensor, length: int) -> Tensor:
    """float[..., C, size, e] -> float[..., N = length, e]; undoes `chunk`."""
    return x.flatten(-3, -2)[..., :length, :]


def with_past(chunks: Tensor, past: int) -> Tensor:
    """float[..., C, c, e] -> float[..., C, (past + 1) c, e]: each chunk after the `past` chunks before it.

    Zeros stand before the first chunk.
    """
    count = chunks.shape[-3]
    padded = F.pad(chunks, (0, 0, 0, 0, past, 0))
    return torch.cat([padded[..., shift : shift + count, :, :] for shift in range(past + 1)], dim=-2)
