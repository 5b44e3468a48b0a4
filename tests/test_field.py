"""The field's models since 2023 by their plain definitions, and what follows the authors' code."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from definitions import convolved, qkv, rms, turned
from test_baselines import SHAPE, assert_twins, build, inputs
from torch import Tensor

from baselines.based import Based
from baselines.deltanet import DeltaNet
from baselines.gated_deltanet import GatedDeltaNet
from baselines.hyena import Hyena
from baselines.mamba2 import Mamba2
from baselines.parts import delta, recurrence
from baselines.parts.heads import merge_heads, split_heads
from baselines.s4d import S4D
from pointer.optim import optimizers
from pointer.trunk import LayerShape
from workflow.bench import registry


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 4, so that short sequences cross several."""
    monkeypatch.setattr(recurrence, "CHUNK", 4)
    monkeypatch.setattr(delta, "CHUNK", 4)


def gated_delta(mixer: Any, x: Tensor) -> Any:
    short = F.silu(convolved(mixer.taps.T, mixer.qkv(x)))
    q, k, v = (split_heads(part, 2) for part in short.chunk(3, dim=-1))
    q, k = q / q.norm(dim=-1, keepdim=True) / 2, k / k.norm(dim=-1, keepdim=True)
    writing, step = mixer.rates(x).chunk(2, dim=-1)
    decay = (-mixer.log_rate.exp() * F.softplus(step + mixer.step_bias)).exp()
    state, rows = torch.zeros(2, 2, 4, 4, dtype=x.dtype), []
    for i in range(x.shape[1]):
        key, rate = k[:, :, i, :, None], torch.sigmoid(writing)[:, i, :, None, None]
        state = decay[:, i, :, None, None] * state
        state = state + key @ (rate * (v[:, :, i, None, :] - key.transpose(-2, -1) @ state))
        rows.append((q[:, :, i, None, :] @ state).squeeze(-2))
    return mixer.out(merge_heads(rms(torch.stack(rows, dim=2))) * F.silu(mixer.gate(x)))


def mamba2(mixer: Any, x: Tensor) -> Any:
    gate, inner, key, query, step = mixer.project(x).split(mixer.parts, dim=-1)
    joined = torch.cat([inner, key, query], dim=-1)
    short = F.silu(convolved(mixer.taps.T, joined) + mixer.taps_bias)
    inner, key, query = short.split(mixer.parts[1:4], dim=-1)
    step = F.softplus(step + mixer.step_bias)
    state, rows = torch.zeros(2, 2, 3, 8, dtype=x.dtype), []
    for i in range(x.shape[1]):
        value = inner[:, i].view(2, 2, 1, 8)
        rate = step[:, i, :, None, None]
        state = (-mixer.log_rate.exp()[:, None, None] * rate).exp() * state
        state = state + key[:, i, None, :, None] * rate * value
        seen = query[:, i, None, None, :] @ state + mixer.skip[:, None, None] * value
        rows.append(seen.reshape(2, 16))
    mixed = torch.stack(rows, dim=1) * F.silu(gate)
    return mixer.out(mixer.norm.weight * rms(mixed))


def taylor(mixer: Any, x: Tensor) -> Any:
    q, k, v = (split_heads(p, 2) for p in mixer.mixer.qkv(x).split(mixer.mixer.parts, dim=-1))
    score = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    weights = (1 + score + score.square() / 2).tril()
    return mixer.mixer.out(merge_heads(weights / weights.sum(-1, keepdim=True) @ v))


def window(mixer: Any, x: Tensor) -> Any:
    q, k, v = qkv(mixer.mixer, x)
    positions = torch.arange(x.shape[1])
    behind = positions[:, None] - positions
    near = (behind >= 0) & (behind < 3)
    scores = (turned(q) @ turned(k).transpose(-2, -1) / 2).masked_fill(~near, -math.inf)
    return mixer.mixer.out(merge_heads(scores.softmax(-1) @ v))


@pytest.mark.parametrize("length", [1, 2, 13, 33])
def test_gated_deltanet_and_mamba2_are_their_recurrences(length: int) -> None:
    assert_twins(build(GatedDeltaNet), inputs(length), gated_delta)
    assert_twins(build(Mamba2, states=3), inputs(length), mamba2)


@pytest.mark.parametrize("length", [1, 2, 13, 33])
def test_based_is_a_window_below_and_a_taylor_series_above(length: int) -> None:
    lower = LayerShape(SHAPE.width, SHAPE.heads, SHAPE.length, 0, 2)
    assert_twins(build(Based, features=3), inputs(length), taylor)
    assert_twins(build(Based, lower, window=3), inputs(length), window)


def test_strong_decays_neither_overflow_nor_lose_their_gradient() -> None:
    q, k, v = (torch.randn(1, 2, 40, 4) for _ in range(3))
    log_decay = torch.full((1, 2, 40), -200.0, requires_grad=True)
    y = recurrence.gated_sums(q, k, v, log_decay)
    torch.testing.assert_close(y, (q * k).sum(-1, keepdim=True) * v)
    y.sum().backward()
    assert log_decay.grad is not None
    assert bool(log_decay.grad.isfinite().all())


def test_without_decay_the_gated_delta_rule_is_the_delta_rule() -> None:
    q, k, v = (torch.randn(1, 2, 21, 4, dtype=torch.float64) for _ in range(3))
    k, rate = F.normalize(k, dim=-1), torch.rand(1, 2, 21, 1, dtype=torch.float64)
    plain, decayed = delta.delta_rule(q, k, v, rate), delta.delta_rule(q, k, v, rate, 0 * rate)
    torch.testing.assert_close(plain, decayed)


def test_hyenas_filter_is_that_of_the_authors_on_their_grid() -> None:
    """Time over the length less one, bands over the length, three sine layers of one rate."""
    mixer, length = build(Hyena, bands=2), SHAPE.length
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


def group_of(model: Any, suffix: str, lr: float) -> dict[str, Any]:
    """Return the optimiser's group of the first parameter whose name ends so."""
    parameter = next(p for name, p in model.named_parameters() if name.endswith(suffix))
    for group in optimizers(model, lr)[0].param_groups:
        if any(p is parameter for p in group["params"]):
            return group
    raise AssertionError(suffix)


@pytest.mark.parametrize(
    ("name", "suffix", "rate"),
    [
        ("s4d", "log_step", 1e-3),
        ("s4d", "log_decay", 1e-3),
        ("s4d", "mix", 1e-3),
        ("hyena", "third.weight", 1e-2),
        ("hyena", "sine_rates", 1e-2),
        ("mamba2", "log_rate", 1e-2),
        ("gated-deltanet", "step_bias", 1e-2),
    ],
)
def test_filters_and_states_have_the_authors_rates_and_no_decay(
    name: str, suffix: str, rate: float
) -> None:
    model = registry.build(name, symbols=5, length=32, layers=2, width=32, heads=2)
    group = group_of(model, suffix, 1e-2)
    assert (group["lr"], group["weight_decay"]) == (rate, 0.0)
    assert group_of(model, "ffn.up.weight", 1e-2)["weight_decay"] > 0


def test_branches_and_taps_start_as_large_as_the_authors() -> None:
    torch.manual_seed(0)
    shape = LayerShape(256, 8, 512, 0, 6)
    y, _ = S4D(shape)(torch.randn(2, 512, 256), None)
    assert float(y.detach().square().mean().sqrt()) == pytest.approx(0.267, rel=0.1)
    assert float(DeltaNet(shape).taps.detach().std()) == pytest.approx(0.285, rel=0.05)
    assert float(Hyena(shape).taps.detach().std()) == pytest.approx(0.337, rel=0.05)
