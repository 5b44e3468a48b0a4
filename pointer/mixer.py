"""`pointer`: the Pointer block over K candidates per position and layer, at cost O(N K).

Candidates are the `window` nearest offsets and the `k - window` best of a learned table over all
offsets, shared by all positions of a head: any distance is one hop away. Unscored offsets learn by
credit (pointer.credit). `candidates` takes some of the K from sources that propose for each
position (pointer.sources).
"""

from __future__ import annotations

import torch
from torch import Tensor

from pointer.block import Pointed, TableBlock
from pointer.credit import FullRangeCredit, channel_run, enough_channels
from pointer.noise import starts
from pointer.select import Noise, select, selection_flops, targets
from pointer.settings import CandidateSettings
from pointer.sources import Sources
from pointer.trunk import LayerShape

try:
    from pointer.mixer_fused import FusedMixer, Plan
except ImportError:  # numba is optional: the steps of PointerBlock are the same function, slower
    FusedMixer = None  # type: ignore[assignment,misc]


class PointerMixer(TableBlock):
    """The Pointer block over K candidates; settings are `CandidateSettings`."""

    Settings = CandidateSettings

    def __init__(self, shape: LayerShape, settings: CandidateSettings) -> None:
        super().__init__(shape, settings)
        self.settings, self.calls = settings, 0
        # training steps until work repeats
        self.period = settings.credit_every if settings.credit == "fft" else 1
        self.sources = Sources.of(shape, settings)
        self.scored_offsets = settings.k - (self.sources.proposed if self.sources else 0)

    def offsets(self, length: int) -> Tensor:
        """Return the shared candidates int64[H, min(K, N, reach)], N = length, ascending from 0."""
        stop = min(length, self.settings.reach or length)
        window = min(self.settings.window, stop)
        best = min(self.scored_offsets, stop) - window
        near = torch.arange(window, device=self.offset_table.device)
        near = near.expand(self.settings.pointer_heads, -1)
        far = self.offset_table.detach()[:, window:stop].topk(best, dim=-1).indices + window
        return torch.cat([near, far.sort(-1).values], dim=1)

    def forward(self, x: Tensor, carry: Pointed | None) -> tuple[Tensor, Pointed]:
        """See PointerBlock.forward; on a CPU one fused function does all its steps where it can."""
        noise = self.selection_noise()
        if FusedMixer is None or not self._can_fuse(x, noise):
            return super().forward(x, carry)
        chain = self.chain(carry) if self.chain is not None else None
        offsets, bias = self._shared(x.shape[1])
        start = starts(len(x) * len(offsets))
        credited = self._credit_run(x.shape[1]) if self._credit_now() else None
        relaxed = (noise.scale, noise.temperature)
        plan = Plan(self.settings.score_width, start, relaxed, credited)
        values = (x if x.dtype == torch.float64 else x.float()).contiguous()
        weight, bias = self.project.weight, bias.to(values.dtype)
        inputs = (values, weight, chain, bias, self.offset_table, offsets, plan)
        mixed, choice = FusedMixer.apply(*inputs)  # type: ignore[no-untyped-call]
        return mixed, Pointed(targets(choice, offsets), choice, offsets)

    def _can_fuse(self, x: Tensor, noise: Noise) -> bool:
        """Return whether `pointer.mixer_fused` covers this: hard, shared offsets, on a CPU."""
        s = self.settings
        on_cpu = x.device.type == "cpu"
        return s.fused and noise.hard and on_cpu and self.sources is None and not s.value

    def _shared(self, length: int) -> tuple[Tensor, Tensor]:
        """Return the shared candidates int64[H, K'] and their bias float[H, K']."""
        offsets = self.offsets(length)
        learns = self.settings.credit != "none"
        table = self.offset_table if learns else self.offset_table.detach()
        return offsets, table.gather(1, offsets)

    def point(
        self, q: Tensor, k: Tensor, v: Tensor, lower: Pointed | None
    ) -> tuple[Tensor, Pointed]:
        """See PointerBlock.point."""
        offsets, bias = self._shared(q.shape[2])
        bias, noise = bias.to(q.dtype), self.selection_noise()
        if self.sources is None:
            feature, choice = select(q, k, v, bias, offsets, noise, fused=self.settings.fused)
            pointed = Pointed(targets(choice, offsets), choice, offsets)
        else:
            feature, pointed = self.sources(q, k, v, lower, (offsets, bias), noise)
        if self._credit_now():
            run = self._credit_run(v.shape[2])
            feature = FullRangeCredit.apply(feature, v.detach(), self.offset_table, run)  # type: ignore[no-untyped-call]
        return feature, pointed

    def _credit_now(self) -> bool:
        """Count this call; return whether it gives credit to the offset table."""
        if not (self.training and torch.is_grad_enabled() and self.settings.credit == "fft"):
            return False
        self.calls += 1
        return self.calls % self.period == 0

    def _credit_run(self, length: int) -> slice:
        """Draw the channels of each head's values that carry the credit."""
        width = self.shape.width // self.settings.pointer_heads
        channels = self.settings.credit_channels or enough_channels(length)
        return channel_run(min(channels, width), width)

    def flops(self, batch: int, length: int) -> tuple[int, int]:
        """Return a step's (forward, backward) operations in kernels, which torch does not count."""
        if not self.settings.fused or FusedMixer is None:
            return 0, 0
        s = self.settings
        listed = self.sources is not None  # then the softmax is the kernel's, and the gate torch's
        forward, backward = selection_flops(
            batch * s.pointer_heads * length,
            min(self.scored_offsets, length, s.reach or length) + s.k - self.scored_offsets,
            s.score_width,
            self.shape.width // s.pointer_heads,
            gated=s.gate and not s.value and not listed,
            softmax=listed,
        )
        if self.sources is not None:
            forward += self.sources.comparisons(batch, length)
        return forward, backward
