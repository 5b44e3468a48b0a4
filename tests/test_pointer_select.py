"""Selection: every path against loops, in values, targets and gradients; ties; credit.

The Triton kernels take part on a GPU, and where TRITON_INTERPRET is set before they are imported:
tests/test_triton.py starts this file so."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from selections import Inputs, Shape, assert_same, by_loops, inputs, select_naive
from torch import Tensor

from pointer.credit import FullRangeCredit
from pointer.noise import gumbel, starts
from pointer.select import (
    FusedSelect,
    Noise,
    listed_plain,
    select,
    select_listed,
    select_plain,
    targets,
)
from pointer.sources import chain_proposals, offset_proposals

Select = Callable[..., tuple[Tensor, Tensor]]
EXAMPLES = 5 if os.environ.get("TRITON_INTERPRET") else 15  # the interpreter is slow
some = settings(max_examples=EXAMPLES, deadline=None)


@dataclass(frozen=True)
class Case:
    """Sizes and noise of a drawn selection."""

    batch: int
    heads: int
    length: int
    noise: Noise
    seed: int


# The Triton kernels take the scale in float32, which holds 0.375 exactly.
noises = st.builds(Noise, st.sampled_from([0.0, 0.375]), st.sampled_from([0.5, 1.0, 2.0]))
cases = st.builds(
    Case, st.integers(1, 2), st.integers(1, 3), st.integers(1, 70), noises, st.integers(0, 10**6)
)


def folded(kernel: Any, device: str, *arguments: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
    """Return what a fused kernel computes on a device, as `select_plain` returns it."""
    q, k, v, bias, offsets, start = (t.to(device) for t in arguments)
    flat = [t.flatten(0, 1).contiguous() for t in (q, k, v)]
    relaxed = (noise.scale, noise.temperature)
    out, choice = kernel.apply(*flat, bias.contiguous(), offsets, start, relaxed)
    return out.view(v.shape).cpu(), choice.view(q.shape[:3]).cpu()


def fused(*arguments: Any) -> tuple[Tensor, Tensor]:
    return folded(FusedSelect, "cpu", *arguments[:-1], noise=arguments[-1])


def triton(*arguments: Any) -> tuple[Tensor, Tensor]:
    from pointer.select_triton import TritonSelect

    device = "cpu" if os.environ.get("TRITON_INTERPRET") else "cuda"
    return folded(TritonSelect, device, *arguments[:-1], noise=arguments[-1])


with_triton = os.environ.get("TRITON_INTERPRET") or torch.cuda.is_available()
FUSED: list[Select] = [fused, triton] if with_triton else [fused]


@pytest.mark.parametrize("path", [select_plain, *FUSED])
@some
@given(case=cases, window=st.sampled_from([1, 2, 7, 8, 9, 12, 13]), far=st.integers(0, 8))
def test_selection_equals_the_loops(path: Select, case: Case, window: int, far: int) -> None:
    shape = (case.batch, case.heads, case.length, window + far)
    arguments = inputs(shape, case.seed, window=window)
    start = torch.arange(case.batch * case.heads) * 1237 + case.seed
    expected, expected_targets = by_loops(arguments, start, case.noise)
    value, choice = path(*arguments, start, case.noise)
    assert torch.equal(targets(choice, arguments[4]), expected_targets)
    assert_same(value, expected, list(arguments[:4]))


@pytest.mark.parametrize("is_fused", [True, False])
@some
@given(case=cases, candidates=st.integers(1, 9), window=st.integers(1, 5))
def test_listed_selection_equals_the_loops(
    is_fused: bool, case: Case, candidates: int, window: int
) -> None:
    batch, heads, length, seed = case.batch, case.heads, case.length, case.seed
    q, k, v, bias, offsets = inputs((batch, heads, length, candidates), seed)
    share = torch.rand(batch, heads, length, generator=torch.Generator().manual_seed(seed))
    lower = (share * (torch.arange(length) + 1)).long()
    shared, chained = offset_proposals(offsets, batch, length), chain_proposals(lower, window)
    positions = torch.cat([shared, chained], dim=-1)
    bias = torch.cat([bias, bias.new_full((heads, window + 1), 0.1)], dim=-1)
    bias = bias.detach().requires_grad_()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        value, at = select_listed(q, k, v, bias, positions, case.noise, fused=is_fused)
        torch.manual_seed(seed)
        drawn = gumbel(starts(batch * heads), length, positions.shape[3]).view(positions.shape)
    noise = case.noise.scale * drawn.double()
    expected = select_naive(q, k, v, bias, positions, noise, case.noise.temperature)
    assert torch.equal(at, expected[1])
    assert_same(value, expected[0], [q, k, v, bias])


@pytest.mark.parametrize("path", FUSED)
@pytest.mark.parametrize(
    ("shape", "widths", "dtype"),
    [
        ((1, 1, 1, 1), (1, 1), torch.float64),  # one position, one candidate
        ((2, 2, 5, 12), (32, 64), torch.float64),  # shorter than its window
        ((1, 2, 64, 8), (32, 64), torch.float32),  # one block of the Triton kernels, no more
        # The model's widths, one row in the last block.
        ((1, 1, 129, 16), (32, 256), torch.float32),
        # Rows wider than a program's copy, of no power of two.
        ((1, 1, 40, 6), (7, 300), torch.float64),
    ],
)
def test_sizes_at_the_edges_equal_the_plain_path(
    path: Select, shape: Shape, widths: tuple[int, int], dtype: torch.dtype
) -> None:
    arguments = inputs(shape, 11, widths, dtype=dtype)
    start = 2**18 - 30 + torch.arange(shape[0] * shape[1]) * 29  # noise wraps around the pool
    noise = Noise(0.375, 0.5)
    value, choice = path(*arguments, start, noise)
    expected, expected_choice = select_plain(*arguments, start, noise)
    assert torch.equal(choice, expected_choice)
    assert_same(value, expected, list(arguments[:4]))
    with torch.no_grad():  # scores are not kept
        again, chosen = path(*arguments, start, noise)
    assert torch.equal(chosen, choice)
    assert torch.equal(again, value)


@pytest.mark.parametrize("path", [select_plain, *FUSED])
def test_the_nearest_wins_a_tie(path: Select) -> None:
    q, _, v, _, _ = inputs((1, 1, 9, 3), 0, dtype=torch.float32)
    zero, offsets = torch.zeros_like(q), torch.tensor([[0, 2, 5]])
    start = torch.zeros(1, dtype=torch.int64)
    for bias, expected in (
        ([0.0, 0.0, 0.0], list(range(9))),
        ([0.0, 1.0, 1.0], [0, 1, 0, 1, 2, 3, 4, 5, 6]),
    ):
        _, choice = path(zero, zero, v, torch.tensor([bias]), offsets, start, Noise())
        assert targets(choice, offsets).tolist() == [[expected]]


@pytest.mark.parametrize("is_fused", [True, False])
def test_the_nearest_listed_position_wins_a_tie(is_fused: bool) -> None:
    _, _, v, _, _ = inputs((1, 1, 4, 3), 0)
    zero, bias = v.new_zeros(1, 1, 4, 3), v.new_zeros(1, 3)
    positions = torch.tensor([[[[-1, 0, -1], [0, 1, -1], [0, 1, 0], [1, 0, 2]]]])
    _, at = select_listed(zero, zero, v, bias, positions, Noise(), fused=is_fused)
    assert at.tolist() == [[[0, 1, 1, 2]]]


def test_chain_proposals_are_the_lower_target_its_neighbours_and_its_own_target() -> None:
    lower = torch.tensor([[[0, 0, 1, 1, 3, 2, 4]]])
    proposals = chain_proposals(lower, 3)[0, 0]  # target - 1, target, target + 1, target's target
    assert proposals[[4, 6]].tolist() == [[2, 3, 4, 1], [3, 4, 5, 3]]
    assert proposals[[1, 0]].tolist() == [[-1, 0, 1, 0], [-1, 0, -1, 0]]  # none before 0 or ahead


def test_soft_selection_averages_by_softmax() -> None:
    q, k, v, bias, offsets = inputs((1, 1, 20, 4), 5)
    value, _ = select(q, k, v, bias, offsets, Noise(hard=False))
    listed, _ = select_listed(q, k, v, bias, offset_proposals(offsets, 1, 20), Noise(hard=False))
    legal = [(c, 19 - o) for c, o in enumerate(offsets[0].tolist()) if o <= 19]
    scores = torch.stack([q[0, 0, 19] @ k[0, 0, j] + bias[0, c] for c, j in legal])
    expected = scores.softmax(0) @ torch.stack([v[0, 0, j] for _, j in legal])
    torch.testing.assert_close(value[0, 0, 19], expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(listed, value, atol=1e-12, rtol=0)


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_soft_selection_has_the_gradients_of_finite_differences(temperature: float) -> None:
    *leaves, _ = inputs((1, 2, 7, 3), 0, widths=(3, 2))
    offsets, start = torch.tensor([[0, 1, 5], [0, 2, 9]]), torch.zeros(2, dtype=torch.int64)
    soft, positions = Noise(0.3, temperature, hard=False), offset_proposals(offsets, 1, 7)
    assert torch.autograd.gradcheck(lambda *x: select_plain(*x, offsets, start, soft)[0], leaves)
    assert torch.autograd.gradcheck(lambda *x: listed_plain(*x, positions, start, soft)[0], leaves)


@pytest.mark.parametrize("path", FUSED)
def test_fused_gradients_are_the_same_bit_for_bit_twice(path: Select) -> None:
    arguments: Inputs = inputs((2, 2, 90, 8), 9, dtype=torch.float32)
    values = [path(*arguments, torch.arange(4), Noise(0.375))[0] for _ in range(2)]
    runs = [torch.autograd.grad(value.square().sum(), list(arguments[:4])) for value in values]
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_credit_is_the_gradient_of_dense_soft_attention_over_offsets() -> None:
    generator = torch.Generator().manual_seed(1)
    sizes, double = (2, 2, 11, 4), torch.float64
    v, upstream = (torch.randn(sizes, generator=generator, dtype=double) for _ in range(2))
    table = torch.randn(2, 14, generator=generator, dtype=torch.float64, requires_grad=True)
    weights = torch.softmax(table[:, :11], dim=-1)
    rows = [sum(weights[:, o, None] * v[:, :, i - o] for o in range(i + 1)) for i in range(11)]
    (expected,) = torch.autograd.grad(torch.stack(rows, dim=2), table, upstream)
    out = torch.zeros_like(v, requires_grad=True)
    credited = FullRangeCredit.apply(out, v, table, slice(0, 4))
    assert torch.equal(credited, out)
    g_out, g_table = torch.autograd.grad(credited, [out, table], upstream)
    assert torch.equal(g_out, upstream)
    # The correlation runs in float32.
    torch.testing.assert_close(g_table, expected, atol=1e-4, rtol=1e-4)
