"""Every baseline equals the plain definition of its paper, and starts as its authors start it."""

import math

import definitions
import pytest
import torch
from definitions import masked, qkv, softmax, turned
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from baselines import gla, transformer_relative
from baselines.deltanet import DeltaNet
from baselines.hyena import Hyena
from baselines.parts import delta as delta_chunks
from baselines.parts import recurrence
from baselines.parts.heads import merge_heads, split_heads
from baselines.pointer_repository import RepositoryBlock
from baselines.s4d import S4D
from pointer.optim import optimizers
from pointer.trunk import LayerShape
from workflow.bench import config, registry

SHAPE = LayerShape(width=8, heads=2, length=64, layer=1, layers=2)
LOWER = LayerShape(width=8, heads=2, length=64, layer=0, layers=2)
ENTRIES = map(registry.info, registry.names())
TRAINED = [e.name for e in ENTRIES if e.trained and e.path.startswith("baselines.")]
DEFINITIONS = {
    "transformer": ({}, masked(lambda head, i, j: True)),
    "transformer-unfused": ({}, masked(lambda head, i, j: True)),
    "local": ({"window": 3}, masked(lambda head, i, j: i - j < 3)),
    "logsparse": ({}, masked(lambda head, i, j: (i - j).bit_count() <= 1)),
    "transformer-rotary": ({}, definitions.rotary),
    "transformer-relative": ({}, definitions.relative),
    "transformer-content": ({}, definitions.content),
    "linear-attention": ({}, definitions.linear),
    "performer": ({"features": 6}, definitions.performer),
    "retnet": ({}, definitions.retention),
    "gla": ({"rank": 3}, definitions.gated),
    "deltanet": ({}, definitions.delta),
    "gated-deltanet": ({}, definitions.gated_delta),
    "mamba2": ({"states": 3}, definitions.mamba2),
    "based": ({"features": 3}, definitions.based_taylor),
    "based, lower layer": ({"window": 3}, definitions.based_window),
    "hyena": ({"bands": 2}, definitions.hyena),
    "s4d": ({"states": 3}, definitions.s4d),
    "uniform": ({}, definitions.uniform),
    "random-pointer": ({}, definitions.random_pointer),
}


def build(name, shape=SHAPE, **options):
    """Return a mixer in float64, with weights so large that no softmax is near uniform."""
    torch.manual_seed(0)
    mixer = registry.load(name)(shape, **options).double()
    for parameter in mixer.parameters() if name != "s4d" else ():
        nn.init.normal_(parameter, std=0.7)
    return mixer


def inputs(length):
    generator = torch.Generator().manual_seed(length)
    return torch.randn(2, length, SHAPE.width, generator=generator, dtype=torch.float64)


def assert_twins(mixer, x, slow):
    """Outputs, the input's gradient and every parameter's gradient agree within 1e-9 in float64."""
    upstream = torch.randn(x.shape, generator=torch.Generator().manual_seed(5), dtype=x.dtype)
    results = []
    for run in (lambda x: mixer(x, None)[0], lambda x: slow(mixer, x)):
        leaf = x.clone().requires_grad_()
        y = run(leaf)
        leaves = [leaf, *mixer.parameters()]
        gradients = torch.autograd.grad((y * upstream).sum(), leaves, materialize_grads=True)
        results.append([y, *gradients])
    for fast, expected in zip(*results, strict=True):
        torch.testing.assert_close(fast, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("length", [1, 2, 13, 33])
@pytest.mark.parametrize("name", DEFINITIONS)
def test_a_mixer_equals_its_definition(name, length, monkeypatch):
    monkeypatch.setattr(recurrence, "CHUNK", 4)  # short sequences cross several
    monkeypatch.setattr(delta_chunks, "CHUNK", 4)
    monkeypatch.setattr(transformer_relative, "ROWS", 4)
    options, slow = DEFINITIONS[name]
    name, _, lower = name.partition(", ")
    assert_twins(build(name, LOWER if lower else SHAPE, **options), inputs(length), slow)


# Several chunks a window.
@example(length=385, window=256, dilations=(1, 1), global_tokens=3)
@example(length=129, window=128, dilations=(1, 1), global_tokens=0)
@example(length=600, window=257, dilations=(1, 1), global_tokens=0)
@settings(deadline=None, max_examples=30)
@given(
    length=st.integers(1, 26),
    window=st.integers(1, 9),
    dilations=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    global_tokens=st.integers(0, 6),
)
def test_sliding_window_equals_masked_dense_form(length, window, dilations, global_tokens):
    spread = ",".join(map(str, dilations))
    options = {"window": window, "dilations": spread, "global_tokens": global_tokens}

    def visible(head, i, j):
        hops, rest = divmod(i - j, dilations[head])
        return j < global_tokens or (rest == 0 and 0 <= hops < window)

    assert_twins(build("longformer", **options), inputs(length), masked(visible))


@settings(deadline=None, max_examples=15)
@given(length=st.integers(1, 30), block=st.integers(1, 6), picks=st.integers(0, 4))
def test_block_attention_equals_masked_dense_form(length, block, picks):
    def slow(mixer, x):
        q, k, v = qkv(mixer, x)
        q, k = turned(q), turned(k)
        mask = torch.zeros(2, 2, length, length, dtype=torch.bool)
        for b, h, i in torch.cartesian_prod(*(torch.arange(n) for n in (2, 2, length))).tolist():
            own = i // block
            blocks = [slice(c * block, (c + 1) * block) for c in range(own + 1)]
            gates = [float(q[b, h, i] @ k[b, h, of].mean(0)) for of in blocks[:own]]
            best = sorted(range(own), key=gates.__getitem__, reverse=True)[:picks]
            for c in [own, *best]:
                mask[b, h, i, blocks[c]] = True
        scores = (q @ k.transpose(-2, -1) / 2).masked_fill(~mask, -math.inf)
        return mixer.out(softmax(scores, v))

    assert_twins(build("moba", block=block, picks=picks), inputs(length), slow)


@settings(deadline=None, max_examples=15)
@given(length=st.integers(1, 30), window=st.integers(1, 9), rounds=st.integers(1, 3))
def test_hash_attention_equals_search_by_loop(length, window, rounds):
    def slow(mixer, x):
        q, v = split_heads(mixer.query_key(x), 2), split_heads(mixer.value(x), 2)
        unit, bucket, rows = q / q.norm(dim=-1, keepdim=True), mixer.buckets(q), torch.zeros_like(v)
        for b, h, i in torch.cartesian_prod(*(torch.arange(n) for n in (2, 2, length))).tolist():
            seen = []
            for series in bucket[:, b, h]:
                seen += [j for j in range(i) if series[j] == series[i]][-window:]
            seen = seen or [i]
            share = (unit[b, h, seen] @ q[b, h, i] / 2).softmax(0)
            rows = rows.index_put(tuple(torch.tensor([b, h, i])), share @ v[b, h, seen])
        return mixer.out(merge_heads(rows))

    assert_twins(build("reformer", window=window, rounds=rounds), inputs(length), slow)


@pytest.mark.parametrize(("length", "halves"), [(2048, [16]), (2**20, [32, 32, 2])])
def test_buckets_of_long_sequences_are_products_of_few_hashes(length, halves):
    torch.manual_seed(0)
    mixer = registry.load("reformer")(LayerShape(8, 2, length, 0, 1))
    assert mixer.halves == halves
    assert math.prod(2 * half for half in halves) >= length // 64
    q = torch.randn(2, 2, 30, 4)
    same = torch.tensor(True)
    for directions in mixer.directions.split(halves, dim=-1):
        along = torch.einsum("bhne,rhek->rbhnk", q, directions)
        digit = torch.cat([along, -along], dim=-1).argmax(-1)
        same = same & (digit.unsqueeze(-1) == digit.unsqueeze(-2))
    bucket = mixer.buckets(q)
    # Two positions share a bucket where they are alike in every hash.
    assert torch.equal(bucket.unsqueeze(-1) == bucket.unsqueeze(-2), same)


def test_random_targets_are_causal_frozen_and_independent_of_length():
    kind = registry.load("random-pointer")
    short, long = (kind(LayerShape(8, 2, length, 1, 2)) for length in (50, 400))
    x = torch.randn(3, 50, 8)
    targets = short(x, None)[1]
    assert (targets.dtype, targets.shape) == (torch.int64, (3, 2, 50))
    assert ((targets >= 0) & (targets <= torch.arange(50))).all()
    assert torch.equal(targets, long.targets(x, None))
    assert not torch.equal(targets, kind(LayerShape(8, 2, 50, 0, 2)).targets(x, None))
    assert not torch.equal(targets, kind(SHAPE, target_seed=1).targets(x, None))


@pytest.mark.parametrize("name", TRAINED)
def test_a_model_is_near_itself_in_half_precision(name):
    torch.manual_seed(0)
    model = registry.build(name, symbols=11, length=128, layers=2, width=32, heads=2)
    tokens = torch.randint(11, (2, 100), generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(tokens)
        logits.float().square().mean().backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    # hyena multiplies three projections of size one and sums over all earlier positions.
    tolerance = 0.2 if name == "hyena" else 0.05
    assert (logits.float() - model(tokens)).norm() < tolerance * logits.float().norm()


def test_strong_decays_neither_overflow_nor_lose_their_gradient():
    q, k, v = torch.randn(3, 1, 2, 300, 4)
    strongest = (recurrence.decayed_sums, torch.full_like(k, gla.STRONGEST))
    for sums, rate in (strongest, (recurrence.gated_sums, torch.full((1, 2, 300), -200.0))):
        y = sums(q, k, v, rate.requires_grad_())
        y.sum().backward()
        assert bool(y.isfinite().all() and rate.grad.isfinite().all())


def test_hyenas_filter_is_that_of_the_authors_on_their_grid():
    """Time over the length less one, bands over the length, three sine layers of one rate."""
    mixer, length = build("hyena", bands=2), SHAPE.length
    time = torch.linspace(0, 1, length, dtype=torch.float64)[:, None]
    angle = 2 * math.pi * torch.arange(length)[:, None] / length * torch.tensor([1e-4, 1.0])
    wave = torch.exp(-1j * angle.double())
    hidden = torch.cat([time, wave.real, wave.imag], dim=-1)
    for layer in (mixer.first, mixer.second, mixer.third):
        hidden = torch.sin(mixer.sine_rates * layer(hidden))
    slowest, fastest = math.log(0.01) / 1.5, math.log(0.01) / 0.3
    rates = torch.linspace(slowest, fastest, SHAPE.width, dtype=torch.float64)
    expected = mixer.last(hidden) * torch.exp(-time * rates.abs())
    torch.testing.assert_close(mixer.filters(length), expected.T, rtol=1e-6, atol=1e-6)


def group_of(model, suffix, lr):
    """Return the optimiser's group of the first parameter whose name ends so."""
    parameter = next(p for name, p in model.named_parameters() if name.endswith(suffix))
    groups = optimizers(model, lr)[0].param_groups
    return next(group for group in groups if any(p is parameter for p in group["params"]))


@pytest.mark.parametrize(
    ("name", "suffix", "rate"),
    [
        *(("s4d", name, 1e-3) for name in ("log_step", "log_decay", "mix")),
        *(("hyena", name, 1e-2) for name in ("third.weight", "sine_rates")),
        ("mamba2", "log_rate", 1e-2),
        ("gated-deltanet", "step_bias", 1e-2),
    ],
)
def test_filters_and_states_have_the_authors_rates_and_no_decay(name, suffix, rate):
    model = registry.build(name, symbols=5, length=32, layers=2, width=32, heads=2)
    group = group_of(model, suffix, 1e-2)
    assert (group["lr"], group["weight_decay"]) == (rate, 0.0)
    assert group_of(model, "ffn.up.weight", 1e-2)["weight_decay"] > 0


def test_branches_and_taps_start_as_large_as_the_authors():
    torch.manual_seed(0)
    shape = LayerShape(256, 8, 512, 0, 6)
    y, _ = S4D(shape)(torch.randn(2, 512, 256), None)
    assert float(y.detach().square().mean().sqrt()) == pytest.approx(0.267, rel=0.1)
    assert float(DeltaNet(shape).taps.detach().std()) == pytest.approx(0.285, rel=0.05)
    assert float(Hyena(shape).taps.detach().std()) == pytest.approx(0.337, rel=0.05)


def test_the_repositorys_block_gives_its_own_figures_and_is_in_no_comparison():
    """Utilisation 99.8% and a mean hop of 128 at N=512: a uniform average's expected position."""
    block = RepositoryBlock(LayerShape(64, 8, 512, 0, 6))
    y, targets = block(torch.randn(1, 512, 64), None)
    positions = torch.arange(512)
    assert float((targets != positions).double().mean()) == 511 / 512
    assert float((positions - targets).abs().double().mean()) == 128.0
    assert bool((y[:, 0] != block(torch.zeros(1, 512, 64), None)[0][:, 0]).any())
    planned = [cell for name in config.tier_names() for cell in config.cells(config.tier(name))]
    own = {cell.experiment for cell in planned if cell.model == "pointer-repository"}
    assert own == {"repository"}
