"""Candidates by content: are the right positions proposed, without a look ahead, at a cost that grows with N, and do
queries and keys learn from what was not proposed?"""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pointer.content import CHUNK, ContentCredit, buckets, nearest_members, propose, taylor_attention, without_repeats
from pointer.mixer import PointerMixer
from pointer.settings import CandidateSettings
from pointer.sources import ContentSource
from pointer.trunk import LayerShape, Trunk
from workflow.bench import config, contract, contract_checks, flops, plan, registry

CONTENT = {"candidates": "offsets+content"}


def normal(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def built(length: int, **given: Any) -> Trunk:
    torch.manual_seed(0)
    model = registry.build("pointer", symbols=7, length=length, layers=2, width=32, heads=4, **{**CONTENT, **given})
    assert isinstance(model, Trunk)
    return model


def source(length: int, **given: Any) -> ContentSource:
    made = ContentSource(LayerShape(32, 4, length, 0, 2), CandidateSettings(**{**CONTENT, **given}))
    return made.double()


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(1, 30),
    kinds=st.integers(1, 6),
    members=st.integers(1, 4),
    beyond=st.integers(0, 9),
    seed=st.integers(0, 10**6),
)
def test_the_nearest_earlier_members_of_a_bucket_are_found(
    length: int, kinds: int, members: int, beyond: int, seed: int
) -> None:
    wanted, held = torch.randint(kinds, (2, 2, 3, length), generator=torch.Generator().manual_seed(seed)).unbind()
    found = nearest_members(wanted, held, members, beyond)
    for b in range(2):
        for r in range(3):
            for i in range(length):
                behind = [j for j in range(i - beyond, -1, -1) if held[b, r, j] == wanted[b, r, i]][:members]
                assert found[b, r, i].tolist() == behind + [-1] * (members - len(behind))


def test_repeats_are_dropped() -> None:
    kept = without_repeats(torch.tensor([[4, -1, 2, 4, 2, 4], [-1, -1, -1, -1, -1, -1]]))
    assert sorted(kept[0].tolist()) == [-1, -1, -1, -1, 2, 4]
    assert set(kept[1].tolist()) == {-1}


def test_a_key_that_equals_the_query_is_proposed_however_far() -> None:
    q, k = normal(2, 1, 500, 32, seed=1), normal(2, 1, 500, 32, seed=2)
    k[:, :, 3] = 5 * q[:, :, 499]
    found = propose(q, k, source(500).fixed, members=1, span=3, beyond=32)
    assert found.shape == (2, 1, 500, 24)
    for behind in (0, 1, 2):
        assert bool((found[:, 0, 499] == 3 + behind).any(-1).all())


@pytest.mark.parametrize(("at", "found"), [(4, [4, 5, 6]), (5, [5, 6]), (6, [6]), (7, [])])
def test_what_stands_behind_a_key_is_proposed_as_far_as_the_window_lets(at: int, found: list[int]) -> None:
    q, k = normal(1, 1, 10, 32), normal(1, 1, 10, 32, seed=1)
    k[:, :, at] = q[:, :, 9]
    k[:, :, [j for j in range(10) if j != at]] = -q[:, :, 9:]
    proposed = propose(q, k, source(10).fixed, members=1, span=3, beyond=3)[0, 0, 9]
    assert proposed[proposed >= 0].tolist() == found


def test_the_bucket_of_a_vector_is_the_signs_along_the_directions() -> None:
    directions = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64).view(1, 2, 1, 2)
    x = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    assert buckets(x.view(1, 1, 4, 2), directions).flatten().tolist() == [3, 1, 2, 0]


@pytest.mark.parametrize("length", [1, 2, 31, 33, 130])
def test_proposals_lie_beyond_the_window_and_come_once(length: int) -> None:
    found, bias = source(130, window=7)(normal(2, 1, length, 32), normal(2, 1, length, 32, seed=3), None, fresh=False)
    assert found.shape == (2, 1, length, 24)
    assert bias.shape == (1, 24)
    assert bool((found <= torch.arange(length)[:, None] - 7).logical_or(found == -1).all())
    for row in found.flatten(0, 2).tolist():
        legal = [j for j in row if j >= 0]
        assert len(legal) == len(set(legal))


def test_proposals_do_not_depend_on_later_positions() -> None:
    q, k, own = normal(1, 1, 90, 32), normal(1, 1, 90, 32, seed=4), source(90, window=2, content_bits=3)
    whole, _ = own(q, k, None, fresh=False)
    for cut in (1, 2, 17, 64, 89):
        changed = torch.cat([k[:, :, :cut], normal(1, 1, 90 - cut, 32, seed=cut)], dim=2)
        found, _ = own(q, changed, None, fresh=False)
        assert torch.equal(found[:, :, :cut], whole[:, :, :cut])


def test_a_position_is_found_by_the_token_before_it() -> None:
    scoring = source(20).scoring
    with torch.no_grad():
        scoring.taps.zero_()[..., 1] = 1.0
    x = normal(1, 1, 20, 32)
    q, k = scoring(x, x)
    torch.testing.assert_close(q.norm(dim=-1), torch.full((1, 1, 20), 8.0, dtype=torch.float64))
    torch.testing.assert_close((q[:, :, 6] * k[:, :, 7]).sum(-1), torch.full((1, 1), 8.0, dtype=torch.float64))
    assert bool((k[:, :, 0] == 0).all())


@pytest.mark.parametrize("seed", range(5))
def test_what_follows_an_equal_token_resembles_the_query_from_the_start(seed: int) -> None:
    torch.manual_seed(seed)
    scoring, x = source(200).scoring, normal(1, 1, 200, 32, seed=seed)
    x[:, :, 100:] = x[:, :, :100]
    q, k = scoring(x, x)
    for after in (0, 1, 2):  # the token itself and, by the taps, the two after it
        cosines = (q[0, 0, 100:197] * k[0, 0, after : 97 + after]).sum(-1) / 8
        assert float(cosines.detach().mean()) > 0.25, after  # random signs: 0 on average


def test_directions_are_fresh_while_there_is_noise_and_fixed_afterwards() -> None:
    torch.manual_seed(0)
    mixer = PointerMixer(LayerShape(32, 4, 300, 0, 2), CandidateSettings(**CONTENT))  # type: ignore[arg-type]
    q, k = normal(1, 1, 300, 32).float(), normal(1, 1, 300, 32, seed=5).float()

    def drawn() -> Tensor:
        assert mixer.sources is not None
        return mixer.sources.every[0](q, k, None, fresh=mixer.selection_noise().scale > 0)[0]  # type: ignore[no-any-return]

    assert not torch.equal(drawn(), drawn())
    mixer.set_progress(1.0)
    assert torch.equal(drawn(), drawn())
    trained = drawn()
    mixer.eval()
    assert torch.equal(drawn(), trained)


def dense_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The formula over all pairs."""
    t = q @ k.transpose(2, 3)
    weights = (1 + t + t.square() / 2).tril()
    return weights / weights.sum(-1, keepdim=True) @ v


@pytest.mark.parametrize("length", [1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 5])
def test_linear_attention_equals_the_formula_over_all_pairs(length: int) -> None:
    q, k, v = (normal(2, 2, length, width, seed=width).requires_grad_() for width in (4, 4, 3))
    got, expected = taylor_attention(q, k, v), dense_attention(q, k, v)
    torch.testing.assert_close(got, expected, atol=1e-9, rtol=0)
    upstream = normal(2, 2, length, 3, seed=9)
    mine, its = (torch.autograd.grad(z, (q, k), upstream) for z in (got, expected))
    torch.testing.assert_close(mine, its, atol=1e-9, rtol=1e-9)


def test_the_credit_adds_nothing_to_the_value_and_reaches_queries_and_keys_alone() -> None:
    out, q, k, v = (normal(1, 1, 70, width, seed=n).requires_grad_() for n, width in enumerate((3, 4, 4, 3)))
    credited = ContentCredit.apply(out, q, k, v, 3)  # type: ignore[no-untyped-call]
    assert torch.equal(credited, out)
    upstream = normal(1, 1, 70, 3, seed=9)
    g_out, g_q, g_k, g_v = torch.autograd.grad(credited, (out, q, k, v), upstream, allow_unused=True)
    expected = torch.autograd.grad(dense_attention(q, k, v.detach()), (q, k), upstream)
    assert torch.equal(g_out, upstream)
    torch.testing.assert_close((g_q, g_k), expected, atol=1e-9, rtol=1e-9)
    assert g_v is None


def credit_to_projection(**given: Any) -> Tensor:
    model = built(100, noise=0.0, **given)
    model(torch.arange(100)[None] % 7).square().sum().backward()
    mixer = model.mixers[0]
    assert isinstance(mixer, PointerMixer)
    assert mixer.project.weight.grad is not None
    return mixer.project.weight.grad


def test_the_credit_is_a_switch() -> None:
    assert not torch.equal(credit_to_projection(), credit_to_projection(content_credit=False))


@pytest.mark.parametrize("candidates", ["offsets+content", "offsets+chain+content", "offsets+blocks"])
def test_the_contract_holds(candidates: str) -> None:
    def model(length: int, **sizes: int) -> torch.nn.Module:
        torch.manual_seed(next(seeds))
        return registry.build("pointer", symbols=contract_checks.SYMBOLS, length=length, candidates=candidates, **sizes)

    seeds = itertools.count()
    subject = contract_checks.Subject("pointer", partial(model, **contract.SMALL), model, cost="n log n")
    assert [line for line in contract.check_subject(subject) if not line.ok] == []


@pytest.mark.parametrize("candidates", ["offsets+content", "offsets+blocks"])
def test_work_and_memory_grow_with_the_length(candidates: str) -> None:
    half, whole = (
        flops.count(registry.build("pointer", symbols=20, length=n, layers=2, candidates=candidates), 1, n, 20)
        for n in (1024, 2048)
    )
    assert whole.forward / half.forward <= 2.2
    assert whole.step / half.step <= 2.2
    assert whole.saved_bytes / half.saved_bytes <= 2.02


def test_without_content_nothing_of_it_exists() -> None:
    names = registry.build("pointer", symbols=7, length=16).state_dict()
    assert not [name for name in names if "content" in name]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"window": 41}, "window is 41; accepted: 1 to 40"),
        ({"content": 0}, "content is 0; accepted: 1 to 4096"),
        ({"content_rounds": 25}, "content_rounds is 25; accepted: 1 to 24"),
        ({"content_rounds": 7}, "content is 24; accepted: a multiple of content_rounds x content_taps, 21"),
        (
            {"candidates": "offsets+content+content"},
            "accepted: offsets, or offsets[+] and any of chain, content, blocks",
        ),
    ],
)
def test_bad_settings_are_named_errors(given: dict[str, Any], message: str) -> None:
    from pointer.errors import InputError

    with pytest.raises(InputError, match=message):
        source(20, **given)


def test_of_keys_that_are_the_same_the_nearest_wins() -> None:
    given = CandidateSettings(candidates="offsets+content", window=1, content=6, content_rounds=1, content_taps=1)
    mixer = PointerMixer(LayerShape(32, 4, 40, 0, 2), given).double().eval()
    assert mixer.sources is not None
    content = mixer.sources.content
    assert content is not None
    with torch.no_grad():
        content.bias.fill_(100.0)
        content.scoring.taps.fill_(1.0)
    same = normal(1, 1, 1, 32).expand(-1, -1, 40, -1)
    _, pointed = mixer.point(same, same, normal(1, 1, 40, 32), None)
    assert pointed.targets[0, 0, 1:].tolist() == list(range(39))


def test_a_tier_measures_content_beside_attention_with_three_seeds() -> None:
    cells = [cell.settings for cell in plan.cells(config.from_files([str(config.FOLDER / "content.yaml")]))]
    mqar = {(c.model, str(c.mixer.get("candidates", "")), c.pairs, c.seed) for c in cells if c.experiment == "mqar"}
    for model, candidates in [("pointer", ""), ("pointer", "offsets+content"), ("transformer", "")]:
        assert {(model, candidates, pairs, seed) for pairs in (16, 64) for seed in (0, 1, 2)} <= mqar
    assert {c.hops for c in cells if c.experiment == "khop" and c.mixer} == {1, 2, 3, 4}
