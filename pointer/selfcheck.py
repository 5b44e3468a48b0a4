"""Does this device's fused selection keep to the plain path and to the loops? For devices that no test machine has.

Each check takes a device and raises Mismatch with the reason; `CHECKS` lists them. The tests do the same on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pointer.naive import select_naive
from pointer.noise import gumbel, starts
from pointer.proposals import offset_proposals
from pointer.select import Noise, fused_select, select, targets

Shape = tuple[int, int, int, int, int, int]  # B, H, N, K, r, w
Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]  # q, k, v, bias, offsets
SMALL: tuple[Shape, ...] = ((1, 1, 1, 1, 1, 1), (2, 2, 5, 12, 3, 5), (1, 2, 67, 9, 16, 33))
LARGE: tuple[Shape, ...] = ((1, 1, 4097, 64, 32, 256), (2, 2, 1000, 33, 32, 128))  # the first has the model's sizes
MEDIUM: tuple[Shape, ...] = ((1, 1, 301, 24, 32, 64), (2, 2, 100, 9, 16, 33))  # for a CPU
EXACT, ROUNDED = 1e-9, 2e-4  # tolerances in float64, and of gradients in float32
NOISE = Noise(0.375, 0.5)  # float32 holds both exactly


class Mismatch(Exception):
    """Two computations of the same selection differ; the message says where and by how much."""


def available(device: torch.device) -> None:
    """There is a fused selection for this device; raises Mismatch where there is none."""
    if fused_select(device.type) is None:
        raise Mismatch(f"no fused selection for {device.type}: Triton (cuda) or numba (cpu) cannot be imported")


def loops(device: torch.device) -> None:
    """Outputs, targets and gradients in float64 are those of the loops on the CPU (1e-9)."""
    for shape in SMALL:
        arguments = _inputs(shape, torch.float64, torch.device("cpu"))
        q, k, v, bias, offsets = arguments
        batch, heads, length, candidates = shape[:4]
        torch.manual_seed(1)
        noise = gumbel(starts(batch * heads), length, candidates).view(batch, heads, length, candidates).double()
        proposals = offset_proposals(offsets, batch, length)
        oracle, at = select_naive(q, k, v, bias, proposals, NOISE.scale * noise, NOISE.temperature)
        there = _inputs(shape, torch.float64, device)
        out, choice = _select(there, fused=True)
        _same(f"target at {shape}", targets(choice, there[4]).cpu(), at, 0)
        _same(f"value at {shape}", out, oracle, EXACT)
        _same_gradients(str(shape), _gradients(out, there), _gradients(oracle, arguments), EXACT)


def plain(device: torch.device) -> None:
    """Choices, outputs and gradients at the model's sizes are those of plain torch on the same device, in float64
    (1e-9) and in float32.
    """
    for shape in _shapes(device):
        for dtype, tolerance in ((torch.float64, EXACT), (torch.float32, ROUNDED)):
            arguments = _inputs(shape, dtype, device)
            (out, choice), (expected, wanted) = (_select(arguments, fused=fused) for fused in (True, False))
            _same(f"choice at {shape} in {dtype}", choice, wanted, 0)
            _same(f"value at {shape} in {dtype}", out, expected, 1e-6)
            found, known = _gradients(out, arguments), _gradients(expected, arguments)
            _same_gradients(f"{shape} in {dtype}", found, known, tolerance)


def ties(device: torch.device) -> None:
    """Of equal scores the nearest offset wins."""
    q = torch.zeros(1, 1, 9, 2, device=device)
    offsets = torch.tensor([[0, 2, 5]], device=device)
    for bias, expected in (([0.0, 0.0, 0.0], list(range(9))), ([0.0, 1.0, 1.0], [0, 1, 0, 1, 2, 3, 4, 5, 6])):
        _, choice = select(q, q, q, torch.tensor([bias], device=device), offsets, Noise())
        _same(f"targets with bias {bias}", targets(choice, offsets)[0, 0].cpu(), torch.tensor(expected), 0)


def causal(device: torch.device) -> None:
    """A change of all positions from i on leaves every output before i as it was, bit for bit."""
    q, k, v, bias, offsets = (t.detach() for t in _inputs(_shapes(device)[0], torch.float32, device))
    before, _ = select(q, k, v, bias, offsets, Noise())
    for i in (1, 64, q.shape[2] // 2, q.shape[2] - 1):
        later_q, later_k, later_v = (_replaced(t, i) for t in (q, k, v))
        after, _ = select(later_q, later_k, later_v, bias, offsets, Noise())
        _same(f"outputs before {i}", after[:, :, :i], before[:, :, :i], 0)


def repeatable(device: torch.device) -> None:
    """Twice the same: outputs and gradients, bit for bit."""
    arguments = _inputs(_shapes(device)[0], torch.float32, device)
    first, second = (_gradients(_select(arguments, fused=True)[0], arguments) for _ in range(2))
    _same_gradients("two runs", first, second, 0)


CHECKS: tuple[Callable[[torch.device], None], ...] = (available, loops, plain, ties, causal, repeatable)


def _shapes(device: torch.device) -> tuple[Shape, ...]:
    return MEDIUM if device.type == "cpu" else LARGE


def _replaced(x: Tensor, i: int) -> Tensor:
    """x, float[B, H, N, w], with other numbers from position i on."""
    return torch.cat([x[:, :, :i], torch.randn_like(x[:, :, i:])], dim=2)


def _inputs(shape: Shape, dtype: torch.dtype, device: torch.device) -> Inputs:
    """q, k, v, bias with gradients, and ascending offsets from 0, half of them the nearest, some beyond the start."""
    batch, heads, length, candidates, r, w = shape
    generator = torch.Generator().manual_seed(length)
    sizes = [(batch, heads, length, r), (batch, heads, length, r), (batch, heads, length, w), (heads, candidates)]
    drawn = [torch.randn(*size, generator=generator, dtype=torch.float64) for size in sizes]
    near = (candidates + 1) // 2
    far = [torch.randperm(length + candidates, generator=generator)[: candidates - near] + near for _ in range(heads)]
    offsets = torch.stack([torch.cat([torch.arange(near), o.sort().values]) for o in far])
    q, k, v, bias = (t.to(device, dtype).requires_grad_() for t in drawn)
    return q, k, v, bias, offsets.to(device)


def _select(arguments: Inputs, *, fused: bool) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    q, k, v, bias, offsets = arguments
    return select(q, k, v, bias, offsets, NOISE, fused=fused)


def _gradients(out: Tensor, arguments: Inputs) -> list[Tensor]:
    """Those of q, k, v and bias for a fixed upstream gradient."""
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return list(torch.autograd.grad(out, arguments[:4], upstream.to(out)))


def _same_gradients(where: str, found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    for name, mine, theirs in zip(("q", "k", "v", "bias"), found, expected, strict=True):
        _same(f"gradient of {name}, {where},", mine, theirs, tolerance)


def _same(what: str, found: Tensor, expected: Tensor, tolerance: float) -> None:
    """Within the tolerance, absolute below 1 and relative above."""
    expected = expected.to(found.device)
    apart = float(((found - expected).abs() / expected.abs().clamp(min=1)).detach().max())
    if not apart <= tolerance:
        raise Mismatch(f"{what} differs by {apart:.3g}; accepted: {tolerance:g}")
