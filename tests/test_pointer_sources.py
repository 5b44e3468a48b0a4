"""Candidates by content and by blocks: the right ones, without a look ahead, and their credit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pointer import trace
from pointer.content import CHUNK, ContentCredit, nearest_members, propose, taylor_attention
from pointer.settings import CandidateSettings
from pointer.sources import ContentSource, choose_block
from pointer.trunk import LayerShape
from workflow.bench import registry

CONTENT = {"candidates": "offsets+content"}
BLOCKS = {"candidates": "offsets+blocks", "k": 24, "window": 8, "block": 4, "block_region": 3}
SMALL = {"symbols": 7, "width": 32, "heads": 4}


def normal(*size, seed=0):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def source(length, kind=ContentSource, **chosen):
    return kind(LayerShape(32, 4, length, 0, 2), CandidateSettings(**CONTENT | chosen)).double()


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


def test_the_token_pointer_reaches_what_the_block_pointer_chose():
    torch.manual_seed(0)
    chosen = {**BLOCKS, "window": 1, "k": 6, "chain": False}
    model = registry.build("pointer", length=90, layers=2, **SMALL, mixer=chosen).eval()
    first, second = model.mixers
    with torch.no_grad():
        first.offset_table.zero_()[0, 50] = 100.0
        second.offset_table.sub_(200.0)
        second.sources.every[0].bias[0, 2] = 100.0  # the block's third position
    tokens = torch.randint(7, (1, 90), generator=torch.Generator().manual_seed(1))
    targets = trace(model, tokens).targets[1, 0, 0]
    assert set((targets[60:] % 4).tolist()) == {2}
