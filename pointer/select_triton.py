"""Candidate selection on CUDA: `pointer.select_fused`, kernel for kernel, in Triton.

A program owns a block of positions of one group and loops over the candidates. All positions share
the offsets, so a candidate's rows are one slice, and scores lie candidate by candidate. Backward
gathers: one program writes each output element in a fixed order, so results are bitwise
reproducible. Tests compare it, on a CPU by Triton's interpreter, with the loops of
tests/selections.py.

Shapes: G = B*H groups, N length, K candidates, r score width, w value width. In kernels g is a
group, h its head, c a candidate; tensors are pointers to contiguous memory.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from pointer.noise import POOL_MASK, pool

# Elements of a program's widest tile: 32 registers a thread, so that several programs share an SM.
TILE = 4096
BLOCK = 64  # positions of a program where rows are narrow
WIDEST = 16384  # the widest row that one program holds at once
Relaxed = tuple[float, float]  # noise scale, temperature


@triton.jit
def _rows(base, rows, present, width, PAD: tl.constexpr):
    """Load [BLOCK, PAD] of base [N, width] at `rows`, zero beyond the width or if not `present`."""
    columns = tl.arange(0, PAD)
    mask = present[:, None] & (columns < width)[None, :]
    return tl.load(base + rows[:, None] * width + columns[None, :], mask=mask, other=0.0)


@triton.jit
def _put_rows(base, rows, present, width, PAD: tl.constexpr, tile):
    """Store a tile in base [N, width]; the inverse of `_rows`."""
    columns = tl.arange(0, PAD)
    mask = present[:, None] & (columns < width)[None, :]
    tl.store(base + rows[:, None] * width + columns[None, :], tile, mask=mask)


@triton.jit
def _forward(
    q, k, v, bias, offsets, pool, start, noise, out, choice, scores, highest,
    length, heads, candidates, r, w,
    MASK: tl.constexpr, NOISY: tl.constexpr, KEEP: tl.constexpr, R_PAD: tl.constexpr,
    W_PAD: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Fill out [G, N, w], choice [G, N] and, to KEEP, scores [G, K, N] and the highest [G, N]."""
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
        own_bias = tl.load(bias + h * candidates + c).to(top.dtype)
        score = tl.sum(queries * keys, axis=1).to(top.dtype) + own_bias
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
    # Few columns at a time: all positions' rows at once would not fit the registers.
    for x in range(0, w, W_PAD):
        columns = x + tl.arange(0, W_PAD)
        mask = inside[:, None] & (columns < w)[None, :]
        value = tl.load(v + g * length * w + source[:, None] * w + columns[None, :], mask=mask)
        tl.store(out + g * length * w + rows[:, None] * w + columns[None, :], value, mask=mask)


@triton.jit
def _backward_gains(
    v, offsets, scores, highest, sharpness, g_out, gains, total, mean,
    length, heads, candidates, w, W_PAD: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Fill gains [G, K, N] = g_out . v, the softmax's sum total [G, N] and its mean gain [G, N]."""
    blocks = tl.cdiv(length, BLOCK)
    g = (tl.program_id(0) // blocks).to(tl.int64)
    h = g % heads
    rows = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    inside = rows < length
    kind = gains.dtype.element_ty
    upstream = _rows(g_out + g * length * w, rows, inside, w, W_PAD).to(kind)
    top = tl.load(highest + g * length + rows, mask=inside, other=0.0)
    summed = tl.zeros([BLOCK], kind)
    expected = tl.zeros([BLOCK], kind)
    for c in range(candidates):
        hop = tl.load(offsets + h * candidates + c)
        legal = inside & (rows >= hop)
        values = _rows(v + g * length * w, rows - hop, legal, w, W_PAD).to(kind)
        gain = tl.sum(upstream * values, axis=1)
        at = (g * candidates + c) * length + rows
        score = tl.load(scores + at, mask=legal, other=0.0)
        weight = tl.where(legal, tl.exp((score - top) * sharpness), 0.0)
        summed += weight
        expected += weight * gain
        tl.store(gains + at, gain, mask=legal)
    tl.store(total + g * length + rows, summed, mask=inside)
    tl.store(mean + g * length + rows, expected / tl.where(inside, summed, 1.0), mask=inside)


@triton.jit
def _slope(scores, gains, highest, total, mean, sharpness, rows, legal):
    """Return the gradient p (gain - mean) / temperature of one candidate's scores, 0 if illegal."""
    score = tl.load(scores + rows, mask=legal, other=0.0)
    gain = tl.load(gains + rows, mask=legal, other=0.0)
    top = tl.load(highest + rows, mask=legal, other=0.0)
    p = tl.exp((score - top) * sharpness) / tl.load(total + rows, mask=legal, other=1.0)
    expected = tl.load(mean + rows, mask=legal, other=0.0)
    return tl.where(legal, p * (gain - expected) * sharpness, 0.0)


@triton.jit
def _backward_scores(
    q, k, offsets, scores, highest, gains, total, mean, sharpness, g_q, g_k, g_bias,
    length, heads, candidates, r, R_PAD: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Fill the gradients of queries and keys [G, N, r] and of the bias, a row a program to sum."""
    blocks = tl.cdiv(length, BLOCK)
    g = (tl.program_id(0) // blocks).to(tl.int64)
    h = g % heads
    rows = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    inside = rows < length
    tops, totals, means = highest + g * length, total + g * length, mean + g * length
    to_queries = tl.zeros([BLOCK, R_PAD], scores.dtype.element_ty)
    to_keys = tl.zeros([BLOCK, R_PAD], scores.dtype.element_ty)
    for c in range(candidates):
        hop = tl.load(offsets + h * candidates + c)
        by_row = (g * candidates + c) * length
        own_scores, own_gains = scores + by_row, gains + by_row
        legal = inside & (rows >= hop)
        slope = _slope(own_scores, own_gains, tops, totals, means, sharpness, rows, legal)
        to_queries += slope[:, None] * _rows(k + g * length * r, rows - hop, legal, r, R_PAD)
        tl.store(g_bias + tl.program_id(0).to(tl.int64) * candidates + c, tl.sum(slope, axis=0))
        readers = rows + hop
        legal = readers < length
        slope = _slope(own_scores, own_gains, tops, totals, means, sharpness, readers, legal)
        to_keys += slope[:, None] * _rows(q + g * length * r, readers, legal, r, R_PAD)
    _put_rows(g_q + g * length * r, rows, inside, r, R_PAD, to_queries)
    _put_rows(g_k + g * length * r, rows, inside, r, R_PAD, to_keys)


@triton.jit
def _backward_values(
    offsets, choice, g_out, g_v,
    length, heads, candidates, w, W_PAD: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Fill the gradient of values [G, N, w]: j sums over every i = j + offset that chose it."""
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
    """`pointer.select.select` with B and H folded into G."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, offsets: Tensor, start: Tensor,
        relaxed: Relaxed,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Return (float[G, N, w], choice int64[G, N]). See `select`; start: int64[G]."""
        # both reach the kernels in float32
        noise, temperature = relaxed
        (groups, length, r), candidates = q.shape, offsets.shape[1]
        keep = any(ctx.needs_input_grad)
        out = torch.empty_like(v)
        choice = torch.empty(q.shape[:2], dtype=torch.int64, device=q.device)
        kept, sums = length if keep else 0, torch.promote_types(q.dtype, torch.float32)
        scores = q.new_empty(groups, candidates, kept, dtype=sums)
        highest = q.new_empty(groups, kept, dtype=sums)
        inputs = (q, k, v, bias, offsets, _pool(q.device), start, noise)
        sizes = (length, offsets.shape[0], candidates, r, v.shape[2])
        _forward[(groups * triton.cdiv(length, BLOCK),)](
            *(*inputs, out, choice, scores, highest, *sizes),
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
        """Return the hard pointer's gradient for values, the softmax's for scores."""
        q, k, v, offsets, choice, scores, highest = ctx.saved_tensors
        (groups, candidates, length), heads = scores.shape, offsets.shape[0]
        g_out, r, w = g_out.contiguous(), q.shape[2], v.shape[2]
        gains = torch.empty_like(scores)
        total, mean = torch.empty_like(highest), torch.empty_like(highest)
        g_q, g_k, g_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        block = max(1, min(BLOCK, TILE // _pad(w)))  # of a program that holds whole rows of values
        narrow = (groups * triton.cdiv(length, BLOCK),)
        wide, tile = (groups * triton.cdiv(length, block),), {"W_PAD": _pad(w), "BLOCK": block}
        g_bias = scores.new_empty(narrow[0], candidates)
        sizes = (length, heads, candidates)
        # under autocast, products with upstream gradients take bfloat16 and add up in float32
        values, upstream = (t.bfloat16() if ctx.reduced else t for t in (v, g_out))
        inputs = (values, offsets, scores, highest, ctx.sharpness, upstream)
        _backward_gains[wide](*inputs, gains, total, mean, *sizes, w, **tile)
        scored = (q, k, offsets, scores, highest, gains, total, mean, ctx.sharpness)
        padded = {"R_PAD": _pad(r), "BLOCK": BLOCK}
        _backward_scores[narrow](*scored, g_q, g_k, g_bias, *sizes, r, **padded)
        _backward_values[wide](offsets, choice, g_out, g_v, *sizes, w, **tile)
        by_head = g_bias.view(-1, heads, len(g_bias) // groups, candidates).sum(dim=(0, 2))
        return g_q, g_k, g_v, by_head.to(q.dtype), None, None, None


def _pad(width: int) -> int:
    """Return a tile's columns: a power of two >= width, and >= 16 for a whole load a thread."""
    padded: int = max(16, triton.next_power_of_2(width))
    assert padded <= WIDEST, f"rows of {width} do not fit a program"
    return padded


@functools.cache
def _pool(device: torch.device) -> Tensor:
    """Return the noise pool on a device, copied there once."""
    return pool().to(device)
