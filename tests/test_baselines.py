"""Every baseline equals the plain definition of its paper, in outputs and gradients; controls;
sizes. That all keep the contract (causality among it) is tests/test_contract.py's part."""

from __future__ import annotations

import math
from typing import Any

import definitions
import pytest
import torch
import torch.nn.functional as F
from definitions import Slow, masked, qkv, softmax, turned
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from baselines import gla, transformer_relative
from baselines.chance import Chance
from baselines.oracle_copy import OracleCopy
from baselines.parts import delta as delta_chunks
from baselines.parts import recurrence
from baselines.parts.heads import merge_heads, split_heads, whole_numbers
from baselines.parts.rotary import rotate
from pointer.errors import InputError
from pointer.optim import TableMomentum
from pointer.trunk import LayerShape, Mixer
from workflow.bench import registry
from workflow.bench.measure import flops

SHAPE = LayerShape(width=8, heads=2, length=64, layer=1, layers=2)
TRAINED = [
    name
    for name in registry.names()
    if registry.info(name).trained and registry.info(name).path.startswith("baselines.")
]
DEFINITIONS: dict[str, tuple[dict[str, Any], Slow]] = {
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
    "hyena": ({"bands": 2}, definitions.hyena),
    "s4d": ({"states": 3}, definitions.s4d),
    "uniform": ({}, definitions.uniform),
    "random-pointer": ({}, definitions.random_pointer),
}


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 4, so that short sequences cross several."""
    monkeypatch.setattr(recurrence, "CHUNK", 4)
    monkeypatch.setattr(delta_chunks, "CHUNK", 4)
    monkeypatch.setattr(transformer_relative, "ROWS", 4)


def build(name: str, shape: LayerShape = SHAPE, **options: Any) -> Any:
    """Return a mixer in float64, with weights so large that no softmax is near uniform."""
    torch.manual_seed(0)
    mixer = registry.load(name)(shape, **options).double()
    for parameter in mixer.parameters() if name != "s4d" else ():
        nn.init.normal_(parameter, std=0.7)
    return mixer


def inputs(length: int, width: int = SHAPE.width) -> Tensor:
    generator = torch.Generator().manual_seed(length)
    return torch.randn(2, length, width, generator=generator, dtype=torch.float64)


def assert_twins(mixer: Mixer, x: Tensor, slow: Slow) -> None:
    """Outputs, the input's gradient and every parameter's gradient agree within 1e-9 in float64."""
    upstream = torch.randn(x.shape, generator=torch.Generator().manual_seed(5), dtype=x.dtype)
    results = []
    for run in (lambda x: mixer(x, None)[0], lambda x: slow(mixer, x)):
        leaf = x.clone().requires_grad_()
        y = run(leaf)
        leaves = [leaf, *mixer.parameters()]
        results.append(
            [y, *torch.autograd.grad((y * upstream).sum(), leaves, materialize_grads=True)]
        )
    for fast, expected in zip(*results, strict=True):
        torch.testing.assert_close(fast, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("length", [1, 2, 13, 33])
@pytest.mark.parametrize("name", DEFINITIONS)
def test_a_mixer_equals_its_definition(name: str, length: int) -> None:
    options, slow = DEFINITIONS[name]
    assert_twins(build(name, **options), inputs(length), slow)


@settings(deadline=None, max_examples=30)
@given(
    length=st.integers(1, 26),
    window=st.integers(1, 9),
    dilations=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    global_tokens=st.integers(0, 6),
)
def test_sliding_window_equals_masked_dense_form(
    length: int, window: int, dilations: tuple[int, int], global_tokens: int
) -> None:
    spread = ",".join(map(str, dilations))
    options = {"window": window, "dilations": spread, "global_tokens": global_tokens}

    def visible(head: int, i: int, j: int) -> bool:
        hops, rest = divmod(i - j, dilations[head])
        return j < global_tokens or (rest == 0 and 0 <= hops < window)

    assert_twins(build("longformer", **options), inputs(length), masked(visible))


@pytest.mark.parametrize(
    ("length", "window", "global_tokens"), [(385, 256, 3), (129, 128, 0), (600, 257, 0)]
)
def test_sliding_window_with_several_chunks_a_window(
    length: int, window: int, global_tokens: int
) -> None:
    shape = LayerShape(width=4, heads=1, length=1024, layer=0, layers=1)
    mixer = build("longformer", shape, window=window, global_tokens=global_tokens)
    slow = masked(lambda h, i, j: i - j < window or j < global_tokens)
    assert_twins(mixer, inputs(length, 4), slow)


@pytest.mark.parametrize("value", ["1,2,3", "0,1", "a,b", ""])
def test_lists_of_wrong_length_or_value_are_named(value: str) -> None:
    with pytest.raises(InputError, match="dilations"):
        whole_numbers("dilations", value, 2)


@settings(deadline=None, max_examples=15)
@given(length=st.integers(1, 30), block=st.integers(1, 6), picks=st.integers(0, 4))
def test_block_attention_equals_masked_dense_form(length: int, block: int, picks: int) -> None:
    def slow(mixer: Any, x: Tensor) -> Any:
        q, k, v = qkv(mixer, x)
        q, k = turned(q), turned(k)
        mask = torch.zeros(2, 2, length, length, dtype=torch.bool)
        for b, h, i in torch.cartesian_prod(*(torch.arange(n) for n in (2, 2, length))).tolist():
            own = i // block
            gates = [
                (q[b, h, i] @ k[b, h, c * block : (c + 1) * block].mean(0)).item()
                for c in range(own)
            ]
            best = sorted(range(own), key=gates.__getitem__, reverse=True)[:picks]
            for c in [own, *best]:
                mask[b, h, i, c * block : (c + 1) * block] = True
        return mixer.out(
            softmax((q @ k.transpose(-2, -1) / 2).masked_fill(~mask, float("-inf")), v)
        )

    assert_twins(build("moba", block=block, picks=picks), inputs(length), slow)


@settings(deadline=None, max_examples=15)
@given(length=st.integers(1, 30), window=st.integers(1, 9), rounds=st.integers(1, 3))
def test_hash_attention_equals_search_by_loop(length: int, window: int, rounds: int) -> None:
    def slow(mixer: Any, x: Tensor) -> Any:
        q, v = split_heads(mixer.query_key(x), 2), split_heads(mixer.value(x), 2)
        unit, bucket, rows = q / q.norm(dim=-1, keepdim=True), mixer.buckets(q), torch.zeros_like(v)
        for b, h, i in torch.cartesian_prod(*(torch.arange(n) for n in (2, 2, length))).tolist():
            seen: list[int] = []
            for series in bucket[:, b, h]:
                seen += [j for j in range(i) if series[j] == series[i]][-window:]
            seen = seen or [i]
            share = (unit[b, h, seen] @ q[b, h, i] / 2).softmax(0)
            rows = rows.index_put(tuple(torch.tensor([b, h, i])), share @ v[b, h, seen])
        return mixer.out(merge_heads(rows))

    assert_twins(build("reformer", window=window, rounds=rounds), inputs(length), slow)


@pytest.mark.parametrize(("length", "halves"), [(2048, [16]), (2**20, [32, 32, 2])])
def test_buckets_of_long_sequences_are_products_of_few_hashes(
    length: int, halves: list[int]
) -> None:
    torch.manual_seed(0)
    mixer: Any = registry.load("reformer")(LayerShape(8, 2, length, 0, 1))
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


@pytest.mark.parametrize("length", [1, 2, 13])
def test_rotary_turns_pairs_and_scores_by_distance(length: int) -> None:
    x = torch.randn(2, 3, length, 6, dtype=torch.float64)
    torch.testing.assert_close(rotate(x), turned(x), rtol=1e-9, atol=1e-9)
    same = rotate(torch.ones(5, 4, dtype=torch.float64))
    torch.testing.assert_close((same @ same.T).diagonal(-2), (same[2] @ same[0]).expand(3))


@pytest.mark.parametrize("name", ["transformer-rotary", "retnet", "moba"])
def test_odd_head_widths_are_named_where_channels_must_pair(name: str) -> None:
    with pytest.raises(InputError, match="even"):
        build(name, LayerShape(width=6, heads=2, length=8, layer=0, layers=1))


def test_relative_table_brings_the_rule_of_the_pointer() -> None:
    optimizer = build("transformer-relative").table_optimizer()
    assert isinstance(optimizer, TableMomentum)
    assert [tuple(p.shape) for p in optimizer.param_groups[0]["params"]] == [(2, 64)]


def test_performer_approaches_softmax_attention() -> None:
    mixer = build("performer", LayerShape(8, 1, 64, 0, 1), features=20_000)
    q, k, v = torch.randn(3, 1, 1, 24, 8, dtype=torch.float64)
    q, k = q / 2, k / 2
    exact = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(mixer.attend(q, k, v), exact, rtol=0, atol=0.02)


def test_gated_linear_attention_survives_the_strongest_decay() -> None:
    q, k, v = torch.randn(3, 1, 1, 300, 4)
    rate = torch.full_like(k, gla.STRONGEST, requires_grad=True)
    y = recurrence.decayed_sums(q, k, v, rate)
    y.sum().backward()
    assert torch.isfinite(y).all()
    assert rate.grad is not None
    assert torch.isfinite(rate.grad).all()


def test_random_targets_are_causal_frozen_and_independent_of_length() -> None:
    kind: Any = registry.load("random-pointer")
    short, long = (kind(LayerShape(8, 2, length, 1, 2)) for length in (50, 400))
    x = torch.randn(3, 50, 8)
    targets = short(x, None)[1]
    assert (targets.dtype, targets.shape) == (torch.int64, (3, 2, 50))
    assert ((targets >= 0) & (targets <= torch.arange(50))).all()
    assert torch.equal(targets, long.targets(x, None))
    assert not torch.equal(targets, kind(LayerShape(8, 2, 50, 0, 2)).targets(x, None))
    assert not torch.equal(targets, kind(SHAPE, target_seed=1).targets(x, None))
    spread = long.targets_table[-200:].double() / torch.arange(200, 400)[:, None]
    assert 0.45 < spread.mean() < 0.55


def test_oracle_copy_repeats_the_token_of_distance_ago() -> None:
    tokens = torch.tensor([[3, 1, 2, 0, 1]])
    logits = OracleCopy(symbols=4, length=5, distance=2)(tokens)
    assert logits[0, :2].unique().numel() == 1
    assert logits.argmax(-1)[0, 2:].tolist() == [3, 1, 2]
    assert logits.softmax(-1).amax(-1)[0, 2:].min() > 1 - 1e-6
    assert not OracleCopy(symbols=4, length=5, distance=9)(tokens).any()
    with pytest.raises(InputError, match="distance is -1"):
        OracleCopy(symbols=4, length=5, distance=-1)


def test_chance_knows_nothing_and_repeats_itself() -> None:
    model = Chance(symbols=5, length=2000)
    tokens, others = torch.randint(5, (2, 4, 2000)).unbind()
    assert torch.equal(model(tokens), model(others))
    accuracy = (model(tokens).argmax(-1) == tokens).double().mean()
    assert abs(accuracy - 0.2) < 5 * (0.16 / 8000) ** 0.5


@pytest.mark.parametrize(
    "control", [OracleCopy(symbols=3, length=4, distance=1), Chance(symbols=3, length=4)]
)
def test_untrained_controls_refuse_what_the_trunk_refuses(control: nn.Module) -> None:
    assert control.trainable is False
    for tokens in (torch.full((1, 2), 3), torch.zeros(1, 5, dtype=torch.int64)):
        with pytest.raises(InputError):
            control(tokens)


@pytest.mark.parametrize("name", TRAINED)
def test_a_model_is_near_itself_in_half_precision(name: str) -> None:
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


@pytest.mark.parametrize("name", ["reformer", "logsparse", "hyena", "s4d", "longformer"])
def test_work_and_memory_hold_their_class_at_long_lengths(name: str) -> None:
    half, whole = (
        flops.count(registry.build(name, symbols=20, length=n, layers=1, width=64, heads=2), 1, n)
        for n in (2**14, 2**15)
    )
    assert half.traced
    assert whole.traced
    assert 1.9 <= whole.forward / half.forward <= 2.2
    assert 1.9 <= whole.step / half.step <= 2.2
    if name == "longformer":
        assert whole.saved_bytes / half.saved_bytes <= 2.02
