"""What must hold of every Pointer model whatever its sizes: N, batch, K, window, heads, layers, candidates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

import pointer
from pointer.dense import select_naive
from pointer.noise import gumbel, starts
from pointer.select import Noise, listed_plain, select_plain
from pointer.sources import offset_proposals
from pointer.trunk import Trunk
from workflow.bench import registry

SYMBOLS = 5
LONGEST_LOOPS = 20  # positions


@dataclass(frozen=True)
class Drawn:
    """One model's sizes; `built` makes it, in float64 with weights large enough that pointers differ."""

    length: int
    batch: int
    layers: int
    seed: int
    mixer: tuple[tuple[str, Any], ...]
    symbols: int = SYMBOLS

    def built(self, **changed: Any) -> Trunk:
        torch.manual_seed(self.seed)
        sizes = {"layers": self.layers, "width": 16, "heads": 2}
        given = {**dict(self.mixer), **changed}
        model = registry.build("pointer", symbols=self.symbols, length=self.length, **sizes, **given).double()
        assert isinstance(model, Trunk)
        with torch.no_grad():
            for name, p in model.named_parameters():
                p.add_(torch.randn_like(p) * (0.3 if "table" in name or "bias" in name else 0.1))
        return model

    def tokens(self, shift: int = 0) -> Tensor:
        drawn = torch.randint(
            self.symbols, (self.batch, self.length), generator=torch.Generator().manual_seed(self.seed)
        )
        return (drawn + shift) % self.symbols

    def of_distinct_tokens(self) -> tuple[Drawn, Tensor]:
        """A model small enough for loops, and sequences without a repeated symbol.

        Positions of one symbol can have equal keys; which of two equal blocks is chosen is then a matter of rounding,
        in which the ways of computing differ.
        """
        small = replace(self, length=min(self.length, LONGEST_LOOPS), batch=min(self.batch, 2), symbols=LONGEST_LOOPS)
        generator = torch.Generator().manual_seed(self.seed)
        rows = [torch.randperm(LONGEST_LOOPS, generator=generator)[: small.length] for _ in range(small.batch)]
        return small, torch.stack(rows)


@st.composite
def drawn(draw: st.DrawFn) -> Drawn:
    """N below, at and above the window; K of one up to more than N."""
    source = draw(
        st.sampled_from(
            ["offsets", "offsets+chain", "offsets+content", "offsets+blocks", "offsets+chain+content+blocks"]
        )
    )
    chain_window, rounds, taps = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 4))
    content = rounds * taps * draw(st.integers(1, 2))
    window, block = draw(st.integers(1, 12)), draw(st.integers(1, 6))
    reserved = (chain_window + 1) * ("chain" in source) + content * ("content" in source) + block * ("blocks" in source)
    mixer = {
        "candidates": source,
        "chain_window": chain_window,
        "content": content,
        "content_rounds": rounds,
        "content_bits": draw(st.integers(0, 3)),
        "content_taps": taps,
        "block": block,
        "block_region": draw(st.integers(1, 4)),
        "reach": draw(st.sampled_from([0, window, window + 3])),
        "window": window,
        "k": window + reserved + draw(st.integers(0, 12)),
        "pointer_heads": draw(st.sampled_from([1, 2, 4])),
        "score_width": draw(st.integers(1, 5)),
        "chain": draw(st.booleans()),
        "gate": draw(st.booleans()),
        "value": draw(st.booleans()),
    }
    sizes = {"length": draw(st.integers(1, 40)), "batch": draw(st.integers(1, 3)), "layers": draw(st.integers(1, 3))}
    return Drawn(**sizes, seed=draw(st.integers(0, 10**6)), mixer=tuple(mixer.items()))


every_model = settings(max_examples=30, deadline=None)


@every_model
@given(drawn())
def test_no_suffix_changes_what_comes_before_it(model_of: Drawn) -> None:
    model, tokens = model_of.built().eval(), model_of.tokens()
    before, other = model(tokens), model_of.tokens(shift=1)
    for cut in range(1, model_of.length):
        changed = torch.cat([tokens[:, :cut], other[:, cut:]], dim=1)
        torch.testing.assert_close(model(changed)[:, :cut], before[:, :cut], atol=1e-12, rtol=0)


@every_model
@given(drawn())
def test_a_sequence_fares_alike_alone_and_in_any_batch(model_of: Drawn) -> None:
    model, tokens = model_of.built().eval(), model_of.tokens()
    together = model(tokens.flip(0)).flip(0)
    for row in range(model_of.batch):
        torch.testing.assert_close(model(tokens[row : row + 1])[0], together[row], atol=1e-12, rtol=0)


@every_model
@given(drawn())
def test_training_without_noise_is_hard_inference(model_of: Drawn) -> None:
    model, tokens = model_of.built(noise=0.0), model_of.tokens()
    torch.testing.assert_close(model.train()(tokens), model.eval()(tokens), atol=1e-12, rtol=0)


@every_model
@given(drawn())
def test_each_position_points_at_one_position_of_its_past(model_of: Drawn) -> None:
    targets = pointer.trace(model_of.built(), model_of.tokens()).targets
    heads = dict(model_of.mixer)["pointer_heads"]
    assert targets.shape == (model_of.layers, model_of.batch, heads, model_of.length)
    assert bool((targets >= 0).all())
    assert bool((targets <= torch.arange(model_of.length)).all())


def naive(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, positions: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
    """The loops, drawing their noise as the fast paths do."""
    start = starts(q.shape[0] * q.shape[1])
    drawn_noise = noise.scale * gumbel(start, q.shape[2], positions.shape[3]).view(positions.shape).to(q)
    return select_naive(q, k, v, bias, positions, drawn_noise, noise.temperature)


def naive_shared(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, offsets: Tensor, noise: Noise, **_: bool) -> Any:
    """The loops with the signature of `pointer.select.select`."""
    out, targets = naive(q, k, v, bias, offset_proposals(offsets, q.shape[0], q.shape[2]), noise)
    hops = torch.arange(q.shape[2]) - targets
    return out, (offsets[None, :, None, :] == hops.unsqueeze(-1)).long().argmax(-1)


def naive_listed(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, positions: Tensor, noise: Noise, **_: bool) -> Any:
    """The loops with the signature of `pointer.select_listed.select_listed`."""
    return naive(q, k, v, bias, positions, noise)


def trained_a_step(model: Trunk, tokens: Tensor) -> tuple[Tensor, list[Tensor | None]]:
    """Logits and gradients of one training pass with noise."""
    torch.manual_seed(1)
    logits = model.train()(tokens)
    logits.square().sum().backward()
    return logits, [p.grad for p in model.parameters()]


@settings(max_examples=12, deadline=None)
@given(drawn())
def test_the_whole_model_equals_the_one_made_of_loops(model_of: Drawn) -> None:
    model_of, tokens = model_of.of_distinct_tokens()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pointer.mixer.select", naive_shared)
        patch.setattr("pointer.sources.select_listed", naive_listed)
        expected, oracle = trained_a_step(model_of.built(), tokens)
    for fused in (True, False):
        got, gradients = trained_a_step(model_of.built(fused=fused), tokens)
        torch.testing.assert_close(got, expected, atol=1e-9, rtol=0)
        for mine, its in zip(gradients, oracle, strict=True):
            assert (mine is None) == (its is None)
            if mine is not None:
                torch.testing.assert_close(mine, its, atol=1e-7, rtol=1e-7)  # the table's credit runs in float32


@every_model
@given(drawn())
def test_weights_survive_safetensors(tmp_path_factory: pytest.TempPathFactory, model_of: Drawn) -> None:
    model, path = model_of.built().eval(), Path(tmp_path_factory.mktemp("weights")) / "w.safetensors"
    save_file(model.state_dict(), path)
    torch.manual_seed(model_of.seed + 1)
    other = replace(model_of, seed=model_of.seed + 1).built().eval()
    other.load_state_dict(load_file(path))
    assert torch.equal(other(model_of.tokens()), model(model_of.tokens()))


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_soft_selection_has_the_gradients_of_finite_differences(temperature: float) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(1, 2, 7, 3, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(2))
    v = torch.randn(1, 2, 7, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(2, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    offsets, start, soft = (
        torch.tensor([[0, 1, 5], [0, 2, 9]]),
        torch.zeros(2, dtype=torch.int64),
        Noise(0.3, temperature, hard=False),
    )
    positions = offset_proposals(offsets, 1, 7)
    assert torch.autograd.gradcheck(lambda *x: select_plain(*x, offsets, start, soft)[0], (q, k, v, bias))
    assert torch.autograd.gradcheck(lambda *x: listed_plain(*x, positions, start, soft)[0], (q, k, v, bias))
