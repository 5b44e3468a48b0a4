"""The sliding window on CUDA: FlexAttention, compiled, over the blocks with something visible.

Dong et al. 2024, FlexAttention, arXiv 2412.05496, over the positions of
`baselines.longformer.window_attention`. Tests compare the two on a CPU, where FlexAttention has no
backward.
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


def flex_window(
    q: Tensor, k: Tensor, v: Tensor, window: int, dilation: int, global_tokens: int
) -> Tensor:
    """See `baselines.longformer.window_attention`."""
    mask = block_mask(q.shape[2], window, dilation, global_tokens, q.device)
    mixed: Tensor = compiled()(q, k, v, block_mask=mask)
    return mixed


@functools.cache
def compiled() -> Any:
    """Return FlexAttention as one kernel; uncompiled it writes the N x N scores."""
    return torch.compile(flex_attention, dynamic=False)


def visible(window: int, dilation: int, global_tokens: int) -> Visible:
    """Return the mask function: (batch, head, i, j), integer tensors, to bool[...], i sees j."""

    def mask(batch: Tensor, head: Tensor, i: Tensor, j: Tensor) -> Tensor:
        behind = i - j
        near = (behind < dilation * window) & (behind % dilation == 0)
        return (behind >= 0) & (near | (j < global_tokens))

    return mask


@functools.lru_cache(maxsize=8)
def block_mask(
    length: int, window: int, dilation: int, global_tokens: int, device: torch.device
) -> BlockMask:
    """Return the visible and the full BLOCK x BLOCK blocks of (query, key): O((N / BLOCK)^2)."""
    count = -(-length // BLOCK)
    block = torch.arange(count, device=device)
    apart = BLOCK * (block[:, None] - block)  # between the starts of a query and a key block
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
    """Map bool[Q, K] to counts int32[1, 1, Q] and key blocks, seen first, int32[1, 1, Q, K]."""
    order = blocks.int().argsort(dim=-1, descending=True, stable=True)
    return blocks.sum(-1, dtype=torch.int32)[None, None], order.int()[None, None].contiguous()
