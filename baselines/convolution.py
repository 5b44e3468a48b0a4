"""Causal convolutions along the sequence: a few taps by shifted sums, filters as long as the sequence by FFT."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def short_convolution(x: Tensor, taps: Tensor) -> Tensor:
    """y_i = sum over t of taps[t] * x_{i-t}. x: float[B, N, d], taps: float[T, d] -> float[B, N, d]."""
    length, count = x.shape[1], len(taps)
    padded = F.pad(x, (0, 0, count - 1, 0))
    y = x * taps[0]
    for back in range(1, count):
        y = torch.addcmul(y, padded[:, count - 1 - back : count - 1 - back + length], taps[back])
    return y


def long_convolution(x: Tensor, filters: Tensor) -> Tensor:
    """y_i = sum over j <= i of filters[i - j] * x_j. x: float[B, d, N], filters: float[d, N] -> float[B, d, N].

    In float32 at least, since transforms of half precision do not exist on CPU. O(d N log N).
    """
    exact = torch.promote_types(x.dtype, torch.float32)
    length = x.shape[-1]
    points = 1 << (2 * length - 1).bit_length()  # room for the tail, so that the end does not wrap round to the start
    spectrum = torch.fft.rfft(x.to(exact), n=points) * torch.fft.rfft(filters.to(exact), n=points)
    y: Tensor = torch.fft.irfft(spectrum, n=points)[..., :length]
    return y.to(x.dtype)
