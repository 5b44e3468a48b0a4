"""The Pointer models: properties for any sizes, dense against K = N, errors; what outputs read."""

import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pointer
from pointer.block import Pointed
from pointer.errors import InputError
from pointer.optim import TableMomentum, optimizers
from pointer.tracing import Trace, degeneracy
from workflow.bench import registry
from workflow.bench.cell import Trunk as Shape
from workflow.report import notes

SYMBOLS = 7
SOURCES = ["offsets", "offsets+chain", "offsets+content", "offsets+blocks"]
SOURCES.append("offsets+chain+content+blocks")
CONTENT = {"candidates": "offsets+content"}
BLOCKS = {"candidates": "offsets+blocks", "k": 24, "block": 4, "block_region": 3}


def small(name="pointer", length=40, layers=2, seed=0, **mixer):
    """Build a model in float64, with weights large enough that pointers differ."""
    torch.manual_seed(seed)
    sizes = {"symbols": SYMBOLS, "length": length, "layers": layers, "width": 16, "heads": 2}
    model = registry.build(name, **sizes, mixer=mixer).double()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.add_(torch.randn_like(p) * (0.3 if "table" in name or "bias" in name else 0.1))
    return model


def tokens(length, batch=2, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(SYMBOLS, (batch, length), generator=generator)


@st.composite
def drawn(draw):
    """Draw a model with a window below, at and above N, and K of one up to more than N."""
    mixer = {
        "pointer_heads": draw(st.sampled_from([1, 2, 4])),
        "score_width": draw(st.integers(1, 5)),
        "chain": draw(st.booleans()),
        "gate": draw(st.booleans()),
        "value": draw(st.booleans()),
    }
    source = draw(st.sampled_from([*SOURCES, "dense"]))
    if source == "dense":
        return {"name": "pointer-dense", "hard": True, **mixer}
    chain_window, taps = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    rounds = draw(st.integers(1, 3))
    content = rounds * taps * draw(st.integers(1, 2))
    window, block = draw(st.integers(1, 12)), draw(st.integers(1, 6))
    proposed = {"chain": chain_window + 1, "content": content, "blocks": block}
    reserved = sum(count for word, count in proposed.items() if word in source)
    mixer |= {"candidates": source, "chain_window": chain_window, "window": window, "block": block}
    mixer |= {"content": content, "content_rounds": rounds, "content_taps": taps}
    mixer |= {"content_bits": draw(st.integers(0, 3)), "block_region": draw(st.integers(1, 4))}
    mixer["reach"] = draw(st.sampled_from([0, window, window + 3]))
    return mixer | {"k": window + reserved + draw(st.integers(0, 12))}


@settings(max_examples=25, deadline=None)
@given(
    chosen=drawn(),
    length=st.integers(1, 40),
    batch=st.integers(1, 3),
    layers=st.integers(1, 3),
    seed=st.integers(0, 10**6),
)
def test_a_model_is_causal_by_row_hard_and_points_at_its_past(chosen, length, batch, layers, seed):
    """And alike alone and in any batch; training without noise is hard inference."""
    model = small(length=length, layers=layers, seed=seed, noise=0.0, **chosen)
    x = tokens(length, batch, seed)
    logits = model.eval()(x)
    shifted, cuts = (x[0] + 1) % SYMBOLS, range(1, length + 1)
    changed = model(torch.stack([torch.cat([x[0, :cut], shifted[cut:]]) for cut in cuts]))
    for cut in cuts:
        torch.testing.assert_close(changed[cut - 1, :cut], logits[0, :cut], atol=1e-12, rtol=0)
    torch.testing.assert_close(model(x.flip(0)).flip(0), logits, atol=1e-12, rtol=0)
    torch.testing.assert_close(model(x[:1]), logits[:1], atol=1e-12, rtol=0)
    torch.testing.assert_close(model.train()(x), logits, atol=1e-12, rtol=0)
    targets = pointer.trace(model, x).targets
    assert targets.shape == (layers, batch, chosen["pointer_heads"], length)
    assert bool(((targets >= 0) & (targets <= torch.arange(length))).all())


@pytest.mark.parametrize(("pointer_heads", "value"), [(1, False), (2, True)])
def test_all_candidates_equal_the_dense_formula(pointer_heads, value):
    shared = {"pointer_heads": pointer_heads, "value": value, "noise": 0.0, "hard": True}
    dense = small("pointer-dense", **shared)
    sparse = small("pointer", k=40, window=40, credit="candidates", **shared)
    dense.position_table.requires_grad_(False).zero_()
    weights = dense.state_dict()
    del weights["position_table"]
    sparse.load_state_dict(weights)
    x = tokens(40)
    logits, expected = sparse(x), dense(x)
    torch.testing.assert_close(logits, expected, atol=1e-9, rtol=0)
    assert torch.equal(pointer.trace(sparse, x).targets, pointer.trace(dense, x).targets)
    logits.square().sum().backward()
    expected.square().sum().backward()
    oracles = dict(dense.named_parameters())
    for name, own in sparse.named_parameters():
        assert own.grad is not None, name
        torch.testing.assert_close(own.grad, oracles[name].grad, atol=1e-9, rtol=1e-9, msg=name)


@pytest.mark.parametrize("name", ["pointer", "pointer-dense"])
def test_noise_falls_to_zero_on_schedule_and_changes_what_is_selected(name):
    mixer = small(name, noise=0.4, noise_until=0.5).mixers[0]
    scales = []
    for progress in (0.0, 0.25, 0.5, 0.9):
        mixer.set_progress(progress)
        scales.append(mixer.selection_noise().scale)
    assert scales == [0.4, 0.2, 0.0, 0.0]
    assert mixer.eval().selection_noise().scale == 0.0
    model, x = small(name, noise=5.0).train(), tokens(40)
    assert not torch.equal(model(x), model(x))


def test_the_best_offsets_of_the_table_become_candidates():
    mixer, _ = small(length=100, k=6, window=3).mixers
    with torch.no_grad():
        mixer.offset_table.zero_()
        mixer.offset_table[0, [77, 41, 3]] = torch.tensor([2.0, 3.0, 1.0], dtype=torch.float64)
    assert mixer.offsets(100).tolist() == [[0, 1, 2, 3, 41, 77]]
    short = mixer.offsets(60)[0].tolist()
    assert short[:3] == [0, 1, 2]
    assert 41 in short
    assert max(short) < 60
    assert mixer.offsets(2).tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("settings", "counts"),
    [
        ({"credit": "none"}, [0, 0, 0]),
        ({"credit": "candidates"}, [6, 6, 6]),
        ({"credit": "fft"}, [100, 100, 100]),
        ({"credit_every": 2}, [6, 100, 6]),
    ],
)
def test_credit_decides_which_offsets_learn_and_when(settings, counts):
    model = small(length=100, k=6, window=3, **settings)
    table = model.mixers[0].offset_table
    learned = []
    for _ in counts:
        model.zero_grad()
        model(tokens(100)).square().sum().backward()
        learned.append(0 if table.grad is None else int((table.grad != 0).sum()))
    assert learned == counts
    assert model.mixers[0].period == settings.get("credit_every", 1)


def test_the_chain_lets_the_lower_pointer_change_the_upper_scores():
    x = torch.randn(1, 30, 32, dtype=torch.float64)[..., :16]
    hops, first = torch.arange(30), torch.zeros(1, 1, 30, dtype=torch.int64)
    offsets, second = torch.tensor([[0, 17]]), first + 1
    near, far = Pointed(hops - first, first, offsets), Pointed(hops - second, second, offsets)
    for chain in (True, False):
        upper = small(chain=chain).mixers[1].eval()
        if upper.chain is not None:
            with torch.no_grad():
                upper.chain.query.weight.mul_(50)
        assert torch.equal(upper(x, near)[1].targets, upper(x, far)[1].targets) == (not chain)


@pytest.mark.parametrize(("source", "place"), [("chain", 1), ("blocks", 2)])
def test_chain_and_block_candidates_reach_where_no_offset_does(source, place):
    """The best: one before the lower target, and the third position of the chosen block."""
    chosen = {"candidates": f"offsets+{source}", "chain": False, "chain_window": 4, "block": 4}
    model = small(length=100, k=6, window=1, block_region=3, **chosen).eval()
    lower, upper = model.mixers
    with torch.no_grad():
        lower.offset_table.zero_()[0, 50] = 100.0
        upper.offset_table.zero_().sub_(200.0)
        upper.sources.every[0].bias[0, place] = 100.0
    traced = pointer.trace(model, tokens(100, batch=1))
    hops, targets = traced.hops[:, 0, 0, 60:], traced.targets[1, 0, 0, 60:]
    assert hops[0].unique().tolist() == [50]
    assert source == "blocks" or 51 not in upper.offsets(100)
    found, expected = (hops[1], [51]) if source == "chain" else (targets % 4, [2])
    assert found.unique().tolist() == expected


def test_degenerate_pointers_are_named():
    positions = torch.arange(256).view(1, 1, 256)
    same, good = torch.zeros_like(positions), (positions - 100).clamp(min=0)
    share = torch.rand(1, 1, 256, generator=torch.Generator().manual_seed(0))
    assert "same position" in str(degeneracy(same))
    assert "itself" in str(degeneracy(positions))
    assert "uniformly" in str(degeneracy((share * (positions + 1)).long()))
    assert degeneracy(good) is degeneracy(same[..., :63]) is None
    (warning,) = Trace(torch.stack([good, positions])).warnings()
    assert warning == "degenerate pointer in layer 2: every position points at itself"


def test_every_parameter_has_one_optimiser():
    model = small()
    adam, *tables = optimizers(model, 1e-3)
    assert len(tables) == 2
    held = [p for o in (adam, *tables) for g in o.param_groups for p in g["params"]]
    assert sorted(map(id, held)) == sorted(map(id, model.parameters()))
    (only,) = optimizers(small(table_rate=30.0), 1e-3)
    assert [g["lr"] for g in only.param_groups] == [1e-3, 3e-2]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 0}, "k is 0; accepted: 1 to 4096"),
        ({"window": 65}, "window is 65; accepted: 1 to 64"),
        ({"credit": "ftt"}, "credit of pointer is 'ftt'; accepted: 'none', 'candidates' or 'fft'"),
        ({"candidates": "offsets+chian"}, "Did you mean 'chain'"),
        ({**CONTENT, "window": 41}, "window is 41; accepted: 1 to 40"),
        ({**CONTENT, "content_rounds": 7}, "accepted: a multiple of content_rounds x content_taps"),
        ({**BLOCKS, "window": 21}, "window is 21; accepted: 1 to 20"),
        ({"candidates": "chain"}, "candidates is 'chain'; accepted: offsets, or offsets[+] and"),
        ({"noise": float("nan")}, "noise is nan; accepted: 0 to 10"),
        ({"pointer_heads": 3}, "a divisor of the width 16"),
        ({"chain": "False"}, "setting chain of pointer is 'False'; accepted: a valid boolean"),
        ({"k": 64.0}, "setting k of pointer is 64.0; accepted: a valid integer"),
        ({"noise": "much"}, "setting noise of pointer is 'much'; accepted: a valid number"),
        ({"credit": 3}, "credit of pointer is 3; accepted: 'none', 'candidates' or 'fft'"),
        ({"heads": 8}, "setting of pointer 'heads' is unknown"),
    ],
)
def test_bad_settings_are_named_errors(settings, message):
    with pytest.raises(InputError, match=message):
        small(**settings)


def test_table_momentum_divides_by_the_rms_of_the_row():
    table = torch.nn.Parameter(torch.zeros(2, 4))
    table.grad = torch.tensor([[2.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1e-6]])
    TableMomentum([table], step=0.1, momentum=0.0).step()
    expected = torch.tensor([[-0.2, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, -0.2]])
    torch.testing.assert_close(table.detach(), expected, atol=1e-5, rtol=0)


LENGTH, LAYERS = 60, 3
SIZES = {"symbols": 9, "length": LENGTH, "layers": LAYERS, "width": 24, "heads": 2}


def built(name, heads):
    torch.manual_seed(heads)
    settings = {"pointer_heads": heads}
    if name == "pointer":
        settings |= {"k": 16, "window": 8}
    model = registry.build(name, **SIZES, mixer=settings)
    for parameter in model.parameters():  # so large that content decides the targets
        if parameter.dim() == 2 and parameter.shape[0] != parameter.shape[1]:
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def freeze(model, targets):
    """Make every layer read the values at targets int64[L, B, H, N], whatever its scores."""
    for mixer, fixed in zip(model.mixers, targets, strict=True):

        def read(q, k, v, lower, fixed=fixed):
            return v.gather(2, fixed.unsqueeze(-1).expand_as(v)), fixed

        mixer.chain = None
        mixer.point = read
        mixer._can_fuse = lambda x, noise: False


def read_positions(model, tokens, position):
    embedded = model.embedding(tokens).detach().requires_grad_()
    x, carry = embedded, None
    if model.position_table is not None:
        x = x + model.position_table[: tokens.shape[1]]
    for block in model.blocks:
        x, carry = block(x, carry)
    x[0, position].square().sum().backward()
    return set(embedded.grad[0].abs().sum(-1).nonzero().flatten().tolist())


def reached(targets, position):
    """Return what residuals and pointers lead to from `position`, from the top layer down."""
    positions = {position}
    for layer in reversed(targets[:, 0]):
        positions |= {int(head[at]) for head in layer for at in positions}
    return positions


@pytest.mark.parametrize("name", ["pointer-formula", "pointer-dense", "pointer"])
@pytest.mark.parametrize("heads", [1, 2])
def test_an_output_reads_the_positions_of_its_chains_and_no_more_than_the_bound(name, heads):
    model, tokens = built(name, heads), torch.randint(9, (1, LENGTH))
    targets = pointer.trace(model, tokens).targets
    freeze(model, targets)
    sizes = []
    for position in range(LENGTH):
        read = read_positions(model, tokens, position)
        assert read == reached(targets, position)
        assert len(read) <= (1 + heads) ** LAYERS
        sizes.append(len(read))
    assert max(sizes) > 2, "the targets of this model say nothing about the bound"


@pytest.mark.parametrize(("name", "window"), [("longformer", 8), ("local", 16)])
def test_a_window_reaches_as_far_as_its_layers_add_up(name, window):
    model = registry.build(name, **SIZES, mixer={"window": window})
    read = read_positions(model.eval(), torch.randint(9, (1, LENGTH)), LENGTH - 1)
    assert LENGTH - 1 - min(read) == LAYERS * (window - 1)
    usual = inspect.signature(registry.load(name)).parameters["window"].default
    assert notes.REACH[name] == Shape().layers * (usual - 1)
