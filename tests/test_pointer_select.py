"""Selection and the fused mixer: every path against loops or plain steps; ties; credit."""

import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from selections import assert_same, by_loops, inputs, select_naive

from pointer import mixer
from pointer.block import Pointed
from pointer.credit import FullRangeCredit
from pointer.mixer import PointerMixer
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
from pointer.settings import CandidateSettings
from pointer.sources import chain_proposals, offset_proposals
from pointer.trunk import LayerShape

EXAMPLES = 5 if os.environ.get("TRITON_INTERPRET") else 15  # the interpreter is slow
some = settings(max_examples=EXAMPLES, deadline=None)


# The Triton kernels take the scale in float32, which holds 0.375 exactly.
noises = st.builds(Noise, st.sampled_from([0.0, 0.375]), st.sampled_from([0.5, 1.0, 2.0]))
shapes = st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 70))  # B, H, N
seeds = st.integers(0, 10**6)


def folded(kernel, device, *arguments, noise):
    """Return what a fused kernel computes on a device, as `select_plain` returns it."""
    q, k, v, bias, offsets, start = (t.to(device) for t in arguments)
    flat = [t.flatten(0, 1).contiguous() for t in (q, k, v)]
    relaxed = (noise.scale, noise.temperature)
    out, choice = kernel.apply(*flat, bias.contiguous(), offsets, start, relaxed)
    return out.view(v.shape).cpu(), choice.view(q.shape[:3]).cpu()


def fused(*arguments):
    return folded(FusedSelect, "cpu", *arguments[:-1], noise=arguments[-1])


def triton(*arguments):
    from pointer.select_triton import TritonSelect

    device = "cpu" if os.environ.get("TRITON_INTERPRET") else "cuda"
    return folded(TritonSelect, device, *arguments[:-1], noise=arguments[-1])


# Where TRITON_INTERPRET is set before they are imported, as tests/test_triton.py does.
with_triton = os.environ.get("TRITON_INTERPRET") or torch.cuda.is_available()
FUSED = [fused, triton] if with_triton else [fused]


@pytest.mark.parametrize("path", [select_plain, *FUSED])
@some
@given(
    shape=shapes,
    noise=noises,
    seed=seeds,
    window=st.sampled_from([1, 2, 7, 8, 9, 12, 13]),
    far=st.integers(0, 8),
)
def test_selection_equals_the_loops(path, shape, noise, seed, window, far):
    arguments = inputs((*shape, window + far), seed, window=window)
    start = torch.arange(shape[0] * shape[1]) * 1237 + seed
    expected, expected_targets = by_loops(arguments, start, noise)
    value, choice = path(*arguments, start, noise)
    assert torch.equal(targets(choice, arguments[4]), expected_targets)
    assert_same(value, expected, list(arguments[:4]))


@pytest.mark.parametrize("is_fused", [True, False])
@some
@given(
    shape=shapes, noise=noises, seed=seeds, candidates=st.integers(1, 9), window=st.integers(1, 5)
)
def test_listed_selection_equals_the_loops(is_fused, shape, noise, seed, candidates, window):
    batch, heads, length = shape
    q, k, v, bias, offsets = inputs((batch, heads, length, candidates), seed)
    share = torch.rand(batch, heads, length, generator=torch.Generator().manual_seed(seed))
    lower = (share * (torch.arange(length) + 1)).long()
    shared, chained = offset_proposals(offsets, batch, length), chain_proposals(lower, window)
    positions = torch.cat([shared, chained], dim=-1)
    bias = torch.cat([bias, bias.new_full((heads, window + 1), 0.1)], dim=-1)
    bias = bias.detach().requires_grad_()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        value, at = select_listed(q, k, v, bias, positions, noise, fused=is_fused)
        torch.manual_seed(seed)
        drawn = gumbel(starts(batch * heads), length, positions.shape[3]).view(positions.shape)
    scaled = noise.scale * drawn.double()
    expected = select_naive(q, k, v, bias, positions, scaled, noise.temperature)
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
def test_sizes_at_the_edges_equal_the_plain_path(path, shape, widths, dtype):
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
def test_the_nearest_wins_a_tie(path):
    q, _, v, _, _ = inputs((1, 1, 9, 3), 0, dtype=torch.float32)
    zero, offsets = torch.zeros_like(q), torch.tensor([[0, 2, 5]])
    start = torch.zeros(1, dtype=torch.int64)
    farther = ([0.0, 1.0, 1.0], [0, 1, 0, 1, 2, 3, 4, 5, 6])
    for bias, expected in (([0.0, 0.0, 0.0], list(range(9))), farther):
        _, choice = path(zero, zero, v, torch.tensor([bias]), offsets, start, Noise())
        assert targets(choice, offsets).tolist() == [[expected]]


@pytest.mark.parametrize("is_fused", [True, False])
def test_the_nearest_listed_position_wins_a_tie(is_fused):
    _, _, v, _, _ = inputs((1, 1, 4, 3), 0)
    zero, bias = v.new_zeros(1, 1, 4, 3), v.new_zeros(1, 3)
    positions = torch.tensor([[[[-1, 0, -1], [0, 1, -1], [0, 1, 0], [1, 0, 2]]]])
    _, at = select_listed(zero, zero, v, bias, positions, Noise(), fused=is_fused)
    assert at.tolist() == [[[0, 1, 1, 2]]]


def test_chain_proposals_are_the_lower_target_its_neighbours_and_its_own_target():
    lower = torch.tensor([[[0, 0, 1, 1, 3, 2, 4]]])
    proposals = chain_proposals(lower, 3)[0, 0]  # target - 1, target, target + 1, target's target
    assert proposals[[4, 6]].tolist() == [[2, 3, 4, 1], [3, 4, 5, 3]]
    assert proposals[[1, 0]].tolist() == [[-1, 0, 1, 0], [-1, 0, -1, 0]]  # none before 0 or ahead


def test_soft_selection_averages_by_softmax():
    q, k, v, bias, offsets = inputs((1, 1, 20, 4), 5)
    value, _ = select(q, k, v, bias, offsets, Noise(hard=False))
    listed, _ = select_listed(q, k, v, bias, offset_proposals(offsets, 1, 20), Noise(hard=False))
    legal = [(c, 19 - o) for c, o in enumerate(offsets[0].tolist()) if o <= 19]
    scores = torch.stack([q[0, 0, 19] @ k[0, 0, j] + bias[0, c] for c, j in legal])
    expected = scores.softmax(0) @ torch.stack([v[0, 0, j] for _, j in legal])
    torch.testing.assert_close(value[0, 0, 19], expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(listed, value, atol=1e-12, rtol=0)


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_soft_selection_has_the_gradients_of_finite_differences(temperature):
    *leaves, _ = inputs((1, 2, 7, 3), 0, widths=(3, 2))
    offsets, start = torch.tensor([[0, 1, 5], [0, 2, 9]]), torch.zeros(2, dtype=torch.int64)
    soft, positions = Noise(0.3, temperature, hard=False), offset_proposals(offsets, 1, 7)
    assert torch.autograd.gradcheck(lambda *x: select_plain(*x, offsets, start, soft)[0], leaves)
    assert torch.autograd.gradcheck(lambda *x: listed_plain(*x, positions, start, soft)[0], leaves)


@pytest.mark.parametrize("path", FUSED)
def test_fused_gradients_are_the_same_bit_for_bit_twice(path):
    arguments = inputs((2, 2, 90, 8), 9, dtype=torch.float32)
    values = [path(*arguments, torch.arange(4), Noise(0.375))[0] for _ in range(2)]
    runs = [torch.autograd.grad(value.square().sum(), list(arguments[:4])) for value in values]
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_credit_is_the_gradient_of_dense_soft_attention_over_offsets():
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


LENGTH, WIDTH = 96, 24
CHOICES = {"gate": [True, False], "chain": [True, False], "credit": ["none", "candidates", "fft"]}
CHOICES |= {"credit_channels": [3, 8], "noise": [0.0, 0.4], "temperature": [0.5, 1.0]}


def subject(**chosen):
    """The second of two layers in training, with an offset table that is not flat."""
    torch.manual_seed(0)
    settings = CandidateSettings(score_width=4, **chosen)
    layer = PointerMixer(LayerShape(WIDTH, 4, LENGTH, 1, 2), settings).double()
    with torch.no_grad():
        layer.offset_table.normal_()
        layer.project.weight.mul_(20)
    layer.set_progress(0.1)
    return layer


def stepped(layer, x, lower, seed):
    torch.manual_seed(seed)
    out, pointed = layer(x, lower)
    generator = torch.Generator().manual_seed(seed)
    upstream = torch.randn(out.shape, dtype=out.dtype, generator=generator)
    leaves = [x, *layer.parameters()]
    return out, pointed, list(torch.autograd.grad(out, leaves, upstream, allow_unused=True))


@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(1, 2),
    heads=st.sampled_from([1, 2, 3]),
    length=st.integers(1, LENGTH),
    k=st.integers(1, 12),
    chosen=st.fixed_dictionaries({name: st.sampled_from(of) for name, of in CHOICES.items()}),
    seed=st.integers(0, 10**6),
)
def test_the_fused_mixer_equals_its_steps(batch, heads, length, k, chosen, seed):
    layer = subject(pointer_heads=heads, k=k, window=(k + 1) // 2, **chosen)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, length, WIDTH, dtype=torch.float64, generator=generator)
    x.requires_grad_()
    choice = torch.zeros(batch, heads, length, dtype=torch.int64)
    lower = Pointed(choice, choice, torch.arange(2).repeat(heads, 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mixer, "FusedMixer", None)
        expected, pointers, slopes = stepped(layer, x, lower, seed)
    out, pointed, gradients = stepped(layer, x, lower, seed)
    assert torch.equal(pointed.targets, pointers.targets)
    torch.testing.assert_close(out, expected, atol=1e-12, rtol=1e-12)
    for gradient, oracle in zip(gradients, slopes, strict=True):
        assert (gradient is None) == (oracle is None)
        if gradient is not None and oracle is not None:
            # Credit is computed in float32.
            torch.testing.assert_close(gradient, oracle, atol=1e-5, rtol=1e-5)
