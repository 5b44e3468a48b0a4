"""How far does a linear state space model remember? S4D, the diagonal one.

Gu et al. 2022, On the Parameterization and Initialization of Diagonal State Space Models, arXiv
2206.11893: one state space per channel, S4D-Lin initialisation, zero-order hold, the kernel as a
convolution, GELU and a gated linear output. Output initialisation, and steps and states without
weight decay at a rate of at most 1e-3, as in the authors' code (state-spaces/s4, s4d.py).
Cost: O(N log N d) time by FFT; the kernel is a product of two short tables, O(N n d) time and O(N
d) memory for n states.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.parts.convolution import long_convolution
from baselines.parts.heads import at_least
from pointer.trunk import LayerShape, Mixer

BLOCK = 64  # offsets are written t = BLOCK a + b: exp(t z) is a product of tables over a and b
MOST_RATE = 1e-3
SHORTEST, LONGEST = 1e-3, 1e-1  # range of the step sizes at the start


class S4D(Mixer):
    """y = GLU(W gelu(K conv x + D x)), with the kernel of a diagonal state space a channel.

    K_t = 2 Re sum over n of C_n (exp(dt A_n) - 1) / A_n exp(t dt A_n).
    """

    one_mode = True

    def __init__(self, shape: LayerShape, *, states: int = 32) -> None:
        """Build a layer with `states` conjugate pairs per channel."""
        super().__init__()
        size = (shape.width, at_least("states", states, 1))
        span = math.log(LONGEST / SHORTEST)
        self.log_step = nn.Parameter(torch.rand(shape.width, 1) * span + math.log(SHORTEST))
        self.log_decay = nn.Parameter(torch.full(size, 0.5).log())
        self.frequency = nn.Parameter((math.pi * torch.arange(states)).expand(size).clone())
        self.mix = nn.Parameter(torch.randn(2, *size) * 0.5**0.5)  # C, real and imaginary part
        self.skip = nn.Parameter(torch.randn(shape.width))
        self.out = nn.Linear(shape.width, 2 * shape.width)

    def own_rates(self, lr: float) -> dict[nn.Parameter, float]:
        """Return the state space's parameters with their rate."""
        state_space = (self.log_step, self.log_decay, self.frequency, self.mix)
        return dict.fromkeys(state_space, min(lr, MOST_RATE))

    def filters(self, length: int) -> Tensor:
        """Return the kernel at offsets 0..N-1, float[d, N]."""
        rate = torch.complex(-self.log_decay.exp(), self.frequency)  # A: complex[d, n]
        step = rate * self.log_step.exp()
        scale = 2 * torch.complex(*self.mix) * (step.exp() - 1) / rate
        far = torch.arange(-(-length // BLOCK), device=rate.device) * BLOCK
        near = torch.arange(BLOCK, device=rate.device)
        left = scale[:, None] * (step[:, None] * far[:, None]).exp()  # [d, a, n]
        right = (step[..., None] * near).exp()  # [d, n, b]
        with torch.autocast(rate.device.type, enabled=False):
            parts = torch.cat([left.real, -left.imag], dim=2)
            real = parts @ torch.cat([right.real, right.imag], dim=1)
        return real.flatten(1)[:, :length]

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        """Map x float[B, N, d] to (float[B, N, d], carry unchanged)."""
        mixed = long_convolution(x.transpose(1, 2), self.filters(x.shape[1])).transpose(1, 2)
        hidden: Tensor = self.out(F.gelu(mixed + self.skip * x))
        return F.glu(hidden), carry
