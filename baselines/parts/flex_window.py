"""The sliding window on CUDA: FlexAttention, compiled, over the blocks with something visible.

Dong et al. 2024, FlexAttention, arXiv 2412.05496. It sees the same positions as
`baselines.longformer.window_attention`. A test holds the two together on a CPU, where FlexAttention
has no backward and the chunked path stays.
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
    """Attend from i to j = i - dilation * n, 0 <= n < window, and to j < global_tokens, j <= i.

    q, k, v: float[B, H, N, e] -> float[B, H, N, e].
    """
    mask = block_mask(q.shape[2], window, dilation, global_tokens, q.device)
    mixed: Tensor = compiled()(q, k, v, block_mask=mask)
    return mixed


@functools.cache
def compiled() -> Any:
    """Return FlexAttention as one kernel; uncompiled it writes the N x N scores down."""
    return torch.compile(flex_attention, dynamic=False)


def visible(window: int, dilation: int, global_tokens: int) -> Visible:
    """Return the mask: (batch, head, i, j), integer tensors, to whether i sees j, bool[...]."""

    def mask(batch: Tensor, head: Tensor, i: Tensor, j: Tensor) -> Tensor:
        behind = i - j
        near = (behind < dilation * window) & (behind % dilation == 0)
        return (behind >= 0) & (near | (j < global_tokens))

    return mask


@functools.lru_cache(maxsize=8)
def block_mask(
    length: int, window: int, dilation: int, global_tokens: int, device: torch.device
) -> BlockMask:
    """Return which blocks of BLOCK x BLOCK (query, key) positions hold a visible pair.

    It also says which of them hold no other. O((N / BLOCK)^2) entries, without N x N pairs.
    """
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
    """Return how many key blocks each query block sees, and the key blocks, those first.

    bool[Q, K] -> (int32[1, 1, Q], int32[1, 1, Q, K]).
    """
    order = blocks.int().argsort(dim=-1, descending=True, stable=True)
    return blocks.sum(-1, dtype=torch.int32)[None, None], order.int()[None, None].contiguous()
