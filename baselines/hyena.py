"""Can long convolutions with gates replace attention? Hyena.

Poli et al. 2023, Hyena Hierarchy, arXiv 2302.10866, order 2: three projections with a convolution
of 3 taps, one long filter between two elementwise gates. The filter is implicit, a small sine
network of the position times an exponential window: its parameters do not grow with N. Filter,
window, taps and weight decay follow the authors' code (HazyResearch/safari, hyena.py), with the 16
bands of its language models and the sine rate 10 and fixed position features of its synthetic
tasks; at its default rate of 1 a filter's norm starts at 0.6, here at 3.3.
Deviation: no biases in the projections.
Cost: O(N log N d) time, O(N d) memory, by FFT.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from baselines.parts.convolution import long_convolution, new_taps, short_convolution
from baselines.parts.heads import at_least, input_projection, output_projection
from pointer.trunk import LayerShape, Mixer

TAPS = 3
HIDDEN = 64
SINE_RATE = 10.0  # frequencies of the filter network's sines at the start
LOWEST_BAND = 1e-4
FASTEST, SLOWEST = 0.3, 1.5  # shares of the length at which channels' windows fall to FLOOR
FLOOR = 0.01


class Hyena(Mixer):
    """y = W_o(x2 * (h conv (x1 * v))) with x1, x2, v projections of x."""

    one_mode = True

    windows: Tensor

    def __init__(self, shape: LayerShape, *, bands: int = 16) -> None:
        super().__init__()
        self.length, self.bands = shape.length, at_least("bands", bands, 1)
        self.project = input_projection(shape.width, 3 * shape.width)
        self.taps = new_taps(TAPS, 3 * shape.width)
        self.taps_bias = nn.Parameter((2 * torch.rand(3 * shape.width) - 1) * TAPS**-0.5)
        self.skip = nn.Parameter(torch.randn(shape.width))
        self.first = nn.Linear(1 + 2 * bands, HIDDEN)
        self.second, self.third = nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, HIDDEN)
        self.sine_rates = nn.Parameter(torch.full((HIDDEN,), SINE_RATE))
        self.last = nn.Linear(HIDDEN, shape.width, bias=False)
        self.out = output_projection(shape)
        # evenly spaced rates, not spans
        rates = math.log(FLOOR) / SLOWEST, math.log(FLOOR) / FASTEST
        self.register_buffer("windows", torch.linspace(*rates, shape.width, device="cpu"))

    def own_rates(self, lr: float) -> dict[nn.Parameter, float]:
        """Return the filter's parameters, which have no weight decay."""
        layers = (self.first, self.second, self.third, self.last)
        filters = [p for layer in layers for p in layer.parameters()]
        return dict.fromkeys([*filters, self.sine_rates], lr)

    def filters(self, length: int) -> Tensor:
        """Return the filter at offsets 0..N-1, float[d, N]; the same values whatever N."""
        kind = self.last.weight
        like: dict[str, Any] = {"device": kind.device, "dtype": kind.dtype}
        positions = torch.arange(length, **like)[:, None]
        time = positions / max(1, self.length - 1)
        bands = torch.linspace(LOWEST_BAND, self.bands - 1, self.bands, **like)
        angle = 2 * math.pi * positions / self.length * bands
        hidden = torch.cat([time, angle.cos(), -angle.sin()], dim=-1)
        for layer in (self.first, self.second, self.third):
            hidden = torch.sin(self.sine_rates * layer(hidden))
        filters: Tensor = self.last(hidden) * (time * self.windows.to(kind.dtype)).exp()
        return filters.T

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        """Map x float[B, N, d] to (float[B, N, d], carry unchanged)."""
        short = short_convolution(self.project(x), self.taps) + self.taps_bias
        gate, key, value = short.chunk(3, dim=-1)
        inner = key * value
        mixed = long_convolution(inner.transpose(1, 2), self.filters(x.shape[1])).transpose(1, 2)
        return self.out(gate * (mixed + self.skip * inner)), carry
