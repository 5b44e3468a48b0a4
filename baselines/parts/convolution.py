"""Causal convolutions along the sequence: few taps by shifted sums, long filters by FFT."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def new_taps(count: int, channels: int) -> nn.Parameter:
    """Return taps float[count, channels] as torch's Conv1d draws them: U(-1, 1) / sqrt(count)."""
    return nn.Parameter((2 * torch.rand(count, channels) - 1) * count**-0.5)


def short_convolution(x: Tensor, taps: Tensor) -> Tensor:
    """Return y_i = sum over t of taps[t] * x_{i-t}, float[B, N, d].

    x: float[B, N, d]; taps: float[T, d].
    """
    length, count = x.shape[1], len(taps)
    padded = F.pad(x, (0, 0, count - 1, 0))
    y = x * taps[0]
    for back in range(1, count):
        y = torch.addcmul(y, padded[:, count - 1 - back : count - 1 - back + length], taps[back])
    return y


def long_convolution(x: Tensor, filters: Tensor) -> Tensor:
    """Return y_i = sum over j <= i of filters[i - j] * x_j, float[B, d, N], in O(d N log N).

    x: float[B, d, N]; filters: float[d, N]. Computed in float32 at least, since transforms of half
    precision do not exist on CPU.
    """
    exact = torch.promote_types(x.dtype, torch.float32)
    length = x.shape[-1]
    points = 1 << (2 * length - 1).bit_length()  # room for the tail, or it would wrap round
    spectrum = torch.fft.rfft(x.to(exact), n=points) * torch.fft.rfft(filters.to(exact), n=points)
    y: Tensor = torch.fft.irfft(spectrum, n=points)[..., :length]
    return y.to(x.dtype)
