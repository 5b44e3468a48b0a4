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


class FullRangeCredit(torch.autograd.Function):
    """Identity in the forward pass; in backward the offset table gets the gradient described above."""

    @staticmethod
    def forward(ctx: Any, out: Tensor, v: Tensor, table: Tensor, channels: int) -> Tensor:
        """out, v: float[B, H, N, w], the selected and the selectable values; table: float[H, >= N];
        channels: how many of the w channels carry the credit (a random run of them; an unbiased sketch up to scale)."""
        first = int(torch.randint(v.shape[3] - channels + 1, ()))
        ctx.save_for_backward(v, table)
        ctx.run = slice(first, first + channels)
        return out.view_as(out)

    @staticmethod
    def backward(ctx: Any, g_out: Tensor) -> tuple[Tensor | None, ...]:
        """Passes g_out through and adds d loss / d table."""
        v, table = ctx.saved_tensors
        gains = correlate(g_out[..., ctx.run], v[..., ctx.run])
        p = torch.softmax(table[:, : v.shape[2]].float(), dim=-1)
        g_table = torch.zeros_like(table)
        g_table[:, : v.shape[2]] = p * (gains - (p * gains).sum(-1, keepdim=True))
        return g_out, None, g_table, None


def correlate(g: Tensor, v: Tensor) -> Tensor:
    """gains[h, o] = sum over b, i, channel of g[b, h, i] v[b, h, i - o], for o in 0..N-1: float[H, N] from two float[B,
    H, N, w].
    """
    length = g.shape[2]
    padded = fast_length(2 * length - 1)
    spectrum_g = torch.fft.rfft(g.float().transpose(2, 3), n=padded)
    spectrum_v = torch.fft.rfft(v.float().transpose(2, 3), n=padded)
    spectrum = torch.einsum("bhcf,bhcf->hf", spectrum_g, spectrum_v.conj())
    gains: Tensor = torch.fft.irfft(spectrum, n=padded)
    return gains[:, :length]


def fast_length(length: int) -> int:
    """The smallest 2^a * {1, 3, 5} at or above `length`: FFTs of such lengths are fast, and counted work grows smoothly
    with N.
    """
    powers = (factor << (-(-length // factor) - 1).bit_length() for factor in (1, 3, 5))
    return min(powers)
