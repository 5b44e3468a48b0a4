"""Causal convolutions along the sequence: few taps by shifted sums, long filters by FFT."""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointer.trunk import LayerShape

TAPS = 4


def with_convolution(kind: Any) -> Any:
    """Return a mixer class with a causal convolution of 4 taps per channel on its input.

    Mixers with taps of their own on queries, keys and values are left as they are. Zoology (arXiv
    2312.04927) also puts a convolution before every mixer. The input float[B, N, d] is the one
    place that all mixers have: a pointer's values are the hidden states themselves.
    """

    class Convolved(kind):  # type: ignore[misc]
        def __init__(self, shape: LayerShape, *args: Any, **settings: Any) -> None:
            super().__init__(shape, *args, **settings)
            own = hasattr(self, "taps")
            self.input_taps = None if own else new_taps(TAPS, shape.width)

        def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
            if self.input_taps is not None:
                x = short_convolution(x, self.input_taps)
            mixed: tuple[Tensor, Any] = super().forward(x, carry)
            return mixed

    functools.update_wrapper(Convolved.__init__, kind.__init__)  # its settings are read from it
    return Convolved


def without_convolution(kind: Any) -> Any:
    """Return a mixer class whose taps, if any, are fixed to pass only the own position's value."""

    class Plain(kind):  # type: ignore[misc]
        def __init__(self, shape: LayerShape, *args: Any, **settings: Any) -> None:
            super().__init__(shape, *args, **settings)
            if hasattr(self, "taps"):
                fixed = torch.zeros_like(self.taps.detach())
                fixed[0] = 1
                del self.taps
                self.register_buffer("taps", fixed, persistent=False)

    functools.update_wrapper(Plain.__init__, kind.__init__)
    return Plain


def new_taps(count: int, channels: int) -> nn.Parameter:
    """Return taps float[count, channels] as torch's Conv1d draws them: U(-1, 1) / sqrt(count)."""
    return nn.Parameter((2 * torch.rand(count, channels) - 1) * count**-0.5)


def short_convolution(x: Tensor, taps: Tensor) -> Tensor:
    """Return y_i = sum over t of taps[t] * x_{i-t}; x, y: float[B, N, d], taps: float[T, d]."""
    length, count = x.shape[1], len(taps)
    padded = F.pad(x, (0, 0, count - 1, 0))
    y = x * taps[0]
    for back in range(1, count):
        y = torch.addcmul(y, padded[:, count - 1 - back : count - 1 - back + length], taps[back])
    return y


def long_convolution(x: Tensor, filters: Tensor) -> Tensor:
    """Return y_i = sum over j <= i of filters[i - j] * x_j, float[B, d, N], in O(d N log N).

    x: float[B, d, N]; filters: float[d, N]. In float32 at least: CPUs have no half-precision FFT.
    """
    exact = torch.promote_types(x.dtype, torch.float32)
    length = x.shape[-1]
    points = 1 << (2 * length - 1).bit_length()  # room for the tail, or it would wrap round
    spectrum = torch.fft.rfft(x.to(exact), n=points) * torch.fft.rfft(filters.to(exact), n=points)
    y: Tensor = torch.fft.irfft(spectrum, n=points)[..., :length]
    return y.to(x.dtype)
