"""The Pointer block of the paper's section 2.2: selection, chain encoding, gated aggregation. How to select is left to
the subclass.

From the paper's names to the code's:
    H, h_i              x: float[B, N, d]
    p_i of layer below  carry: Pointed, with targets int64[B, H, N]
    s_ij                scores
    p_i = argmax_j s_ij targets: int64[B, H, N]
    gate                sigmoid(W x), times the hidden state of the target
Residual connection and norm are the trunk's. Deviations, with reasons, are in README, "What Pointer really is here".
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pointer.checks import WHERE
from pointer.errors import InputError
from pointer.optim import TableMomentum
from pointer.select import Noise
from pointer.settings import PointerSettings
from pointer.trunk import INIT_STD, LayerShape, Mixer

CHAIN_WIDTH = 32
CHAIN_WAVES = 4
TIE_BREAK = 1e-3  # slope of a new offset table over log2 of the offset: else equal scores tie, and the nearest must win


class Pointed(NamedTuple):
    """What a layer hands to the next: its pointers, by position and by hop."""

    targets: Tensor  # int64[B, H, N], positions
    choice: Tensor  # int64[B, H, N], which entry of `offsets` each position chose
    offsets: Tensor  # int64[H, K], the hop distances to choose from

    @classmethod
    def at(cls, targets: Tensor) -> Pointed:
        """Pointers to targets int64[B, H, N] at any distance: every hop distance is an entry of `offsets`."""
        positions = torch.arange(targets.shape[2], device=targets.device)
        return cls(targets, positions - targets, positions.expand(targets.shape[1], -1))


class ChainEncoding(nn.Module):
    """The lower layer's pointer as a query feature: a linear map of its hop distance, normalised, then the query's map.

    The paper concatenates the normalised feature to the hidden state before scoring; the query of a concatenation is
    the sum of the two parts' queries. A hop is one of K, so K encodings are computed, not N.
    """

    def __init__(self, length: int, score_width: int) -> None:
        super().__init__()
        self.log_length = math.log2(1 + length)
        self.linear = nn.Linear(1 + 2 * CHAIN_WAVES, CHAIN_WIDTH)
        self.norm = nn.LayerNorm(CHAIN_WIDTH)
        self.query = nn.Linear(CHAIN_WIDTH, score_width, bias=False)

    def encode(self, hops: Tensor) -> Tensor:
        """int64[...] -> float[..., r]; a hop enters as log2(1 + hop) / log2(1 + length) with its sines and cosines."""
        x = torch.log2(1.0 + hops.to(self.linear.weight.dtype)) / self.log_length
        waves = [wave(math.pi * 2**n * x) for n in range(CHAIN_WAVES) for wave in (torch.sin, torch.cos)]
        encoded: Tensor = self.query(self.norm(self.linear(torch.stack([x, *waves], dim=-1))))
        return encoded

    def forward(self, lower: Pointed) -> Tensor:
        """The lower layer's pointers -> float[B, H, N, r], one row for each of them."""
        heads, candidates = lower.offsets.shape
        index = lower.choice + candidates * torch.arange(heads, device=lower.choice.device)[:, None]
        return nn.functional.embedding(index, self.encode(lower.offsets).flatten(0, 1))


class PointerBlock(Mixer):
    """A mixer whose every position takes, per pointer head, the gated feature of exactly one earlier position or its
    own.
    """

    def __init__(self, shape: LayerShape, settings: PointerSettings) -> None:
        super().__init__()
        heads, d = settings.pointer_heads, shape.width
        if d % heads:
            raise InputError.about("pointer_heads", heads, f"a divisor of the width {d}", WHERE)
        self.shape, self.progress, self.block_settings = shape, 0.0, settings
        self.chain = ChainEncoding(shape.length, settings.score_width) if settings.chain and shape.layer > 0 else None
        scored = heads * settings.score_width
        # query, key, gate and value in one product: x is read (and under autocast cast) once
        self.parts = [scored, scored, d * settings.gate, d * settings.value]
        self.project = nn.Linear(d, sum(self.parts), bias=False)
        self.offset_table = nn.Parameter(-TIE_BREAK * torch.log2(1.0 + torch.arange(shape.length)).repeat(heads, 1))
        nn.init.normal_(self.project.weight, std=INIT_STD)

    def table_optimizer(self) -> torch.optim.Optimizer | None:
        """The offset table's own update rule, or None where it goes to AdamW (setting `table_rate`)."""
        s = self.block_settings
        if s.table_rate:
            return None
        return TableMomentum([self.offset_table], step=s.table_step, momentum=s.table_momentum)

    def table_rates(self) -> dict[nn.Parameter, float]:
        """Tables under AdamW, with the multiple of the learning rate."""
        return {self.offset_table: self.block_settings.table_rate} if self.block_settings.table_rate else {}

    def set_progress(self, done: float) -> None:
        """The noise schedule: linear from `noise` to zero at the fraction `noise_until` of the training budget."""
        self.progress = done

    def relaxation(self) -> Noise:
        """How this call selects: hard and without noise in inference."""
        s = self.block_settings
        scale = s.noise * max(0.0, 1.0 - self.progress / s.noise_until) if self.training else 0.0
        return Noise(scale, s.temperature, s.hard or not self.training)

    def point(self, q: Tensor, k: Tensor, v: Tensor, lower: Pointed | None) -> tuple[Tensor, Pointed]:
        """q, k: float[B, H, N, r]; v: float[B, H, N, d/H]; lower: the lower layer's pointers, None in the first ->
        (feature of the target float[B, H, N, d/H], pointers).
        """
        raise NotImplementedError

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        """x: float[B, N, d]; carry: the lower layer's Pointed, or None. Returns (float[B, N, d], own Pointed)."""
        query, key, gate, value = self.project(x).split(self.parts, dim=-1)
        q = self._split(query)
        if self.chain is not None:
            q = q + self.chain(carry).to(q.dtype)
        v = self._split(value if self.block_settings.value else x)
        feature, pointed = self.point(q / math.sqrt(self.block_settings.score_width), self._split(key), v, carry)
        mixed = feature.transpose(1, 2).flatten(2)
        return mixed * torch.sigmoid(gate) if self.block_settings.gate else mixed, pointed

    def _split(self, x: Tensor) -> Tensor:
        """[B, N, H*w] -> [B, H, N, w], in float32 (or float64) also under autocast: selection compares scores."""
        heads: Tensor = x.unflatten(-1, (self.block_settings.pointer_heads, -1)).transpose(1, 2)
        return heads if heads.dtype == torch.float64 else heads.float()
