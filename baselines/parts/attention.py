"""Causal attention by a named kernel on CUDA, or an error: never by a slower one unnoticed.

Dao et al. 2022, FlashAttention, arXiv 2205.14135, in half precision; Rabe and Staats 2021, arXiv
2112.05682, in float32, which the flash kernel does not take. Torch itself would fall back to
writing the N x N scores.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

CUDA_BACKENDS = {
    torch.bfloat16: SDPBackend.FLASH_ATTENTION,
    torch.float16: SDPBackend.FLASH_ATTENTION,
    torch.float32: SDPBackend.EFFICIENT_ATTENTION,
}


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return softmax(q k' / sqrt(e)) v over j <= i; all float[B, H, N, e].

    Raise RuntimeError if the device lacks the kernel that `forced_backend` names.
    """
    backend = forced_backend(q.device.type, computed_in(q))
    if backend is None:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    with sdpa_kernel(backend):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def forced_backend(device: str, dtype: torch.dtype) -> SDPBackend | None:
    """Return the one kernel a device type may use for a dtype, or None: torch chooses."""
    return CUDA_BACKENDS.get(dtype) if device == "cuda" else None


def computed_in(x: Tensor) -> torch.dtype:
    """Return the dtype of products of x float[...]: autocast's if that is on."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
