"""Selection: every path on a CPU against loops, in values, targets and gradients; ties; credit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from selections import Inputs, assert_same, by_loops, inputs
from torch import Tensor

from pointer.credit import FullRangeCredit, correlate, fast_length
from pointer.dense import select_naive
from pointer.noise import gumbel, starts
from pointer.select import (
    FusedSelect,
    Noise,
    listed_plain,
    select,
    select_listed,
    select_plain,
    shifted,
    targets,
)
from pointer.sources import chain_proposals, offset_proposals

Select = Callable[..., tuple[Tensor, Tensor]]
some = settings(max_examples=15, deadline=None)
drawn = {
    "batch": st.integers(1, 2),
    "heads": st.integers(1, 3),
    "length": st.integers(1, 70),
    "scale": st.sampled_from([0.0, 0.4]),
    "temperature": st.sampled_from([0.5, 1.0, 2.0]),
    "seed": st.integers(0, 10**6),
}


def fused(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, offsets: Tensor, start: Tensor, noise: Noise
) -> tuple[Tensor, Tensor]:
    """The fused path with the signature of the plain one."""
    flat = [t.flatten(0, 1).contiguous() for t in (q, k, v)]
    relaxed = (noise.scale, noise.temperature)
    out, choice = FusedSelect.apply(*flat, bias.contiguous(), offsets, start, relaxed)  # type: ignore[no-untyped-call]
    return out.view(v.shape), choice.view(q.shape[:3])


@pytest.mark.parametrize("path", [select_plain, fused])
@some
@given(window=st.sampled_from([1, 2, 7, 8, 9, 12, 13]), far=st.integers(0, 8), **drawn)
def test_selection_equals_the_loops(
    path: Select,
    window: int,
    far: int,
    batch: int,
    heads: int,
    length: int,
    scale: float,
    temperature: float,
    seed: int,
) -> None:
    arguments = inputs((batch, heads, length, window + far), seed, window=window)
    start, noise = torch.arange(batch * heads) * 1237 + seed, Noise(scale, temperature)
    expected, expected_targets = by_loops(arguments, start, noise)
    value, choice = path(*arguments, start, noise)
    assert torch.equal(targets(choice, arguments[4]), expected_targets)
    assert_same(value, expected, list(arguments[:4]))


@pytest.mark.parametrize("is_fused", [True, False])
@some
@given(candidates=st.integers(1, 9), window=st.integers(1, 5), **drawn)
def test_listed_selection_equals_the_loops(
    is_fused: bool, candidates: int, window: int, batch: int, heads: int, length: int, scale: float,
    temperature: float, seed: int,
) -> None:  # fmt: skip
    q, k, v, bias, offsets = inputs((batch, heads, length, candidates), seed)
    share = torch.rand(batch, heads, length, generator=torch.Generator().manual_seed(seed))
    lower = (share * (torch.arange(length) + 1)).long()
    positions = torch.cat(
        [offset_proposals(offsets, batch, length), chain_proposals(lower, window)], dim=-1
    )
    bias = (
        torch.cat([bias, bias.new_full((heads, window + 1), 0.1)], dim=-1).detach().requires_grad_()
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        value, at = select_listed(
            q, k, v, bias, positions, Noise(scale, temperature), fused=is_fused
        )
        torch.manual_seed(seed)
        start = starts(batch * heads)
    noise = scale * gumbel(start, length, positions.shape[3]).view(positions.shape).double()
    expected, expected_targets = select_naive(q, k, v, bias, positions, noise, temperature)
    assert torch.equal(at, expected_targets)
    assert_same(value, expected, [q, k, v, bias])


@pytest.mark.parametrize("is_fused", [True, False])
def test_the_nearest_wins_a_tie(is_fused: bool) -> None:
    q, _, v, _, _ = inputs((1, 1, 9, 3), 0)
    zero, offsets = torch.zeros_like(q), torch.tensor([[0, 2, 5]])
    for bias, expected in (
        ([0.0, 0.0, 0.0], list(range(9))),
        ([0.0, 1.0, 1.0], [0, 1, 0, 1, 2, 3, 4, 5, 6]),
    ):
        _, choice = select(zero, zero, v, zero.new_tensor([bias]), offsets, Noise(), fused=is_fused)
        assert targets(choice, offsets).tolist() == [[expected]]
    positions = torch.tensor([[[[-1, 0, -1], [0, 1, -1], [0, 1, 0], [1, 0, 2]]]])
    four, bias = zero[:, :, :4], zero.new_zeros(1, 3)
    _, at = select_listed(four, four, v[:, :, :4], bias, positions, Noise(), fused=is_fused)
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


def test_fused_gradients_are_the_same_bit_for_bit_twice() -> None:
    arguments: Inputs = inputs((2, 2, 200, 8), 9)
    values = [fused(*arguments, torch.arange(4), Noise(0.3))[0] for _ in range(2)]
    runs = [torch.autograd.grad(value.square().sum(), list(arguments[:4])) for value in values]
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_shifted_moves_each_head_by_its_own_offset() -> None:
    x = torch.arange(1.0, 9.0).view(1, 2, 4, 1)
    assert shifted(x, torch.tensor([1, 9])).flatten().tolist() == [0, 1, 2, 3, 0, 0, 0, 0]


def test_credit_is_the_gradient_of_dense_soft_attention_over_offsets() -> None:
    generator = torch.Generator().manual_seed(1)
    v, upstream = (
        torch.randn(2, 2, 11, 4, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    table = torch.randn(2, 14, generator=generator, dtype=torch.float64, requires_grad=True)
    weights = torch.softmax(table[:, :11], dim=-1)
    rows = [sum(weights[:, o, None] * v[:, :, i - o] for o in range(i + 1)) for i in range(11)]
    (expected,) = torch.autograd.grad(torch.stack(rows, dim=2), table, upstream)  # type: ignore[arg-type]
    out = torch.zeros_like(v, requires_grad=True)
    credited = FullRangeCredit.apply(out, v, table, slice(0, 4))  # type: ignore[no-untyped-call]
    assert torch.equal(credited, out)
    g_out, g_table = torch.autograd.grad(credited, [out, table], upstream)
    assert torch.equal(g_out, upstream)
    torch.testing.assert_close(
        g_table, expected, atol=1e-4, rtol=1e-4
    )  # the correlation runs in float32


def test_correlate_by_hand() -> None:
    g, v = torch.zeros(1, 1, 4, 1), torch.zeros(1, 1, 4, 1)
    g[0, 0, 3], v[0, 0, 1] = 2.0, 5.0
    torch.testing.assert_close(
        correlate(g, v), torch.tensor([[0.0, 0.0, 10.0, 0.0]]), atol=1e-5, rtol=0
    )


def test_fast_length_is_the_next_small_product() -> None:
    assert [fast_length(n) for n in (1, 2, 3, 7, 9, 1023, 1025, 4095)] == [
        1,
        2,
        3,
        8,
        10,
        1024,
        1280,
        4096,
    ]
