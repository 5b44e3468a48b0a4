"""Can long convolutions with gates replace attention? Hyena.

Poli et al. 2023, Hyena Hierarchy, arXiv 2302.10866, order 2: three projections with a short
convolution of 3 taps, one long filter between two elementwise gates. The filter is implicit: a
small sine network of the position times an exponential window, so its parameters do not grow with
N. Window, position features and the sines' learned frequencies as in the authors' code
(HazyResearch/safari, hyena.py). Deviations: 2 hidden layers of 64; no biases in the projections;
the filter decays with the other weights.
Cost: O(N log N d) time, O(N d) memory, by FFT.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from baselines.parts.convolution import long_convolution, short_convolution
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
        self.taps = nn.Parameter(torch.randn(TAPS, 3 * shape.width) * TAPS**-0.5)
        self.skip = nn.Parameter(torch.randn(shape.width))
        self.first, self.second = nn.Linear(1 + 2 * bands, HIDDEN), nn.Linear(HIDDEN, HIDDEN)
        self.sine_rates = nn.Parameter(torch.full((HIDDEN,), SINE_RATE))
        self.last = nn.Linear(HIDDEN, shape.width, bias=False)
        self.out = output_projection(shape)
        # evenly spaced rates, not spans
        rates = math.log(FLOOR) / SLOWEST, math.log(FLOOR) / FASTEST
        self.register_buffer("windows", torch.linspace(*rates, shape.width, device="cpu"))

    def filters(self, length: int) -> Tensor:
        """Return the filter at offsets 0..N-1, float[d, N]; the same values whatever N."""
        kind = self.last.weight
        like: dict[str, Any] = {"device": kind.device, "dtype": kind.dtype}
        time = torch.arange(length, **like)[:, None] / self.length
        bands = torch.linspace(LOWEST_BAND, self.bands - 1, self.bands, **like)
        angle = 2 * math.pi * time * bands
        features = torch.cat([time, angle.cos(), angle.sin()], dim=-1)
        hidden = torch.sin(self.sine_rates * self.first(features))
        hidden = torch.sin(self.sine_rates * self.second(hidden))
        filters: Tensor = self.last(hidden) * (time * self.windows.to(kind.dtype)).exp()
        return filters.T

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        """Map x float[B, N, d] to (float[B, N, d], carry unchanged)."""
        gate, key, value = short_convolution(self.project(x), self.taps).chunk(3, dim=-1)
        inner = key * value
        mixed = long_convolution(inner.transpose(1, 2), self.filters(x.shape[1])).transpose(1, 2)
        return self.out(gate * (mixed + self.skip * inner)), carry
