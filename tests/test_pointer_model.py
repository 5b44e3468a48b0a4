"""The Pointer models: dense against K = N candidates, schedule, settings, chain, tracing, optimiser, errors."""

from __future__ import annotations

import pytest
import torch

import pointer
from pointer.block import Pointed
from pointer.errors import InputError
from pointer.optim import TableMomentum, optimizers
from pointer.settings import CandidateSettings
from pointer.tracing import Trace, degeneracy
from pointer.trunk import Trunk
from workflow.bench import registry

SMALL = {"layers": 2, "width": 32, "heads": 4}


def small(name: str = "pointer", length: int = 40, **settings: object) -> Trunk:
    """A two-layer model in float64."""
    torch.manual_seed(0)
    model = registry.build(name, symbols=7, length=length, **SMALL, **settings).double()
    assert isinstance(model, Trunk)
    with torch.no_grad():
        for mixer in model.mixers:
            mixer.offset_table.add_(torch.randn_like(mixer.offset_table) * 0.3)
    return model


def tokens(length: int, batch: int = 2, seed: int = 3) -> torch.Tensor:
    """Random tokens, int64[batch, length]."""
    return torch.randint(7, (batch, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("pointer_heads", [1, 2])
@pytest.mark.parametrize("value", [False, True])
def test_all_candidates_equal_the_dense_formula(pointer_heads, value):
    shared = {"pointer_heads": pointer_heads, "value": value, "noise": 0.0}
    dense = small("pointer-dense", **shared)
    sparse = small("pointer", k=40, window=40, credit="candidates", **shared)
    sparse.load_state_dict(dense.state_dict())
    x = tokens(40)
    got, expected = sparse(x), dense(x)
    torch.testing.assert_close(got, expected, atol=1e-9, rtol=0)
    assert torch.equal(pointer.trace(sparse, x).targets, pointer.trace(dense, x).targets)
    got.square().sum().backward()
    expected.square().sum().backward()
    for (name, mine), oracle in zip(sparse.named_parameters(), dense.parameters(), strict=True):
        assert mine.grad is not None, name
        torch.testing.assert_close(mine.grad, oracle.grad, atol=1e-9, rtol=1e-9, msg=name)


@pytest.mark.parametrize(
    ("name", "settings"), [("pointer", {}), ("pointer", {"candidates": "offsets+chain"}), ("pointer-dense", {})]
)
def test_training_without_noise_equals_hard_inference(name, settings):
    model = small(name, noise=0.0, **settings)
    x = tokens(33)
    torch.testing.assert_close(model.train()(x), model.eval()(x), atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("pointer", {"window": 4, "k": 9}),
        ("pointer", {"window": 4, "k": 9, "candidates": "offsets+chain"}),
        ("pointer-dense", {}),
    ],
)
@pytest.mark.parametrize("length", [1, 2, 31, 37, 40])
def test_every_suffix_leaves_the_past_alone(name, settings, length):
    model = small(name, **settings).eval()
    x = tokens(length)
    before = model(x)
    for cut in range(1, length):
        changed = x.clone()
        changed[:, cut:] = (changed[:, cut:] + 1) % 7
        torch.testing.assert_close(model(changed)[:, :cut], before[:, :cut], atol=1e-12, rtol=0)


def test_noise_falls_to_zero_on_schedule():
    mixer = small(noise=0.4, noise_until=0.5).mixers[0]
    scales = []
    for done in (0.0, 0.25, 0.5, 0.9):
        mixer.set_progress(done)
        scales.append(mixer.selection_noise().scale)
    assert scales == [0.4, 0.2, 0.0, 0.0]
    assert mixer.eval().selection_noise().scale == 0.0


def test_the_best_offsets_of_the_table_become_candidates():
    mixer = small(length=100, k=6, window=3).mixers[0]
    with torch.no_grad():
        mixer.offset_table.zero_()
        mixer.offset_table[0, [77, 41, 3]] = torch.tensor([2.0, 3.0, 1.0], dtype=torch.float64)
    assert mixer.offsets(100).tolist() == [[0, 1, 2, 3, 41, 77]]
    assert mixer.offsets(60)[0, :3].tolist() == [0, 1, 2]
    assert 41 in mixer.offsets(60)[0].tolist()
    assert int(mixer.offsets(60).max()) < 60
    assert mixer.offsets(2).tolist() == [[0, 1]]


def table_gradient(credit: str) -> torch.Tensor:
    """Gradient to the first layer's table after one step, N = 100, K = 6."""
    model = small(length=100, k=6, window=3, credit=credit)
    model(tokens(100)).square().sum().backward()
    gradient = model.mixers[0].offset_table.grad
    return torch.zeros(1, 100) if gradient is None else gradient


def test_credit_decides_which_offsets_learn():
    assert int((table_gradient("none") != 0).sum()) == 0
    assert int((table_gradient("candidates") != 0).sum()) == 6
    assert int((table_gradient("fft") != 0).sum()) == 100


def test_credit_comes_every_so_many_steps():
    model = small(length=100, k=6, window=3, credit_every=3)
    counts = []
    for _ in range(6):
        model.zero_grad()
        model(tokens(100)).sum().backward()
        counts.append(int((model.mixers[0].offset_table.grad != 0).sum()))
    assert counts == [6, 6, 100, 6, 6, 100]
    assert model.mixers[0].period == 3


def test_the_chain_lets_the_lower_pointer_change_the_upper_scores():
    model = small(chain=True)
    upper = model.mixers[1].eval()
    x = torch.randn(1, 30, 32, dtype=torch.float64)
    hops, first = torch.arange(30), torch.zeros(1, 1, 30, dtype=torch.int64)
    near, far = (Pointed(hops - choice, choice, torch.tensor([[0, 17]])) for choice in (first, first + 1))
    with torch.no_grad():
        upper.chain.query.weight.mul_(50)
    assert not torch.equal(upper(x, near)[1].targets, upper(x, far)[1].targets)
    without = small(chain=False).mixers[1].eval()
    assert torch.equal(without(x, near)[1].targets, without(x, far)[1].targets)


def test_chain_candidates_reach_where_no_offset_does():
    model = small(length=100, k=6, window=1, candidates="offsets+chain", chain_window=4, chain=False).eval()
    with torch.no_grad():
        for mixer, offset in zip(model.mixers, (50, 0), strict=True):
            mixer.offset_table.zero_()[0, offset] = 100.0
        model.mixers[1].offset_table.sub_(200.0)
        model.mixers[1].sources.every[0].bias[0, 1] = 100.0  # one before the lower layer's target
    found = pointer.trace(model, tokens(100, batch=1))
    assert found.hops[0, 0, 0, 60:].unique().tolist() == [50]
    assert found.hops[1, 0, 0, 60:].unique().tolist() == [51]
    assert 51 not in model.mixers[1].offsets(100)


def test_trace_follows_a_known_chain():
    targets = torch.tensor([[[[0, 0, 1, 2]]], [[[0, 1, 0, 1]]]])
    trace = Trace(targets)
    assert trace.hops.tolist() == [[[[0, 1, 1, 1]]], [[[0, 0, 2, 2]]]]
    assert trace.chain(3) == [3, 1, 0]
    with pytest.raises(InputError, match="position is 4; accepted: 0 to 3"):
        trace.chain(4)


def test_trace_leaves_the_model_as_it_was_and_refuses_models_without_pointers():
    model = small().train()
    assert pointer.trace(model, tokens(12)).targets.shape == (2, 2, 1, 12)
    assert model.training
    with pytest.raises(InputError, match="whose mixers point"):
        pointer.trace(registry.build("transformer", symbols=7, length=12, **SMALL), tokens(12))


def test_degenerate_pointers_are_named():
    positions = torch.arange(256).view(1, 1, 256)
    assert "same position" in str(degeneracy(torch.zeros(1, 1, 256, dtype=torch.int64)))
    assert "itself" in str(degeneracy(positions))
    uniform = (torch.rand(1, 1, 256, generator=torch.Generator().manual_seed(0)) * (positions + 1)).long()
    assert "uniformly" in str(degeneracy(uniform))
    assert degeneracy((positions - 100).clamp(min=0)) is None


def test_table_momentum_divides_by_the_rms_of_the_row():
    table = torch.nn.Parameter(torch.zeros(2, 4))
    table.grad = torch.tensor([[2.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1e-6]])
    TableMomentum([table], step=0.1, momentum=0.0).step()
    torch.testing.assert_close(
        table.detach(), torch.tensor([[-0.2, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, -0.2]]), atol=1e-5, rtol=0
    )


def test_every_parameter_has_one_optimiser():
    model = small()
    adam, *tables = optimizers(model, 1e-3)
    assert len(tables) == 2
    held = [p for o in (adam, *tables) for g in o.param_groups for p in g["params"]]
    assert sorted(map(id, held)) == sorted(map(id, model.parameters()))
    (only,) = optimizers(small(table_rate=30.0), 1e-3)
    assert [g["lr"] for g in only.param_groups] == [1e-3, 3e-2, 3e-2]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 0}, "k is 0; accepted: 1 to 4096"),
        ({"window": 65}, "window is 65; accepted: 1 to 64"),
        ({"credit": "ftt"}, "Did you mean 'fft'"),
        ({"candidates": "offsets+chian"}, "Did you mean 'chain'"),
        ({"candidates": "chain"}, "candidates is 'chain'; accepted: offsets, or offsets[+] and"),
        ({"candidates": "offsets+chain", "window": 60}, "window is 60; accepted: 1 to 59"),
        ({"noise": float("nan")}, "noise is nan"),
        ({"pointer_heads": 3}, "a divisor of the width 256"),
        ({"candidate": 3}, "Did you mean 'candidates'"),
    ],
)
def test_bad_settings_are_named_errors(settings, message):
    with pytest.raises(InputError, match=message):
        registry.build("pointer", symbols=7, length=16, **settings)


def test_tokens_out_of_range_and_too_long_are_named_errors():
    model = small(length=10)
    with pytest.raises(InputError, match="length N is 11; accepted: 1 to 10"):
        model(tokens(11))
    with pytest.raises(InputError, match="token range"):
        model(torch.full((1, 4), 7))
    assert CandidateSettings().k == 64
