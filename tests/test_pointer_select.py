"""Selection, the fused mixer and candidates: against loops or plain steps; ties; credit."""

import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from selections import assert_same, inputs, normal, select_naive

from pointer import mixer, select
from pointer.block import Pointed
from pointer.content import CHUNK, ContentCredit, nearest_members, propose, taylor_attention
from pointer.credit import FullRangeCredit
from pointer.mixer import PointerMixer
from pointer.noise import gumbel, starts
from pointer.select import FusedSelect, Noise, listed_plain, select_listed, select_plain, targets
from pointer.settings import CandidateSettings
from pointer.sources import ContentSource, chain_proposals, choose_block, offset_proposals
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
    scaled = noise.scale * gumbel(start, shape[2], window + far).view(*shape, -1).double()
    positions = offset_proposals(arguments[4], shape[0], shape[2])
    expected = select_naive(*arguments[:4], positions, scaled, noise.temperature)
    value, choice = path(*arguments, start, noise)
    assert torch.equal(targets(choice, arguments[4]), expected[1])
    assert_same(value, expected[0], list(arguments[:4]))


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
    value, _ = select.select(q, k, v, bias, offsets, Noise(hard=False))
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
    v, upstream = (normal(2, 2, 11, 4, seed=seed) for seed in (1, 2))
    table = normal(2, 14).requires_grad_()
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
    leaves, upstream = [x, *layer.parameters()], normal(*out.shape, seed=seed)
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
    x = normal(batch, length, WIDTH, seed=seed).requires_grad_()
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


def source(length, **chosen):
    settings = CandidateSettings(candidates="offsets+content", **chosen)
    return ContentSource(LayerShape(32, 4, length, 0, 2), settings).double()


def each(*sizes):
    yield from map(tuple, torch.cartesian_prod(*map(torch.arange, sizes)).tolist())


@settings(max_examples=30, deadline=None)
@given(
    length=st.integers(1, 30),
    kinds=st.integers(1, 6),
    members=st.integers(1, 4),
    beyond=st.integers(0, 9),
    seed=st.integers(0, 10**6),
)
def test_the_nearest_earlier_members_of_a_bucket_are_found(length, kinds, members, beyond, seed):
    generator = torch.Generator().manual_seed(seed)
    wanted, held = torch.randint(kinds, (2, 2, 3, length), generator=generator).unbind()
    matches = nearest_members(wanted, held, members, beyond)
    for b, r, i in each(2, 3, length):
        nearest_first = range(i - beyond, -1, -1)
        behind = [j for j in nearest_first if held[b, r, j] == wanted[b, r, i]][:members]
        assert matches[b, r, i].tolist() == behind + [-1] * (members - len(behind))


def test_a_key_that_equals_the_query_is_proposed_however_far():
    q, k = normal(2, 1, 500, 32, seed=1), normal(2, 1, 500, 32, seed=2)
    k[:, :, 3] = 5 * q[:, :, 499]
    proposals = propose(q, k, source(500).fixed.double(), members=1, span=3, beyond=32)
    assert proposals.shape == (2, 1, 500, 24)
    for position in (3, 4, 5):
        assert bool((proposals[:, 0, 499] == position).any(-1).all())


@pytest.mark.parametrize(("at", "expected"), [(4, [4, 5, 6]), (5, [5, 6]), (6, [6]), (7, [])])
def test_positions_behind_a_key_are_proposed_up_to_the_window(at, expected):
    q, k = normal(1, 1, 10, 32), -normal(1, 1, 10, 32)[:, :, 9:].expand(-1, -1, 10, -1).clone()
    k[:, :, at] = q[:, :, 9]
    proposals = propose(q, k, source(10).fixed.double(), members=1, span=3, beyond=3)[0, 0, 9]
    assert proposals[proposals >= 0].tolist() == expected


@pytest.mark.parametrize("length", [1, 2, 31, 33, 130])
def test_proposals_lie_beyond_the_window_and_come_once(length):
    q, k = normal(2, 1, length, 32), normal(2, 1, length, 32, seed=3)
    proposals, bias = source(130, window=7)(q, k, None, fresh=False)
    assert proposals.shape == (2, 1, length, 24)
    assert bias.shape == (1, 24)
    assert bool((proposals <= torch.arange(length)[:, None] - 7).logical_or(proposals == -1).all())
    for row in proposals.flatten(0, 2).tolist():
        legal = [j for j in row if j >= 0]
        assert len(legal) == len(set(legal))


def test_a_position_is_found_by_the_token_before_it():
    scoring, x = source(20).scoring, normal(1, 1, 20, 32)
    with torch.no_grad():
        scoring.taps.zero_()[..., 1] = 1.0
    q, k = scoring(x, x)
    eight = torch.full((1, 1, 20), 8.0, dtype=torch.float64)
    torch.testing.assert_close(q.norm(dim=-1), eight)
    torch.testing.assert_close((q[:, :, 6] * k[:, :, 7]).sum(-1), eight[:, :, 0])
    assert bool((k[:, :, 0] == 0).all())


def dense_attention(q, k, v):
    t = q @ k.transpose(2, 3)
    weights = (1 + t + t.square() / 2).tril()
    return weights / weights.sum(-1, keepdim=True) @ v


@pytest.mark.parametrize("length", [1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 5])
def test_linear_attention_equals_the_formula_over_all_pairs(length):
    q, k, v = (normal(2, 2, length, width, seed=width).requires_grad_() for width in (4, 4, 3))
    value, expected = taylor_attention(q, k, v), dense_attention(q, k, v)
    torch.testing.assert_close(value, expected, atol=1e-9, rtol=0)
    upstream = normal(2, 2, length, 3, seed=9)
    gradients, oracles = (torch.autograd.grad(z, (q, k), upstream) for z in (value, expected))
    torch.testing.assert_close(gradients, oracles, atol=1e-9, rtol=1e-9)


def test_the_credit_adds_nothing_to_the_value_and_reaches_queries_and_keys_alone():
    drawn = (normal(1, 1, 70, width, seed=n) for n, width in enumerate((3, 4, 4, 3)))
    out, q, k, v = (tensor.requires_grad_() for tensor in drawn)
    credited = ContentCredit.apply(out, q, k, v, 3)
    assert torch.equal(credited, out)
    upstream = normal(1, 1, 70, 3, seed=9)
    leaves = (out, q, k, v)
    g_out, g_q, g_k, g_v = torch.autograd.grad(credited, leaves, upstream, allow_unused=True)
    expected = torch.autograd.grad(dense_attention(q, k, v.detach()), (q, k), upstream)
    assert torch.equal(g_out, upstream)
    torch.testing.assert_close((g_q, g_k), expected, atol=1e-9, rtol=1e-9)
    assert g_v is None


def best_block(q, k, i, target, size, region):
    """The complete block of the region whose mean key scores best, else the target's own."""
    first = target // size - region // 2
    complete = [b for b in range(first, first + region) if b >= 0 and (b + 1) * size <= i + 1]
    scores = {b: float(q[i] @ k[b * size : (b + 1) * size].mean(0)) for b in complete}
    return max(scores, key=lambda block: scores[block]) if scores else target // size


@settings(max_examples=30, deadline=None)
@given(
    length=st.integers(1, 40),
    size=st.integers(1, 9),
    region=st.integers(1, 6),
    seed=st.integers(0, 10**6),
)
def test_the_best_complete_block_of_the_region_is_chosen(length, size, region, seed):
    q, k = normal(2, 2, length, 5, seed=seed), normal(2, 2, length, 5, seed=seed + 1)
    share = torch.rand(2, 2, length, generator=torch.Generator().manual_seed(seed))
    targets = (share * (torch.arange(length) + 1)).long()
    chosen = choose_block(q, k, targets, size, region)
    for b, h, i in each(2, 2, length):
        best = best_block(q[b, h], k[b, h], i, int(targets[b, h, i]), size, region)
        assert int(chosen[b, h, i]) == best
