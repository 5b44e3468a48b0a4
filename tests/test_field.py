"""The field's models since 2023 by their plain definitions, and what follows the authors' code."""

from __future__ import annotations

import math
from typing import Any

import definitions
import pytest
import torch
from test_baselines import SHAPE, assert_twins, build, inputs

from baselines.deltanet import DeltaNet
from baselines.hyena import Hyena
from baselines.parts import delta, recurrence
from baselines.pointer_repository import RepositoryBlock
from baselines.s4d import S4D
from pointer.optim import optimizers
from pointer.trunk import LayerShape
from workflow.bench import config, registry


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 4, so that short sequences cross several."""
    monkeypatch.setattr(recurrence, "CHUNK", 4)
    monkeypatch.setattr(delta, "CHUNK", 4)


@pytest.mark.parametrize("length", [1, 2, 13, 33])
def test_the_lower_layer_of_based_is_a_window(length: int) -> None:
    lower = LayerShape(SHAPE.width, SHAPE.heads, SHAPE.length, 0, 2)
    assert_twins(build("based", lower, window=3), inputs(length), definitions.based_window)


def test_strong_decays_neither_overflow_nor_lose_their_gradient() -> None:
    q, k, v = (torch.randn(1, 2, 40, 4) for _ in range(3))
    log_decay = torch.full((1, 2, 40), -200.0, requires_grad=True)
    y = recurrence.gated_sums(q, k, v, log_decay)
    torch.testing.assert_close(y, (q * k).sum(-1, keepdim=True) * v)
    y.sum().backward()
    assert log_decay.grad is not None
    assert bool(log_decay.grad.isfinite().all())


def test_hyenas_filter_is_that_of_the_authors_on_their_grid() -> None:
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


def test_the_repositorys_block_gives_its_own_figures_and_is_in_no_comparison() -> None:
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
