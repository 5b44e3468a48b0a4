"""Cut a sequence into chunks, the basis of every linear-time baseline; no loop over N."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def chunk(x: Tensor, size: int) -> Tensor:
    """Map float[..., N, e] to float[..., C = ceil(N / size), size, e], padded with zeros."""
    missing = -x.shape[-2] % size
    padded = F.pad(x, (0, 0, 0, missing)) if missing else x
    chunks: Tensor = padded.unflatten(-2, (-1, size))
    return chunks


def unchunk(x: Tensor, length: int) -> Tensor:
    """Map float[..., C, size, e] to float[..., N = length, e]: undo `chunk`."""
    return x.flatten(-3, -2)[..., :length, :]


def with_past(chunks: Tensor, past: int) -> Tensor:
    """Put `past` chunks or zeros before each: float[..., C, c, e] to [..., C, (past + 1) c, e]."""
    count = chunks.shape[-3]
    padded = F.pad(chunks, (0, 0, 0, 0, past, 0))
    shifts = [padded[..., shift : shift + count, :, :] for shift in range(past + 1)]
    return torch.cat(shifts, dim=-2)
