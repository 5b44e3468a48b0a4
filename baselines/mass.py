"""Softmax attention in parts: each part keeps the mass of its scores, by which the parts are joined afterwards."""

from __future__ import annotations

from torch import Tensor


def attend_with_mass(scores: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """softmax(scores) values, and log sum exp(scores): float[..., c, e] and float[..., c].

    scores: float[..., c, n], values: float[..., n, e]. Every row needs a finite score. Written out, since `logsumexp`
    and `softmax` would each take the exponentials.
    """
    most = scores.detach().amax(dim=-1, keepdim=True)
    weights = (scores - most).exp()
    total = weights.sum(dim=-1, keepdim=True)
    return (weights @ values) / total, (most + total.log()).squeeze(-1)


def joined(parts: Tensor, masses: Tensor) -> Tensor:
    """parts: float[..., P, e], masses: float[..., P] -> the attention over all parts together, float[..., e]."""
    return (masses.softmax(dim=-1).unsqueeze(-2) @ parts).squeeze(-2)
