"""Credit by content: the learning signal for queries and keys whose match was not among the candidates.

Adds, straight-through with value zero, z - detach(z), where z is causal linear attention with the weights 1 + t + t^2/2
of t = q.k, the Taylor series of exp(t) to second order (always positive; Arora et al. 2024, arXiv 2402.18668). So
queries and keys feel all earlier positions, in O(N), while the forward pass stays hard over K candidates: much as in
soft attention where t > 0; below t = -1 the weight rises again, which softmax's does not, and such keys are pushed the
wrong way, less than similar ones are pulled. Values get nothing. A deviation from the paper, as is pointer.credit.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 256  # positions whose weights are formed pairwise; what lies before them comes as sums over r^2 / 2 features


class ContentCredit(torch.autograd.Function):
    """Identity in the forward pass; in backward queries and keys get the gradient described above."""

    @staticmethod
    def forward(ctx: Any, out: Tensor, q: Tensor, k: Tensor, v: Tensor, channels: int) -> Tensor:
        """out, v: float[B, H, N, w], the selected and the selectable values; q, k: float[B, H, N, r]; channels: how
        many of the w channels carry the credit, a random run of them."""
        first = int(torch.randint(v.shape[3] - channels + 1, ()))
        ctx.save_for_backward(q, k, v)
        ctx.run = slice(first, first + channels)
        return out.view_as(out)

    @staticmethod
    def backward(ctx: Any, g_out: Tensor) -> tuple[Tensor | None, ...]:
        """Passes g_out through and adds d loss / d q and d loss / d k."""
        q, k, v = ctx.saved_tensors
        with torch.enable_grad():
            q, k = q.detach().requires_grad_(), k.detach().requires_grad_()
            z = taylor_attention(q, k, v[..., ctx.run].detach())
        g_q, g_k = torch.autograd.grad(z, (q, k), g_out[..., ctx.run])
        return g_out, g_q, g_k, None, None


def taylor_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """z_i = sum over j <= i of w_ij v_j / sum of w_ij, w = 1 + t + t^2/2, t = q_i.k_j.

    q, k: float[B, H, N, r]; v: float[B, H, N, w] -> float[B, H, N, w]. Chunk by chunk: compute and memory are O(N).
    """
    length = q.shape[2]
    padding = (0, 0, 0, -length % CHUNK)
    counted = torch.cat([v, torch.ones_like(v[..., :1])], dim=-1)  # the last channel sums the weights
    q, k, counted = (F.pad(part, padding).unflatten(2, (-1, CHUNK)) for part in (q, k, counted))
    t = q @ k.transpose(-2, -1)
    own = (1 + t + t.square() / 2).tril() @ counted
    sums = (features(k[:, :, :-1]).transpose(-2, -1) @ counted[:, :, :-1]).cumsum(2)
    before = features(q[:, :, 1:]) @ sums
    total = torch.cat([own[:, :, :1], own[:, :, 1:] + before], dim=2)
    mixed, mass = total.flatten(2, 3)[:, :, :length].split([v.shape[3], 1], dim=-1)
    normalised: Tensor = mixed / mass
    return normalised


def features(x: Tensor) -> Tensor:
    """float[..., r] -> float[..., (r + 1)(r + 2) / 2], whose inner products are 1 + t + t^2/2.

    A product of two channels stands once: half the features of x x^T. They are made from slices, whose gradients are
    slices too.
    """
    r = x.shape[-1]
    squares, products = x.square() / math.sqrt(2), [x[..., s:] * x[..., : r - s] for s in range(1, r)]
    return torch.cat([torch.ones_like(x[..., :1]), x, squares, *products], dim=-1)
