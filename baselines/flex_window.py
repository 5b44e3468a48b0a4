"""The sliding window on CUDA: FlexAttention, compiled, over blocks of the N x N square that hold something visible.

Dong et al. 2024, FlexAttention, arXiv 2412.05496. The same positions as `baselines.longformer.window_attention`; a test
holds the two together on a CPU, where FlexAttention has no backward and the chunked path stays.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

BLOCK = 128  # FlexAttention's own block size
Visible = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def flex_window(q: Tensor, k: Tensor, v: Tensor, window: int, dilation: int, global_tokens: int) -> Tensor:
    """Attention of i to j = i - dilation * n, 0 <= n < window, and to j < global_tokens, j <= i.

    q, k, v: float[B, H, N, e] -> float[B, H, N, e].
    """
    mask = block_mask(q.shape[2], window, dilation, global_tokens, q.device)
    mixed: Tensor = compiled()(q, k, v, block_mask=mask)
    return mixed


@functools.cache
def compiled() -> Any:
    """FlexAttention as one kernel: uncompiled it writes the N x N scores down."""
    return torch.compile(flex_attention, dynamic=False)


def visible(window: int, dilation: int, global_tokens: int) -> Visible:
    """The mask as a function of (batch, head, query position, key position), all integer tensors, to a bool tensor."""

    def mask(batch: Tensor, head: Tensor, i: Tensor, j: Tensor) -> Tensor:
        behind = i - j
        near = (behind < dilation * window) & (behind % dilation == 0)
        return (behind >= 0) & (near | (j < global_tokens))

    return mask


@functools.lru_cache(maxsize=8)
def block_mask(length: int, window: int, dilation: int, global_tokens: int, device: torch.device) -> BlockMask:
    """Which blocks of BLOCK x BLOCK (query, key) positions hold a visible pair, and which hold no other: O((N /
    BLOCK)^2) entries, without looking at N x N pairs.
    """
    count = -(-length // BLOCK)
    block = torch.arange(count, device=device)
    apart = BLOCK * (block[:, None] - block)  # positions between the starts of a query and a key block
    reach, key_start = dilation * (window - 1), BLOCK * block
    some = (apart >= 0) & ((apart - (BLOCK - 1) <= reach) | (key_start < global_tokens))
    near = (apart + BLOCK - 1 <= reach) & (dilation == 1)
    full = (apart > 0) & (near | (key_start + BLOCK <= global_tokens))
    return BlockMask.from_kv_blocks(
        *_listed(some & ~full),
        *_listed(full),
        BLOCK_SIZE=BLOCK,
        mask_mod=visible(window, dilation, global_tokens),
        seq_lengths=(length, length),
    )


def _listed(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """bool[Q, K] -> (how many key blocks each query block sees int32[1, 1, Q], their numbers first int32[1, 1, Q,
    K]).
    """
    order = blocks.int().argsort(dim=-1, descending=True, stable=True)
    return blocks.sum(-1, dtype=torch.int32)[None, None], order.int()[None, None].contiguous()
