"""Checks of a device's fused selection against plain torch, for `pointer-bench gpu-check`."""

from __future__ import annotations

import torch
from torch import Tensor

from pointer.noise import starts
from pointer.select import Noise, fused_select, select, select_plain

SIZES = (2, 2, 1000, 33, 32, 128)  # B, H, N, K, r, w
EXACT, ROUNDED = 1e-9, 2e-4  # tolerances in float64 and in float32


class Mismatch(Exception):
    """Two computations of the same selection differ."""


def available(device: torch.device) -> None:
    """Raise Mismatch unless this device has a fused selection."""
    if fused_select(device.type) is None:
        raise Mismatch(f"no fused selection for {device.type}: cuda needs Triton, cpu numba")


def agrees(device: torch.device) -> None:
    """Raise Mismatch unless results match plain torch's and repeat bit for bit."""
    for dtype, tolerance in ((torch.float64, EXACT), (torch.float32, ROUNDED)):
        plain, once, twice = (_run(device, dtype, fused=fused) for fused in (False, True, True))
        for name, expected in plain.items():
            apart = float(((once[name] - expected).abs() / expected.abs().clamp(min=1)).max())
            if not apart <= tolerance or not torch.equal(once[name], twice[name]):
                raise Mismatch(f"{name} in {dtype} differs by {apart:.3g}, or between two runs")


def causal(device: torch.device) -> None:
    """Raise Mismatch if a change from position i on changes a bit of an output before i."""
    before = _run(device, torch.float32, fused=True)["value"]
    for i in (1, 64, SIZES[2] - 1):
        after = _run(device, torch.float32, fused=True, changed_from=i)["value"]
        if not torch.equal(after[:, :, :i], before[:, :, :i]):
            raise Mismatch(f"outputs before {i} change")


CHECKS = (available, agrees, causal)


def _run(
    device: torch.device, dtype: torch.dtype, *, fused: bool, changed_from: int = SIZES[2]
) -> dict[str, Tensor]:
    """Return value, choice and gradients of one selection from fixed inputs and noise."""
    batch, heads, length, candidates, r, w = SIZES
    generator = torch.Generator().manual_seed(1)
    shapes = [(batch, heads, length, width) for width in (r, r, w)] + [(heads, candidates)]
    drawn = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    for x in drawn[:3]:
        x[:, :, changed_from:] += 1
    q, k, v, bias = (x.to(device, dtype).requires_grad_() for x in drawn)
    offsets = (torch.arange(candidates, device=device) ** 2).expand(heads, -1)  # beyond the start
    torch.manual_seed(1)
    noise = Noise(0.375, 0.5)  # float32 holds both exactly
    if fused:
        value, choice = select(q, k, v, bias, offsets, noise)
    else:
        value, choice = select_plain(q, k, v, bias, offsets, starts(batch * heads), noise)
    g_q, g_k, g_v, g_bias = torch.autograd.grad(value.sin().sum(), (q, k, v, bias))
    return {"value": value.detach(), "choice": choice, "q": g_q, "k": g_k, "v": g_v, "bias": g_bias}
