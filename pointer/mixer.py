"""`pointer`: the Pointer block over K candidates a position and layer, so that the paper's O(N K) is true of it.

Candidates are the `window` nearest offsets and the best `candidates - window` of a learned table over all offsets,
shared by all positions of a layer and head: any distance is one hop away. Offsets that are not scored learn by credit
(pointer.credit). With `candidates: offsets+chain` some of the K come from the layer below instead (pointer.proposals),
with `offsets+content` from earlier keys that resemble the query (pointer.content).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pointer.block import Pointed, PointerBlock
from pointer.content import ContentSource
from pointer.content_credit import ContentCredit
from pointer.credit import FullRangeCredit
from pointer.proposals import chain_proposals, offset_proposals
from pointer.select import select, selection_flops, targets
from pointer.select_listed import select_listed
from pointer.settings import CandidateSettings
from pointer.trunk import LayerShape


class PointerMixer(PointerBlock):
    """See the module; settings are `CandidateSettings`."""

    Settings = CandidateSettings

    def __init__(self, shape: LayerShape, settings: CandidateSettings) -> None:
        super().__init__(shape, settings)
        self.settings, self.calls = settings, 0
        self.period = settings.credit_every if settings.credit == "fft" else 1  # training steps until work repeats
        self.credit_channels = min(settings.credit_channels, shape.width // settings.pointer_heads)
        heads, followed = settings.pointer_heads, settings.followed if shape.layer > 0 else 0  # the first has no chain
        self.content = ContentSource(shape, settings) if settings.uses("content") else None
        self.scored_offsets = settings.k - followed - (self.content.proposed if self.content else 0)
        self.proposal_bias = nn.Parameter(torch.zeros(heads, followed)) if followed else None

    def offsets(self, length: int) -> Tensor:
        """The shared candidates for sequences of N = length: int64[H, min(K, N)], ascending from 0."""
        window = min(self.settings.window, length)
        best = min(self.scored_offsets, length) - window
        near = torch.arange(window, device=self.offset_table.device).expand(self.settings.pointer_heads, -1)
        far = self.offset_table.detach()[:, window:length].topk(best, dim=-1).indices + window
        return torch.cat([near, far.sort(-1).values], dim=1)

    def point(self, q: Tensor, k: Tensor, v: Tensor, lower: Pointed | None) -> tuple[Tensor, Pointed]:
        """See PointerBlock.point."""
        offsets = self.offsets(q.shape[2])
        table = self.offset_table.detach() if self.settings.credit == "none" else self.offset_table
        bias = table.gather(1, offsets).to(q.dtype)
        if self.content is not None:
            q, k = self.content.scoring(q, k)
        found = self.proposals(q, k, lower)
        if not found:
            feature, choice = select(q, k, v, bias, offsets, self.relaxation(), fused=self.settings.fused)
            pointed = Pointed(targets(choice, offsets), choice, offsets)
        else:
            listed = torch.cat([offset_proposals(offsets, q.shape[0], q.shape[2]), *(at for at, _ in found)], dim=-1)
            bias = torch.cat([bias, *(own.to(q.dtype) for _, own in found)], dim=-1)
            feature, at = select_listed(q, k, v, bias, listed, self.relaxation(), fused=self.settings.fused)
            pointed = Pointed.at(at)
        if self.content is not None and self._in_training() and self.settings.content_credit:
            feature = ContentCredit.apply(feature, q, k, v.detach(), self.credit_channels)  # type: ignore[no-untyped-call]
        if self._credit_now():
            feature = FullRangeCredit.apply(feature, v.detach(), self.offset_table, self.credit_channels)  # type: ignore[no-untyped-call]
        return feature, pointed

    def proposals(self, q: Tensor, k: Tensor, lower: Pointed | None) -> list[tuple[Tensor, Tensor]]:
        """Candidates of each position's own with their scores' bias, int64[B, H, N, E] and float[H, E] a source."""
        found: list[tuple[Tensor, Tensor]] = []
        if self.proposal_bias is not None and lower is not None:
            found.append((chain_proposals(lower.targets, self.settings.chain_window), self.proposal_bias))
        if self.content is not None:
            found.append(self.content(q, k, fresh=self.relaxation().scale > 0))
        return found

    def _in_training(self) -> bool:
        return self.training and torch.is_grad_enabled()

    def _credit_now(self) -> bool:
        if not (self._in_training() and self.settings.credit == "fft"):
            return False
        self.calls += 1
        return self.calls % self.period == 0

    def flops(self, batch: int, length: int) -> tuple[int, int]:
        """Counted operations of the fused kernel, which torch's counter does not see: (forward, backward)."""
        if not self.settings.fused:
            return 0, 0
        s, value_width = self.settings, self.shape.width // self.settings.pointer_heads
        candidates = min(self.scored_offsets, length) + s.k - self.scored_offsets
        forward, backward = selection_flops(batch * s.pointer_heads * length * candidates, s.score_width, value_width)
        return forward + (self.content.comparisons(batch, length) if self.content else 0), backward
