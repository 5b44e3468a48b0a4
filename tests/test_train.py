"""Training is repeatable to the bit and honest about its budget; rates are searched alike."""

import json
import math
from itertools import pairwise

import pytest
import torch
import yaml

from pointer.trunk import Mixer, Trunk
from workflow.bench import cli, rates
from workflow.bench.cell import Cell, from_dict
from workflow.bench.measure import learning, search, training
from workflow.bench.measure.checkpoint import History
from workflow.bench.rates import RATES, Tried, best
from workflow.bench.rows import as_json, seal
from workflow.bench.sources import REFERENCE
from workflow.bench.tasks.base import IGNORED, Seeds
from workflow.bench.tasks.copy import Copy

CPU = torch.device("cpu")
TASK = Copy(distance=5).at(batch=4, length=24, symbols=6, seeds=Seeds.of(3))


class Shift(Mixer):
    """Hands each position the one five back: the copy task becomes easy."""

    def __init__(self, shape):
        super().__init__()
        self.told = []

    def set_progress(self, done):
        self.told.append(done)

    def forward(self, x, carry):
        return 3 * torch.nn.functional.pad(x, (0, 0, 5, 0))[:, : x.shape[1]], carry


class Noisy(Shift):
    """Draws random numbers in training mode."""

    def forward(self, x, carry):
        mixed, carry = super().forward(x, carry)
        return mixed + 0.1 * torch.randn_like(mixed) if self.training else mixed, carry


def model(mixer=Shift):
    torch.manual_seed(0)
    sizes = {"symbols": 6, "length": 24, "layers": 1, "width": 16, "heads": 2, "ffn_width": 16}
    return Trunk(mixer, **sizes, learned_positions=False)


def recipe(tokens, **more):
    return training.Recipe(tokens=tokens, lr=more.pop("lr", 0.01), **more)


def ignore(done, **values):
    """A report that nobody reads."""


def run(trained, how):
    return training.train(trained, TASK, how, CPU, ignore)


def test_training_is_repeatable_to_the_bit():
    models = [model(Noisy), model(Noisy)]
    first, second = (run(m, recipe(96 * 12)) for m in models)
    assert first.losses == second.losses
    assert first.evaluations == second.evaluations
    for own, other in zip(*(m.parameters() for m in models), strict=True):
        assert torch.equal(own, other)


def test_looking_at_the_accuracy_does_not_change_training(monkeypatch):
    looked = run(model(Noisy), recipe(96 * 12))
    monkeypatch.setattr(training, "CHECK_STEPS", 1)
    assert run(model(Noisy), recipe(96 * 12)).losses == looked.losses


@pytest.mark.parametrize("budget", [96, 500, 96 * 9])
def test_tokens_never_exceed_the_budget(budget):
    history = run(model(), recipe(budget))
    assert history.tokens_used == history.steps * 96 <= budget
    assert history.tokens_used > budget - 96


def test_mixers_hear_the_progress_before_each_step():
    trained = model()
    run(trained, recipe(960))
    assert trained.mixers[0].told == pytest.approx([i / 10 for i in range(10)])


def test_training_stops_after_two_good_checks_in_a_row():
    history = run(model(), recipe(10**6, stop_accuracy=0.99))
    accuracies = [hard for _, _, hard, _ in history.evaluations]
    assert min(accuracies[-2:]) >= 0.99
    assert all(min(pair) < 0.99 for pair in pairwise(accuracies[:-1]))
    assert history.tokens_used < 10**6
    first_good = next(tokens for tokens, _, hard, _ in history.evaluations if hard >= 0.95)
    assert history.tokens_to_95 == first_good
    assert 0 < history.seconds_to_95 <= history.seconds


def test_the_learning_rate_warms_up_then_falls_to_a_tenth():
    stepper = training.Stepper(model(), recipe(960, lr=0.5), CPU)
    rates = []
    for step in range(10):
        stepper.step(*TASK.training_batch(step))
        rates.append(stepper.optimizers[0].param_groups[0]["lr"])
    cosine = [0.5 * (0.1 + 0.45 * (1 + math.cos(math.pi * step / 10))) for step in range(1, 11)]
    assert rates == pytest.approx(cosine)  # the warm-up, a tenth of this budget, is one step
    assert rates[-1] == pytest.approx(0.05)


def test_the_warm_up_is_a_number_of_tokens_whatever_the_budget():
    for tokens in (10**6, 5 * 10**6):
        constant = training.Recipe(tokens=tokens, lr=1.0, schedule="constant")
        shares = [constant.rate_share(used) for used in (12_500, 25_000, 50_000, tokens)]
        assert shares == pytest.approx([0.25, 0.5, 1.0, 1.0])


def test_evaluation_scores_enough_fresh_symbols_and_leaves_the_model_as_it_was():
    scored = model(Noisy)
    score = learning.evaluate(scored.train(), TASK, 1000, "float32", CPU)
    assert scored.training
    assert score["n_evaluated"] == 19 * 4 * 14  # sequences come in whole batches
    assert score["accuracy"] == sum(score["correct_by_sequence"]) / (19 * 4 * 14)
    assert score == learning.evaluate(scored, TASK, 1000, "float32", CPU)


def test_loss_is_taken_at_supervised_positions_only():
    logits, targets = torch.randn(1, 4, 6), torch.tensor([[IGNORED, IGNORED, 2, 5]])
    expected = -logits.log_softmax(-1)[0, [2, 3], [2, 5]].mean()
    torch.testing.assert_close(training.supervised_loss(logits, targets), expected)


SMALL = {"distance": 4, "length": 20, "tokens": 60_000, "layers": 1, "width": 16, "heads": 2}


def history(evaluations, learned=None):
    points = [(tokens, loss, 0.0, 0.0) for tokens, loss in evaluations]
    return History(tokens_used=points[-1][0], evaluations=points, tokens_to_95=learned)


@pytest.mark.parametrize(
    ("tried", "rate"),
    [
        ([(0.1, 500, 500, 1.0), (0.2, 400, 400, 2.0), (0.3, 200, None, 0.1)], 0.2),
        ([(0.1, 900, None, 1.0), (0.2, 900, None, 0.9), (0.3, 450, None, 0.5)], 0.2),
        ([(0.1, 900, None, 1.0), (0.2, 300, None, None)], 0.1),
    ],
)
def test_fewest_tokens_to_95_win_else_the_least_loss_at_the_whole_budget(tried, rate):
    assert best(Tried(*entry) for entry in tried) == rate


def test_a_rate_has_the_leaders_tokens_and_is_dropped_at_half_of_them_if_behind(monkeypatch):
    monkeypatch.setattr(search, "WARMUP_TOKENS", 50)
    leader = history([(100, 2.0), (200, 1.5), (300, 1.0), (400, 0.1)], learned=400)
    behind, ahead = search.Race(1000, leader), search.Race(1000, leader)
    assert not behind.is_over(history([(100, 3.0)]))
    assert behind.is_over(history([(100, 3.0), (200, 2.0)]))
    assert not ahead.is_over(history([(100, 3.0), (200, 0.4)]))
    assert ahead.is_over(history([(100, 3.0), (200, 0.4), (300, 0.4), (400, 0.4)]))


@pytest.mark.parametrize(("warmup", "half"), [(300, 1.5), (50, 1.9)])
def test_no_rate_is_dropped_in_its_warmup_or_before_the_leader_learned(monkeypatch, warmup, half):
    """A rate that learns late once lost to one that had not learned either at half the tokens."""
    monkeypatch.setattr(search, "WARMUP_TOKENS", warmup)
    leader = history([(100, 2.0), (200, half), (300, half), (400, half)])
    late, learned = search.Race(400, leader), history([(100, 3.0), (200, 3.0), (300, 0.1)], 300)
    assert not late.is_over(history([(100, 3.0), (200, 3.0)]))
    assert late.is_over(learned)


def test_a_search_tries_every_rate_and_never_draws_a_test_sequence(monkeypatch, tmp_path):
    streams, drawn = [], Copy.sequences

    def watched(self, rng, count, stream):
        streams.append(stream)
        return drawn(self, rng, count, stream)

    monkeypatch.setattr(Copy, "sequences", watched)
    row = search.run(Cell.of("rates", "pointer", threads=1, **SMALL), ignore, tmp_path)
    assert [entry[0] for entry in row["rates"]] == list(RATES)
    assert row["lr_chosen"] == best(Tried(*entry) for entry in row["rates"])
    assert set(streams) == {"train", "check"}


def test_a_cell_without_a_rate_gets_the_chosen_one(monkeypatch, tmp_path):
    monkeypatch.setattr(rates, "FILE", tmp_path / "learning_rates.yaml")
    rates.FILE.write_text("{}")
    rates.read.cache_clear()
    rates.write([("copy", "1x16x2", "pointer", 0.005)])
    rates.read.cache_clear()
    found = Cell.of("copy", "pointer", **SMALL)
    assert found.lr == 0.005
    assert Cell.of("copy", "transformer", **SMALL).lr == rates.DEFAULT
    assert Cell.of("copy", "pointer", **{**SMALL, "width": 32}).lr == rates.DEFAULT
    own = Cell.of("copy", "pointer", lr=rates.DEFAULT, **SMALL)
    assert own.lr == rates.DEFAULT
    for each in (found, own):
        assert from_dict(each.to_dict()) == each
        assert f"--lr {each.lr}" in " ".join(each.argv())
    rates.read.cache_clear()


def test_a_search_at_a_smaller_size_leaves_the_rate_of_the_larger(monkeypatch, tmp_path):
    """At 4 pairs the rate of 16 pairs, the reference's, stays; at 16 pairs a new search counts."""
    monkeypatch.setattr(rates, "FILE", tmp_path / "learning_rates.yaml")
    rates.FILE.write_text("{}")
    files = REFERENCE.glob("*/rows.jsonl")
    kept = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    searches = {
        row["x"]: row
        for row in kept
        if (row["experiment"], row["model"]) == ("rates", "transformer-rotary")
        and row["task"]["name"] == "mqar"
    }
    assert sorted(searches) == [4, 16]
    for pairs, expected in ((4, searches[16]["lr_chosen"]), (16, 0.0123)):
        changed = searches[pairs] | {"lr_chosen": 0.0123}
        changed.pop("file")
        line = as_json(seal(changed, tmp_path), file="rates/mine.json")
        (tmp_path / "rows.jsonl").write_text(f"{line}\n")
        rates.read.cache_clear()
        assert cli.main(["rates", str(tmp_path)]) == 0
        chosen = yaml.safe_load(rates.FILE.read_text())["mqar"]["2x64x2"]
        assert chosen["transformer-rotary+convolution"] == expected
    rates.read.cache_clear()


def test_seeds_of_data_initialisation_and_order_are_apart():
    drawn = []
    for seed in map(Seeds.of, range(200)):
        drawn += (seed.data, seed.init, seed.order)
    assert len(set(drawn)) == len(drawn)
