"""Is the copy task solvable as scored?

Control that is told the distance D and must reach 100%. Never trained. Cost: O(N V).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pointer.errors import InputError
from pointer.trunk import check_tokens

CERTAIN = 30.0  # logit of the right symbol above the others: a loss of about V * 1e-13 nats


class OracleCopy(nn.Module):
    """Logits that are certain of token t - D; uniform for t < D."""

    trainable = False

    def __init__(self, *, symbols: int, length: int, distance: int) -> None:
        super().__init__()
        if distance < 0:
            raise InputError.about("distance", distance, "an integer >= 0", "`--distance`")
        self.symbols, self.length, self.distance = symbols, length, distance

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens int64[B, N] to logits float[B, N, V]."""
        check_tokens(tokens, self.symbols, self.length)
        logits = torch.zeros(*tokens.shape, self.symbols, device=tokens.device)
        known = tokens[:, : max(0, tokens.shape[1] - self.distance)]
        logits[:, self.distance :].scatter_(-1, known.unsqueeze(-1), CERTAIN)
        return logits
