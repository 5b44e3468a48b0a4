"""The further baselines: each fast form equals the plain definition of its paper, in outputs and gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from test_baselines import assert_twins, grown, inputs, masked_dense
from torch import Tensor, nn

from baselines import deltanet, gla, retnet, transformer_relative
from baselines.deltanet import DeltaNet
from baselines.gla import GatedLinearAttention
from baselines.hyena import Hyena
from baselines.linear_attention import LinearAttention
from baselines.local import LocalAttention
from baselines.logsparse import LogSparseAttention
from baselines.moba import BlockAttention
from baselines.parts import recurrence
from baselines.parts.heads import HeadMixer, merge_heads, split_heads
from baselines.parts.rotary import rotate
from baselines.performer import Performer
from baselines.reformer import HashAttention
from baselines.retnet import Retention
from baselines.s4d import S4D
from baselines.transformer_content import ContentAttention
from baselines.transformer_relative import RelativeAttention
from baselines.transformer_rotary import RotaryAttention
from pointer.errors import InputError
from pointer.optim import TableMomentum
from pointer.trunk import LayerShape, Mixer
from workflow.bench import flops, registry

SHAPE = LayerShape(width=8, heads=2, length=64, layer=1, layers=2)
LENGTHS = [1, 2, 13]
Slow = Callable[[Tensor], Tensor]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 4, so that short sequences cross several."""
    monkeypatch.setattr(recurrence, "CHUNK", 4)
    monkeypatch.setattr(deltanet, "CHUNK", 4)
    monkeypatch.setattr(transformer_relative, "ROWS", 4)


def made(kind: type[Any], **options: int) -> Any:
    """A mixer with every parameter large, in float64."""
    torch.manual_seed(0)
    return grown(kind(SHAPE, **options))


def qkv(mixer: HeadMixer, x: Tensor) -> list[Tensor]:
    return [split_heads(part, mixer.heads) for part in mixer.qkv(x).chunk(3, dim=-1)]


def rotary_by_hand(x: Tensor) -> Tensor:
    """Pairs (n, n + e/2) as complex numbers, turned one position at a time."""
    half = x.shape[-1] // 2
    turned = []
    for i in range(x.shape[-2]):
        angle = torch.tensor([i * 10_000 ** (-n / half) for n in range(half)], dtype=x.dtype)
        pair = torch.complex(x[..., i, :half], x[..., i, half:]) * torch.polar(torch.ones_like(angle), angle)
        turned.append(torch.cat([pair.real, pair.imag], dim=-1))
    return torch.stack(turned, dim=-2)


def weighed(weights: Callable[[int, int], Tensor], v: Tensor) -> Tensor:
    """sum over j <= i of weights(i, j)[B, H] v_j, a loop over both."""
    rows = [sum(weights(i, j)[..., None] * v[:, :, j] for j in range(i + 1)) for i in range(v.shape[2])]
    return torch.stack(rows, dim=2)  # type: ignore[arg-type]


@pytest.mark.parametrize("length", LENGTHS)
def test_rotary_turns_pairs_and_scores_by_distance(length: int) -> None:
    x = torch.randn(2, 3, length, 6, dtype=torch.float64)
    torch.testing.assert_close(rotate(x), rotary_by_hand(x), rtol=1e-9, atol=1e-9)
    same = rotate(torch.ones(5, 4, dtype=torch.float64))
    torch.testing.assert_close((same @ same.T).diagonal(-2), (same[2] @ same[0]).expand(3))


@pytest.mark.parametrize("length", LENGTHS)
def test_rotary_attention_equals_softmax_loop(length: int) -> None:
    mixer = made(RotaryAttention)

    def slow(x: Tensor) -> Tensor:
        q, k, v = qkv(mixer, x)
        scores = (rotary_by_hand(q) @ rotary_by_hand(k).transpose(-2, -1) / 2).exp().tril()
        return mixer.out(merge_heads(scores / scores.sum(-1, keepdim=True) @ v))

    assert_twins(mixer, inputs(length), slow)


@pytest.mark.parametrize("length", LENGTHS[1:])
def test_content_attention_compares_a_token_with_what_stood_before_each_earlier_one(length: int) -> None:
    mixer = made(ContentAttention)
    scoring = mixer.scoring

    def mixed(k: Tensor, j: int) -> Tensor:
        taps = scoring.taps.unbind(-1)
        return sum(weight * k[:, :, j - tap] for tap, weight in enumerate(taps) if tap <= j)  # type: ignore[return-value]

    def slow(x: Tensor) -> Tensor:
        q, k, v = qkv(mixer, x)
        rows = []
        for i in range(length):
            query = F.normalize(k[:, :, i] + scoring.share[:, 0] * q[:, :, i], dim=-1)
            cosines = [(query * F.normalize(mixed(k, j), dim=-1)).sum(-1, keepdim=True) for j in range(i)]
            weights = [(scoring.log_scale[:, 0].exp() * cosine).exp() for cosine in cosines]
            nothing = torch.zeros_like(v[:, :, 0])
            seen = sum((w * v[:, :, j] for j, w in enumerate(weights)), start=nothing)
            rows.append(seen / (1 + sum(weights, start=nothing[..., :1])))  # the key of zeros weighs exp(0)
        return mixer.out(merge_heads(torch.stack(rows, dim=2)))

    assert_twins(mixer, inputs(length), slow)


@pytest.mark.parametrize("length", [*LENGTHS, 16, 17])
def test_relative_attention_equals_bias_looked_up_pair_by_pair(length: int) -> None:
    mixer = made(RelativeAttention)

    def slow(x: Tensor) -> Tensor:
        q, k, v = qkv(mixer, x)
        at = torch.tensor([[max(0, i - j) for j in range(length)] for i in range(length)])
        scores = (q @ k.transpose(-2, -1) / 2 + mixer.offset_table[:, at]).exp().tril()
        return mixer.out(merge_heads(scores / scores.sum(-1, keepdim=True) @ v))

    assert_twins(mixer, inputs(length), slow)


def test_relative_table_brings_the_rule_of_the_pointer() -> None:
    optimizer = RelativeAttention(SHAPE).table_optimizer()
    assert isinstance(optimizer, TableMomentum)
    assert [tuple(p.shape) for p in optimizer.param_groups[0]["params"]] == [(2, 64)]


@pytest.mark.parametrize("length", LENGTHS)
def test_linear_attention_equals_weighted_mean(length: int) -> None:
    mixer = made(LinearAttention)

    def slow(x: Tensor) -> Tensor:
        q, k, v = qkv(mixer, x)
        products = lambda i, j: ((F.elu(q[:, :, i]) + 1) * (F.elu(k[:, :, j]) + 1)).sum(-1)  # noqa: E731
        total = weighed(products, torch.ones_like(v[..., :1])) + 1e-6
        return mixer.out(merge_heads(weighed(products, v) / total))

    assert_twins(mixer, inputs(length), slow)


@pytest.mark.parametrize("length", LENGTHS)
def test_performer_equals_weighted_mean_of_its_features(length: int) -> None:
    mixer = made(Performer, features=6)

    def slow(x: Tensor) -> Tensor:
        q, k, v = (part / 4**0.25 if n < 2 else part for n, part in enumerate(qkv(mixer, x)))
        feature = lambda t: (t @ mixer.directions.T - (t * t).sum(-1, keepdim=True) / 2).exp()  # noqa: E731
        scale = feature(q).amax(-1, keepdim=True).detach()  # only the epsilons see it
        queries, keys = feature(q) / scale + 1e-4, feature(k) + 1e-4
        products = lambda i, j: (queries[:, :, i] * keys[:, :, j]).sum(-1)  # noqa: E731
        total = weighed(products, torch.ones_like(v[..., :1])) + 1e-6
        return mixer.out(merge_heads(weighed(products, v) / total))

    assert_twins(mixer, inputs(length), slow)


def test_performer_approaches_softmax_attention() -> None:
    torch.manual_seed(0)
    shape = LayerShape(width=8, heads=1, length=64, layer=0, layers=1)
    mixer = Performer(shape, features=20_000).double()
    q, k, v = torch.randn(3, 1, 1, 24, 8, dtype=torch.float64)
    q, k = q / 2, k / 2
    exact = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(mixer.attend(q, k, v), exact, rtol=0, atol=0.02)


def test_performer_gives_a_mean_where_no_feature_fits() -> None:
    torch.manual_seed(0)
    q, k = 5 * torch.randn(2, 1, 2, 24, 4, dtype=torch.float64)
    mixed = made(Performer, features=6).attend(q, k, torch.ones_like(q))
    torch.testing.assert_close(mixed, torch.ones_like(mixed), rtol=0, atol=2e-2)


@pytest.mark.parametrize("length", LENGTHS)
def test_retention_equals_recurrence(length: int) -> None:
    mixer = made(Retention)

    def slow(x: Tensor) -> Tensor:
        q, k, v = qkv(mixer, x)
        q, k = rotary_by_hand(q), rotary_by_hand(k) / 2
        gamma = 1 - 2.0 ** -(5 + torch.arange(2, dtype=torch.float64))
        mixed = weighed(lambda i, j: gamma ** (i - j) * (q[:, :, i] * k[:, :, j]).sum(-1), v)
        return mixer.out(F.silu(mixer.gate(x)) * merge_heads(F.layer_norm(mixed, (4,))))

    assert_twins(mixer, inputs(length), slow)


@pytest.mark.parametrize("length", LENGTHS)
def test_gated_linear_attention_equals_recurrence(length: int) -> None:
    mixer = made(GatedLinearAttention, rank=3)

    def slow(x: Tensor) -> Tensor:
        q, k, v = qkv(mixer, x)
        decay = torch.sigmoid(mixer.decay_up(mixer.decay_down(x))) ** (1 / 16)
        decay = split_heads(decay.clamp(min=torch.e**-1), 2)
        state, rows = torch.zeros(2, 2, 4, 4, dtype=x.dtype), []
        for i in range(x.shape[1]):
            state = decay[:, :, i, :, None] * state + k[:, :, i, :, None] * v[:, :, i, None, :]
            rows.append((q[:, :, i, None, :] / 2 @ state).squeeze(-2))
        normed = F.layer_norm(torch.stack(rows, dim=2), (4,))
        return mixer.out(F.silu(mixer.gate(x)) * merge_heads(normed))

    assert_twins(mixer, inputs(length), slow)


def test_gated_linear_attention_survives_the_strongest_decay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recurrence, "CHUNK", 64)
    q, k, v = torch.randn(3, 1, 1, 300, 4)
    rate = torch.full_like(k, gla.STRONGEST, requires_grad=True)
    y = recurrence.decayed_sums(q, k, v, rate)
    y.sum().backward()
    assert torch.isfinite(y).all()
    assert rate.grad is not None
    assert torch.isfinite(rate.grad).all()


@pytest.mark.parametrize("length", LENGTHS)
def test_delta_net_equals_recurrence(length: int) -> None:
    mixer = made(DeltaNet)

    def slow(x: Tensor) -> Tensor:
        wide = mixer.qkv(x)
        short = [sum(mixer.taps[t] * wide[:, i - t] for t in range(min(i + 1, 4))) for i in range(length)]
        q, k, v = (split_heads(part, 2) for part in F.silu(torch.stack(short, dim=1)).chunk(3, dim=-1))  # type: ignore[arg-type]
        q, k = (part / part.norm(dim=-1, keepdim=True) for part in (q, k))
        rate, state, rows = torch.sigmoid(mixer.rate(x)), torch.zeros(2, 2, 4, 4, dtype=x.dtype), []
        for i in range(length):
            key, step = k[:, :, i, :, None], rate[:, i, :, None, None]
            state = state + key @ (step * (v[:, :, i, None, :] - key.transpose(-2, -1) @ state))
            rows.append((q[:, :, i, None, :] @ state).squeeze(-2))
        return mixer.out(merge_heads(F.layer_norm(torch.stack(rows, dim=2), (4,))))

    assert_twins(mixer, inputs(length), slow)


def convolved(filters: Tensor, x: Tensor) -> Tensor:
    """filters: [d, N], x: [B, N, d] -> [B, N, d], a sum for every position."""
    rows = [sum(filters[:, i - j] * x[:, j] for j in range(i + 1)) for i in range(x.shape[1])]
    return torch.stack(rows, dim=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("length", LENGTHS)
def test_hyena_equals_convolution_by_loop(length: int) -> None:
    mixer = made(Hyena, bands=2)

    def slow(x: Tensor) -> Tensor:
        wide = mixer.project(x)
        short = [sum(mixer.taps[t] * wide[:, i - t] for t in range(min(i + 1, 3))) for i in range(length)]
        gate, key, value = torch.stack(short, dim=1).chunk(3, dim=-1)  # type: ignore[arg-type]
        return mixer.out(gate * (convolved(mixer.filters(length), key * value) + mixer.skip * key * value))

    assert_twins(mixer, inputs(length), slow)


@pytest.mark.parametrize("length", [*LENGTHS, 64])
def test_s4d_equals_recurrence(length: int) -> None:
    torch.manual_seed(0)
    mixer = S4D(SHAPE, states=3).double()

    def slow(x: Tensor) -> Tensor:
        rate = torch.complex(-mixer.log_decay.exp(), mixer.frequency)
        turn = (rate * mixer.log_step.exp()).exp()  # zero-order hold: state' = turn state + (turn - 1) / rate x
        state, rows = torch.zeros(2, 8, 3, dtype=torch.complex128), []
        for i in range(length):
            state = turn * state + (turn - 1) / rate * x[:, i, :, None]
            rows.append(2 * (torch.complex(mixer.mix[0], mixer.mix[1]) * state).sum(-1).real)
        hidden = F.gelu(torch.stack(rows, dim=1) + mixer.skip * x, approximate="tanh")
        return F.glu(mixer.out(hidden))

    assert_twins(mixer, inputs(length), slow)


def test_hyenas_window_falls_at_the_rates_of_the_authors_code() -> None:
    """To 1% at 1.5 times the length in the slowest channel and at 0.3 times in the fastest, rates evenly between."""
    mixer = made(Hyena)
    nn.init.zeros_(mixer.second.weight)
    nn.init.constant_(mixer.second.bias, 1.0)
    nn.init.ones_(mixer.last.weight)
    filters = mixer.filters(SHAPE.length)
    share = torch.arange(SHAPE.length, dtype=torch.float64) / SHAPE.length
    spans = 1 / torch.linspace(1 / 1.5, 1 / 0.3, SHAPE.width, dtype=torch.float64)[:, None]
    torch.testing.assert_close(filters / filters[:, :1], 0.01 ** (share / spans))


@pytest.mark.parametrize("kind", [Hyena, S4D])
def test_filters_are_the_same_for_every_length(kind: type[Mixer]) -> None:
    mixer = made(kind)
    torch.testing.assert_close(mixer.filters(9), mixer.filters(31)[:, :9])


@pytest.mark.parametrize("length", LENGTHS)
def test_local_equals_masked_dense_form(length: int) -> None:
    mixer = made(LocalAttention, window=3)
    assert_twins(mixer, inputs(length), lambda x: masked_dense(mixer, x, lambda head, i, j: i - j < 3))


@pytest.mark.parametrize("length", [*LENGTHS, 33])
def test_logsparse_equals_masked_dense_form(length: int) -> None:
    mixer = made(LogSparseAttention)
    assert_twins(mixer, inputs(length), lambda x: masked_dense(mixer, x, lambda head, i, j: (i - j).bit_count() <= 1))


@settings(deadline=None, max_examples=25)
@given(length=st.integers(1, 30), block=st.integers(1, 6), picks=st.integers(0, 4))
def test_block_attention_equals_masked_dense_form(length: int, block: int, picks: int) -> None:
    mixer = made(BlockAttention, block=block, picks=picks)

    def slow(x: Tensor) -> Tensor:
        q, k, v = qkv(mixer, x)
        q, k = rotary_by_hand(q), rotary_by_hand(k)
        mask = torch.zeros(2, 2, length, length, dtype=torch.bool)
        for b, h, i in torch.cartesian_prod(*(torch.arange(n) for n in (2, 2, length))).tolist():
            own = i // block
            gates = [(q[b, h, i] @ k[b, h, c * block : (c + 1) * block].mean(0)).item() for c in range(own)]
            for c in [own, *sorted(range(own), key=lambda c, gates=gates: -gates[c])[:picks]]:  # type: ignore[misc]
                mask[b, h, i, c * block : (c + 1) * block] = True
        scores = (q @ k.transpose(-2, -1) / 2).masked_fill(~mask, float("-inf")).exp().tril()
        return mixer.out(merge_heads(scores / scores.sum(-1, keepdim=True) @ v))

    assert_twins(mixer, inputs(length), slow)


@settings(deadline=None, max_examples=25)
@given(length=st.integers(1, 30), window=st.integers(1, 9), rounds=st.integers(1, 3))
def test_hash_attention_equals_search_by_loop(length: int, window: int, rounds: int) -> None:
    mixer = made(HashAttention, window=window, rounds=rounds)

    def slow(x: Tensor) -> Tensor:
        q, v = split_heads(mixer.query_key(x), 2), split_heads(mixer.value(x), 2)
        unit, bucket, rows = q / q.norm(dim=-1, keepdim=True), mixer.buckets(q), torch.zeros_like(v)
        for b, h, i in torch.cartesian_prod(*(torch.arange(n) for n in (2, 2, length))).tolist():
            seen: list[int] = []
            for series in bucket[:, b, h]:
                members = [j for j in range(i) if series[j] == series[i]]
                seen += members[-window:]
            seen = seen or [i]
            share = (unit[b, h, seen] @ q[b, h, i] / 2).softmax(0)
            rows = rows.index_put(tuple(torch.tensor([b, h, i])), share @ v[b, h, seen])
        return mixer.out(merge_heads(rows))

    assert_twins(mixer, inputs(length), slow)


@pytest.mark.parametrize(("length", "halves"), [(2048, [16]), (4096, [32]), (16384, [32, 2]), (2**20, [32, 32, 2])])
def test_buckets_of_long_sequences_are_products_of_few_hashes(length: int, halves: list[int]) -> None:
    torch.manual_seed(0)
    mixer = HashAttention(LayerShape(width=8, heads=2, length=length, layer=0, layers=1))
    assert mixer.halves == halves
    assert mixer.directions.shape[-1] == sum(halves)
    assert math.prod(2 * half for half in halves) >= length // 64
    q = torch.randn(2, 2, 30, 4)
    found, start, digits = mixer.buckets(q), 0, []
    for half in halves:
        along = torch.einsum("bhne,rhek->rbhnk", q, mixer.directions[..., start : start + half])
        digits.append(torch.cat([along, -along], dim=-1).argmax(-1))
        start += half
    same = torch.stack([digit.unsqueeze(-1) == digit.unsqueeze(-2) for digit in digits]).all(0)
    assert torch.equal(found.unsqueeze(-1) == found.unsqueeze(-2), same)  # one bucket: alike in every hash


@pytest.mark.parametrize("name", ["reformer", "logsparse", "hyena", "s4d"])
def test_n_log_n_is_still_true_at_long_lengths(name: str) -> None:
    works = [
        flops.count(registry.build(name, symbols=20, length=n, layers=1, width=64, heads=2), 1, n, 20)
        for n in (2**15, 2**16)
    ]
    assert all(work.traced for work in works)
    assert 1.9 <= works[1].forward / works[0].forward <= 2.2
    assert 1.9 <= works[1].step / works[0].step <= 2.2


@pytest.mark.parametrize("kind", [RotaryAttention, retnet.Retention, BlockAttention])
def test_odd_head_widths_are_named_where_channels_must_pair(kind: type[Mixer]) -> None:
    with pytest.raises(InputError, match="even"):
        kind(LayerShape(width=6, heads=2, length=8, layer=0, layers=1))
