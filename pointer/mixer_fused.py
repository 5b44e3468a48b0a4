"""The Pointer block as one function on CPU: projection, selection, gate and credit, forward and backward.

What `pointer.block` and `pointer.select` do step by step, kept to the fewest passes over memory: values are read where
they lie, the gate multiplies as a value is copied, backward writes the gradient of the projection once, and the two
gradients of x meet in a product that adds. Training keeps the projection and the K scores; the gate and the target's
value are computed or read again. Tests hold it to the plain path. Letters as in pointer.select_fused.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pointer.credit import fast_length, gains, slope
from pointer.select_fused import Gated, Relaxed, gradients, selected


class Plan(NamedTuple):
    """What a call does beside its tensors."""

    score_width: int  # r
    start: Tensor  # int64[G], where the noise begins (pointer.noise)
    relaxed: Relaxed  # noise scale, temperature
    channels: slice | None  # of each head's values, which carry the credit; None: no credit in this call


class FusedMixer(torch.autograd.Function):
    """See the module."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        chain: Tensor | None,
        bias: Tensor,
        table: Tensor,
        offsets: Tensor,
        plan: Plan,
    ) -> tuple[Tensor, Tensor]:
        """x: float[B, N, d], contiguous, the values too; weight: float[2*H*r + d, d] or, without a gate, [2*H*r, d],
        gives queries, keys and gate, under autocast in its dtype; chain: float[B, H, N, r], added to the queries; bias:
        float[H, K]; table: float[H, >= N], for the credit; offsets: int64[H, K], ascending from 0. Returns (float[B, N,
        d], choice int64[B, H, N]).
        """
        heads, scored = len(offsets), len(offsets) * plan.score_width
        projected = nn.functional.linear(x, weight)
        query, key, gate = projected.tensor_split((scored, 2 * scored), dim=-1)
        query = query.unflatten(-1, (heads, -1)).transpose(1, 2)
        query = (query if chain is None else query + chain).to(x.dtype) / math.sqrt(plan.score_width)
        key = key.to(x.dtype).unflatten(-1, (heads, -1)).transpose(1, 2)
        q, k = (t.flatten(0, 1).contiguous() for t in (query, key))
        values = x.view(*x.shape[:2], heads, -1)
        opened = torch.sigmoid(gate).to(x.dtype).view_as(values) if gate.shape[-1] else None
        keep = any(ctx.needs_input_grad)
        out, choice, scores = selected(q, k, values, bias, offsets, plan.start, plan.relaxed[0], opened, keep=keep)
        ctx.save_for_backward(q, k, x, weight, projected, offsets, choice, scores, table)
        ctx.plan, ctx.chained = plan, chain is not None
        ctx.mark_non_differentiable(choice)
        return out.view_as(x), choice.view(len(x), heads, -1)

    @staticmethod
    def backward(ctx: Any, g_out: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight, chain, bias and, by credit, table."""
        q, k, x, weight, projected, offsets, choice, scores, table = ctx.saved_tensors
        plan: Plan = ctx.plan
        heads, scored = len(offsets), len(offsets) * plan.score_width
        values = x.view(*x.shape[:2], heads, -1)
        upstream, g_projected = g_out.contiguous().view_as(values), torch.empty_like(projected, dtype=x.dtype)
        gated = turned = g_table = None
        if projected.shape[2] > 2 * scored:
            gate = torch.sigmoid(projected[..., 2 * scored :]).to(x.dtype).view_as(values)
            gated = Gated(gate, g_projected, 2 * scored)
        if plan.channels is not None:
            channels, padded = plan.channels.stop - plan.channels.start, fast_length(2 * x.shape[1] - 1)
            turned = torch.zeros(2, len(x), heads, channels, padded), plan.channels.start
        given = (q, k, values, offsets, choice, scores, 1.0 / plan.relaxed[1], upstream, gated, turned)
        g_q, g_k, g_x, g_bias = gradients(*given)
        if turned is not None:
            g_table = slope(table, gains(turned[0][0], turned[0][1], x.shape[1]))
        g_chain = (g_q / math.sqrt(plan.score_width)).view(len(x), heads, -1, plan.score_width)
        g_projected[..., :scored] = g_chain.transpose(1, 2).flatten(2)
        g_projected[..., scored : 2 * scored] = g_k.view_as(g_chain).transpose(1, 2).flatten(2)
        g_weight = _through_projection(g_projected.to(projected.dtype), x, weight, g_x.view_as(x))
        return g_x.view_as(x), g_weight, g_chain if ctx.chained else None, g_bias, g_table, None, None


def _through_projection(g_projected: Tensor, x: Tensor, weight: Tensor, g_x: Tensor) -> Tensor:
    """Adds to g_x what the projection x W^T passes on, in the dtype that it had; returns the gradient of the weight."""
    rows, given, total = g_projected.flatten(0, 1), x.flatten(0, 1), g_x.flatten(0, 1)
    if rows.dtype == x.dtype:
        torch.addmm(total, rows, weight, out=total)
    else:
        total.add_(rows @ weight.to(rows.dtype))
    return (rows.t() @ given.to(rows.dtype)).to(weight.dtype)
