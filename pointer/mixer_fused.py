"""The Pointer block after its projection as one function on CPU: selection, gate and credit, forward and backward.

What `pointer.block` and `pointer.select` do step by step, kept to the fewest passes over memory: values are read where
they lie, the gate multiplies as a value is copied, and backward writes the gradient of the projection once. Training
keeps the projection and the K scores; the gate and the target's value are computed or read again. Tests hold it to the
plain path. Letters as in pointer.select_fused.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

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
        projected: Tensor,
        x: Tensor,
        chain: Tensor | None,
        bias: Tensor,
        table: Tensor,
        offsets: Tensor,
        plan: Plan,
    ) -> tuple[Tensor, Tensor]:
        """projected: float[B, N, 2*H*r + d] or, without a gate, [B, N, 2*H*r]: queries, keys, gate; x: float[B, N, d],
        the values; chain: float[B, H, N, r], added to the queries; bias: float[H, K]; table: float[H, >= N], for the
        credit; offsets: int64[H, K], ascending from 0. Returns (float[B, N, d], choice int64[B, H, N]).
        """
        heads, scored = len(offsets), len(offsets) * plan.score_width
        query, key, gate = projected.detach().tensor_split((scored, 2 * scored), dim=-1)
        query = query.unflatten(-1, (heads, -1)).transpose(1, 2)
        query = (query if chain is None else query + chain).to(x.dtype) / math.sqrt(plan.score_width)
        key = key.to(x.dtype).unflatten(-1, (heads, -1)).transpose(1, 2)
        q, k = (t.flatten(0, 1).contiguous() for t in (query, key))
        values = x.view(*x.shape[:2], heads, -1)
        opened = torch.sigmoid(gate).to(x.dtype).view_as(values) if gate.shape[-1] else None
        keep = any(ctx.needs_input_grad)
        out, choice, scores = selected(q, k, values, bias, offsets, plan.start, plan.relaxed[0], opened, keep=keep)
        ctx.save_for_backward(q, k, x, projected, offsets, choice, scores, table)
        ctx.plan, ctx.chained = plan, chain is not None
        ctx.mark_non_differentiable(choice)
        return out.view_as(x), choice.view(len(x), heads, -1)

    @staticmethod
    def backward(ctx: Any, g_out: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of projected, x, chain, bias and, by credit, table."""
        q, k, x, projected, offsets, choice, scores, table = ctx.saved_tensors
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
        return (
            g_projected.to(projected.dtype),
            g_x.view_as(x),
            g_chain if ctx.chained else None,
            g_bias,
            g_table,
            None,
            None,
        )
