"""The fast path of candidate selection on CPU: one fused pass, compiled by numba, over cache-sized blocks of positions.

Per position it scores K candidates, takes the argmax and copies one value row; nothing of size N x K outlives the
forward pass. Backward scores again (cheaper than storing), takes the straight-through softmax gradient, and gathers
instead of scattering, so that every output element is written by one thread in a fixed order: the result is the same
bit for bit whatever the scheduling. Same mathematics as `pointer.select.select_plain`, which tests hold it to. Shapes:
G = B*H groups, N, K, r scoring width, v value width.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numba import njit, prange, set_num_threads
from torch import Tensor

from pointer.noise import POOL_SIZE, pool

TILE = 64  # positions a work item: q, k, v rows of a tile and its window stay in the L2 cache
FASTMATH = {"reassoc", "contract", "arcp", "nsz"}  # lets dot products use vector registers; keeps inf and NaN
_MASK = POOL_SIZE - 1


@njit(inline="always", fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def _dot(a: Any, b: Any) -> Any:
    total = a.dtype.type(0)
    for x in range(a.shape[0]):
        total += a[x] * b[x]
    return total


@njit(inline="always", fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def _add_rows(total: Any, weights: Any, rows: Any, i: Any, offsets: Any, valid: Any) -> None:
    """total += sum of weights[c] * rows[i - offsets[c]], four rows a pass: halves the time of the backward kernel."""
    fours = valid // 4 * 4
    for c in range(0, fours, 4):
        w0, w1, w2, w3 = weights[c], weights[c + 1], weights[c + 2], weights[c + 3]
        r0, r1, r2, r3 = (
            rows[i - offsets[c]],
            rows[i - offsets[c + 1]],
            rows[i - offsets[c + 2]],
            rows[i - offsets[c + 3]],
        )
        for x in range(total.shape[0]):
            total[x] += (w0 * r0[x] + w1 * r1[x]) + (w2 * r2[x] + w3 * r3[x])
    for c in range(fours, valid):
        for x in range(total.shape[0]):
            total[x] += weights[c] * rows[i - offsets[c], x]


@njit(inline="always", fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def _score(
    q: Any, k: Any, offsets: Any, bias: Any, noise_pool: Any, start: Any, noise: Any, i: Any, scores: Any
) -> Any:
    """Fills scores[:valid] for position i; returns (best, valid). Offsets ascend, so the first too far one ends the
    list.
    """
    best, valid, highest = 0, 0, q.dtype.type(-np.inf)
    for c in range(offsets.shape[0]):
        if offsets[c] > i:
            break
        score = _dot(q[i], k[i - offsets[c]]) + bias[c]
        if noise > 0:
            score += noise * noise_pool[(start + i * offsets.shape[0] + c) & _MASK]
        scores[c] = score
        valid = c + 1
        if score > highest:  # strictly: the nearest offset wins a tie
            best, highest = c, score
    return best, valid


@njit(parallel=True, fastmath=FASTMATH, cache=True)  # type: ignore[untyped-decorator]
def _forward(
    q: Any, k: Any, v: Any, offsets: Any, bias: Any, noise_pool: Any, start: Any, noise: Any, out: Any, choice: Any
) -> None:
    blocks = (q.shape[1] + TILE - 1) // TILE
    for item in prange(q.shape[0] * blocks):
        g, first = item // blocks, item % blocks * TILE
        h = g % offsets.shape[0]
        scores = np.empty(offsets.shape[1], q.dtype)
        for i in range(first, min(q.shape[1], first + TILE)):
            best, _ = _score(q[g], k[g], offsets[h], bias[h], noise_pool, start[g], noise, i, scores)
            choice[g, i] = best
            out[g, i] = v[g, i - offsets[h, best]]


@njit(parallel=True, fastmath=FASTMATH, cache=True)  # type: ignore[untyped-decorator]
def _backward_scores(
    q: Any,
    k: Any,
    v: Any,
    offsets: Any,
    bias: Any,
    noise_pool: Any,
    start: Any,
    noise: Any,
    sharpness: Any,
    g_out: Any,
    g_scores: Any,
    g_q: Any,
    g_bias: Any,
) -> None:
    """Gradients to scores [G, N, K], queries [G, N, r] and bias (one row a block [G*blocks, K], summed by the
    caller).
    """
    blocks = (q.shape[1] + TILE - 1) // TILE
    for item in prange(q.shape[0] * blocks):
        g, first = item // blocks, item % blocks * TILE
        h = g % offsets.shape[0]
        p = np.empty(offsets.shape[1], q.dtype)
        for i in range(first, min(q.shape[1], first + TILE)):
            best, valid = _score(q[g], k[g], offsets[h], bias[h], noise_pool, start[g], noise, i, p)
            highest, total, mean = p[best], q.dtype.type(0), q.dtype.type(0)
            for c in range(valid):
                p[c] = math.exp((p[c] - highest) * sharpness)
                total += p[c]
            for c in range(valid):
                p[c] /= total
                g_scores[g, i, c] = _dot(g_out[g, i], v[g, i - offsets[h, c]])
                mean += p[c] * g_scores[g, i, c]
            g_q[g, i] = 0
            for c in range(valid):
                d = p[c] * (g_scores[g, i, c] - mean) * sharpness
                g_scores[g, i, c] = d
                g_bias[item, c] += d
            _add_rows(g_q[g, i], g_scores[g, i], k[g], i, offsets[h], valid)


@njit(parallel=True, fastmath=FASTMATH, cache=True)  # type: ignore[untyped-decorator]
def _backward_sources(q: Any, offsets: Any, choice: Any, g_out: Any, g_scores: Any, g_k: Any, g_v: Any) -> None:
    """Gradients to keys and values: position j looks at every i = j + offset that may have read it."""
    blocks = (q.shape[1] + TILE - 1) // TILE
    for item in prange(q.shape[0] * blocks):
        g, first = item // blocks, item % blocks * TILE
        h = g % offsets.shape[0]
        for j in range(first, min(q.shape[1], first + TILE)):
            g_k[g, j] = 0
            g_v[g, j] = 0
            for c in range(offsets.shape[1]):
                i = j + offsets[h, c]
                if i >= q.shape[1]:
                    break
                for x in range(q.shape[2]):
                    g_k[g, j, x] += g_scores[g, i, c] * q[g, i, x]
                if choice[g, i] == c:
                    for x in range(g_v.shape[2]):
                        g_v[g, j, x] += g_out[g, i, x]


class FusedSelect(torch.autograd.Function):
    """See `pointer.select.select`, whose arguments these are, with B and H folded into G."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        bias: Tensor,
        offsets: Tensor,
        start: Tensor,
        noise: float,
        temperature: float,
    ) -> tuple[Tensor, Tensor]:
        """q, k: float[G, N, r]; v: float[G, N, v]; bias: float[H, K]; offsets: int64[H, K] -> (float[G, N, v], int64[G,
        N]).
        """
        set_num_threads(torch.get_num_threads())
        out, choice = torch.empty_like(v), torch.empty(q.shape[:2], dtype=torch.int64)
        arrays = [t.detach().numpy() for t in (q, k, v, offsets, bias, pool(), start)]
        _forward(*arrays, arrays[0].dtype.type(noise), out.numpy(), choice.numpy())
        ctx.save_for_backward(q, k, v, bias, offsets, start, choice)
        ctx.noise, ctx.sharpness = noise, 1.0 / temperature
        ctx.mark_non_differentiable(choice)
        return out, choice

    @staticmethod
    def backward(ctx: Any, g_out: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        """Straight-through: values get the hard pointer's gradient, scores the softmax's at `temperature`."""
        q, k, v, bias, offsets, start, choice = (t.detach() for t in ctx.saved_tensors)
        set_num_threads(torch.get_num_threads())
        blocks = q.shape[0] * -(-q.shape[1] // TILE)
        g_scores = q.new_zeros(*q.shape[:2], offsets.shape[1])  # candidates before the start stay zero
        g_q, g_k, g_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        g_blocks = bias.new_zeros(blocks, bias.shape[1])
        arrays = [t.numpy() for t in (q, k, v, offsets, bias, pool(), start)]
        g_out_array = g_out.contiguous().numpy()
        scalar = arrays[0].dtype.type  # Python floats would turn the kernel's arithmetic into float64
        _backward_scores(
            *arrays,
            scalar(ctx.noise),
            scalar(ctx.sharpness),
            g_out_array,
            g_scores.numpy(),
            g_q.numpy(),
            g_blocks.numpy(),
        )
        _backward_sources(arrays[0], arrays[3], choice.numpy(), g_out_array, g_scores.numpy(), g_k.numpy(), g_v.numpy())
        g_bias = g_blocks.view(-1, bias.shape[0], blocks // q.shape[0], bias.shape[1]).sum(dim=(0, 2))
        return g_q, g_k, g_v, g_bias, None, None, None, None
