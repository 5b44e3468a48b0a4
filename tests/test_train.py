"""Is the recipe repeatable to the bit and honest about its budget, and does a divergence become a
status?"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pointer.trunk import LayerShape, Mixer, Trunk
from workflow.bench.measure import learning, training
from workflow.bench.measure.checkpoint import thin
from workflow.bench.outcomes import Diverged
from workflow.bench.tasks.base import IGNORED, Seeds
from workflow.bench.tasks.copy import Copy

CPU = torch.device("cpu")
TASK = Copy(distance=5).at(batch=4, length=24, symbols=6, seeds=Seeds.of(3))


class Shift(Mixer):
    """Hands each position the one five back: the copy task becomes easy."""

    def __init__(self, shape: LayerShape) -> None:
        super().__init__()
        self.told: list[float] = []

    def set_progress(self, done: float) -> None:
        self.told.append(done)

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        return 3 * torch.nn.functional.pad(x, (0, 0, 5, 0))[:, : x.shape[1]], carry


class Noisy(Shift):
    """Draws random numbers in training mode."""

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        mixed, carry = super().forward(x, carry)
        return mixed + 0.1 * torch.randn_like(mixed) if self.training else mixed, carry


def model(mixer: type[Mixer] = Shift) -> Trunk:
    torch.manual_seed(0)
    sizes = {"symbols": 6, "length": 24, "layers": 1, "width": 16, "heads": 2, "ffn_width": 16}
    return Trunk(mixer, **sizes, learned_positions=False)


def recipe(tokens: int, **more: float) -> training.Recipe:
    return training.Recipe(tokens=tokens, lr=more.pop("lr", 0.01), **more)  # type: ignore[arg-type]


def ignore(done: float, **values: float) -> None:
    """A report that nobody reads."""


def run(trained: nn.Module, how: training.Recipe) -> training.History:
    return training.train(trained, TASK, how, CPU, ignore)


def test_training_is_repeatable_to_the_bit() -> None:
    models = [model(Noisy), model(Noisy)]
    first, second = (run(m, recipe(96 * 12)) for m in models)
    assert first.losses == second.losses
    assert first.evaluations == second.evaluations
    for own, other in zip(*(m.parameters() for m in models), strict=True):
        assert torch.equal(own, other)


def test_looking_at_the_accuracy_does_not_change_training(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = run(model(Noisy), recipe(96 * 12))
    monkeypatch.setattr(training, "CHECK_STEPS", 1)
    assert run(model(Noisy), recipe(96 * 12)).losses == looked.losses


@pytest.mark.parametrize("budget", [96, 500, 96 * 9])
def test_tokens_never_exceed_the_budget(budget: int) -> None:
    history = run(model(), recipe(budget))
    assert history.tokens_used == history.steps * 96 <= budget
    assert history.tokens_used > budget - 96


def test_mixers_hear_the_progress_before_each_step() -> None:
    trained = model()
    run(trained, recipe(960))
    assert trained.mixers[0].told == pytest.approx([i / 10 for i in range(10)])  # type: ignore[union-attr,arg-type]


def test_training_stops_after_two_good_checks_in_a_row() -> None:
    history = run(model(), recipe(10**6, stop_accuracy=0.99))
    accuracies = [hard for _, _, hard, _ in history.evaluations]
    assert min(accuracies[-2:]) >= 0.99
    assert all(min(pair) < 0.99 for pair in pairwise(accuracies[:-1]))
    assert history.tokens_used < 10**6
    first_good = next(tokens for tokens, _, hard, _ in history.evaluations if hard >= 0.95)
    assert history.tokens_to_95 == first_good
    assert history.seconds_to_95 is not None
    assert 0 < history.seconds_to_95 <= history.seconds


def test_a_loss_that_is_not_finite_names_the_step_and_keeps_what_was_measured() -> None:
    trained = model()

    def poison(done: float) -> None:
        if done >= 0.3:
            nn.init.constant_(trained.norm.weight, math.nan)

    trained.set_progress = poison  # type: ignore[method-assign]
    with pytest.raises(Diverged, match=r"the loss became nan at step 4 \(384 tokens\)") as caught:
        run(trained, recipe(960))
    assert caught.value.row["tokens_used"] == 384
    assert len(caught.value.row["loss_curve"]) == 3  # type: ignore[arg-type]


def test_the_learning_rate_warms_up_then_falls_to_a_tenth() -> None:
    stepper = training.Stepper(model(), recipe(960, lr=0.5), CPU)
    rates = []
    for step in range(10):
        stepper.step(*TASK.training_batch(step))
        rates.append(stepper.optimizers[0].param_groups[0]["lr"])
    cosine = [0.5 * (0.1 + 0.45 * (1 + math.cos(math.pi * step / 10))) for step in range(1, 11)]
    assert rates == pytest.approx(cosine)  # the warm-up, a tenth of this budget, is one step
    assert rates[-1] == pytest.approx(0.05)


def test_the_warm_up_is_a_number_of_tokens_whatever_the_budget() -> None:
    for tokens in (10**6, 5 * 10**6):
        constant = training.Recipe(tokens=tokens, lr=1.0, schedule="constant")
        shares = [constant.rate_share(used) for used in (12_500, 25_000, 50_000, tokens)]
        assert shares == pytest.approx([0.25, 0.5, 1.0, 1.0])


def test_bfloat16_is_autocast_with_float32_weights() -> None:
    trained = model()
    run(trained, recipe(960, dtype="bfloat16"))  # type: ignore[arg-type]
    assert {p.dtype for p in trained.parameters()} == {torch.float32}


def test_a_long_curve_is_thinned_evenly_with_both_ends() -> None:
    points = [[float(i), 0.0] for i in range(1001)]
    thinned = thin(points, 200)
    assert len(thinned) == 200
    assert (thinned[0], thinned[-1]) == (points[0], points[-1])
    assert thin(points[:3], 200) == points[:3]


def test_evaluation_scores_enough_fresh_symbols_and_leaves_the_model_as_it_was() -> None:
    scored = model(Noisy)
    score = learning.evaluate(scored.train(), TASK, 1000, "float32", CPU)
    assert scored.training
    assert score["n_evaluated"] == 19 * 4 * 14  # sequences come in whole batches
    assert score["accuracy"] == sum(score["correct_by_sequence"]) / (19 * 4 * 14)
    assert score == learning.evaluate(scored, TASK, 1000, "float32", CPU)


def test_loss_is_taken_at_supervised_positions_only() -> None:
    logits, targets = torch.randn(1, 4, 6), torch.tensor([[IGNORED, IGNORED, 2, 5]])
    expected = -logits.log_softmax(-1)[0, [2, 3], [2, 5]].mean()
    torch.testing.assert_close(training.supervised_loss(logits, targets), expected)
