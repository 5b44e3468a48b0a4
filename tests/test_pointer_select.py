"""Selection: the fused and the plain path against loops, in outputs and gradients; ties; credit against dense soft
attention.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pointer.credit import FullRangeCredit, correlate, fast_length
from pointer.dense import select_naive
from pointer.noise import gumbel, starts
from pointer.select import FusedSelect, Noise, select, select_listed, select_plain, shifted, targets
from pointer.sources import chain_proposals, offset_proposals

Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def inputs(batch: int, heads: int, length: int, candidates: int, seed: int, window: int = 1) -> Inputs:
    """q, k, v, bias (float64, with gradients) and ascending offsets: all below `window`, the others anywhere, some of
    them beyond the sequence.
    """
    generator = torch.Generator().manual_seed(seed)
    q, k, v, bias = (
        torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in [
            (batch, heads, length, 3),
            (batch, heads, length, 3),
            (batch, heads, length, 5),
            (heads, candidates),
        ]
    )
    far = candidates - window
    drawn = [torch.randperm(length + candidates, generator=generator)[:far] + window for _ in range(heads)]
    offsets = torch.stack([torch.cat([torch.arange(window), o.sort().values]) for o in drawn])
    return q, k, v, bias, offsets


def fused(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, offsets: Tensor, start: Tensor, noise: Noise
) -> tuple[Tensor, Tensor]:
    """The fused path with the signature of the plain one."""
    flat = [t.flatten(0, 1).contiguous() for t in (q, k, v)]
    out, choice = FusedSelect.apply(*flat, bias.contiguous(), offsets, start, (noise.scale, noise.temperature))
    return out.view(v.shape), choice.view(q.shape[:3])


@pytest.mark.parametrize("path", [select_plain, fused])
@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 2),
    heads=st.integers(1, 3),
    length=st.integers(1, 70),
    window=st.sampled_from([1, 2, 7, 8, 9, 12, 13]),
    far=st.integers(0, 8),
    scale=st.sampled_from([0.0, 0.4]),
    temperature=st.sampled_from([0.5, 1.0, 2.0]),
    seed=st.integers(0, 10**6),
)
def test_selection_equals_the_loops(path, batch, heads, length, window, far, scale, temperature, seed):
    candidates = window + far
    arguments = inputs(batch, heads, length, candidates, seed, window)
    offsets = arguments[4]
    start = torch.arange(batch * heads) * 1237 + seed
    noise = scale * gumbel(start, length, candidates).view(batch, heads, length, candidates).double()
    expected, expected_targets = select_naive(
        *arguments[:4], offset_proposals(offsets, batch, length), noise, temperature
    )
    got, choice = path(*arguments, start, Noise(scale, temperature))
    assert torch.equal(targets(choice, offsets), expected_targets)
    assert_same(got, expected, list(arguments[:4]), seed)


def assert_same(got: Tensor, expected: Tensor, leaves: list[Tensor], seed: int) -> None:
    """Equal outputs, and equal gradients to the leaves from the same random upstream gradient."""
    torch.testing.assert_close(got, expected, atol=1e-9, rtol=0)
    upstream = torch.randn(got.shape, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    for mine, oracle in zip(
        torch.autograd.grad(got, leaves, upstream), torch.autograd.grad(expected, leaves, upstream), strict=True
    ):
        torch.testing.assert_close(mine, oracle, atol=1e-9, rtol=0)


@pytest.mark.parametrize("is_fused", [True, False])
@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 2),
    heads=st.integers(1, 3),
    length=st.integers(1, 70),
    candidates=st.integers(1, 9),
    window=st.integers(1, 5),
    scale=st.sampled_from([0.0, 0.4]),
    temperature=st.sampled_from([0.5, 1.0, 2.0]),
    seed=st.integers(0, 10**6),
)
def test_listed_selection_equals_the_loops(
    is_fused, batch, heads, length, candidates, window, scale, temperature, seed
):
    q, k, v, bias, offsets = inputs(batch, heads, length, candidates, seed)
    drawn = torch.rand(batch, heads, length, generator=torch.Generator().manual_seed(seed))
    lower = (drawn * (torch.arange(length) + 1)).long()
    positions = torch.cat([offset_proposals(offsets, batch, length), chain_proposals(lower, window)], dim=-1)
    bias = torch.cat([bias, bias.new_full((heads, window + 1), 0.1)], dim=-1).detach().requires_grad_()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        got, at = select_listed(q, k, v, bias, positions, Noise(scale, temperature), fused=is_fused)
        torch.manual_seed(seed)
        start = starts(batch * heads)
    noise = scale * gumbel(start, length, positions.shape[3]).view(positions.shape).double()
    expected, expected_targets = select_naive(q, k, v, bias, positions, noise, temperature)
    assert torch.equal(at, expected_targets)
    assert_same(got, expected, [q, k, v, bias], seed)


def test_the_nearest_of_the_listed_wins_a_tie():
    q, _, v, _, _ = inputs(1, 1, 4, 3, 0)
    zero, bias = torch.zeros_like(q), torch.zeros(1, 3, dtype=torch.float64)
    positions = torch.tensor([[[[-1, 0, -1], [0, 1, -1], [0, 1, 0], [1, 0, 2]]]])
    for is_fused in (True, False):
        _, at = select_listed(zero, zero, v, bias, positions, Noise(), fused=is_fused)
        assert at.tolist() == [[[0, 1, 1, 2]]]


def test_chain_proposals_are_the_lower_target_its_neighbours_and_its_own_target():
    lower = torch.tensor([[[0, 0, 1, 1, 3, 2, 4]]])
    found = chain_proposals(lower, 3)  # target - 1, target, target + 1, target's target
    assert found[0, 0, 4].tolist() == [2, 3, 4, 1]
    assert found[0, 0, 6].tolist() == [3, 4, 5, 3]
    assert found[0, 0, 1].tolist() == [-1, 0, 1, 0]  # nothing before the start
    assert found[0, 0, 0].tolist() == [-1, 0, -1, 0]  # nor after the reader


def test_soft_listed_selection_averages_by_softmax():
    q, k, v, bias, offsets = inputs(1, 2, 30, 4, 5)
    soft, _ = select(q, k, v, bias, offsets, Noise(hard=False))
    listed, _ = select_listed(q, k, v, bias, offset_proposals(offsets, 1, 30), Noise(hard=False))
    torch.testing.assert_close(listed, soft, atol=1e-12, rtol=0)


def test_the_nearest_offset_wins_a_tie():
    q, _, v, _, _ = inputs(1, 1, 9, 3, 0)
    zero = torch.zeros_like(q)
    offsets, bias = torch.tensor([[0, 2, 5]]), torch.zeros(1, 3, dtype=torch.float64)
    for is_fused in (True, False):
        _, choice = select(zero, zero, v, bias, offsets, Noise(), fused=is_fused)
        assert targets(choice, offsets).tolist() == [[list(range(9))]]
    _, choice = select(zero, zero, v, torch.tensor([[0.0, 1.0, 1.0]], dtype=torch.float64), offsets, Noise())
    assert targets(choice, offsets).tolist() == [[[0, 1, 0, 1, 2, 3, 4, 5, 6]]]


def test_targets_never_point_ahead_and_are_one_a_position():
    q, k, v, bias, offsets = inputs(2, 3, 50, 7, 3)
    _, choice = select(q, k, v, bias, offsets, Noise(0.3))
    at = targets(choice, offsets)
    assert at.shape == (2, 3, 50)
    assert bool((at >= 0).all())
    assert bool((at <= torch.arange(50)).all())


def test_the_soft_ablation_averages_by_softmax():
    q, k, v, bias, offsets = inputs(1, 1, 20, 4, 5)
    out, _ = select(q, k, v, bias, offsets, Noise(hard=False))
    scores = [(q[0, 0, 19] * k[0, 0, 19 - o]).sum() + bias[0, c] for c, o in enumerate(offsets[0].tolist()) if o <= 19]
    weights = torch.softmax(torch.stack(scores), dim=0)
    expected = sum(w * v[0, 0, 19 - o] for w, o in zip(weights, offsets[0].tolist(), strict=False))
    torch.testing.assert_close(out[0, 0, 19], expected, atol=1e-12, rtol=0)


def test_fused_gradients_are_the_same_bit_for_bit_twice():
    arguments = inputs(2, 2, 200, 8, 9)
    start = torch.arange(4)
    runs = []
    for _ in range(2):
        out, _ = fused(*arguments, start, Noise(0.3))
        runs.append(torch.autograd.grad(out.square().sum(), list(arguments[:4])))
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_shifted_moves_each_head_by_its_own_offset():
    x = torch.arange(1.0, 9.0).view(1, 2, 4, 1)
    assert shifted(x, torch.tensor([1, 9])).flatten().tolist() == [0, 1, 2, 3, 0, 0, 0, 0]


def test_credit_is_the_gradient_of_dense_soft_attention_over_offsets():
    generator = torch.Generator().manual_seed(1)
    batch, heads, length, width = 2, 2, 11, 4
    v, upstream = (torch.randn(batch, heads, length, width, generator=generator, dtype=torch.float64) for _ in range(2))
    table = torch.randn(heads, length + 3, generator=generator, dtype=torch.float64, requires_grad=True)
    weights = torch.softmax(table[:, :length], dim=-1)
    z = torch.stack(
        [sum(weights[:, o, None] * v[:, :, i - o] for o in range(i + 1)) for i in range(length)],
        dim=2,
    )
    (expected,) = torch.autograd.grad(z, table, upstream)
    out = torch.zeros_like(v, requires_grad=True)
    credited = FullRangeCredit.apply(out, v, table, slice(0, width))
    assert torch.equal(credited, out)
    g_out, got = torch.autograd.grad(credited, [out, table], upstream)
    assert torch.equal(g_out, upstream)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)  # the correlation runs in float32


def test_correlate_by_hand():
    g, v = torch.zeros(1, 1, 4, 1), torch.zeros(1, 1, 4, 1)
    g[0, 0, 3], v[0, 0, 1] = 2.0, 5.0
    torch.testing.assert_close(correlate(g, v), torch.tensor([[0.0, 0.0, 10.0, 0.0]]), atol=1e-5, rtol=0)


def test_fast_length_is_the_next_small_product():
    assert [fast_length(n) for n in (1, 2, 3, 7, 9, 1023, 1025, 4095)] == [1, 2, 3, 8, 10, 1024, 1280, 4096]
