"""The Triton kernels against loops, run by Triton's interpreter: tests/test_triton.py starts this file with
TRITON_INTERPRET=1, which must be set before the kernels are imported.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pointer.dense import select_naive
from pointer.noise import gumbel
from pointer.select import Noise, select_plain, targets
from pointer.select_triton import BLOCK, TritonSelect
from pointer.sources import offset_proposals

Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
TOLERANCES = {torch.float64: (1e-9, 1e-9), torch.float32: (1e-6, 2e-4)}  # of outputs, of gradients


def inputs(shape: tuple[int, int, int, int], widths: tuple[int, int], seed: int, dtype: torch.dtype) -> Inputs:
    """q, k, v, bias with gradients, and ascending offsets from 0 on, some beyond the sequence, for shape (B, H, N, K)
    and widths (r, w).
    """
    (batch, heads, length, candidates), (r, w) = shape, widths
    generator = torch.Generator().manual_seed(seed)
    sizes = [(batch, heads, length, r), (batch, heads, length, r), (batch, heads, length, w), (heads, candidates)]
    q, k, v, bias = (torch.randn(*size, generator=generator, dtype=torch.float64) for size in sizes)
    drawn = [torch.randperm(length + candidates, generator=generator)[: candidates - 1] + 1 for _ in range(heads)]
    offsets = torch.stack([torch.cat([torch.zeros(1, dtype=torch.int64), o.sort().values]) for o in drawn])
    return *(t.to(dtype).requires_grad_() for t in (q, k, v, bias)), offsets


def on_triton(arguments: Inputs, start: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
    """The Triton path with the signature of the plain one: (value, candidate index)."""
    q, k, v, bias, offsets = arguments
    flat = [t.flatten(0, 1).contiguous() for t in (q, k, v)]
    out, choice = TritonSelect.apply(*flat, bias, offsets, start, (noise.scale, noise.temperature))
    return out.view(v.shape), choice.view(q.shape[:3])


def assert_same(got: Tensor, expected: Tensor, leaves: list[Tensor], seed: int) -> None:
    """Equal outputs, and equal gradients to the leaves from the same random upstream gradient."""
    close, close_gradients = TOLERANCES[got.dtype]
    torch.testing.assert_close(got, expected, atol=close, rtol=0)
    upstream = torch.randn(got.shape, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    upstream = upstream.to(got.dtype)
    for mine, oracle in zip(
        torch.autograd.grad(got, leaves, upstream), torch.autograd.grad(expected, leaves, upstream), strict=True
    ):
        torch.testing.assert_close(mine, oracle, atol=close_gradients, rtol=close_gradients)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    batch=st.integers(1, 2),
    heads=st.integers(1, 3),
    length=st.integers(1, 70),
    candidates=st.integers(1, 9),
    widths=st.sampled_from([(1, 1), (3, 5), (16, 33)]),
    scale=st.sampled_from([0.0, 0.375]),  # float32 holds them exactly: the kernel takes the scale in it
    temperature=st.sampled_from([0.5, 1.0, 2.0]),
    seed=st.integers(0, 10**6),
)
def test_selection_equals_the_loops(batch, heads, length, candidates, widths, scale, temperature, seed):
    arguments = inputs((batch, heads, length, candidates), widths, seed, torch.float64)
    offsets = arguments[4]
    start = torch.arange(batch * heads) * 1237 + seed
    noise = scale * gumbel(start, length, candidates).view(batch, heads, length, candidates).double()
    proposals = offset_proposals(offsets, batch, length)
    expected, expected_targets = select_naive(*arguments[:4], proposals, noise, temperature)
    got, choice = on_triton(arguments, start, Noise(scale, temperature))
    assert torch.equal(targets(choice, offsets), expected_targets)
    assert_same(got, expected, list(arguments[:4]), seed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    ("shape", "widths"),
    [
        ((1, 1, 1, 1), (1, 1)),  # one position, one candidate
        ((2, 2, 5, 12), (32, 64)),  # shorter than its window
        ((1, 2, BLOCK, 8), (32, 64)),  # a block, no more
        ((1, 1, 2 * BLOCK + 1, 16), (32, 256)),  # the model's widths, and one position in the last block
        ((1, 1, 40, 6), (7, 300)),  # rows wider than a program's copy, of no power of two
    ],
)
def test_sizes_at_the_edges_equal_the_plain_path(shape, widths, dtype):
    arguments = inputs(shape, widths, 11, dtype)
    start, noise = torch.arange(shape[0] * shape[1]) * 999, Noise(0.375, 0.5)
    got, choice = on_triton(arguments, start, noise)
    expected, expected_choice = select_plain(*arguments, start, noise)
    assert torch.equal(choice, expected_choice)
    assert_same(got, expected, list(arguments[:4]), 3)


def test_the_nearest_offset_wins_a_tie():
    q, k, v, _, _ = inputs((1, 1, 9, 3), (2, 3), 0, torch.float32)
    zero, offsets = torch.zeros_like(q), torch.tensor([[0, 2, 5]])
    _, choice = on_triton((zero, k, v, torch.zeros(1, 3), offsets), torch.zeros(1, dtype=torch.int64), Noise())
    assert targets(choice, offsets).tolist() == [[list(range(9))]]
    bias = torch.tensor([[0.0, 1.0, 1.0]])
    _, choice = on_triton((zero, k, v, bias, offsets), torch.zeros(1, dtype=torch.int64), Noise())
    assert targets(choice, offsets).tolist() == [[[0, 1, 0, 1, 2, 3, 4, 5, 6]]]


def test_noise_wraps_around_the_pool():
    arguments = inputs((1, 2, 20, 4), (3, 5), 5, torch.float64)
    start, noise = torch.tensor([2**18 - 30, 2**18 - 1]), Noise(0.375)
    _, choice = on_triton(arguments, start, noise)
    _, expected = select_plain(*arguments, start, noise)
    assert torch.equal(choice, expected)


def test_gradients_are_the_same_bit_for_bit_twice():
    arguments = inputs((1, 2, 90, 6), (8, 16), 9, torch.float32)
    runs = []
    for _ in range(2):
        out, _ = on_triton(arguments, torch.arange(2), Noise(0.375))
        runs.append(torch.autograd.grad(out.square().sum(), list(arguments[:4])))
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_no_later_position_reaches_an_earlier_output():
    q, k, v, bias, offsets = inputs((1, 1, 80, 6), (8, 16), 2, torch.float32)
    start = torch.zeros(1, dtype=torch.int64)
    before, _ = on_triton((q, k, v, bias, offsets), start, Noise())
    changed = [torch.cat([t[:, :, :41], torch.randn_like(t[:, :, 41:])], dim=2) for t in (q, k, v)]
    after, _ = on_triton((*changed, bias, offsets), start, Noise())
    assert torch.equal(before[:, :, :41], after[:, :, :41])
    assert not torch.equal(before[:, :, 41:], after[:, :, 41:])


def test_without_gradients_no_scores_are_kept():
    arguments = tuple(t.detach() for t in inputs((1, 1, 30, 4), (3, 5), 8, torch.float32))
    start = torch.zeros(1, dtype=torch.int64)
    out, choice = on_triton(arguments, start, Noise())
    expected, expected_choice = select_plain(*arguments, start, Noise())
    assert torch.equal(choice, expected_choice)
    torch.testing.assert_close(out, expected, atol=1e-6, rtol=0)
