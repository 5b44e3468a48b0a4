"""The Pointer block (paper section 2.2): selection, chain encoding, gated aggregation.

Subclasses implement the selection. The paper's symbols and the code's:
    H, h_i              x: float[B, N, d]
    p_i, layer below    carry: what `point` returned there, targets int64[B, H, N] or a Pointed
    s_ij                scores
    p_i = argmax_j s_ij targets: int64[B, H, N]
    gate                sigmoid(W x), times the target's hidden state
Residual connection and norm are the trunk's. docs/method.md lists deviations.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pointer.errors import MIXER_SETTINGS, InputError
from pointer.optim import TableMomentum
from pointer.select import Noise
from pointer.settings import BlockSettings, TableSettings
from pointer.trunk import LayerShape, Mixer

CHAIN_WIDTH = 32
CHAIN_WAVES = 4
TIE_BREAK = 1e-3  # slope of a new offset table over log2 of the offset: the nearest wins ties


class Pointed(NamedTuple):
    """A layer's pointers, by position and by hop, as the next layer reads them."""

    targets: Tensor  # int64[B, H, N], positions
    choice: Tensor  # int64[B, H, N], which entry of `offsets` each position chose
    offsets: Tensor  # int64[H, K], the hop distances to choose from

    @classmethod
    def at(cls, targets: Tensor) -> Pointed:
        """Return pointers to targets int64[B, H, N], with every hop distance as an offset."""
        positions = torch.arange(targets.shape[2], device=targets.device)
        return cls(targets, positions - targets, positions.expand(targets.shape[1], -1))


class ChainEncoding(nn.Module):
    """Encode the lower layer's hop distances as a term of the query.

    The paper concatenates the encoding to the hidden state before scoring. The query of a
    concatenation is the sum of its parts' queries, and only K distinct hops need encoding.
    """

    def __init__(self, length: int, score_width: int) -> None:
        super().__init__()
        self.log_length = math.log2(1 + length)
        self.linear = nn.Linear(1 + 2 * CHAIN_WAVES, CHAIN_WIDTH)
        self.norm = nn.LayerNorm(CHAIN_WIDTH)
        self.query = nn.Linear(CHAIN_WIDTH, score_width, bias=False)

    def encode(self, hops: Tensor) -> Tensor:
        """Map hops int64[...] to float[..., r]; x is log2 of the hop, scaled to 0..1."""
        x = torch.log2(1.0 + hops.to(self.linear.weight.dtype)) / self.log_length
        features = [x]
        for n in range(CHAIN_WAVES):
            features += [torch.sin(math.pi * 2**n * x), torch.cos(math.pi * 2**n * x)]
        encoded: Tensor = self.query(self.norm(self.linear(torch.stack(features, dim=-1))))
        return encoded

    def forward(self, lower: Pointed) -> Tensor:
        """Map the lower layer's pointers to query terms float[B, H, N, r]."""
        heads, candidates = lower.offsets.shape
        index = lower.choice + candidates * torch.arange(heads, device=lower.choice.device)[:, None]
        return nn.functional.embedding(index, self.encode(lower.offsets).flatten(0, 1))


class PointerBlock(Mixer):
    """Per pointer head, each position reads the gated feature of one position of its past."""

    def __init__(self, shape: LayerShape, settings: BlockSettings) -> None:
        super().__init__()
        heads, d = settings.pointer_heads, shape.width
        if d % heads:
            accepted = f"a divisor of the width {d}"
            raise InputError.about("pointer_heads", heads, accepted, MIXER_SETTINGS)
        self.shape, self.progress, self.block_settings = shape, 0.0, settings
        self.chain = None
        if settings.chain and shape.layer > 0:
            self.chain = ChainEncoding(shape.length, settings.score_width)
        scored = heads * settings.score_width
        # query, key, gate and value in one product: x is read (and under autocast cast) once
        self.parts = [scored, scored, d * settings.gate, d * settings.value]
        self.project = nn.Linear(d, sum(self.parts), bias=False)
        nn.init.normal_(self.project.weight, std=d**-0.5)

    def set_progress(self, done: float) -> None:
        """Set the fraction of training done, for the noise schedule."""
        self.progress = done

    def selection_noise(self) -> Noise:
        """Return this call's relaxation: none in inference, annealed noise in training."""
        s = self.block_settings
        if not self.training:
            return Noise(0.0, s.temperature, hard=True)
        scale = s.noise * max(0.0, 1.0 - self.progress / s.noise_until)
        return Noise(scale, s.temperature, s.hard)

    def lower_query(self, lower: Any) -> Tensor:
        """Return what the lower layer's pointers add to queries, float[B, H, N, r]."""
        assert self.chain is not None
        added: Tensor = self.chain(lower)
        return added

    def point(self, q: Tensor, k: Tensor, v: Tensor, lower: Any) -> tuple[Tensor, Any]:
        """Return the targets' features float[B, H, N, d/H] and the pointers.

        q, k: float[B, H, N, r]; v: float[B, H, N, d/H]; lower: the layer below's pointers or None.
        """
        raise NotImplementedError

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        """Map x float[B, N, d] and the lower layer's pointers to (float[B, N, d], own pointers)."""
        query, key, gate, value = self.project(x).split(self.parts, dim=-1)
        q = self._split(query)
        if self.chain is not None:
            q = q + self.lower_query(carry).to(q.dtype)
        q = q / math.sqrt(self.block_settings.score_width)
        v = self._split(value if self.block_settings.value else x)
        feature, pointed = self.point(q, self._split(key), v, carry)
        mixed = feature.transpose(1, 2).flatten(2)
        return mixed * torch.sigmoid(gate) if self.block_settings.gate else mixed, pointed

    def _split(self, x: Tensor) -> Tensor:
        """Map [B, N, H*w] to [B, H, N, w], in float32 even under autocast: scores are compared."""
        heads: Tensor = x.unflatten(-1, (self.block_settings.pointer_heads, -1)).transpose(1, 2)
        return heads if heads.dtype == torch.float64 else heads.float()


class TableBlock(PointerBlock):
    """A Pointer block that adds an offset table float[H, N] to its scores."""

    def __init__(self, shape: LayerShape, settings: TableSettings) -> None:
        super().__init__(shape, settings)
        self.table_settings = settings
        slope = -TIE_BREAK * torch.log2(1.0 + torch.arange(shape.length))
        self.offset_table = nn.Parameter(slope.repeat(settings.pointer_heads, 1))

    def table_optimizer(self) -> torch.optim.Optimizer | None:
        """Return the offset table's optimiser, or None if AdamW trains it (`table_rate`)."""
        s = self.table_settings
        if s.table_rate:
            return None
        return TableMomentum([self.offset_table], step=s.table_step, momentum=s.table_momentum)

    def own_rates(self, lr: float) -> dict[nn.Parameter, float]:
        """Return the table's learning rate if AdamW trains it."""
        multiple = self.table_settings.table_rate
        return {self.offset_table: lr * multiple} if multiple else {}
