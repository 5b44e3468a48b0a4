"""How far do random features carry softmax attention at linear cost? Performer.

Choromanski et al. 2020, Rethinking Attention with Performers, arXiv 2009.14794: FAVOR+, positive orthogonal random
features, each with EPSILON added as in the original's code, so that where none fits the output is a mean instead of
nothing. Deviations: the features are drawn once, not redrawn while training; 64 of them for heads 32 wide, where the
paper has 256 for heads 64 wide; the query's features alone are scaled for stability, since a maximum over keys would
look into the future (a key's features cannot overflow: exp(w k - k^2/2) <= exp(w^2/2)).
Cost: O(N d m) time with m features, O(N m H) memory, chunked.
"""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.heads import HeadMixer, at_least, head_width
from baselines.recurrence import normalised_sums
from pointer.trunk import LayerShape

EPSILON = 1e-4


class Performer(HeadMixer):
    """Softmax attention with exp(q k / sqrt(e)) replaced by the product of m positive random features."""

    directions: Tensor

    def __init__(self, shape: LayerShape, *, features: int = 64, feature_seed: int = 0) -> None:
        super().__init__(shape)
        at_least("features", features, 1)
        generator = torch.Generator(device="cpu").manual_seed(feature_seed * shape.layers + shape.layer)
        self.register_buffer("directions", orthogonal_directions(features, head_width(shape), generator))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q, k, v: float[B, H, N, e] -> float[B, H, N, e]."""
        log_q, log_k = self.log_features(q), self.log_features(k)
        scaled = (log_q - log_q.detach().amax(dim=-1, keepdim=True)).exp()
        return normalised_sums(scaled + EPSILON, log_k.exp() + EPSILON, v)

    def log_features(self, x: Tensor) -> Tensor:
        """float[B, H, N, e] -> w x' - x'^2 / 2 for x' = x / e^(1/4), float[B, H, N, m]."""
        scale: float = x.shape[-1] ** -0.25
        x = x * scale
        return x @ self.directions.T.to(x.dtype) - x.square().sum(dim=-1, keepdim=True) / 2


def orthogonal_directions(count: int, width: int, generator: torch.Generator) -> Tensor:
    """float[count, width]: rows orthogonal within every `width` of them, with the lengths of normal vectors."""
    normal = torch.randn(-(-count // width), width, width, generator=generator, device="cpu")
    q, r = torch.linalg.qr(normal)
    uniform = q * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)  # a bare Q is not uniform over rotations
    lengths = torch.randn(count, width, generator=generator, device="cpu").square().sum(dim=-1, keepdim=True).sqrt()
    directions: Tensor = uniform.flatten(0, 1)[:count] * lengths
    return directions
