"""Does the evaluation sit on the chance line for a model that knows nothing?

Control, never trained. Cost: O(N V).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pointer.trunk import check_tokens


class Chance(nn.Module):
    """Pseudo-random logits from the tokens' shape alone, equal in repeated calls."""

    trainable = False

    def __init__(self, *, symbols: int, length: int, guess_seed: int = 0) -> None:
        super().__init__()
        self.symbols, self.length, self.guess_seed = symbols, length, guess_seed

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens int64[B, N] to logits float[B, N, V]."""
        check_tokens(tokens, self.symbols, self.length)
        generator = torch.Generator(device="cpu").manual_seed(self.guess_seed)
        size = (*tokens.shape, self.symbols)
        return torch.randn(size, generator=generator, device="cpu").to(tokens.device)
