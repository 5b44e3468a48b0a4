"""`pointer.select.select_listed` on a CPU, by numba: `select_fused` over lists of positions.

A counting sort finds the readers of each position, so one thread again writes each output element
in a fixed order. Shapes: G = B*H groups, N, C candidates a position, r score width, w value width.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from pointer.noise import POOL_MASK, pool
from pointer.select_fused import TILE, Relaxed, arrays, dot, kernel, share_threads


@kernel
def _forward(q, k, v, positions, bias, pool, start, noise, out, choice, kept):
    """Fill out [G, N, w], choice [G, N] and, unless empty, `kept` scores [G, N, C] for backward."""
    blocks = (q.shape[1] + TILE - 1) // TILE
    for item in prange(q.shape[0] * blocks):
        g, first = item // blocks, item % blocks * TILE
        h = g % bias.shape[0]
        for i in range(first, min(q.shape[1], first + TILE)):
            best, target, highest = 0, -1, q.dtype.type(-np.inf)
            for c in range(positions.shape[2]):
                j = positions[g, i, c]
                if j < 0:
                    continue
                score = dot(q[g, i], k[g, j]) + bias[h, c]
                if noise > 0:
                    score += noise * pool[(start[g] + i * positions.shape[2] + c) & POOL_MASK]
                if kept.shape[0]:
                    kept[g, i, c] = score
                if score > highest or (score == highest and j > target):  # the nearest wins a tie
                    best, target, highest = c, j, score
            choice[g, i] = best
            out[g, i] = v[g, target]


@kernel
def _backward_scores(k, v, positions, choice, scores, sharpness, g_out, g_scores, g_q, g_bias):
    """Fill the gradients of scores [G, N, C], queries and, a row a block to sum, the bias."""
    blocks = (k.shape[1] + TILE - 1) // TILE
    for item in prange(k.shape[0] * blocks):
        g, first = item // blocks, item % blocks * TILE
        p = np.empty(positions.shape[2], k.dtype)
        for i in range(first, min(k.shape[1], first + TILE)):
            highest = scores[g, i, choice[g, i]]
            total, mean = k.dtype.type(0), k.dtype.type(0)
            for c in range(positions.shape[2]):
                legal = positions[g, i, c] >= 0
                p[c] = math.exp((scores[g, i, c] - highest) * sharpness) if legal else 0
                total += p[c]
            for c in range(positions.shape[2]):
                g_scores[g, i, c] = 0
                if positions[g, i, c] >= 0:
                    g_scores[g, i, c] = dot(g_out[g, i], v[g, positions[g, i, c]])
                    mean += p[c] / total * g_scores[g, i, c]
            g_q[g, i] = 0
            for c in range(positions.shape[2]):
                if positions[g, i, c] >= 0:
                    d = p[c] / total * (g_scores[g, i, c] - mean) * sharpness
                    g_scores[g, i, c] = d
                    g_bias[item, c] += d
                    for x in range(k.shape[2]):
                        g_q[g, i, x] += d * k[g, positions[g, i, c], x]


@njit(parallel=True, cache=True)
def _find_readers(positions, ends, readers):
    """Counting sort: readers[g, ends[g, j] : ends[g, j + 1]] are the entries of j, ascending."""
    for g in prange(positions.shape[0]):
        for i in range(positions.shape[1]):
            for c in range(positions.shape[2]):
                if positions[g, i, c] >= 0:
                    ends[g, positions[g, i, c] + 1] += 1
        for j in range(positions.shape[1]):
            ends[g, j + 1] += ends[g, j]
        filled = ends[g, :-1].copy()
        for i in range(positions.shape[1]):
            for c in range(positions.shape[2]):
                j = positions[g, i, c]
                if j >= 0:
                    readers[g, filled[j]] = i * positions.shape[2] + c
                    filled[j] += 1


@kernel
def _backward_sources(q, ends, readers, choice, g_out, g_scores, g_k, g_v):
    """Fill the gradients of keys and values: position j visits all that may have read it."""
    blocks = (q.shape[1] + TILE - 1) // TILE
    for item in prange(q.shape[0] * blocks):
        g, first = item // blocks, item % blocks * TILE
        for j in range(first, min(q.shape[1], first + TILE)):
            g_k[g, j] = 0
            g_v[g, j] = 0
            for n in range(ends[g, j], ends[g, j + 1]):
                i, c = readers[g, n] // g_scores.shape[2], readers[g, n] % g_scores.shape[2]
                for x in range(g_k.shape[2]):
                    g_k[g, j, x] += g_scores[g, i, c] * q[g, i, x]
                if choice[g, i] == c:
                    for x in range(g_v.shape[2]):
                        g_v[g, j, x] += g_out[g, i, x]


class FusedListed(torch.autograd.Function):
    """`pointer.select.select_listed` with B and H folded into G."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, positions: Tensor, start: Tensor,
        relaxed: Relaxed,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Return (float[G, N, w], choice int64[G, N]). See `select_listed`; start: int64[G]."""
        share_threads()
        noise, temperature = relaxed
        out, choice = torch.empty_like(v), torch.empty(q.shape[:2], dtype=torch.int64)
        kept = q.shape[0] if any(ctx.needs_input_grad) else 0
        scores = q.new_empty(kept, *positions.shape[1:])
        inputs = arrays(q, k, v, positions, bias, pool(), start)
        _forward(*inputs, inputs[0].dtype.type(noise), *arrays(out, choice, scores))
        ctx.save_for_backward(q, k, v, positions, choice, scores)
        ctx.sharpness, ctx.heads = 1.0 / temperature, bias.shape[0]
        ctx.mark_non_differentiable(choice)
        return out, choice

    @staticmethod
    def backward(ctx: Any, g_out: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        """Return the hard pointer's gradient for values, the softmax's for scores."""
        share_threads()
        q, k, v, positions, choice, scores = arrays(*ctx.saved_tensors)
        groups, length, candidates = positions.shape
        blocks = groups * -(-length // TILE)
        g_scores, g_bias = np.empty_like(scores), np.zeros((blocks, candidates), scores.dtype)
        g_q, g_k, g_v = np.empty_like(q), np.empty_like(k), np.empty_like(v)
        upstream, sharpness = g_out.contiguous().numpy(), scores.dtype.type(ctx.sharpness)
        inputs = (k, v, positions, choice, scores, sharpness, upstream)
        _backward_scores(*inputs, g_scores, g_q, g_bias)
        ends = np.zeros((groups, length + 1), np.int64)
        readers = np.empty((groups, length * candidates), np.int64)
        _find_readers(positions, ends, readers)
        _backward_sources(q, ends, readers, choice, upstream, g_scores, g_k, g_v)
        by_block = g_bias.reshape(-1, ctx.heads, blocks // groups, candidates)
        g_all = (g_q, g_k, g_v, by_block.sum(axis=(0, 2)))
        return (*map(torch.from_numpy, g_all), None, None, None)
