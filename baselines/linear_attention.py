"""What is left of attention without the softmax? Linear attention, the oldest O(N) form.

Katharopoulos et al. 2020, Transformers are RNNs, arXiv 2006.16236, with its feature map elu(x) + 1.
Cost: O(N d e) time, O(N d) memory, chunked.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from baselines.parts.heads import HeadMixer
from baselines.parts.recurrence import normalised_sums


class LinearAttention(HeadMixer):
    """Weights phi(q) phi(k) over j <= i with phi = elu + 1, divided by their sum."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Map q, k, v float[B, H, N, e] to float[B, H, N, e]."""
        return normalised_sums(F.elu(q) + 1, F.elu(k) + 1, v)
