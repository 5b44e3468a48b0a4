"""The fast path of candidate selection on CPU: one fused pass, compiled by numba, over cache-sized blocks of positions.

Per position it scores K candidates, takes the argmax and copies one value row, gated if there is a gate; training keeps
the K scores. Backward takes the straight-through softmax gradient, and gathers instead of scattering, so that every
output element is written by one thread in a fixed order: the result is the same bit for bit whatever the scheduling.
Same mathematics as `pointer.select.select_plain`, which tests hold it to. Shapes: G = B*H groups, N, K candidates, r
scoring width; values lie as float[R, N, S, w] with R*S = G, w value width: S heads side by side, or a row for each.
Kernels index elements and take no slices: a slice costs a reference count that the threads share.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numba import config, njit, prange, set_num_threads
from torch import Tensor

from pointer.noise import POOL_MASK, pool

TILE = 64  # positions a work item: q, k, v rows of a tile and its window stay in the L2 cache
Relaxed = tuple[float, float]
FASTMATH = {"reassoc", "contract", "arcp", "nsz"}  # lets dot products use vector registers; keeps inf and NaN


@njit(inline="always", fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def dot(a: Any, b: Any) -> Any:
    """The dot product of two rows."""
    total = a.dtype.type(0)
    for x in range(a.shape[0]):
        total += a[x] * b[x]
    return total


@njit(inline="always", fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def _dots(found: Any, a: Any, b: Any, row: Any, s: Any, i: Any, offsets: Any, h: Any, valid: Any) -> None:
    """found[c] = a[row, i, s] . b[row, i - offsets[h, c], s], four rows of b a pass: `a` is read once for all."""
    zero, fours = a.dtype.type(0), valid // 4 * 4
    for c in range(0, fours, 4):
        j0, j1, j2, j3 = i - offsets[h, c], i - offsets[h, c + 1], i - offsets[h, c + 2], i - offsets[h, c + 3]
        t0, t1, t2, t3 = zero, zero, zero, zero
        for x in range(a.shape[3]):
            t0 += a[row, i, s, x] * b[row, j0, s, x]
            t1 += a[row, i, s, x] * b[row, j1, s, x]
            t2 += a[row, i, s, x] * b[row, j2, s, x]
            t3 += a[row, i, s, x] * b[row, j3, s, x]
        found[c], found[c + 1], found[c + 2], found[c + 3] = t0, t1, t2, t3
    for c in range(fours, valid):
        total, j = zero, i - offsets[h, c]
        for x in range(a.shape[3]):
            total += a[row, i, s, x] * b[row, j, s, x]
        found[c] = total


@njit(inline="always", fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def _add_rows(total: Any, weights: Any, rows: Any, g: Any, i: Any, sign: Any, offsets: Any, h: Any, valid: Any) -> None:
    """total[g, i] = sum of weights[c] * rows[g, i + sign * offsets[h, c]], four rows a pass: halves the time."""
    fours = valid // 4 * 4
    for x in range(total.shape[3]):
        total[g, i, 0, x] = 0
    for c in range(0, fours, 4):
        w0, w1, w2, w3 = weights[c], weights[c + 1], weights[c + 2], weights[c + 3]
        j0, j1 = i + sign * offsets[h, c], i + sign * offsets[h, c + 1]
        j2, j3 = i + sign * offsets[h, c + 2], i + sign * offsets[h, c + 3]
        for x in range(total.shape[3]):
            total[g, i, 0, x] += (w0 * rows[g, j0, 0, x] + w1 * rows[g, j1, 0, x]) + (
                w2 * rows[g, j2, 0, x] + w3 * rows[g, j3, 0, x]
            )
    for c in range(fours, valid):
        j = i + sign * offsets[h, c]
        for x in range(total.shape[3]):
            total[g, i, 0, x] += weights[c] * rows[g, j, 0, x]


@njit(inline="always", fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def _valid(offsets: Any, h: Any, i: Any) -> Any:
    """How many candidates position i has: offsets ascend from 0, so those that reach before the start are the last."""
    valid = offsets.shape[1]
    while offsets[h, valid - 1] > i:
        valid -= 1
    return valid


@njit(inline="always", fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def _read(out: Any, v: Any, row: Any, s: Any, i: Any, j: Any, gated: Any) -> None:
    """out[row, i, s] = v[row, j, s], or times it where `gated`."""
    if gated:
        for x in range(v.shape[3]):
            out[row, i, s, x] *= v[row, j, s, x]
    else:
        for x in range(v.shape[3]):
            out[row, i, s, x] = v[row, j, s, x]


@njit(parallel=True, fastmath=FASTMATH, cache=True)  # type: ignore[untyped-decorator]
def _forward(
    q: Any,
    k: Any,
    v: Any,
    offsets: Any,
    bias: Any,
    pool: Any,
    start: Any,
    noise: Any,
    gated: Any,
    out: Any,
    choice: Any,
    kept: Any,
) -> None:
    """Fills out, which lies as v does, choice [G, N] and, where `kept` is [G, N, K] and not empty, the scores for
    backward, -inf where a candidate lies before the start. `gated`: out holds gates, to be multiplied by the values.
    """
    blocks = (q.shape[1] + TILE - 1) // TILE
    for item in prange(q.shape[0] * blocks):
        g, first = item // blocks, item % blocks * TILE
        h, row, s = g % offsets.shape[0], g // v.shape[2], g % v.shape[2]
        scores = np.empty(offsets.shape[1], q.dtype)
        for i in range(first, min(q.shape[1], first + TILE)):
            best, highest, valid = 0, q.dtype.type(-np.inf), _valid(offsets, h, i)
            _dots(scores, q, k, g, 0, i, offsets, h, valid)
            for c in range(valid):
                score = scores[c] + bias[h, c]
                if noise > 0:
                    score += noise * pool[(start[g] + i * offsets.shape[1] + c) & POOL_MASK]
                scores[c] = score
                if score > highest:  # strictly: the nearest offset wins a tie
                    best, highest = c, score
            choice[g, i] = best
            _read(out, v, row, s, i, i - offsets[h, best], gated)
            if kept.shape[0]:
                for c in range(valid):
                    kept[g, i, c] = scores[c]
                for c in range(valid, offsets.shape[1]):
                    kept[g, i, c] = -np.inf


@njit(parallel=True, fastmath=FASTMATH, cache=True)  # type: ignore[untyped-decorator]
def _backward_scores(
    k: Any,
    v: Any,
    offsets: Any,
    choice: Any,
    sharpness: Any,
    upstream: Any,
    left: Any,
    channel: Any,
    g_values: Any,
    g_projected: Any,
    g_scores: Any,
    g_q: Any,
    g_bias: Any,
    turned: Any,
) -> None:
    """Gradients to what a position reads with, a tile at a time, so that each is made and used within the cache.

    Where g_projected is not empty, g_values holds the gate: it becomes the gradient of the values, while that of the
    gate's logits goes to columns of g_projected from `left` on. g_scores goes from the softmax to the gradient of the
    scores; that of the bias [G*blocks, K] is a row a block, for the caller to sum. turned [2, R, S, channels, >= N]
    gets those channels of the gradient and of v, from `channel` on, as rows.
    """
    blocks, one = (k.shape[1] + TILE - 1) // TILE, k.dtype.type(1)
    w, channels = np.uint64(v.shape[3]), np.uint64(turned.shape[3])
    for item in prange(k.shape[0] * blocks):
        g, first = item // blocks, item % blocks * TILE
        h, row, s, last = g % offsets.shape[0], g // v.shape[2], g % v.shape[2], min(k.shape[1], first + TILE)
        column = left + np.uint64(s) * w  # unsigned: an index that may be negative would keep loops from vectorising
        slopes, by_offset = np.empty(offsets.shape[1], k.dtype), np.zeros(offsets.shape[1], k.dtype)
        for i in range(first, last):
            if g_projected.shape[0]:
                j = i - offsets[h, choice[g, i]]
                for x in range(w):
                    opened = g_values[row, i, s, x]
                    passed = upstream[row, i, s, x] * opened
                    g_values[row, i, s, x] = passed
                    g_projected[row, i, column + x] = passed * (one - opened) * v[row, j, s, x]
            valid, mean = _valid(offsets, h, i), k.dtype.type(0)
            _dots(slopes, g_values, v, row, s, i, offsets, h, valid)
            for c in range(valid):
                mean += g_scores[g, i, c] * slopes[c]
            for c in range(valid):
                slopes[c] = g_scores[g, i, c] * (slopes[c] - mean) * sharpness
                g_scores[g, i, c] = slopes[c]
                by_offset[c] += slopes[c]
            _add_rows(g_q, slopes, k, g, i, -1, offsets, h, valid)
        for c in range(offsets.shape[1]):
            g_bias[item, c] = by_offset[c]
        for c in range(channels):
            for i in range(first, last):
                turned[0, row, s, c, i] = g_values[row, i, s, channel + c]
                turned[1, row, s, c, i] = v[row, i, s, channel + c]


@njit(parallel=True, fastmath=FASTMATH, cache=True)  # type: ignore[untyped-decorator]
def _backward_sources(q: Any, offsets: Any, choice: Any, g_out: Any, g_scores: Any, g_k: Any, g_v: Any) -> None:
    """Gradients to keys and values: position j looks at every i = j + offset that may have read it."""
    blocks = (q.shape[1] + TILE - 1) // TILE
    for item in prange(q.shape[0] * blocks):
        g, first = item // blocks, item % blocks * TILE
        h, row, s = g % offsets.shape[0], g // g_v.shape[2], g % g_v.shape[2]
        weights = np.empty(offsets.shape[1], q.dtype)
        for j in range(first, min(q.shape[1], first + TILE)):
            readers = _valid(offsets, h, q.shape[1] - 1 - j)
            for x in range(g_v.shape[3]):
                g_v[row, j, s, x] = 0
            for c in range(readers):
                i = j + offsets[h, c]
                weights[c] = g_scores[g, i, c]
                if choice[g, i] == c:
                    for x in range(g_v.shape[3]):
                        g_v[row, j, s, x] += g_out[row, i, s, x]
            _add_rows(g_k, weights, q, g, j, 1, offsets, h, readers)


def share_threads() -> None:
    """Kernels run on as many threads as torch does, where numba has them.

    Numba starts its pool at the first call, and with OpenMP that sets the number for the whole process (omppool.cpp,
    launch_threads): torch gets its own back.
    """
    threads = torch.get_num_threads()
    set_num_threads(min(threads, config.NUMBA_NUM_THREADS))
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def selected(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    offsets: Tensor,
    start: Tensor,
    noise: float,
    gate: Tensor | None,
    *,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The forward pass. q, k: float[G, N, r]; v, gate: float[R, N, S, w]; bias: float[H, K]; offsets: int64[H, K]; all
    contiguous. Returns (values as v lies, in the memory of `gate` if there is one; choice int64[G, N]; scores
    float[G, N, K], empty unless `keep`).
    """
    share_threads()
    out = torch.empty_like(v) if gate is None else gate
    choice = torch.empty(q.shape[:2], dtype=torch.int64)
    scores = q.new_empty(q.shape[0] if keep else 0, q.shape[1], offsets.shape[1])
    given = arrays(q.unsqueeze(2), k.unsqueeze(2), v, offsets, bias, pool(), start)
    _forward(*given, given[0].dtype.type(noise), gate is not None, *arrays(out, choice, scores))
    return out, choice, scores


class Gated(NamedTuple):
    """The gate of a call, and where the backward pass puts the gradient of its logits (_backward_scores)."""

    gate: Tensor  # float[R, N, S, w]; becomes the gradient of the values
    g_projected: Tensor  # float[R, N, columns]
    left: int  # its first column of the gate


def gradients(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    offsets: Tensor,
    choice: Tensor,
    scores: Tensor,
    sharpness: float,
    upstream: Tensor,
    gated: Gated | None = None,
    turned: tuple[Tensor, int] | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The backward pass: gradients of q, k, v and bias for that of the (gated) values, `upstream`, as v lies.

    Straight-through: values get the hard pointer's gradient, scores that of the softmax at temperature 1 / sharpness.
    `turned`: rows float[2, R, S, channels, >= N] to fill, and the first channel that they hold.
    """
    share_threads()
    blocks = q.shape[0] * -(-q.shape[1] // TILE)
    g_scores, g_bias = torch.softmax(scores * sharpness, dim=-1), scores.new_empty(blocks, scores.shape[2])
    g_q, g_k, g_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
    g_values, g_projected, left = gated or (upstream, v.new_empty(0, 0, 0), 0)
    rows, channel = turned or (v.new_empty(2, 0, 0, 0, 0), 0)
    queries, keys, values, passed, slopes = arrays(q.unsqueeze(2), k.unsqueeze(2), v, g_values, g_scores)
    shared, chosen, above = arrays(offsets, choice, upstream)
    scalar = queries.dtype.type  # a Python float would turn the kernel's arithmetic into float64
    given = (keys, values, shared, chosen, scalar(sharpness), above, np.uint64(left), np.uint64(channel), passed)
    _backward_scores(*given, *arrays(g_projected), slopes, *arrays(g_q.unsqueeze(2), g_bias, rows))
    _backward_sources(queries, shared, chosen, passed, slopes, *arrays(g_k.unsqueeze(2), g_v))
    by_head = g_bias.view(-1, offsets.shape[0], blocks // q.shape[0], offsets.shape[1]).sum(dim=(0, 2))
    return g_q, g_k, g_v, by_head


def arrays(*tensors: Tensor) -> list[Any]:
    """Tensors as numpy arrays, which share their memory."""
    return [tensor.detach().numpy() for tensor in tensors]


class FusedSelect(torch.autograd.Function):
    """See `pointer.select.select`, whose arguments these are, with B and H folded into G."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, offsets: Tensor, start: Tensor, relaxed: Relaxed
    ) -> tuple[Tensor, Tensor]:
        """q, k: float[G, N, r]; v: float[G, N, w]; bias: float[H, K]; offsets: int64[H, K]; relaxed: (noise scale,
        temperature). Returns (float[G, N, w], int64[G, N]).
        """
        noise, temperature = relaxed
        keep = any(ctx.needs_input_grad)
        out, choice, scores = selected(q, k, v.unsqueeze(2), bias, offsets, start, noise, None, keep=keep)
        ctx.save_for_backward(q, k, v, offsets, choice, scores)
        ctx.sharpness = 1.0 / temperature
        ctx.mark_non_differentiable(choice)
        return out.squeeze(2), choice

    @staticmethod
    def backward(ctx: Any, g_out: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        """See `gradients`."""
        q, k, v, offsets, choice, scores = ctx.saved_tensors
        upstream = g_out.contiguous().unsqueeze(2)
        g_q, g_k, g_v, g_bias = gradients(q, k, v.unsqueeze(2), offsets, choice, scores, ctx.sharpness, upstream)
        return g_q, g_k, g_v.squeeze(2), g_bias, None, None, None
