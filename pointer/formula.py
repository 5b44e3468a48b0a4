"""`pointer-formula`: the paper's formula as printed (section 2.2), and nothing else.

Every position scores its whole past from the hidden states and the lower layer's pointer: O(N^2)
operations, O(N) memory. Training mixes by a softmax with Gumbel noise, whose temperature falls late
in training; inference takes the argmax. No offset table, optimiser of its own, candidates or
credit; positions are the trunk's learned absolute ones. What the paper leaves open is a setting
(`FormulaSettings`, docs/method.md).

Queries go in chunks, and backward recomputes each chunk's scores with the same noise, so N x N
scores never exist. `point_plainly` is the oracle.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointer.block import PointerBlock
from pointer.noise import POOL_MASK, gumbel, pool, starts
from pointer.select import Noise, straight_through
from pointer.settings import BlockSettings, ranged
from pointer.trunk import LayerShape

CHUNK_SCORES = 2**17  # scores of a chunk of queries, unless it is 64 queries: they fit a cache


@dataclass(frozen=True)
class FormulaSettings(BlockSettings):
    """Settings of `pointer-formula`; the defaults are the plainest reading of the paper."""

    hard: bool = False  # True: straight-through argmax in training
    # Training keeps `temperature` until `cooling_from` of the budget, then falls log-linearly to
    # `coldest` at `cooling_until`.
    coldest: float = ranged(0.1, 1e-3, 100)
    cooling_from: float = ranged(0.5, 0, 1)
    cooling_until: float = ranged(0.9, 1e-6, 1)
    score: Literal["dot", "additive"] = "dot"  # additive: w . tanh(query + key), O(N^2 r) memory
    lower: Literal["hop", "position"] = "hop"  # what of the lower pointer is encoded
    # what the chain reads in training: the noisy target without gradient, or the mean position
    lower_reads: Literal["target", "mean"] = "target"
    own: bool = True  # a position may point at itself


class FormulaMixer(PointerBlock):
    """The Pointer block over all earlier positions; settings are `FormulaSettings`."""

    Settings: type[FormulaSettings] = FormulaSettings

    def __init__(self, shape: LayerShape, settings: FormulaSettings) -> None:
        super().__init__(shape, settings)
        self.settings, self.relaxes = settings, not settings.hard
        self.additive = None
        if settings.score == "additive":
            self.additive = nn.Parameter(torch.ones(settings.score_width))

    def selection_noise(self) -> Noise:
        """Return this call's relaxation; in training the temperature falls as well."""
        s, noise = self.settings, super().selection_noise()
        if not self.training:
            return noise
        span = max(1e-6, s.cooling_until - s.cooling_from)
        cooled = min(1.0, max(0.0, (self.progress - s.cooling_from) / span))
        temperature = s.temperature * (s.coldest / s.temperature) ** cooled
        return Noise(noise.scale, temperature, s.hard)

    def lower_query(self, lower: Any) -> Tensor:
        """Encode the lower layer's pointers float[B, H, N] as float[B, H, N, r]."""
        assert self.chain is not None
        positions = torch.arange(lower.shape[2], device=lower.device)
        known = positions - lower if self.settings.lower == "hop" else lower
        return self.chain.encode(known)

    def by_offset(self) -> Tensor | None:
        """Return scores to add by offset, float[H, length]; the formula has none."""
        return None

    def point(self, q: Tensor, k: Tensor, v: Tensor, lower: Any) -> tuple[Tensor, Tensor]:
        """See PointerBlock.point; pointers are targets int64[B, H, N] or float mean positions."""
        noise, own = self.selection_noise(), self.settings.own
        start = starts(q.shape[0] * q.shape[1]) if noise.scale > 0 else None
        mean = self.training and self.settings.lower_reads == "mean"
        if mean:  # the mean position is one more channel of the values
            positions = torch.arange(v.shape[2], device=v.device, dtype=v.dtype)
            v = torch.cat([v, positions.expand(v.shape[:3]).unsqueeze(-1)], dim=-1)
        table = self.by_offset()
        relaxed = (None if table is None else table.to(q.dtype), noise, start, own)
        if self.additive is None:
            out, targets = Point.apply(q, k, v, *relaxed)  # type: ignore[no-untyped-call]
        else:
            out, targets = point_plainly(q, k, v, *relaxed, self.additive)
        return (out[..., :-1], out[..., -1]) if mean else (out, targets)


class Point(torch.autograd.Function):
    """Softmax mean (or hard choice) of the values of each position's past, by chunks of queries."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, table: Tensor | None,
        noise: Noise, start: Tensor | None, own: bool,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Return (float[B, H, N, w], argmax targets int64[B, H, N]; the farthest wins ties).

        q, k: float[B, H, N, r]; v: float[B, H, N, w]; table: float[H, >= N], added to the scores by
        offset, or None; start: int64[B*H], where each group reads the noise, None without noise.
        """
        with torch.autocast(q.device.type, enabled=False):
            rows = [t.flatten(0, 1) for t in (q, k, v)]
            out, targets = torch.empty_like(rows[2]), rows[0].new_empty(rows[0].shape[:2]).long()
            parts = chunks(rows[0])
            band = None if table is None else band_of(table, parts)
            for first, last in parts:
                scores = chunk_scores(rows[0], rows[1], band, first, last, noise, start, own)
                targets[:, first:last] = scores.argmax(-1)
                if not noise.hard:
                    weights = torch.softmax(scores / noise.temperature, dim=-1)
                    torch.bmm(weights, rows[2][:, :last], out=out[:, first:last])
            if noise.hard:
                index = targets.unsqueeze(-1).expand_as(out)
                torch.gather(rows[2], 1, index, out=out)
        ctx.save_for_backward(q, k, v, table, targets)
        ctx.relaxed = noise, start, own
        ctx.mark_non_differentiable(targets)
        return out.view(v.shape), targets.view(q.shape[:3])

    @staticmethod
    def backward(ctx: Any, g_out: Tensor, _g_targets: Any) -> tuple[Tensor | None, ...]:
        """Return the softmax's gradients; v's are those of a hard choice if `hard`."""
        noise, start, own = ctx.relaxed
        with torch.autocast(g_out.device.type, enabled=False):
            *inputs, table, targets = ctx.saved_tensors
            q, k, v, g = (t.flatten(0, 1) for t in (*inputs, g_out))
            g_q, g_k, g_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
            parts = chunks(q)
            band = None if table is None else band_of(table, parts)
            g_band = None if band is None else torch.zeros_like(band)
            for first, last in parts:
                scores = chunk_scores(q, k, band, first, last, noise, start, own)
                weights = torch.softmax(scores / noise.temperature, dim=-1)
                g_chunk = g[:, first:last]
                slope = torch.bmm(g_chunk, v[:, :last].transpose(1, 2))
                slope -= (slope * weights).sum(-1, keepdim=True)
                slope *= weights / noise.temperature
                torch.bmm(slope, k[:, :last], out=g_q[:, first:last])
                g_k[:, :last].baddbmm_(slope.transpose(1, 2), q[:, first:last])
                if g_band is not None:
                    for of_sequence in slope.unflatten(0, (-1, len(g_band))):
                        of_chunk(g_band, first, last).add_(of_sequence)
                if not noise.hard:
                    g_v[:, :last].baddbmm_(weights.transpose(1, 2), g_chunk)
            if noise.hard:
                g_v.scatter_add_(1, targets.unsqueeze(-1).expand_as(g), g)
            g_table = None
            if g_band is not None:
                g_table = torch.zeros_like(table)
                g_table[:, : q.shape[1]] = sums_by_offset(g_band)[:, : q.shape[1]]
        grads = [g.view_as(t) for g, t in zip((g_q, g_k, g_v), inputs, strict=True)]
        return (*grads, g_table, None, None, None)


def chunks(q: Tensor) -> list[tuple[int, int]]:
    """Return (first, last + 1) of each chunk of queries, of q float[G, N, r]."""
    groups, length, _ = q.shape
    size = max(64, CHUNK_SCORES // (groups * length))
    return [(first, min(first + size, length)) for first in range(0, length, size)]


def chunk_scores(
    q: Tensor, k: Tensor, band: Tensor | None, first: int, last: int,
    noise: Noise, start: Tensor | None, own: bool,
) -> Tensor:  # fmt: skip
    """Return scores float[G, n, last] of queries first to last - 1; band: see `band_of`."""
    scores = torch.bmm(q[:, first:last], k[:, :last].transpose(1, 2))
    if band is not None:
        scores.unflatten(0, (-1, len(band))).add_(of_chunk(band, first, last))
    if start is not None:
        length = q.shape[1]
        for group, begin in enumerate(start.tolist()):
            drawn = noise_rows(begin, first, last, length).to(scores)
            scores[group].add_(drawn[:, :last], alpha=noise.scale)
    positions = torch.arange(first, last, device=q.device)
    future = positions > positions[:, None] if own else positions >= positions[:, None]
    if first == 0:
        future[0, 0] = False  # the first position has nothing else to point at
    scores[:, :, first:].masked_fill_(future, -torch.inf)
    return scores


def band_of(table: Tensor, parts: list[tuple[int, int]]) -> Tensor:
    """Return what the offset table float[H, >= N] adds to a chunk's scores, float[H, n, W].

    n is a chunk's size, W is n times their number. Entry (a, c) has offset W - n + a - c, zero in
    the future, as the last chunk needs it; `of_chunk` returns every chunk's view.
    """
    size, length = parts[0][1], parts[-1][1]
    width = len(parts) * size
    # Read backwards, each query's row is the previous row, shifted by one.
    backwards = F.pad(table[:, :length], (size - 1, width - length)).flip(-1)
    return backwards.unfold(-1, width, 1).contiguous().flip(-2)


def of_chunk(band: Tensor, first: int, last: int) -> Tensor:
    """Return a chunk's view of a band, float[H, last - first, last]."""
    start = band.shape[2] - band.shape[1] - first
    return band[:, : last - first, start : start + last]


def sums_by_offset(band: Tensor) -> Tensor:
    """Sum a band float[H, n, W] over entries of equal offset: float[H, W], offsets 0 to W - 1."""
    # Read backwards, each row is the previous one, shifted: an offset is a column.
    size, width = band.shape[1:]
    moved = F.pad(band.flip(-1), (0, size)).flatten(1)[:, : size * (width + size - 1)]
    return moved.view(-1, size, width + size - 1).sum(1)[:, size - 1 :]


def noise_rows(begin: int, first: int, last: int, length: int) -> Tensor:
    """Return rows first to last - 1 of one group of `gumbel`, float32[n, stride]."""
    # odd: rows of a power of two would repeat where the pool ends
    stride, size = length | 1, (last - first) * (length | 1)
    begin = (begin + first * stride) & POOL_MASK
    return endless_pool(size)[begin : begin + size].view(last - first, stride)


@functools.lru_cache(maxsize=4)
def endless_pool(size: int) -> Tensor:
    """Return the pool, repeated so that `size` draws can start anywhere in it."""
    repeats = 1 + -(-size // len(pool()))
    return pool().repeat(repeats)


def point_plainly(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    table: Tensor | None,
    noise: Noise,
    start: Tensor | None,
    own: bool,
    additive: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute `Point` from all scores float[B, H, N, N] at once; its oracle.

    additive: float[r], weights of a score w . tanh(query + key), which `Point` does not have.
    """
    length = q.shape[2]
    if additive is None:
        scores = q @ k.transpose(2, 3)
    else:
        scores = torch.tanh(q.unsqueeze(3) + k.unsqueeze(2)) @ additive
    positions = torch.arange(length, device=q.device)
    if table is not None:
        scores = scores + table[:, (positions[:, None] - positions).clamp(min=0)]
    if start is not None:
        drawn = gumbel(start, length, length | 1)[..., :length].view(scores.shape)
        scores = scores + noise.scale * drawn.to(scores)
    future = positions > positions[:, None] if own else positions >= positions[:, None]
    future[0, 0] = False
    scores = scores.masked_fill(future, -torch.inf)
    targets = scores.argmax(-1)
    return straight_through(scores, targets, noise) @ v, targets
