"""The Pointer block as one CPU function: projection, selection, gate and credit.

Computes the steps of `pointer.block` and `pointer.select` in the fewest passes over memory: values
are read in place, the gate multiplies as a value is copied, backward writes the projection's
gradient once and accumulates both gradients of x in one product. Training saves the projection and
the K scores; gate and value are recomputed. Tests compare it with the plain path. Letters as in
pointer.select_fused.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pointer.credit import fast_length, gains, slope
from pointer.select_fused import Gated, Relaxed, gradients, selected


class Plan(NamedTuple):
    """A call's arguments beside its tensors of values and weights."""

    score_width: int  # r
    start: Tensor  # int64[G], where the noise begins (pointer.noise)
    relaxed: Relaxed
    channels: slice | None  # of each head's values, that carry the credit; None: no credit now


class FusedMixer(torch.autograd.Function):
    """`PointerBlock.forward` over shared offsets, hard, with the hidden state as values."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, chain: Tensor | None, bias: Tensor, table: Tensor,
        offsets: Tensor, plan: Plan,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Return (float[B, N, d], choice int64[B, H, N]).

        x: float[B, N, d], contiguous, also the values; weight: float[2*H*r + d, d], or [2*H*r, d]
        without a gate, of queries, keys and gate, under autocast in its dtype; chain:
        float[B, H, N, r], added to queries; bias: float[H, K]; table: float[H, >= N], for the
        credit; offsets: int64[H, K], ascending from 0.
        """
        heads, scored = len(offsets), len(offsets) * plan.score_width
        projected = nn.functional.linear(x, weight)
        query, key, gate = projected.tensor_split((scored, 2 * scored), dim=-1)
        query = query.unflatten(-1, (heads, -1)).transpose(1, 2)
        query = query if chain is None else query + chain
        query = query.to(x.dtype) / math.sqrt(plan.score_width)
        key = key.to(x.dtype).unflatten(-1, (heads, -1)).transpose(1, 2)
        q, k = (t.flatten(0, 1).contiguous() for t in (query, key))
        values = x.view(*x.shape[:2], heads, -1)
        open_gate = _gate(gate, values) if gate.shape[-1] else None
        keep, noise = any(ctx.needs_input_grad), plan.relaxed[0]
        scored_by = (bias, offsets, plan.start, noise)
        out, choice, scores = selected(q, k, values, *scored_by, open_gate, keep=keep)
        ctx.save_for_backward(q, k, x, weight, projected, offsets, choice, scores, table)
        ctx.plan, ctx.chained = plan, chain is not None
        ctx.mark_non_differentiable(choice)
        return out.view_as(x), choice.view(len(x), heads, -1)

    @staticmethod
    def backward(ctx: Any, g_out: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, weight, chain, bias and, by credit, table."""
        q, k, x, weight, projected, offsets, choice, scores, table = ctx.saved_tensors
        plan: Plan = ctx.plan
        heads, scored = len(offsets), len(offsets) * plan.score_width
        values = x.view(*x.shape[:2], heads, -1)
        upstream = g_out.contiguous().view_as(values)
        g_projected = torch.empty_like(projected, dtype=x.dtype)
        gated = credit = g_table = None
        if projected.shape[2] > 2 * scored:
            gated = Gated(_gate(projected[..., 2 * scored :], values), g_projected, 2 * scored)
        if plan.channels is not None:
            channels = plan.channels.stop - plan.channels.start
            padded = fast_length(2 * x.shape[1] - 1)
            rows = torch.zeros(2, len(x), heads, channels, padded)
            credit = rows, plan.channels.start
        sharpness = 1.0 / plan.relaxed[1]
        g_q, g_k, g_x, g_bias = gradients(
            *(q, k, values, offsets, choice, scores, sharpness, upstream, gated, credit)
        )
        if credit is not None:
            g_table = slope(table, gains(credit[0][0], credit[0][1], x.shape[1]))
        g_chain = g_q / math.sqrt(plan.score_width)
        g_chain = g_chain.view(len(x), heads, -1, plan.score_width)
        g_projected[..., :scored] = g_chain.transpose(1, 2).flatten(2)
        g_projected[..., scored : 2 * scored] = g_k.view_as(g_chain).transpose(1, 2).flatten(2)
        g_weight = _through_projection(g_projected.to(projected.dtype), x, weight, g_x.view_as(x))
        own_chain = g_chain if ctx.chained else None
        return g_x.view_as(x), g_weight, own_chain, g_bias, g_table, None, None


def _gate(logits: Tensor, values: Tensor) -> Tensor:
    """Return sigmoid(logits float[B, N, d]) as float[B, N, H, w] in the values' dtype."""
    return torch.sigmoid(logits).to(values.dtype).view_as(values)


def _through_projection(g_projected: Tensor, x: Tensor, weight: Tensor, g_x: Tensor) -> Tensor:
    """Add the gradient that passes through x W^T to g_x; return the weight's gradient."""
    rows, inputs, total = g_projected.flatten(0, 1), x.flatten(0, 1), g_x.flatten(0, 1)
    if rows.dtype == x.dtype:
        torch.addmm(total, rows, weight, out=total)
    else:
        total.add_(rows @ weight.to(rows.dtype))
    return (rows.t() @ inputs.to(rows.dtype)).to(weight.dtype)
