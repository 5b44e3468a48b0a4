"""The trunk that all models share; only the mixer differs (paper section 3.1).

Pre-norm residual blocks of mixer + feed-forward, then a norm and an output head tied to the
embedding; the paper has 6 layers, 8 heads and width 256. Axis letters, in every file: B batch, N
length, H pointer heads, K candidates, d width, V symbols, L layers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointer.errors import InputError

INIT_STD = 0.02  # GPT-2's, for all but the mixers' projections of their input: 1/sqrt(fan-in)


@dataclass(frozen=True)
class LayerShape:
    """The sizes that a mixer is built for, and its layer."""

    width: int
    heads: int
    length: int  # the longest N that the model accepts
    layer: int  # 0 is the lowest
    layers: int


class Mixer(nn.Module):
    """Mix information between positions, causally: y[:, i] depends on x[:, : i + 1] only."""

    one_mode = False  # True: training computes what inference does, so models are evaluated once
    relaxes = False  # True: training computes a softer form of inference, until its end

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        """Map normalised x float[B, N, d], carry (None at layer 0) to (float[B, N, d], carry)."""
        raise NotImplementedError

    def set_progress(self, done: float) -> None:
        """Set the fraction of training done, 0 to 1, for mixers with a schedule."""


MixerFactory = Callable[[LayerShape], Mixer]


class FeedForward(nn.Module):
    """d -> ffn_width -> d with GELU."""

    def __init__(self, width: int, ffn_width: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, ffn_width, bias=False)
        self.down = nn.Linear(ffn_width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map float[B, N, d] to float[B, N, d]."""
        hidden: Tensor = self.down(F.gelu(self.up(x), approximate="tanh"))
        return hidden


class Block(nn.Module):
    """One layer: x + mixer(norm x), then x + feed-forward(norm x)."""

    def __init__(self, shape: LayerShape, mixer: MixerFactory, ffn_width: int) -> None:
        super().__init__()
        self.mixer_norm = nn.LayerNorm(shape.width)
        self.mixer = mixer(shape)
        self.ffn_norm = nn.LayerNorm(shape.width)
        self.ffn = FeedForward(shape.width, ffn_width)

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        """Map float[B, N, d] to (float[B, N, d], the next layer's carry)."""
        mixed, carry = self.mixer(self.mixer_norm(x), carry)
        x = x + mixed
        return x + self.ffn(self.ffn_norm(x)), carry


class Trunk(nn.Module):
    """A causal sequence model: tokens int64[B, N] -> logits float[B, N, V]."""

    trainable = True

    def __init__(
        self,
        mixer: MixerFactory,
        *,
        symbols: int,
        length: int,
        ffn_width: int,
        learned_positions: bool,
        layers: int = 6,
        width: int = 256,
        heads: int = 8,
    ) -> None:
        """Build the model for N <= length; learned positions are a table float[length, d]."""
        super().__init__()
        self.symbols, self.length = symbols, length
        self.embedding = nn.Embedding(symbols, width)
        self.position_table = None
        if learned_positions:
            self.position_table = nn.Parameter(torch.randn(length, width) * INIT_STD)
        shapes = [LayerShape(width, heads, length, layer, layers) for layer in range(layers)]
        self.blocks = nn.ModuleList(Block(shape, mixer, ffn_width) for shape in shapes)
        self.norm = nn.LayerNorm(width)
        self._initialise(layers)

    def _initialise(self, layers: int) -> None:
        """Draw the weights: std INIT_STD, residual outputs scaled by 1/sqrt(2L) (GPT-2)."""
        nn.init.normal_(self.embedding.weight, std=INIT_STD)
        for block in self.blocks:
            assert isinstance(block, Block)
            nn.init.normal_(block.ffn.up.weight, std=INIT_STD)
            nn.init.normal_(block.ffn.down.weight, std=INIT_STD / (2 * layers) ** 0.5)

    @property
    def mixers(self) -> list[Mixer]:
        """The mixers, lowest layer first."""
        return [block.mixer for block in self.blocks]  # type: ignore[misc]

    @property
    def one_mode(self) -> bool:
        """Whether training computes what inference does."""
        return all(mixer.one_mode for mixer in self.mixers)

    @property
    def relaxes(self) -> bool:
        """Whether training computes a softer form of inference."""
        return any(mixer.relaxes for mixer in self.mixers)

    def set_progress(self, done: float) -> None:
        """Set every mixer's fraction of training done, 0 to 1."""
        for mixer in self.mixers:
            mixer.set_progress(done)

    def embed(self, tokens: Tensor) -> Tensor:
        """Map tokens int64[B, N] to float[B, N, d]; raise InputError as `check_tokens` does."""
        check_tokens(tokens, self.symbols, self.length)
        x: Tensor = self.embedding(tokens)
        return x if self.position_table is None else x + self.position_table[: tokens.shape[1]]

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens int64[B, N] to logits float[B, N, V]."""
        x, carry = self.embed(tokens), None
        for block in self.blocks:
            x, carry = block(x, carry)
        return F.linear(self.norm(x), self.embedding.weight)


def check_tokens(tokens: Tensor, symbols: int, length: int) -> None:
    """Raise InputError unless tokens is int64[B >= 1, 1 <= N <= length], values in 0..symbols-1."""
    if tokens.dtype != torch.int64 or tokens.dim() != 2:
        given = f"{tokens.dtype}{list(tokens.shape)}"
        raise InputError.about("tokens", given, "int64[B, N]", "the caller")
    if not 1 <= tokens.shape[1] <= length:
        setting = "the model's `length` setting"
        raise InputError.about("length N", tokens.shape[1], f"1 to {length}", setting)
    low, high = (int(t) for t in torch.aminmax(tokens)) if tokens.numel() else (0, 0)
    if low < 0 or high >= symbols:
        accepted = f"0 to {symbols - 1}"
        raise InputError.about("token range", (low, high), accepted, "the `symbols` setting")


def count_parameters(model: nn.Module, *, tables: bool) -> int:
    """Return the number of parameters, with or without `_table` ones, whose size grows with N."""
    named = model.named_parameters()
    return sum(p.numel() for name, p in named if tables or not name.endswith("_table"))
