"""Rotary positions (Su et al. 2021, RoFormer, arXiv 2104.09864), in the half-split layout."""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.parts.heads import head_width
from pointer.errors import InputError
from pointer.trunk import LayerShape

BASE = 10_000.0


def check_rotary(shape: LayerShape) -> None:
    """Raise InputError if a head has an odd number of channels."""
    if head_width(shape) % 2:
        raise InputError.about(
            "channels of a head",
            head_width(shape),
            "an even number",
            "`width` or `heads` of the model",
        )


def rotate(x: Tensor) -> Tensor:
    """Rotate channels n and n + e/2 of position i by i * BASE^(-2n/e); x: float[..., N, e]."""
    length, width = x.shape[-2:]
    exact = torch.promote_types(x.dtype, torch.float32)
    rate = BASE ** (-torch.arange(0, width, 2, device=x.device, dtype=exact) / width)
    angle = torch.arange(length, device=x.device, dtype=exact)[:, None] * rate
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
