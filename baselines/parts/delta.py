"""The delta rule in chunks, for DeltaNet and its gated form, in O(N (c + e) e) time.

    S_t = a_t S_{t-1} + k_t' b_t (v_t - a_t k_t S_{t-1}),    y_t = q_t S_t

A triangular solve, the WY form, within a chunk of c positions (Yang et al. 2024, arXiv 2406.06484;
with decays a_t arXiv 2412.06464), and a loop over chunks for the state.
"""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.parts.chunks import chunk, unchunk
from baselines.parts.recurrence import decays

CHUNK = 64


def delta_rule(
    q: Tensor, k: Tensor, v: Tensor, rate: Tensor, log_decay: Tensor | None = None
) -> Tensor:
    """Return y float[B, H, N, f], computed in float32 at least.

    q, k: float[B, H, N, e]; v: float[B, H, N, f]; rate: float[B, H, N, 1], b_t in (0, 1);
    log_decay: float[B, H, N, 1], log a_t <= 0, None for no decay.
    """
    exact = torch.promote_types(q.dtype, torch.float32)
    queries, keys, values, rates = (chunk(part.to(exact), CHUNK) for part in (q, k, v, rate))
    with torch.autocast(q.device.type, enabled=False):
        kept, to_end = torch.ones_like(rates), torch.ones_like(rates)
        between: Tensor | float = 1.0
        if log_decay is not None:
            between, kept, to_end = decays(chunk(log_decay.to(exact), CHUNK))
        transposed = keys.transpose(-2, -1)
        # strictly lower part: what earlier writes of the chunk left at this key
        system = rates * (keys @ transposed) * between
        right = torch.cat([rates * values, rates * kept * keys], dim=-1)
        solved = torch.linalg.solve_triangular(system, right, upper=False, unitriangular=True)
        fresh, stale = solved.split([v.shape[-1], k.shape[-1]], dim=-1)
        within = (queries @ transposed).tril() * between
        added = (keys * to_end).transpose(-2, -1)
        parts = (queries * kept, added, fresh, stale, within, kept[..., -1:, :])
        by_chunk = (part.unbind(2) for part in parts)
        state, outputs = queries.new_zeros(*k.shape[:2], k.shape[-1], v.shape[-1]), []
        for query, key, new, old, seen, left in zip(*by_chunk, strict=True):
            written = new - old @ state
            outputs.append(query @ state + seen @ written)
            state = left * state + key @ written
    return unchunk(torch.stack(outputs, dim=2), q.shape[2]).to(q.dtype)
