"""Does attention need to read everything?

Lu et al. 2025, MoBA: Mixture of Block Attention for Long-Context LLMs, arXiv 2502.13189: each query
reads its own block causally and the top `picks` earlier blocks by q . mean(k), a choice without
gradient; rotary positions. Its top-k counts the own block: `picks` of 2 is its top-k 3. By default
a query sees at most 192 keys, 9.4% of N=2048 and 2.3% of 8192 (the paper: 18.75% of 8192, 4.7% of
32768); up to (picks + 1) block tokens it sees all.
Cost: O(N picks block d) time and O(N picks d) memory for the attention, but every query scores
every block, N^2 d / block: the class is quadratic.
"""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.parts.chunks import chunk, unchunk
from baselines.parts.heads import HeadMixer, at_least
from baselines.parts.mass import attend_with_mass, joined
from baselines.parts.rotary import check_rotary, rotate
from pointer.trunk import LayerShape

TILE = 64  # queries that share a block are attended in tiles of this many


class BlockAttention(HeadMixer):
    """Softmax attention over the own block up to i and over the best earlier blocks."""

    def __init__(self, shape: LayerShape, *, block: int = 64, picks: int = 2) -> None:
        super().__init__(shape)
        check_rotary(shape)
        self.block, self.picks = at_least("block", block, 1), at_least("picks", picks, 0)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Map q, k, v float[B, H, N, e] to float[B, H, N, e]; parts are weighted by mass."""
        q, k = rotate(q) * q.shape[-1] ** -0.5, rotate(k)
        keys, values = chunk(k, self.block), chunk(v, self.block)
        own, own_mass = own_block(q, keys, values)
        picked, valid = pick_blocks(q, keys, self.picks)
        if not valid.numel():
            return own
        far, far_mass = picked_blocks(q, keys, values, picked, valid)
        parts = torch.cat([own.unsqueeze(-2), far], dim=-2)
        return joined(parts, torch.cat([own_mass.unsqueeze(-1), far_mass], dim=-1))


def own_block(q: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Attend causally within blocks: float[B, H, N, e] and log mass float[B, H, N].

    q: float[B, H, N, e]; keys, values: float[B, H, C, block, e].
    """
    block, length = keys.shape[-2], q.shape[-2]
    future = torch.ones(block, block, dtype=torch.bool, device=q.device).triu(1)
    scores = chunk(q, block) @ keys.transpose(-2, -1)
    mixed, mass = attend_with_mass(scores.masked_fill(future, float("-inf")), values)
    return unchunk(mixed, length), mass.flatten(-2)[..., :length]


@torch.no_grad()
def pick_blocks(q: Tensor, keys: Tensor, picks: int) -> tuple[Tensor, Tensor]:
    """Return each query's best earlier blocks int64[B, H, N, P] and which exist, bool[B, H, N, P].

    q: float[B, H, N, e]; keys: float[B, H, C, block, e].
    """
    length, (blocks, block) = q.shape[2], keys.shape[2:4]
    # [B, H, N, C]; only the last block can have a gap, and it is never an earlier one
    gates = q @ keys.mean(dim=-2).transpose(-2, -1)
    own = torch.arange(length, device=q.device) // block
    earlier = torch.arange(blocks, device=q.device) < own[:, None]
    best = gates.masked_fill(~earlier, float("-inf")).topk(min(picks, blocks - 1), dim=-1)
    return best.indices, best.values > float("-inf")


def picked_blocks(
    q: Tensor, keys: Tensor, values: Tensor, picked: Tensor, valid: Tensor
) -> tuple[Tensor, Tensor]:
    """Attend from each query to each block it picked: float[B, H, N, P, e], log mass [B, H, N, P].

    Pairs (query, block) are sorted by block into tiles of queries that share a block, so that
    nothing is gathered per key.
    """
    batch, heads, length, width = q.shape
    blocks, picks = keys.shape[2], picked.shape[-1]
    series = torch.arange(batch * heads, device=q.device).view(batch, heads, 1, 1)
    slot, tile_group = tile_slots((series * blocks + picked).flatten(), batch * heads * blocks)
    pair = torch.arange(len(slot), device=q.device)
    query = pair.new_zeros(len(tile_group) * TILE).scatter(0, slot, pair // picks)
    rows = q.reshape(-1, width).index_select(0, query).unflatten(0, (-1, TILE))
    scores = rows @ keys.flatten(0, 2).index_select(0, tile_group).transpose(-2, -1)
    mixed, mass = attend_with_mass(scores, values.flatten(0, 2).index_select(0, tile_group))
    far = mixed.flatten(0, 1).index_select(0, slot).view(batch, heads, length, picks, width)
    mass = mass.flatten().index_select(0, slot).view_as(valid)
    return far, mass.masked_fill(~valid, float("-inf"))


def tile_slots(group: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Assign pairs to tiles of TILE slots that hold one group each.

    group: int64[pairs], in 0..groups-1. Returns each pair's slot int64[pairs] and each tile's group
    int64[tiles], with one part-filled tile for every group: the work does not depend on the data.
    """
    order = group.argsort(stable=True)
    count = group.new_zeros(groups).scatter_add(0, group, torch.ones_like(group))
    tiles_of = (count + TILE - 1) // TILE
    last_tile = tiles_of.cumsum(0)
    first_slot, first_rank = (last_tile - tiles_of) * TILE, count.cumsum(0) - count
    ordered = group[order]
    rank = torch.arange(len(group), device=group.device) - first_rank[ordered]
    slot = torch.empty_like(group).scatter(0, order, first_slot[ordered] + rank)
    tiles = torch.arange(len(group) // TILE + groups, device=group.device)
    return slot, torch.searchsorted(last_tile, tiles, right=True).clamp(max=groups - 1)
