"""Every baseline equals the plain definition of its paper, in outputs and gradients; controls;
sizes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from definitions import (
    Slow,
    content,
    delta,
    gated,
    hyena,
    linear,
    masked,
    performer,
    qkv,
    random_pointer,
    relative,
    retention,
    rotary,
    s4d,
    softmax,
    turned,
    uniform,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from baselines import gla, transformer_relative
from baselines.chance import Chance
from baselines.deltanet import DeltaNet
from baselines.gla import GatedLinearAttention
from baselines.hyena import Hyena
from baselines.identity import Identity
from baselines.linear_attention import LinearAttention
from baselines.local import LocalAttention
from baselines.logsparse import LogSparseAttention
from baselines.longformer import SlidingWindowAttention
from baselines.moba import BlockAttention
from baselines.oracle_copy import OracleCopy
from baselines.parts import delta as delta_chunks
from baselines.parts import recurrence
from baselines.parts.heads import merge_heads, split_heads, whole_numbers
from baselines.parts.rotary import rotate
from baselines.performer import Performer
from baselines.random_pointer import RandomPointer
from baselines.reformer import HashAttention
from baselines.retnet import Retention
from baselines.s4d import S4D
from baselines.transformer import Attention
from baselines.transformer_content import ContentAttention
from baselines.transformer_relative import RelativeAttention
from baselines.transformer_rotary import RotaryAttention
from baselines.transformer_unfused import UnfusedAttention
from baselines.uniform import UniformAverage
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


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 4, so that short sequences cross several."""
    monkeypatch.setattr(recurrence, "CHUNK", 4)
    monkeypatch.setattr(delta_chunks, "CHUNK", 4)
    monkeypatch.setattr(transformer_relative, "ROWS", 4)


def build(kind: type[Any], shape: LayerShape = SHAPE, *, drawn: bool = True, **options: Any) -> Any:
    """A mixer in float64; `drawn`: with weights so large that no softmax is near uniform."""
    torch.manual_seed(0)
    mixer = kind(shape, **options).double()
    for parameter in mixer.parameters() if drawn else ():
        nn.init.normal_(parameter, std=0.7)
    return mixer


def inputs(length: int, width: int = SHAPE.width) -> Tensor:
    return torch.randn(
        2, length, width, generator=torch.Generator().manual_seed(length), dtype=torch.float64
    )


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
@pytest.mark.parametrize(
    ("kind", "options", "slow"),
    [
        (Attention, {}, masked(lambda head, i, j: True)),
        (UnfusedAttention, {}, masked(lambda head, i, j: True)),
        (LocalAttention, {"window": 3}, masked(lambda head, i, j: i - j < 3)),
        (LogSparseAttention, {}, masked(lambda head, i, j: (i - j).bit_count() <= 1)),
        (RotaryAttention, {}, rotary),
        (RelativeAttention, {}, relative),
        (ContentAttention, {}, content),
        (LinearAttention, {}, linear),
        (Performer, {"features": 6}, performer),
        (Retention, {}, retention),
        (GatedLinearAttention, {"rank": 3}, gated),
        (DeltaNet, {}, delta),
        (Hyena, {"bands": 2}, hyena),
        (S4D, {"states": 3, "drawn": False}, s4d),
        (UniformAverage, {}, uniform),
        (RandomPointer, {}, random_pointer),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_a_mixer_equals_its_definition(
    kind: type[Mixer], options: dict[str, Any], slow: Slow, length: int
) -> None:
    assert_twins(build(kind, **options), inputs(length), slow)


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
    by_head = ",".join(map(str, dilations))
    mixer = build(
        SlidingWindowAttention, window=window, dilations=by_head, global_tokens=global_tokens
    )

    def visible(head: int, i: int, j: int) -> bool:
        hops, rest = divmod(i - j, dilations[head])
        return j < global_tokens or (rest == 0 and 0 <= hops < window)

    assert_twins(mixer, inputs(length), masked(visible))


@pytest.mark.parametrize(
    ("length", "window", "global_tokens"),
    [(300, 150, 0), (385, 256, 3), (129, 128, 0), (600, 257, 0)],
)
def test_sliding_window_with_several_chunks_a_window(
    length: int, window: int, global_tokens: int
) -> None:
    shape = LayerShape(width=4, heads=1, length=1024, layer=0, layers=1)
    mixer = build(SlidingWindowAttention, shape, window=window, global_tokens=global_tokens)
    assert_twins(
        mixer, inputs(length, 4), masked(lambda h, i, j: i - j < window or j < global_tokens)
    )


def test_sliding_window_by_layer_and_head_from_text() -> None:
    mixer = SlidingWindowAttention(SHAPE, windows="3,5", dilations="1,2")
    assert (mixer.window, mixer.dilations) == (5, (1, 2))


@pytest.mark.parametrize("value", ["1,2,3", "0,1", "a,b", "1,-1", ""])
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

    assert_twins(build(BlockAttention, block=block, picks=picks), inputs(length), slow)


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

    assert_twins(build(HashAttention, window=window, rounds=rounds), inputs(length), slow)


@pytest.mark.parametrize(
    ("length", "halves"), [(2048, [16]), (4096, [32]), (16384, [32, 2]), (2**20, [32, 32, 2])]
)
def test_buckets_of_long_sequences_are_products_of_few_hashes(
    length: int, halves: list[int]
) -> None:
    torch.manual_seed(0)
    mixer = HashAttention(LayerShape(width=8, heads=2, length=length, layer=0, layers=1))
    assert mixer.halves == halves
    assert mixer.directions.shape[-1] == sum(halves)
    assert math.prod(2 * half for half in halves) >= length // 64
    q = torch.randn(2, 2, 30, 4)
    same = torch.tensor(True)
    for directions in mixer.directions.split(halves, dim=-1):
        along = torch.einsum("bhne,rhek->rbhnk", q, directions)
        digit = torch.cat([along, -along], dim=-1).argmax(-1)
        same = same & (digit.unsqueeze(-1) == digit.unsqueeze(-2))
    bucket = mixer.buckets(q)
    assert torch.equal(
        bucket.unsqueeze(-1) == bucket.unsqueeze(-2), same
    )  # one bucket: alike in every hash


@pytest.mark.parametrize("length", [1, 2, 13])
def test_rotary_turns_pairs_and_scores_by_distance(length: int) -> None:
    x = torch.randn(2, 3, length, 6, dtype=torch.float64)
    torch.testing.assert_close(rotate(x), turned(x), rtol=1e-9, atol=1e-9)
    same = rotate(torch.ones(5, 4, dtype=torch.float64))
    torch.testing.assert_close((same @ same.T).diagonal(-2), (same[2] @ same[0]).expand(3))


@pytest.mark.parametrize("kind", [RotaryAttention, Retention, BlockAttention])
def test_odd_head_widths_are_named_where_channels_must_pair(kind: type[Any]) -> None:
    with pytest.raises(InputError, match="even"):
        kind(LayerShape(width=6, heads=2, length=8, layer=0, layers=1))


def test_relative_table_brings_the_rule_of_the_pointer() -> None:
    optimizer = RelativeAttention(SHAPE).table_optimizer()
    assert isinstance(optimizer, TableMomentum)
    assert [tuple(p.shape) for p in optimizer.param_groups[0]["params"]] == [(2, 64)]


def test_performer_approaches_softmax_attention() -> None:
    mixer = build(
        Performer, LayerShape(width=8, heads=1, length=64, layer=0, layers=1), features=20_000
    )
    q, k, v = torch.randn(3, 1, 1, 24, 8, dtype=torch.float64)
    q, k = q / 2, k / 2
    exact = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(mixer.attend(q, k, v), exact, rtol=0, atol=0.02)


def test_performer_gives_a_mean_where_no_feature_fits() -> None:
    q, k = 5 * torch.randn(
        2, 1, 2, 24, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    mixed = build(Performer, features=6).attend(q, k, torch.ones_like(q))
    torch.testing.assert_close(mixed, torch.ones_like(mixed), rtol=0, atol=2e-2)


def test_gated_linear_attention_survives_the_strongest_decay() -> None:
    q, k, v = torch.randn(3, 1, 1, 300, 4)
    rate = torch.full_like(k, gla.STRONGEST, requires_grad=True)
    y = recurrence.decayed_sums(q, k, v, rate)
    y.sum().backward()
    assert torch.isfinite(y).all()
    assert rate.grad is not None
    assert torch.isfinite(rate.grad).all()


def test_hyenas_window_falls_at_the_rates_of_the_authors_code() -> None:
    """To 1% at 1.5 times the length in the slowest channel and at 0.3 times in the fastest, rates
    evenly between."""
    mixer = build(Hyena)
    nn.init.zeros_(mixer.third.weight)
    nn.init.constant_(mixer.third.bias, 1.0)
    nn.init.ones_(mixer.last.weight)
    filters = mixer.filters(SHAPE.length)
    share = torch.arange(SHAPE.length, dtype=torch.float64) / (SHAPE.length - 1)
    spans = 1 / torch.linspace(1 / 1.5, 1 / 0.3, SHAPE.width, dtype=torch.float64)[:, None]
    torch.testing.assert_close(filters / filters[:, :1], 0.01 ** (share / spans))


@pytest.mark.parametrize("kind", [Hyena, S4D])
def test_filters_are_the_same_for_every_length(kind: type[Mixer]) -> None:
    mixer = build(kind)
    torch.testing.assert_close(mixer.filters(9), mixer.filters(31)[:, :9])


def test_random_targets_are_causal_frozen_and_independent_of_length() -> None:
    short, long = (RandomPointer(LayerShape(8, 2, length, 1, 2)) for length in (50, 400))
    x = torch.randn(3, 50, 8)
    targets = short(x, None)[1]
    assert targets.dtype == torch.int64
    assert targets.shape == (3, 2, 50)
    assert ((targets >= 0) & (targets <= torch.arange(50))).all()
    assert torch.equal(targets, long.targets(x, None))
    assert not torch.equal(targets, RandomPointer(LayerShape(8, 2, 50, 0, 2)).targets(x, None))
    assert not torch.equal(targets, RandomPointer(SHAPE, target_seed=1).targets(x, None))
    spread = long.targets_table[-200:].double() / torch.arange(200, 400)[:, None]
    assert 0.45 < spread.mean() < 0.55


def test_identity_adds_zero_without_writing_it() -> None:
    x = torch.randn(2, 3, 8)
    y, carry = Identity(SHAPE)(x, None)
    assert torch.equal(y, torch.zeros_like(x))
    assert y.untyped_storage().nbytes() == x.element_size()
    assert carry is None


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
    tokens, others = torch.randint(
        5, (2, 4, 2000), generator=torch.Generator().manual_seed(0)
    ).unbind()
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
def test_a_model_is_causal_by_row_and_near_itself_in_half_precision(name: str) -> None:
    torch.manual_seed(0)
    model = registry.build(name, symbols=11, length=128, layers=2, width=32, heads=2)
    tokens = torch.randint(11, (2, 100), generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(tokens)
        logits.float().square().mean().backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert (logits.float() - model(tokens)).norm() < 0.05 * logits.float().norm()
    model = model.double().eval()
    for length in (1, 2, 37):
        short = tokens[:, :length]
        exact = model(short)
        torch.testing.assert_close(model(short[1:])[0], exact[1], rtol=0, atol=1e-9)
        for cut in {1, length // 2, length - 1} - {0, length}:
            changed = torch.cat([short[:, :cut], (short[:, cut:] + 1) % 11], dim=1)
            torch.testing.assert_close(model(changed)[:, :cut], exact[:, :cut], rtol=0, atol=1e-9)
            torch.testing.assert_close(model(short[:, :cut]), exact[:, :cut], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["reformer", "logsparse", "hyena", "s4d", "longformer"])
def test_work_and_memory_hold_their_class_at_long_lengths(name: str) -> None:
    models = [
        registry.build(name, symbols=20, length=n, layers=1, width=64, heads=2)
        for n in (2**14, 2**15)
    ]
    half, whole = (flops.count(model, 1, 2 ** (14 + n)) for n, model in enumerate(models))
    assert half.traced
    assert whole.traced
    assert 1.9 <= whole.forward / half.forward <= 2.2
    assert 1.9 <= whole.step / half.step <= 2.2
    if name == "longformer":
        assert whole.saved_bytes / half.saved_bytes <= 2.02
