"""Does a state that corrects itself recall better than one that only adds? DeltaNet.

Yang et al. 2024, Parallelizing Linear Transformers with the Delta Rule over Sequence Length, arXiv
2406.06484:

    S_t = S_{t-1} + k_t' b_t (v_t - k_t S_{t-1}),    y_t = q_t S_t

with unit queries and keys, b_t = sigmoid(w x_t), silu and a causal convolution of 4 taps before. In
chunks by the WY form: a triangular solve within a chunk, a loop over chunks for the state.
Deviations: heads are the trunk's, 32 wide, where the original's are 128 wide, so the state is a
quarter as large; a norm a head without learned scale.
Cost: O(N (c + e) d) time for chunks of c, O(N d) memory.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.parts.chunks import chunk, unchunk
from baselines.parts.convolution import short_convolution
from baselines.parts.heads import HeadMixer, input_projection, merge_heads, split_heads
from pointer.trunk import LayerShape

CHUNK = 64
TAPS = 4


class DeltaNet(HeadMixer):
    """A key-value memory of e x e numbers a head, written by the delta rule."""

    def __init__(self, shape: LayerShape) -> None:
        super().__init__(shape)
        self.taps = nn.Parameter(torch.randn(TAPS, 3 * shape.width) * TAPS**-0.5)
        self.rate = input_projection(shape.width, shape.heads)

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        """Map x float[B, N, d] to (float[B, N, d], carry unchanged)."""
        short = F.silu(short_convolution(self.qkv(x), self.taps))
        q, k, v = (split_heads(part, self.heads) for part in short.chunk(3, dim=-1))
        rate = torch.sigmoid(self.rate(x)).transpose(1, 2).unsqueeze(-1)
        mixed = delta_rule(F.normalize(q, dim=-1), F.normalize(k, dim=-1), v, rate)
        return self.out(merge_heads(F.layer_norm(mixed, mixed.shape[-1:]))), carry


def delta_rule(q: Tensor, k: Tensor, v: Tensor, rate: Tensor) -> Tensor:
    """Return y float[B, H, N, e], computed in float32 at least.

    q, k, v: float[B, H, N, e]; rate: float[B, H, N, 1] in (0, 1).
    """
    exact = torch.promote_types(q.dtype, torch.float32)
    queries, keys, values, rates = (chunk(part.to(exact), CHUNK) for part in (q, k, v, rate))
    with torch.autocast(q.device.type, enabled=False):
        transposed = keys.transpose(-2, -1)
        # strictly lower part: what earlier writes of the chunk left at this key
        system = rates * (keys @ transposed)
        right = torch.cat([rates * values, rates * keys], dim=-1)
        solved = torch.linalg.solve_triangular(system, right, upper=False, unitriangular=True)
        fresh, stale = solved.split([v.shape[-1], k.shape[-1]], dim=-1)
        within = (queries @ transposed).tril()
        by_chunk = (part.unbind(2) for part in (queries, transposed, fresh, stale, within))
        state, outputs = queries.new_zeros(*k.shape[:2], k.shape[-1], v.shape[-1]), []
        for query, key, new, old, seen in zip(*by_chunk, strict=True):
            written = new - old @ state
            outputs.append(query @ state + seen @ written)
            state = state + key @ written
    return unchunk(torch.stack(outputs, dim=2), q.shape[2]).to(q.dtype)
