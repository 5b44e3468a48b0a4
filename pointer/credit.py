"""Credit: a gradient for offsets that the forward pass did not score.

Adds z - detach(z), zero in value, with z_i = sum_o softmax(table)_o v_{i-o}. The table gets the
gradient of dense soft attention over all N offsets from one cross-correlation by FFT, O(N log N),
while the forward pass stays hard over K candidates. The paper names no candidates and needs no
credit: docs/method.md.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

LEAST_CHANNELS, MOST_CHANNELS = 16, 32


class FullRangeCredit(torch.autograd.Function):
    """Identity in the forward pass; backward gives the offset table its gradient."""

    @staticmethod
    def forward(ctx: Any, out: Tensor, v: Tensor, table: Tensor, run: slice) -> Tensor:
        """Return out; out, v: float[B, H, N, w]; table: float[H, >= N]; run: channels credited."""
        ctx.save_for_backward(v, table)
        ctx.run = run
        return out.view_as(out)

    @staticmethod
    def backward(ctx: Any, g_out: Tensor) -> tuple[Tensor | None, ...]:
        """Pass g_out through; return the gradient of table."""
        v, table = ctx.saved_tensors
        gained = correlate(g_out[..., ctx.run], v[..., ctx.run])
        return g_out, None, slope(table, gained), None


def enough_channels(length: int) -> int:
    """Return how many channels tell the offsets of N = length apart.

    Longer sequences leave fewer steps in the same tokens. To 95% of copying 16 channels take as
    many tokens as 32 at D = 512, where 8 take more, and more than 32 at D = 8191.
    """
    return min(MOST_CHANNELS, max(LEAST_CHANNELS, length // 256))


def channel_run(channels: int, width: int) -> slice:
    """Draw a run of `channels` of `width`, an unbiased sketch up to scale, by torch's generator."""
    first = int(torch.randint(width - channels + 1, ()))
    return slice(first, first + channels)


def slope(table: Tensor, gained: Tensor) -> Tensor:
    """Return the gradient of table float[H, >= N], through its softmax, from gains float[H, N]."""
    length = gained.shape[1]
    p = torch.softmax(table[:, :length].float(), dim=-1)
    g_table = torch.zeros_like(table)
    g_table[:, :length] = p * (gained - (p * gained).sum(-1, keepdim=True))
    return g_table


def correlate(g: Tensor, v: Tensor) -> Tensor:
    """Return gains float[H, N]: the sum over b, i, w of g_i v_{i-o}; g, v: float[B, H, N, w]."""
    length = g.shape[2]
    padding = (0, fast_length(2 * length - 1) - length)
    rows = [torch.nn.functional.pad(x.float().transpose(2, 3), padding) for x in (g, v)]
    return gains(rows[0], rows[1], length)


def gains(g: Tensor, v: Tensor, length: int) -> Tensor:
    """Return `correlate` of float32[B, H, channels, padded], zero from N = length on."""
    spectrum_g, spectrum_v = (torch.fft.rfft(x).transpose(0, 1).flatten(1, 2) for x in (g, v))
    product = torch.linalg.vecdot(spectrum_v, spectrum_g, dim=1)
    by_offset: Tensor = torch.fft.irfft(product, n=g.shape[3])
    return by_offset[:, :length]


def fast_length(length: int) -> int:
    """Return the smallest 2^a * {1, 3, 5} >= length: its FFTs are fast, its work smooth in N."""
    powers = (factor << (-(-length // factor) - 1).bit_length() for factor in (1, 3, 5))
    return min(powers)
