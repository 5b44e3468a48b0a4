"""Softmax attention in parts, joined by the mass of their scores."""

from __future__ import annotations

from torch import Tensor


def attend_with_mass(scores: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return softmax(scores) values and log sum exp(scores): float[..., c, e] and float[..., c].

    scores: float[..., c, n], a finite one in each row; values: float[..., n, e].
    """
    # `logsumexp` and `softmax` would each take the exponentials
    most = scores.detach().amax(dim=-1, keepdim=True)
    weights = (scores - most).exp()
    total = weights.sum(dim=-1, keepdim=True)
    return (weights @ values) / total, (most + total.log()).squeeze(-1)


def joined(parts: Tensor, masses: Tensor) -> Tensor:
    """Return the attention over all parts, float[..., e], from float[..., P, e] and [..., P]."""
    return (masses.softmax(dim=-1).unsqueeze(-2) @ parts).squeeze(-2)
