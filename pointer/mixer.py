"""`pointer`: the Pointer block over K candidates a position and layer, so that the paper's O(N K) is true of it.

Candidates are the `window` nearest offsets and the best `k - window` of a learned table over all offsets,
shared by all positions of a layer and head: any distance is one hop away. Offsets that are not scored learn by credit
(pointer.credit). The setting `candidates` lets some of the K come from elsewhere, for every position its own
(pointer.sources).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pointer.block import Pointed, PointerBlock
from pointer.credit import FullRangeCredit, channel_run, enough_channels
from pointer.noise import starts
from pointer.select import Noise, select, selection_flops, targets
from pointer.settings import CandidateSettings
from pointer.trunk import LayerShape

try:
    from pointer.mixer_fused import FusedMixer, Plan
except ImportError:  # numba is optional: the steps of PointerBlock are the same function, slower
    FusedMixer = None  # type: ignore[assignment,misc]

if TYPE_CHECKING:
    from pointer.sources import Sources


class PointerMixer(PointerBlock):
    """See the module; settings are `CandidateSettings`."""

    Settings = CandidateSettings

    def __init__(self, shape: LayerShape, settings: CandidateSettings) -> None:
        super().__init__(shape, settings)
        self.settings, self.calls = settings, 0
        self.period = settings.credit_every if settings.credit == "fft" else 1  # training steps until work repeats
        self.sources = _sources(shape, settings)
        self.scored_offsets = settings.k - (self.sources.proposed if self.sources else 0)

    def offsets(self, length: int) -> Tensor:
        """The shared candidates for sequences of N = length: int64[H, min(K, N, reach)], ascending from 0."""
        stop = min(length, self.settings.reach or length)
        window = min(self.settings.window, stop)
        best = min(self.scored_offsets, stop) - window
        near = torch.arange(window, device=self.offset_table.device).expand(self.settings.pointer_heads, -1)
        far = self.offset_table.detach()[:, window:stop].topk(best, dim=-1).indices + window
        return torch.cat([near, far.sort(-1).values], dim=1)

    def forward(self, x: Tensor, carry: Pointed | None) -> tuple[Tensor, Pointed]:
        """See PointerBlock.forward; where it can, one function does what that does in steps."""
        noise = self.relaxation()
        if FusedMixer is None or not self._is_plain(x, noise):
            return super().forward(x, carry)
        chain = self.chain(carry) if self.chain is not None else None
        offsets, bias = self._shared(x.shape[1])
        start = starts(len(x) * len(offsets))
        credited = channel_run(*self._carrying(x.shape[1])) if self._credit_now() else None
        plan = Plan(self.settings.score_width, start, (noise.scale, noise.temperature), credited)
        values = x if x.dtype == torch.float64 else x.float()
        mixed, choice = FusedMixer.apply(  # type: ignore[no-untyped-call]
            values.contiguous(), self.project.weight, chain, bias.to(values.dtype), self.offset_table, offsets, plan
        )
        return mixed, Pointed(targets(choice, offsets), choice, offsets)

    def _is_plain(self, x: Tensor, noise: Noise) -> bool:
        """Whether this is what `pointer.mixer_fused` computes: hard selection among shared offsets on a CPU."""
        s = self.settings
        return s.fused and noise.hard and x.device.type == "cpu" and self.sources is None and not s.value

    def _shared(self, length: int) -> tuple[Tensor, Tensor]:
        """The shared candidates for sequences of N = length: offsets int64[H, K'] and their bias float[H, K']."""
        offsets = self.offsets(length)
        table = self.offset_table.detach() if self.settings.credit == "none" else self.offset_table
        return offsets, table.gather(1, offsets)

    def point(self, q: Tensor, k: Tensor, v: Tensor, lower: Pointed | None) -> tuple[Tensor, Pointed]:
        """See PointerBlock.point."""
        offsets, bias = self._shared(q.shape[2])
        bias = bias.to(q.dtype)
        if self.sources is None:
            feature, choice = select(q, k, v, bias, offsets, self.relaxation(), fused=self.settings.fused)
            pointed = Pointed(targets(choice, offsets), choice, offsets)
        else:
            feature, pointed = self.sources(q, k, v, lower, (offsets, bias), self.relaxation())
        if self._credit_now():
            run = channel_run(*self._carrying(v.shape[2]))
            feature = FullRangeCredit.apply(feature, v.detach(), self.offset_table, run)  # type: ignore[no-untyped-call]
        return feature, pointed

    def _credit_now(self) -> bool:
        if not (self.training and torch.is_grad_enabled() and self.settings.credit == "fft"):
            return False
        self.calls += 1
        return self.calls % self.period == 0

    def _carrying(self, length: int) -> tuple[int, int]:
        """How many channels of a head carry the credit of sequences of N = length, and how many it has."""
        width = self.shape.width // self.settings.pointer_heads
        return min(self.settings.credit_channels or enough_channels(length), width), width

    def flops(self, batch: int, length: int) -> tuple[int, int]:
        """Counted operations of the compiled kernels, which torch's counter does not see: (forward, backward)."""
        if not self.settings.fused or FusedMixer is None:
            return 0, 0
        s, listed = self.settings, self.sources is not None  # among lists, softmax is the kernel's and the gate torch's
        forward, backward = selection_flops(
            batch * s.pointer_heads * length,
            min(self.scored_offsets, length, s.reach or length) + s.k - self.scored_offsets,
            s.score_width,
            self.shape.width // s.pointer_heads,
            gated=s.gate and not s.value and not listed,
            softmax=listed,
        )
        return forward + (self.sources.comparisons(batch, length) if self.sources else 0), backward


def _sources(shape: LayerShape, settings: CandidateSettings) -> Sources | None:
    """What a layer has beside the shared offsets. Loaded on demand: other rows do not rest on it (`parts` in
    baselines/registry.yaml)."""
    if settings.candidates == "offsets":
        return None
    from pointer.sources import Sources

    return Sources.of(shape, settings)
