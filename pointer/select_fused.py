"""The fast path of candidate selection on CPU: one fused pass, compiled by numba, over cache-sized blocks of positions.

Per position it scores K candidates, takes the argmax and copies one value row; training keeps the K scores. Backward
takes the straight-through softmax gradient, and gathers instead of scattering, so that every output element is written
by one thread in a fixed order: the result is the same bit for bit whatever the scheduling. Same mathematics as
`pointer.select.select_plain`, which tests hold it to. Shapes: G = B*H groups, N, K, r scoring width, w value width.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numba import njit, prange, set_num_threads
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
def _valid(offsets: Any, i: Any) -> Any:
    """How many candidates position i has: offsets ascend from 0, so those that reach before the start are the last."""
    valid = offsets.shape[0]
    while offsets[valid - 1] > i:
        valid -= 1
    return valid


@njit(parallel=True, fastmath=FASTMATH, cache=True)  # type: ignore[untyped-decorator]
def _forward(
    q: Any, k: Any, v: Any, offsets: Any, bias: Any, pool: Any, start: Any, noise: Any, out: Any, choice: Any, kept: Any
) -> None:
    """Fills out [G, N, w], choice [G, N] and, where `kept` is [G, N, K] and not empty, the scores for backward."""
    blocks = (q.shape[1] + TILE - 1) // TILE
    for item in prange(q.shape[0] * blocks):
        g, first = item // blocks, item % blocks * TILE
        h = g % offsets.shape[0]
        scores = np.empty(offsets.shape[1], q.dtype)
        for i in range(first, min(q.shape[1], first + TILE)):
            best, highest = 0, q.dtype.type(-np.inf)
            for c in range(_valid(offsets[h], i)):
                score = dot(q[g, i], k[g, i - offsets[h, c]]) + bias[h, c]
                if noise > 0:
                    score += noise * pool[(start[g] + i * offsets.shape[1] + c) & POOL_MASK]
                scores[c] = score
                if score > highest:  # strictly: the nearest offset wins a tie
                    best, highest = c, score
            choice[g, i] = best
            out[g, i] = v[g, i - offsets[h, best]]
            if kept.shape[0]:
                kept[g, i] = scores


@njit(parallel=True, fastmath=FASTMATH, cache=True)  # type: ignore[untyped-decorator]
def _backward_scores(
    k: Any,
    v: Any,
    offsets: Any,
    choice: Any,
    scores: Any,
    sharpness: Any,
    g_out: Any,
    g_scores: Any,
    g_q: Any,
    g_bias: Any,
) -> None:
    """Gradients to scores [G, N, K], queries [G, N, r] and bias [G*blocks, K]: a row a block, for the caller to sum."""
    blocks = (k.shape[1] + TILE - 1) // TILE
    for item in prange(k.shape[0] * blocks):
        g, first = item // blocks, item % blocks * TILE
        h = g % offsets.shape[0]
        p = np.empty(offsets.shape[1], k.dtype)
        for i in range(first, min(k.shape[1], first + TILE)):
            valid, highest = _valid(offsets[h], i), scores[g, i, choice[g, i]]
            total, mean = k.dtype.type(0), k.dtype.type(0)
            for c in range(valid):
                p[c] = math.exp((scores[g, i, c] - highest) * sharpness)
                total += p[c]
            for c in range(valid):
                p[c] /= total
                g_scores[g, i, c] = dot(g_out[g, i], v[g, i - offsets[h, c]])
                mean += p[c] * g_scores[g, i, c]
            for c in range(valid):
                d = p[c] * (g_scores[g, i, c] - mean) * sharpness
                g_scores[g, i, c] = d
                g_bias[item, c] += d
            g_q[g, i] = 0
            _add_rows(g_q[g, i], g_scores[g, i], k[g], i, offsets[h], valid)


@njit(parallel=True, fastmath=FASTMATH, cache=True)  # type: ignore[untyped-decorator]
def _backward_sources(q: Any, offsets: Any, choice: Any, g_out: Any, g_scores: Any, g_k: Any, g_v: Any) -> None:
    """Gradients to keys and values: position j looks at every i = j + offset that may have read it."""
    blocks = (q.shape[1] + TILE - 1) // TILE
    for item in prange(q.shape[0] * blocks):
        g, first = item // blocks, item % blocks * TILE
        h = g % offsets.shape[0]
        weights, ahead = np.empty(offsets.shape[1], q.dtype), -offsets[h]
        for j in range(first, min(q.shape[1], first + TILE)):
            readers = _valid(offsets[h], q.shape[1] - 1 - j)
            g_v[g, j] = 0
            for c in range(readers):
                i = j + offsets[h, c]
                weights[c] = g_scores[g, i, c]
                if choice[g, i] == c:
                    for x in range(g_v.shape[2]):
                        g_v[g, j, x] += g_out[g, i, x]
            g_k[g, j] = 0
            _add_rows(g_k[g, j], weights, q[g], j, ahead, readers)


class FusedSelect(torch.autograd.Function):
    """See `pointer.select.select`, whose arguments these are, with B and H folded into G."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, offsets: Tensor, start: Tensor, relaxed: Relaxed
    ) -> tuple[Tensor, Tensor]:
        """q, k: float[G, N, r]; v: float[G, N, w]; bias: float[H, K]; offsets: int64[H, K]; relaxed: (noise scale,
        temperature). Returns (float[G, N, w], int64[G, N]).
        """
        set_num_threads(torch.get_num_threads())
        noise, temperature = relaxed
        out, choice = torch.empty_like(v), torch.empty(q.shape[:2], dtype=torch.int64)
        scores = q.new_empty(q.shape[0] if any(ctx.needs_input_grad) else 0, q.shape[1], offsets.shape[1])
        arrays = [t.detach().numpy() for t in (q, k, v, offsets, bias, pool(), start)]
        _forward(*arrays, arrays[0].dtype.type(noise), out.numpy(), choice.numpy(), scores.numpy())
        ctx.save_for_backward(q, k, v, offsets, choice, scores)
        ctx.sharpness = 1.0 / temperature
        ctx.mark_non_differentiable(choice)
        return out, choice

    @staticmethod
    def backward(ctx: Any, g_out: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        """Straight-through: values get the hard pointer's gradient, scores the softmax's at the temperature."""
        set_num_threads(torch.get_num_threads())
        q, k, v, offsets, choice, scores = ctx.saved_tensors
        blocks = q.shape[0] * -(-q.shape[1] // TILE)
        g_scores, g_bias = torch.empty_like(scores), scores.new_zeros(blocks, scores.shape[2])
        g_q, g_k, g_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        given = [t.detach().numpy() for t in (q, k, v, offsets, choice, scores, g_out.contiguous())]
        made = [t.numpy() for t in (g_scores, g_q, g_bias, g_k, g_v)]
        scalar = given[0].dtype.type  # a Python float would turn the kernel's arithmetic into float64
        _backward_scores(*given[1:6], scalar(ctx.sharpness), given[6], *made[:3])
        _backward_sources(given[0], given[3], given[4], given[6], made[0], *made[3:])
        by_head = g_bias.view(-1, offsets.shape[0], blocks // q.shape[0], offsets.shape[1]).sum(dim=(0, 2))
        return g_q, g_k, g_v, by_head, None, None, None
