"""What does a sliding window reach at truly linear cost? The paper's sparse baseline.

Beltagy et al. 2020, Longformer, arXiv 2004.05150, section 3.1, in the causal form of its section 4:
position i sees i, i - s, ..., i - (w - 1) s with window w and the head's dilation s, and the first
g positions as global tokens. Without dilation its reach is layers x (w - 1) tokens back, 1,530 by
default.
Deviation: global tokens share the projections of the others (the original has a second set).
Cost: O(N w d) time, O(N w) memory: chunks of queries against the keys of their own and preceding
chunks; on CUDA one compiled kernel over the same positions (baselines.parts.flex_window).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.parts.attention import causal_attention
from baselines.parts.chunks import chunk, with_past
from baselines.parts.flex_window import flex_window
from baselines.parts.heads import HeadMixer, at_least, whole_numbers
from pointer.trunk import LayerShape

LARGEST_CHUNK = 128  # queries; keys are w + chunk long: shorter chunks waste less and copy more


class SlidingWindowAttention(HeadMixer):
    """Causal attention to a window, with optional dilation per head and global first positions."""

    def __init__(
        self,
        shape: LayerShape,
        *,
        window: int = 256,
        windows: str | int = "",
        dilations: str | int = 1,
        global_tokens: int = 0,
    ) -> None:
        """Build a layer; `windows`, if given, replaces `window`.

        `windows` (by layer) and `dilations` (by head): a number for all, or text like "64,128".
        """
        super().__init__(shape)
        self.window = whole_numbers("windows", windows or window, shape.layers)[shape.layer]
        self.dilations = whole_numbers("dilations", dilations, shape.heads)
        self.global_tokens = at_least("global_tokens", global_tokens, 0)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Map q, k, v float[B, H, N, e] to float[B, H, N, e], heads of one dilation together."""
        if len(set(self.dilations)) == 1:
            return window_attention(q, k, v, self.window, self.dilations[0], self.global_tokens)
        parts, order = [], []
        for dilation in sorted(set(self.dilations)):
            heads = [head for head, own in enumerate(self.dilations) if own == dilation]
            rows = q[:, heads], k[:, heads], v[:, heads]
            parts.append(window_attention(*rows, self.window, dilation, self.global_tokens))
            order += heads
        return torch.cat(parts, dim=1)[:, torch.tensor(order, device=q.device).argsort()]


def window_attention(
    q: Tensor, k: Tensor, v: Tensor, window: int, dilation: int, global_tokens: int
) -> Tensor:
    """Attend from i to j = i - dilation * n, 0 <= n < window, and to j < global_tokens, j <= i.

    q, k, v: float[B, H, N, e] -> float[B, H, N, e]. Positions are split by residue mod `dilation`,
    which makes a dilated window dense, then into chunks; both are folded into the batch.
    """
    batch, heads, length, _ = q.shape
    if length <= window and dilation == 1:
        return causal_attention(q, k, v)
    if q.device.type == "cuda" and q.dtype != torch.float64:  # FlexAttention compiles no float64
        return flex_window(q, k, v, window, dilation, global_tokens)
    size = min(LARGEST_CHUNK, window, length)
    past = -(-(window - 1) // size)
    queries = _fold(q, dilation, size, 0)
    keys, values = (_fold(part, dilation, size, past) for part in (k, v))
    if global_tokens:
        keys = _prepend(k[:, :, :global_tokens], keys)
        values = _prepend(v[:, :, :global_tokens], values)
    seen = min(global_tokens, length)
    mask = _visible(len(queries) // dilation, size, past, window, dilation, seen, q.device)
    mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    return _unfold(mixed, dilation, batch, heads, length)


def _fold(x: Tensor, dilation: int, size: int, past: int) -> Tensor:
    """Map float[B, H, N, e] to float[s C, B H, (past + 1) size, e]: C chunks of each residue."""
    residues = chunk(x, dilation).transpose(2, 3)  # [B, H, s, M, e]
    chunks = chunk(residues, size)  # [B, H, s, C, size, e]
    chunks = with_past(chunks, past) if past else chunks
    folded: Tensor = chunks.permute(2, 3, 0, 1, 4, 5).flatten(2, 3).flatten(0, 1)
    return folded


def _unfold(x: Tensor, dilation: int, batch: int, heads: int, length: int) -> Tensor:
    """Map float[s C, B H, size, e] to float[B, H, N, e]: undo `_fold` with past 0."""
    chunks: Tensor = x.unflatten(1, (batch, heads)).unflatten(0, (dilation, -1))
    residues = chunks.permute(2, 3, 0, 1, 4, 5).flatten(3, 4)  # [B, H, s, M padded, e]
    return residues.transpose(2, 3).flatten(2, 3)[:, :, :length]


def _prepend(first: Tensor, chunks: Tensor) -> Tensor:
    """Prepend global keys float[B, H, g, e] to chunks float[s C, B H, n, e]."""
    everywhere = first.flatten(0, 1).expand(len(chunks), -1, -1, -1)
    return torch.cat([everywhere, chunks], dim=2)


def _visible(
    chunks: int, size: int, past: int, window: int, dilation: int, seen: int, device: torch.device
) -> Tensor:
    """Return what a query sees, bool[s C, 1, size, seen + (past + 1) size]: O(N w) values."""
    residue = torch.arange(dilation, device=device)[:, None, None, None]
    start = size * torch.arange(chunks, device=device)[:, None, None]
    query = start + torch.arange(size, device=device)[:, None]  # within the residue: [C, size, 1]
    key = start + torch.arange(-past * size, size, device=device)  # [C, 1, keys]
    behind = query - key
    near = (behind >= 0) & (behind < window) & (key >= 0)
    near = near & (key * dilation + residue >= seen)  # global tokens have their own columns
    globally = torch.arange(seen, device=device) <= query * dilation + residue  # [s, C, size, seen]
    return torch.cat([globally, near], dim=-1).flatten(0, 1).unsqueeze(1)
