"""Candidate selection on a CPU: one fused numba pass over cache-sized blocks of positions.

Forward scores K candidates, takes the argmax and copies one value row, times the gate if there is
one; training keeps the K scores. Backward takes the straight-through softmax gradient and gathers
instead of scattering: one thread writes each output element in a fixed order, so results are
bitwise reproducible. Tests compare it with `select.select_plain`.

Shapes: G = B*H groups, N, K candidates, r score width, w value width; values are float[R, N, S, w],
R*S = G: S heads side by side, or a row each. In kernels g is a group, h its head, (row, s) its
values, i and j positions, c a candidate. Kernels index elements and take no slices, whose reference
counts threads would share.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numba import config, njit, prange, set_num_threads
from torch import Tensor

from pointer.noise import POOL_MASK, pool

TILE = 64  # positions a work item: q, k, v rows of a tile and its window stay in the L2 cache
Relaxed = tuple[float, float]  # noise scale, temperature
FASTMATH = {"reassoc", "contract", "arcp", "nsz"}  # vectorises dot products; keeps inf and NaN
inline = njit(inline="always", fastmath=FASTMATH)
kernel = njit(parallel=True, fastmath=FASTMATH, cache=True)


@inline
def dot(a, b):
    """Return the dot product of two rows."""
    total = a.dtype.type(0)
    for x in range(a.shape[0]):
        total += a[x] * b[x]
    return total


@inline
def _dots(products, a, b, row, s, i, offsets, h, valid):
    """Set products[c] = a[row, i, s] . b[row, i - offsets[h, c], s], four rows of b a pass."""
    zero, fours = a.dtype.type(0), valid // 4 * 4
    for c in range(0, fours, 4):
        j0, j1 = i - offsets[h, c], i - offsets[h, c + 1]
        j2, j3 = i - offsets[h, c + 2], i - offsets[h, c + 3]
        t0, t1, t2, t3 = zero, zero, zero, zero
        for x in range(a.shape[3]):
            t0 += a[row, i, s, x] * b[row, j0, s, x]
            t1 += a[row, i, s, x] * b[row, j1, s, x]
            t2 += a[row, i, s, x] * b[row, j2, s, x]
            t3 += a[row, i, s, x] * b[row, j3, s, x]
        products[c], products[c + 1], products[c + 2], products[c + 3] = t0, t1, t2, t3
    for c in range(fours, valid):
        total, j = zero, i - offsets[h, c]
        for x in range(a.shape[3]):
            total += a[row, i, s, x] * b[row, j, s, x]
        products[c] = total


@inline
def _add_rows(total, weights, rows, g, i, sign, offsets, h, valid):
    """Set total[g, i] = sum of weights[c] * rows[g, i + sign * offsets[h, c]], four rows a pass."""
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


@inline
def _valid(offsets, h, i):
    """Return how many candidates position i has; those that reach before 0 are the last."""
    valid = offsets.shape[1]
    while offsets[h, valid - 1] > i:
        valid -= 1
    return valid


@kernel
def _forward(q, k, v, offsets, bias, pool, start, noise, gated, out, choice, kept):
    """Fill out (laid out as v), choice [G, N] and kept scores [G, N, K], -inf before the start.

    `kept` is empty in inference. `gated`: out holds gates, which multiply the values.
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
            j = i - offsets[h, best]
            for x in range(v.shape[3]):
                value = v[row, j, s, x]
                out[row, i, s, x] = out[row, i, s, x] * value if gated else value
            if kept.shape[0]:
                for c in range(valid):
                    kept[g, i, c] = scores[c]
                for c in range(valid, offsets.shape[1]):
                    kept[g, i, c] = -np.inf


@kernel
def _backward_scores(
    k, v, offsets, choice, sharpness, upstream, gate_column, first_channel,
    g_values, g_projected, g_scores, g_q, g_bias, channel_rows,
):  # fmt: skip
    """Fill the gradients of scores, queries and bias, a tile at a time to stay in the cache.

    With g_projected, g_values holds the gate and becomes the gradient of the values; columns of
    g_projected from `gate_column` on get that of the gate's logits. g_scores holds the softmax and
    becomes the gradient of the scores. g_bias [G*blocks, K] has a row a block, for the caller to
    sum. channel_rows [2, R, S, channels, >= N] gets the values' gradient and v, from
    `first_channel` on.
    """
    blocks, one = (k.shape[1] + TILE - 1) // TILE, k.dtype.type(1)
    # unsigned: an index that may be negative would keep loops from vectorising
    w, channels = np.uint64(v.shape[3]), np.uint64(channel_rows.shape[3])
    for item in prange(k.shape[0] * blocks):
        g, first = item // blocks, item % blocks * TILE
        h, row, s = g % offsets.shape[0], g // v.shape[2], g % v.shape[2]
        last, column = min(k.shape[1], first + TILE), gate_column + np.uint64(s) * w
        slopes, by_offset = np.empty(offsets.shape[1], k.dtype), np.zeros(offsets.shape[1], k.dtype)
        for i in range(first, last):
            if g_projected.shape[0]:
                j = i - offsets[h, choice[g, i]]
                for x in range(w):
                    gate = g_values[row, i, s, x]
                    g_value = upstream[row, i, s, x] * gate
                    g_values[row, i, s, x] = g_value
                    g_projected[row, i, column + x] = g_value * (one - gate) * v[row, j, s, x]
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
                channel_rows[0, row, s, c, i] = g_values[row, i, s, first_channel + c]
                channel_rows[1, row, s, c, i] = v[row, i, s, first_channel + c]


@kernel
def _backward_sources(q, offsets, choice, g_out, g_scores, g_k, g_v):
    """Fill the gradients of keys and values: position j visits every i = j + offset."""
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
    """Run kernels on as many threads as torch has, where numba has them.

    Numba's first call, with OpenMP, sets the number for the whole process (omppool.cpp,
    launch_threads), so torch gets its own back.
    """
    threads = torch.get_num_threads()
    set_num_threads(min(threads, config.NUMBA_NUM_THREADS))
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def selected(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, offsets: Tensor, start: Tensor, noise: float,
    gate: Tensor | None, *, keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Run the forward pass on contiguous tensors.

    q, k: float[G, N, r]; v, gate: float[R, N, S, w]; bias: float[H, K]; offsets: int64[H, K].
    Returns (values as v, written over `gate` if given; choice int64[G, N]; scores float[G, N, K],
    empty unless `keep`).
    """
    share_threads()
    out = torch.empty_like(v) if gate is None else gate
    choice = torch.empty(q.shape[:2], dtype=torch.int64)
    scores = q.new_empty(q.shape[0] if keep else 0, q.shape[1], offsets.shape[1])
    inputs = arrays(q.unsqueeze(2), k.unsqueeze(2), v, offsets, bias, pool(), start)
    scale = inputs[0].dtype.type(noise)
    _forward(*inputs, scale, gate is not None, *arrays(out, choice, scores))
    return out, choice, scores


class Gated(NamedTuple):
    """A call's gate, and where backward puts the gradient of its logits (_backward_scores)."""

    gate: Tensor  # float[R, N, S, w]; becomes the gradient of the values
    g_projected: Tensor  # float[R, N, columns]
    column: int  # the first column of the gate


def gradients(
    q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, choice: Tensor, scores: Tensor,
    sharpness: float, upstream: Tensor, gated: Gated | None = None,
    credit: tuple[Tensor, int] | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Return the straight-through gradients of q, k, v and bias, shapes as in `selected`.

    Values get the hard pointer's, scores the softmax's at temperature 1 / sharpness. upstream: the
    gradient of the (gated) values; credit: float[2, R, S, channels, >= N] to fill, first channel.
    """
    share_threads()
    blocks = q.shape[0] * -(-q.shape[1] // TILE)
    g_scores = torch.softmax(scores * sharpness, dim=-1)
    g_bias = scores.new_empty(blocks, scores.shape[2])
    g_q, g_k, g_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
    gate, g_projected, column = gated or (upstream, v.new_empty(0, 0, 0), 0)
    rows, channel = credit or (v.new_empty(2, 0, 0, 0, 0), 0)
    queries, keys, values = arrays(q.unsqueeze(2), k.unsqueeze(2), v)
    hops, chosen, above, g_values, slopes = arrays(offsets, choice, upstream, gate, g_scores)
    scale = queries.dtype.type(sharpness)  # a Python float would make the kernel's floats 64 bits
    columns = np.uint64(column), np.uint64(channel)
    inputs = (keys, values, hops, chosen, scale, above, *columns)
    outputs = arrays(g_q.unsqueeze(2), g_bias, rows)
    _backward_scores(*inputs, g_values, *arrays(g_projected), slopes, *outputs)
    _backward_sources(queries, hops, chosen, g_values, slopes, *arrays(g_k.unsqueeze(2), g_v))
    by_block = g_bias.view(-1, offsets.shape[0], blocks // q.shape[0], offsets.shape[1])
    return g_q, g_k, g_v, by_block.sum(dim=(0, 2))


def arrays(*tensors: Tensor) -> list[Any]:
    """Return tensors as numpy arrays that share their memory."""
    return [tensor.detach().numpy() for tensor in tensors]


class FusedSelect(torch.autograd.Function):
    """`pointer.select.select` with B and H folded into G."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, offsets: Tensor, start: Tensor,
        relaxed: Relaxed,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Return (float[G, N, w], choice int64[G, N]). See `select`; start: int64[G]."""
        noise, temperature = relaxed
        keep = any(ctx.needs_input_grad)
        values = v.unsqueeze(2)
        out, choice, scores = selected(q, k, values, bias, offsets, start, noise, None, keep=keep)
        ctx.save_for_backward(q, k, v, offsets, choice, scores)
        ctx.sharpness = 1.0 / temperature
        ctx.mark_non_differentiable(choice)
        return out.squeeze(2), choice

    @staticmethod
    def backward(ctx: Any, g_out: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        """See `gradients`."""
        q, k, v, offsets, choice, scores = ctx.saved_tensors
        values, upstream = v.unsqueeze(2), g_out.contiguous().unsqueeze(2)
        arguments = (q, k, values, offsets, choice, scores, ctx.sharpness, upstream)
        g_q, g_k, g_v, g_bias = gradients(*arguments)
        return g_q, g_k, g_v.squeeze(2), g_bias, None, None, None
