"""The paper's formula, with and without the offset table: its oracle, memory and readings."""

import math

import pytest
import torch

import pointer
from pointer import formula
from pointer.dense import DensePointerMixer, DenseSettings
from pointer.formula import FormulaMixer, FormulaSettings, Point, point_plainly
from pointer.noise import starts
from pointer.select import Noise
from pointer.trunk import LayerShape, Trunk

SHAPE = LayerShape(width=24, heads=2, length=200, layer=1, layers=2)


def drawn(length):
    """Queries, keys, values, and a table for sequences five longer."""
    torch.manual_seed(length)
    sizes = [*((3, 2, length, width) for width in (5, 5, 7)), (2, length + 5)]
    return [torch.randn(size, dtype=torch.float64, requires_grad=True) for size in sizes]


def small(mixer, **settings):
    torch.manual_seed(0)
    chosen = mixer.Settings(**settings)
    sizes = {"symbols": 11, "length": 200, "layers": 3, "width": 24, "heads": 2, "ffn_width": 32}
    return Trunk(lambda shape: mixer(shape, chosen), learned_positions=True, **sizes)


NOISES = [Noise(0.3, 0.7, False), Noise(0.0, 0.7, False), Noise(1.0, 2.0, True), Noise()]


@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 131])
@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("with_table", [False, True])
@pytest.mark.parametrize("noise", NOISES, ids=str)
def test_chunks_give_what_all_scores_at_once_give(monkeypatch, length, own, with_table, noise):
    monkeypatch.setattr(formula, "CHUNK_SCORES", 1)  # chunks of 64 queries
    q, k, v, table = drawn(length)
    leaves = [q, k, v, table] if with_table else [q, k, v]
    table = table if with_table else None
    start = starts(6) if noise.scale else None
    out, targets = Point.apply(q, k, v, table, noise, start, own)
    expected, oracle_targets = point_plainly(q, k, v, table, noise, start, own)
    assert torch.equal(targets, oracle_targets)
    torch.testing.assert_close(out, expected)
    upstream = torch.randn_like(out)
    gradients = torch.autograd.grad(out, leaves, upstream)
    oracles = torch.autograd.grad(expected, leaves, upstream)
    for gradient, oracle in zip(gradients, oracles, strict=True):
        torch.testing.assert_close(gradient, oracle)


def test_inference_points_at_the_best_score_and_reads_it_unchanged():
    mixer = FormulaMixer(SHAPE, FormulaSettings()).eval()
    x = torch.randn(2, 80, 24)
    lower = torch.zeros(2, 1, 80, dtype=torch.int64)
    with torch.no_grad():
        mixed, targets = mixer(x, lower)
        query, key, gate, _ = mixer.project(x).split(mixer.parts, dim=-1)
        q = query + mixer.chain.encode(torch.arange(80) - lower)[:, 0]
    scores = (q @ key.transpose(1, 2)).masked_fill(~torch.ones(80, 80).tril().bool(), -math.inf)
    assert torch.equal(targets[:, 0], scores.argmax(-1))
    chosen = x.gather(1, targets[:, 0, :, None].expand_as(x))
    torch.testing.assert_close(mixed, chosen * torch.sigmoid(gate))


def test_the_temperature_falls_late_in_training_alone():
    mixer = FormulaMixer(SHAPE, FormulaSettings())
    temperatures = []
    for done in (0.0, 0.5, 0.7, 0.9, 1.0):
        mixer.set_progress(done)
        temperatures.append(mixer.selection_noise().temperature)
    assert temperatures == pytest.approx([1.0, 1.0, 0.1**0.5, 0.1, 0.1])
    assert not mixer.selection_noise().hard
    assert mixer.eval().selection_noise() == Noise(0.0, 1.0, hard=True)


READINGS = [
    {"pointer_heads": 8}, {"score_width": 24}, {"score": "additive"}, {"chain": False},
    {"lower": "position"}, {"lower_reads": "mean"}, {"own": False}, {"hard": True}, {"noise": 0.0},
    {"noise": 1.0, "noise_until": 1.0}, {"coldest": 1.0},
]  # fmt: skip


@pytest.mark.parametrize("mixer", [FormulaMixer, DensePointerMixer])
@pytest.mark.parametrize("reading", READINGS, ids=str)
def test_every_reading_trains_and_points_into_its_past(mixer, reading):
    model, tokens = small(mixer, **reading), torch.randint(11, (2, 150))
    model(tokens).logsumexp(-1).sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())
    hops = pointer.trace(model, tokens).hops
    nearest = 0 if reading.get("own", True) else 1
    assert int(hops[..., 1:].min()) >= nearest
    assert bool((hops <= torch.arange(150)).all())


def test_with_a_table_of_zeros_it_is_the_formula():
    plain, tabled = small(FormulaMixer), small(DensePointerMixer)
    with torch.no_grad():
        for mixer in tabled.mixers:
            mixer.offset_table.zero_()
    tabled.load_state_dict(plain.state_dict(), strict=False)
    tokens = torch.randint(11, (2, 150))
    for mode in (True, False):
        outputs = []
        for model in (plain, tabled):
            torch.manual_seed(1)  # of the noise
            outputs.append(model.train(mode)(tokens))
        assert torch.equal(*outputs)


def test_scores_and_table_are_float32_under_autocast():
    """Scores that differ by less than bfloat16 holds are told apart."""
    mixer = DensePointerMixer(SHAPE, DenseSettings(chain=False, pointer_heads=2)).eval()
    with torch.no_grad():
        mixer.offset_table.copy_(1 + 1e-4 * torch.arange(200))  # the farther, the better
        mixer.project.weight.mul_(1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        _, targets = mixer(torch.randn(2, 90, 24), None)
    assert not targets.any()
