"""How far do random features carry softmax attention at linear cost? Performer.

Choromanski et al. 2020, Rethinking Attention with Performers, arXiv 2009.14794: FAVOR+, positive
orthogonal random features.
Deviations: EPSILON is added to each feature, so that where none fits the output is a mean (the
original scales its epsilon with the features); features are drawn once, not redrawn in training; 64
features for heads 32 wide (paper: 256 for 64); only the query's features are scaled for stability,
since a maximum over keys would look ahead, and a key's cannot overflow: exp(w k - k^2/2) <=
exp(w^2/2).
Cost: O(N d m) time with m features, O(N m H) memory, chunked.
"""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.parts.heads import HeadMixer, at_least, head_width
from baselines.parts.recurrence import normalised_sums
from pointer.trunk import LayerShape

EPSILON = 1e-4


class Performer(HeadMixer):
    """Attention with exp(q k / sqrt(e)) replaced by a product of m positive random features."""

    directions: Tensor

    def __init__(self, shape: LayerShape, *, features: int = 64, feature_seed: int = 0) -> None:
        super().__init__(shape)
        at_least("features", features, 1)
        seed = feature_seed * shape.layers + shape.layer
        generator = torch.Generator(device="cpu").manual_seed(seed)
        directions = orthogonal_directions(features, head_width(shape), generator)
        self.register_buffer("directions", directions)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Map q, k, v float[B, H, N, e] to float[B, H, N, e]."""
        log_q, log_k = self.log_features(q), self.log_features(k)
        scaled = (log_q - log_q.detach().amax(dim=-1, keepdim=True)).exp()
        return normalised_sums(scaled + EPSILON, log_k.exp() + EPSILON, v)

    def log_features(self, x: Tensor) -> Tensor:
        """Return w x' - x'^2 / 2 for x' = x / e^(1/4), float[B, H, N, m]; x: float[B, H, N, e]."""
        scale: float = x.shape[-1] ** -0.25
        x = x * scale
        return x @ self.directions.T.to(x.dtype) - x.square().sum(dim=-1, keepdim=True) / 2


def orthogonal_directions(count: int, width: int, generator: torch.Generator) -> Tensor:
    """Return float[count, width]: rows orthogonal in every `width` of them, of normal lengths."""
    normal = torch.randn(-(-count // width), width, width, generator=generator, device="cpu")
    q, r = torch.linalg.qr(normal)
    signs = r.diagonal(dim1=-2, dim2=-1).sign()  # a bare Q is not uniform over rotations
    uniform = q * signs.unsqueeze(-2)
    drawn = torch.randn(count, width, generator=generator, device="cpu")
    lengths = drawn.square().sum(dim=-1, keepdim=True).sqrt()
    directions: Tensor = uniform.flatten(0, 1)[:count] * lengths
    return directions
