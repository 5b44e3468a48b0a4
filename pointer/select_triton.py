"""The fast path of candidate selection on CUDA: `pointer.select_fused`, kernel for kernel, in Triton.

A program owns a block of positions of one group and loops over the candidates. Offsets are shared by all positions, so
a candidate's rows are a slice, read in order, and scores lie candidate by candidate. Backward gathers instead of
scattering: every output element is written by one program in a fixed order, so the result is the same bit for bit each
time. Same mathematics as `pointer.select.select_plain`; tests hold it to `pointer.naive`, on a CPU through Triton's
interpreter. Shapes: G = B*H groups, N length, K candidates, r scoring width, w value width.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from pointer.noise import POOL_MASK, pool

TILE = 4096  # elements of the widest tile of a program: 32 registers a thread, so that several programs share an SM
BLOCK = 64  # positions of a program where rows are narrow
WIDEST = 16384  # the widest row that one program holds at once
Relaxed = tuple[float, float]


@triton.jit  # type: ignore[untyped-decorator]
def _rows(base: tl.tensor, rows: tl.tensor, present: tl.tensor, width: tl.tensor, PAD: tl.constexpr) -> tl.tensor:
    """[BLOCK, PAD] of base [N, width] at `rows`; zero where a row is not `present` and beyond the width."""
    columns = tl.arange(0, PAD)
    mask = present[:, None] & (columns < width)[None, :]
    return tl.load(base + rows[:, None] * width + columns[None, :], mask=mask, other=0.0)


@triton.jit  # type: ignore[untyped-decorator]
def _put_rows(
    base: tl.tensor, rows: tl.tensor, present: tl.tensor, width: tl.tensor, PAD: tl.constexpr, tile: tl.tensor
) -> None:
    """Writes a tile to base [N, width]; undoes `_rows`."""
    columns = tl.arange(0, PAD)
    mask = present[:, None] & (columns < width)[None, :]
    tl.store(base + rows[:, None] * width + columns[None, :], tile, mask=mask)


@triton.jit  # type: ignore[untyped-decorator]
def _forward(
    q: tl.tensor,
    k: tl.tensor,
    v: tl.tensor,
    bias: tl.tensor,
    offsets: tl.tensor,
    pool: tl.tensor,
    start: tl.tensor,
    noise: tl.tensor,
    out: tl.tensor,
    choice: tl.tensor,
    scores: tl.tensor,
    highest: tl.tensor,
    length: tl.tensor,
    heads: tl.tensor,
    candidates: tl.tensor,
    r: tl.tensor,
    w: tl.tensor,
    MASK: tl.constexpr,
    NOISY: tl.constexpr,
    KEEP: tl.constexpr,
    R_PAD: tl.constexpr,
    W_PAD: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Fills out [G, N, w], choice [G, N] and, to KEEP for backward, scores [G, K, N] and the highest [G, N]."""
    blocks = tl.cdiv(length, BLOCK)
    g = (tl.program_id(0) // blocks).to(tl.int64)
    h = g % heads
    rows = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    inside = rows < length
    first_draw = (tl.load(start + g) + rows.to(tl.int64) * candidates) & MASK
    queries = _rows(q + g * length * r, rows, inside, r, R_PAD)
    best = tl.zeros([BLOCK], tl.int64)
    top = tl.full([BLOCK], float("-inf"), scores.dtype.element_ty)
    for c in range(candidates):
        hop = tl.load(offsets + h * candidates + c)
        legal = inside & (rows >= hop)
        keys = _rows(k + g * length * r, rows - hop, legal, r, R_PAD)
        score = tl.sum(queries * keys, axis=1).to(top.dtype) + tl.load(bias + h * candidates + c).to(top.dtype)
        if NOISY:
            score += noise * tl.load(pool + ((first_draw + c) & MASK)).to(top.dtype)
        if KEEP:
            tl.store(scores + (g * candidates + c) * length + rows, score, mask=legal)
        better = legal & (score > top)  # strictly: the nearest offset wins a tie
        best = tl.where(better, c, best)
        top = tl.where(better, score, top)
    tl.store(choice + g * length + rows, best, mask=inside)
    if KEEP:
        tl.store(highest + g * length + rows, top, mask=inside)
    source = rows - tl.load(offsets + h * candidates + best)
    for x in range(0, w, W_PAD):  # narrow columns at a time: all positions' rows at once would not fit the registers
        columns = x + tl.arange(0, W_PAD)
        mask = inside[:, None] & (columns < w)[None, :]
        value = tl.load(v + g * length * w + source[:, None] * w + columns[None, :], mask=mask)
        tl.store(out + g * length * w + rows[:, None] * w + columns[None, :], value, mask=mask)


@triton.jit  # type: ignore[untyped-decorator]
def _backward_gains(
    v: tl.tensor,
    offsets: tl.tensor,
    scores: tl.tensor,
    highest: tl.tensor,
    sharpness: tl.tensor,
    g_out: tl.tensor,
    gains: tl.tensor,
    total: tl.tensor,
    mean: tl.tensor,
    length: tl.tensor,
    heads: tl.tensor,
    candidates: tl.tensor,
    w: tl.tensor,
    W_PAD: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """What each candidate's value would have gained, gains [G, K, N] = g_out . v; the softmax's sum, total [G, N], and
    the gain that it expects, mean [G, N].
    """
    blocks = tl.cdiv(length, BLOCK)
    g = (tl.program_id(0) // blocks).to(tl.int64)
    h = g % heads
    rows = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    inside = rows < length
    upstream = _rows(g_out + g * length * w, rows, inside, w, W_PAD).to(gains.dtype.element_ty)
    top = tl.load(highest + g * length + rows, mask=inside, other=0.0)
    summed = tl.zeros([BLOCK], gains.dtype.element_ty)
    expected = tl.zeros([BLOCK], gains.dtype.element_ty)
    for c in range(candidates):
        hop = tl.load(offsets + h * candidates + c)
        legal = inside & (rows >= hop)
        values = _rows(v + g * length * w, rows - hop, legal, w, W_PAD).to(gains.dtype.element_ty)
        gain = tl.sum(upstream * values, axis=1)
        at = (g * candidates + c) * length + rows
        score = tl.load(scores + at, mask=legal, other=0.0)
        weight = tl.where(legal, tl.exp((score - top) * sharpness), 0.0)
        summed += weight
        expected += weight * gain
        tl.store(gains + at, gain, mask=legal)
    tl.store(total + g * length + rows, summed, mask=inside)
    tl.store(mean + g * length + rows, expected / tl.where(inside, summed, 1.0), mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _slope(
    scores: tl.tensor,
    gains: tl.tensor,
    highest: tl.tensor,
    total: tl.tensor,
    mean: tl.tensor,
    sharpness: tl.tensor,
    rows: tl.tensor,
    legal: tl.tensor,
) -> tl.tensor:
    """The gradient to one candidate's scores at `rows`, zero where it is not legal: p (gain - mean) / temperature."""
    score, gain = tl.load(scores + rows, mask=legal, other=0.0), tl.load(gains + rows, mask=legal, other=0.0)
    top, summed = tl.load(highest + rows, mask=legal, other=0.0), tl.load(total + rows, mask=legal, other=1.0)
    p = tl.exp((score - top) * sharpness) / summed
    return tl.where(legal, p * (gain - tl.load(mean + rows, mask=legal, other=0.0)) * sharpness, 0.0)


@triton.jit  # type: ignore[untyped-decorator]
def _backward_scores(
    q: tl.tensor,
    k: tl.tensor,
    offsets: tl.tensor,
    scores: tl.tensor,
    highest: tl.tensor,
    gains: tl.tensor,
    total: tl.tensor,
    mean: tl.tensor,
    sharpness: tl.tensor,
    g_q: tl.tensor,
    g_k: tl.tensor,
    g_bias: tl.tensor,
    length: tl.tensor,
    heads: tl.tensor,
    candidates: tl.tensor,
    r: tl.tensor,
    R_PAD: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Gradients to queries and keys [G, N, r] and bias [G*blocks, K]: a row a program, for the caller to sum. A key
    looks at every i = j + offset that may have read it.
    """
    blocks = tl.cdiv(length, BLOCK)
    g = (tl.program_id(0) // blocks).to(tl.int64)
    h = g % heads
    rows = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    inside = rows < length
    to_queries = tl.zeros([BLOCK, R_PAD], scores.dtype.element_ty)
    to_keys = tl.zeros([BLOCK, R_PAD], scores.dtype.element_ty)
    for c in range(candidates):
        hop = tl.load(offsets + h * candidates + c)
        own_scores, own_gains = scores + (g * candidates + c) * length, gains + (g * candidates + c) * length
        stats = g * length
        legal = inside & (rows >= hop)
        slope = _slope(own_scores, own_gains, highest + stats, total + stats, mean + stats, sharpness, rows, legal)
        to_queries += slope[:, None] * _rows(k + g * length * r, rows - hop, legal, r, R_PAD)
        tl.store(g_bias + tl.program_id(0).to(tl.int64) * candidates + c, tl.sum(slope, axis=0))
        readers = rows + hop
        legal = readers < length
        slope = _slope(own_scores, own_gains, highest + stats, total + stats, mean + stats, sharpness, readers, legal)
        to_keys += slope[:, None] * _rows(q + g * length * r, readers, legal, r, R_PAD)
    _put_rows(g_q + g * length * r, rows, inside, r, R_PAD, to_queries)
    _put_rows(g_k + g * length * r, rows, inside, r, R_PAD, to_keys)


@triton.jit  # type: ignore[untyped-decorator]
def _backward_values(
    offsets: tl.tensor,
    choice: tl.tensor,
    g_out: tl.tensor,
    g_v: tl.tensor,
    length: tl.tensor,
    heads: tl.tensor,
    candidates: tl.tensor,
    w: tl.tensor,
    W_PAD: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Gradient to values [G, N, w]: position j sums over every i = j + offset that chose it."""
    blocks = tl.cdiv(length, BLOCK)
    g = (tl.program_id(0) // blocks).to(tl.int64)
    h = g % heads
    rows = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    to_values = tl.zeros([BLOCK, W_PAD], g_v.dtype.element_ty)
    for c in range(candidates):
        readers = rows + tl.load(offsets + h * candidates + c)
        chosen = tl.load(choice + g * length + readers, mask=readers < length, other=-1) == c
        if tl.max(chosen.to(tl.int32), axis=0) > 0:  # few candidates are chosen within a block
            to_values += _rows(g_out + g * length * w, readers, chosen, w, W_PAD)
    _put_rows(g_v + g * length * w, rows, rows < length, w, W_PAD, to_values)


class TritonSelect(torch.autograd.Function):
    """See `pointer.select.select`, whose arguments these are, with B and H folded into G."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, offsets: Tensor, start: Tensor, relaxed: Relaxed
    ) -> tuple[Tensor, Tensor]:
        """q, k: float[G, N, r]; v: float[G, N, w]; bias: float[H, K]; offsets: int64[H, K]; start: int64[G]; relaxed:
        (noise scale, temperature), which reach the kernels in float32. Returns (float[G, N, w], int64[G, N]).
        """
        noise, temperature = relaxed
        (groups, length, r), candidates = q.shape, offsets.shape[1]
        keep = any(ctx.needs_input_grad)
        out, choice = torch.empty_like(v), torch.empty(q.shape[:2], dtype=torch.int64, device=q.device)
        scores = q.new_empty(groups, candidates, length if keep else 0, dtype=_accurate(q))
        highest = q.new_empty(groups, length if keep else 0, dtype=_accurate(q))
        sizes = (length, offsets.shape[0], candidates, r, v.shape[2])
        _forward[_grid(groups, length, BLOCK)](
            *(q, k, v, bias, offsets, _pool(q.device), start, noise, out, choice, scores, highest, *sizes),
            MASK=POOL_MASK,
            NOISY=noise > 0,
            KEEP=keep,
            R_PAD=_pad(r),
            W_PAD=min(_pad(v.shape[2]), TILE // BLOCK),
            BLOCK=BLOCK,
        )
        ctx.save_for_backward(q, k, v, offsets, choice, scores, highest)
        ctx.sharpness = 1.0 / temperature
        ctx.reduced = q.is_cuda and torch.is_autocast_enabled("cuda")
        ctx.mark_non_differentiable(choice)
        return out, choice

    @staticmethod
    def backward(ctx: Any, g_out: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        """Straight-through: values get the hard pointer's gradient, scores the softmax's at the temperature.

        Under autocast the products of upstream gradients and values take bfloat16 and add up in float32, as an
        attention's do.
        """
        q, k, v, offsets, choice, scores, highest = ctx.saved_tensors
        (groups, candidates, length), heads, g_out = scores.shape, offsets.shape[0], g_out.contiguous()
        gains, total, mean = torch.empty_like(scores), torch.empty_like(highest), torch.empty_like(highest)
        g_q, g_k, g_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        g_bias = scores.new_empty(_grid(groups, length, BLOCK)[0], candidates)
        sizes, wide = (length, heads, candidates), {"W_PAD": _pad(v.shape[2]), "BLOCK": _block(v.shape[2])}
        values, upstream = (t.bfloat16() if ctx.reduced else t for t in (v, g_out))
        weighed = (scores, highest, ctx.sharpness)
        _backward_gains[_grid(groups, length, wide["BLOCK"])](
            *(values, offsets, *weighed, upstream, gains, total, mean, *sizes, v.shape[2]), **wide
        )
        _backward_scores[_grid(groups, length, BLOCK)](
            *(q, k, offsets, scores, highest, gains, total, mean, ctx.sharpness, g_q, g_k, g_bias, *sizes, q.shape[2]),
            R_PAD=_pad(q.shape[2]),
            BLOCK=BLOCK,
        )
        _backward_values[_grid(groups, length, wide["BLOCK"])](
            *(offsets, choice, g_out, g_v, *sizes, v.shape[2]), **wide
        )
        by_head = g_bias.view(-1, heads, len(g_bias) // groups, candidates).sum(dim=(0, 2))
        return g_q, g_k, g_v, by_head.to(q.dtype), None, None, None


def _accurate(x: Tensor) -> torch.dtype:
    """The type of sums: float32, or x's own where that is wider."""
    return torch.promote_types(x.dtype, torch.float32)


def _pad(width: int) -> int:
    """A tile's columns: the power of two at or above a row's width, at least 16 for a whole load a thread."""
    padded: int = max(16, triton.next_power_of_2(width))
    assert padded <= WIDEST, f"rows of {width} do not fit a program"
    return padded


def _block(width: int) -> int:
    """Positions of a program that holds whole rows of `width`."""
    return max(1, min(BLOCK, TILE // _pad(width)))


def _grid(groups: int, length: int, block: int) -> tuple[int]:
    """One program a block of a group."""
    return (groups * -(-length // block),)


_pools: dict[torch.device, Tensor] = {}


def _pool(device: torch.device) -> Tensor:
    """The noise pool on a device, copied there once."""
    if device not in _pools:
        _pools[device] = pool().to(device)
    return _pools[device]
