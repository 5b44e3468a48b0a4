"""Are log N well-placed keys enough? Attention to positions at distances 0, 1, 2, 4, 8, ...

Li et al. 2019, Enhancing the Locality and Breaking the Memory Bottleneck of Transformer on Time
Series Forecasting, arXiv 1907.00235, its LogSparse pattern. Any two positions are at most log2 N
layers apart, those at a power of two only one: copying over 512 tokens is easier than over 513.
Deviation: no convolution that makes queries and keys, the paper's other idea.
Cost: O(N log N d) time, O(N log N H) memory, by shifted views without gathers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.parts.heads import HeadMixer


class LogSparseAttention(HeadMixer):
    """Causal attention to i and to i - 2^n for every n."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Map q, k, v float[B, H, N, e] to float[B, H, N, e]."""
        length = q.shape[2]
        offsets = [0, *(1 << n for n in range((length - 1).bit_length()))]
        keys, values = shifted(k, offsets), shifted(v, offsets)
        scores = torch.stack([(q * key).sum(dim=-1) for key in keys], dim=-1) * q.shape[-1] ** -0.5
        positions = torch.arange(length, device=q.device)[:, None]
        before = positions < torch.tensor(offsets, device=q.device)
        weights = scores.masked_fill(before, float("-inf")).softmax(dim=-1).unsqueeze(-2)
        mixed = torch.zeros_like(v)
        for index, value in enumerate(values):
            mixed = torch.addcmul(mixed, weights[..., index], value)
        return mixed


def shifted(x: Tensor, offsets: list[int]) -> list[Tensor]:
    """Return a view of x float[B, H, N, e] for each offset o: x[..., i - o, :] at i, or zeros."""
    length, most = x.shape[2], max(offsets)
    padded = F.pad(x, (0, 0, most, 0))
    return [padded[:, :, most - offset : most - offset + length] for offset in offsets]
