"""Credit: the learning signal for offsets that the forward pass did not score.

Adds, straight-through with value zero, z - detach(z) with z_i = sum_o softmax(table)_o v_{i-o}: the table's gradient is
then what dense soft attention over all N offsets would give it, for one cross-correlation by FFT, O(N log N), while the
forward stays hard over K candidates. A deviation from the paper (which names no candidates, hence needs no credit): see
README, "What Pointer really is here".
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

LEAST_CHANNELS, MOST_CHANNELS = 16, 32


class FullRangeCredit(torch.autograd.Function):
    """Identity in the forward pass; in backward the offset table gets the gradient described above."""

    @staticmethod
    def forward(ctx: Any, out: Tensor, v: Tensor, table: Tensor, run: slice) -> Tensor:
        """out, v: float[B, H, N, w], the selected and the selectable values; table: float[H, >= N];
        run: the channels of w that carry the credit (random ones are an unbiased sketch up to scale)."""
        ctx.save_for_backward(v, table)
        ctx.run = run
        return out.view_as(out)

    @staticmethod
    def backward(ctx: Any, g_out: Tensor) -> tuple[Tensor | None, ...]:
        """Passes g_out through and adds d loss / d table."""
        v, table = ctx.saved_tensors
        return g_out, None, slope(table, correlate(g_out[..., ctx.run], v[..., ctx.run])), None


def enough_channels(length: int) -> int:
    """How many channels tell the offsets of sequences of N = length apart: the longer they are, the fewer steps a
    training has in as many tokens, and the more each must say. To 95% of copying at D = 512, 16 take as many tokens as
    32, 8 more; at D = 8191, 16 take more than 32.
    """
    return min(MOST_CHANNELS, max(LEAST_CHANNELS, length // 256))


def channel_run(channels: int, width: int) -> slice:
    """A random run of so many of `width` channels, from torch's global generator."""
    first = int(torch.randint(width - channels + 1, ()))
    return slice(first, first + channels)


def slope(table: Tensor, gained: Tensor) -> Tensor:
    """The gradient of the table float[H, >= N] from the offsets' gains float[H, N]: softmax's Jacobian."""
    length = gained.shape[1]
    p = torch.softmax(table[:, :length].float(), dim=-1)
    g_table = torch.zeros_like(table)
    g_table[:, :length] = p * (gained - (p * gained).sum(-1, keepdim=True))
    return g_table


def correlate(g: Tensor, v: Tensor) -> Tensor:
    """gains[h, o] = sum over b, i, channel of g[b, h, i] v[b, h, i - o], for o in 0..N-1: float[H, N] from two float[B,
    H, N, w].
    """
    length, padded = g.shape[2], fast_length(2 * g.shape[2] - 1)
    rows_g, rows_v = (torch.nn.functional.pad(x.float().transpose(2, 3), (0, padded - length)) for x in (g, v))
    return gains(rows_g, rows_v, length)


def gains(g: Tensor, v: Tensor, length: int) -> Tensor:
    """`correlate` of channels that are rows already, float32[B, H, channels, padded], zero from N = length on."""
    spectrum_g, spectrum_v = (torch.fft.rfft(x).transpose(0, 1).flatten(1, 2) for x in (g, v))
    found: Tensor = torch.fft.irfft(torch.linalg.vecdot(spectrum_v, spectrum_g, dim=1), n=g.shape[3])
    return found[:, :length]


def fast_length(length: int) -> int:
    """The smallest 2^a * {1, 3, 5} at or above `length`: FFTs of such lengths are fast, and counted work grows smoothly
    with N.
    """
    powers = (factor << (-(-length // factor) - 1).bit_length() for factor in (1, 3, 5))
    return min(powers)
