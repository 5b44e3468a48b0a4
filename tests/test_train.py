"""Training is repeatable and honest about its budget; the rows of what trains or counts."""

import json
import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from scipy.stats import binomtest
from torch import nn

from pointer import trace
from pointer.trunk import Mixer, Trunk
from workflow.bench import cli, config, rates, registry, rows
from workflow.bench.cell import Cell, from_dict
from workflow.bench.measure import costs, learning, models, pointers, search, training
from workflow.bench.measure.checkpoint import History
from workflow.bench.outcomes import Unsupported
from workflow.bench.rates import RATES, Tried, best
from workflow.bench.rows import attachment, contracts, keys, provenance, read_row
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
    searches = {}
    for _, row in rows.read_rows(REFERENCE):
        if (row["experiment"], row["model"]) == ("rates", "transformer-rotary"):
            searches[row["task"]["name"], row["x"]] = row
    for pairs, expected in ((4, searches["mqar", 16]["lr_chosen"]), (16, 0.0123)):
        rows.write_row(tmp_path / "row.json", searches["mqar", pairs] | {"lr_chosen": 0.0123})
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


TINY = {"mqar": {"pairs": 2}, "selective-copy": {"length": 16, "items": 3}}
TINY |= {"induction": {"length": 16}, "khop": {"length": 16, "hops": 2}}
TINY |= {"string-copy": {"letters": 4}, "listops": {"length": 24}, "bytes": {"length": 16}}


TEXT = {"task": "bytes", "length": 32}


def cell(experiment, model="identity", **given):
    sizes = {"tokens": 256, "batch": 2, "evaluate_symbols": 20, "threads": 1, "model": model}
    return Cell.of(**{"experiment": experiment, **sizes, **TINY.get(experiment, {}), **given})


@pytest.mark.parametrize("experiment", TINY)
def test_every_task_makes_a_row(experiment, tmp_path):
    settings = cell(experiment)
    row = provenance.identity(settings) | learning.run(settings, ignore, tmp_path)
    assert set(row) <= set(keys())
    assert row["task"]["name"] == experiment
    assert 0 < row["tokens_used"] <= 256
    assert row["n_evaluated"] >= 20
    assert 0 < row["chance"] < 1
    sizes = {key: value for key, value in TINY[experiment].items() if key != "length"}
    assert row["task"].items() >= sizes.items()


def test_a_model_that_is_told_a_copy_distance_takes_part_in_copy_only(tmp_path):
    with pytest.raises(Unsupported, match="told a copy distance, and mqar has none"):
        learning.run(cell("mqar", "oracle-copy"), ignore, tmp_path)


def test_hops_of_a_model_trained_on_text_are_over_all_positions(tmp_path):
    settings = cell("interpretability", "pointer", **TEXT)
    row = provenance.identity(settings) | pointers.interpretability(settings, ignore, tmp_path)
    assert (row["task"]["name"], row["axis"]) == ("bytes", "length")
    assert row["bits_per_byte"] > 0
    assert len(row["hops_mean"]) == len(row["hops_max"]) == 6
    assert all(0 <= hop < 32 for hop in row["hops_mean"] + row["hops_max"])


COPY = {"experiment": "copy", "threads": 1, "tokens": 2048}
COPY |= {"distance": 32, "length": 64, "batch": 4}


def copy_row(model, tmp_path, **more):
    return learning.run(Cell.of(model=model, **COPY | more), ignore, tmp_path)


def test_the_oracle_scores_everything_without_training(tmp_path):
    found = copy_row("oracle-copy", tmp_path)
    assert (found["accuracy"], found["tokens_used"], found["steps"]) == (1.0, 0, 0)
    assert found["n_evaluated"] >= 10_000
    assert found["loss_curve"] == []


def test_chance_sits_on_the_chance_line(tmp_path):
    found = copy_row("chance", tmp_path)
    assert found["chance"] == 0.05
    assert binomtest(sum(found["correct_by_sequence"]), found["n_evaluated"], 0.05).pvalue > 1e-4


def test_a_trained_model_without_mixing_stays_at_chance(tmp_path):
    found = copy_row("identity", tmp_path, evaluate_symbols=4000)
    assert found["tokens_used"] == 2048
    assert found["accuracy"] < 0.08
    assert found["loss_curve"][-1][0] == 2048
    assert set(found) <= set(keys())
    assert found["n_params"] == pytest.approx(3.2e6, rel=0.1)


def test_the_peak_holds_weights_gradients_and_the_optimisers_state():
    settings = Cell.of("memory", "identity", length=32, batch=2, threads=1)
    made = costs.peak_memory(settings, ignore, Path())
    weights = 4 * made["n_params"]
    assert 3 * weights < made["peak_memory_bytes"] < 10 * weights
    assert made["memory_method"]


WINDOW, LENGTH = 4, 256


def longest(**settings):
    """The longest hop by layer of an untrained pointer of random biases: each candidate wins."""
    torch.manual_seed(0)
    sizes = {"symbols": 20, "length": LENGTH, "width": 32, "heads": 4}
    model = registry.build("pointer", **sizes, mixer={"window": WINDOW, **settings})
    for name, parameter in model.named_parameters():
        if name.endswith("offset_table") or "sources" in name:
            nn.init.normal_(parameter)
    return [int(layer.max()) for layer in trace(model, torch.randint(20, (1, LENGTH))).hops]


def test_no_layer_reaches_beyond_the_window_but_by_chain_candidates_above_the_first():
    assert max(longest(k=WINDOW)) == WINDOW - 1  # every candidate is near
    chained = {"candidates": "offsets+chain", "k": WINDOW + 5}
    free, held = (longest(**chained, reach=reach) for reach in (0, WINDOW))
    assert held[0] < WINDOW <= free[0]
    assert max(held) >= WINDOW


@pytest.mark.parametrize("experiment", ["ablation", "two_hop"])
def test_every_variant_has_settings_that_its_model_knows(experiment):
    block = config.tier("paper")["experiments"][experiment]
    variants = config.variants("pointer", {"mixer": {}, **block})
    made = registry.load("pointer")
    assert len({repr(made.Settings(**mixer)) for mixer in variants}) == len(variants) > 1


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    """The row of a model that has seen 80 tokens, with its weights and its trace."""
    path = tmp_path_factory.mktemp("trace") / "row.json"
    asked = "--experiment interpretability --model pointer --distance 5 --length 40 --batch 1"
    asked += " --tokens 80 --evaluate-symbols 35 --threads 1"
    with pytest.MonkeyPatch.context() as patch:
        passed = contracts.Verdict("pointer", {}, "", "ok", [])
        patch.setattr(contracts, "verdict", lambda *_: passed)
        assert cli.main(["run", *asked.split(), "--out", str(path)]) == 0
    assert read_row(path)["status"] == "ok"
    return path


def test_row_trace_and_weights_are_those_of_the_model(traced):
    row = read_row(traced)
    assert len(row["hops_mean"]) == len(row["hops_max"]) == 6
    assert all(0 <= hop < 40 for hop in row["hops_mean"] + row["hops_max"])
    assert row["tokens_used"] == 80
    found = json.loads(attachment(traced, row["files"]["trace"]).read_text(encoding="utf-8"))
    targets = torch.tensor(found["targets"])
    assert targets.shape == (6, 1, 40)
    assert bool((targets <= torch.arange(40)).all())
    assert [sum(counts) for counts in found["hop_counts"]] == [40 - 5] * 6
    assert len(found["chain_of_last_position"]) == 7
    model = models.build(from_dict(row["settings"]).resolved(), torch.device("cpu"))
    model.load_state_dict(load_file(attachment(traced, row["files"]["weights"])))


def test_a_model_without_pointers_is_unsupported_before_it_is_trained(tmp_path):
    with pytest.raises(Unsupported, match="transformer has no pointers to trace"):
        pointers.interpretability(cell("interpretability", "transformer", **TEXT), ignore, tmp_path)


def test_hops_fall_into_half_open_bins_and_their_statistics_are_by_layer():
    assert pointers.hop_edges(9) == [0, 1, 2, 4, 8, 16]
    counts = pointers.histogram(torch.tensor([0, 0, 1, 3, 4, 7, 8]), [0, 1, 2, 4, 8, 16])
    assert counts == [2, 1, 1, 2, 1]
    hops = torch.tensor([[[[0, 2, 4]]], [[[1, 1, 10]]]])
    statistics = {"utilisation": 5 / 6, "hops_mean": [2.0, 4.0], "hops_max": [4, 10]}
    assert pointers.hop_statistics(hops) == statistics


def test_a_chain_is_printed_layer_by_layer_and_written(traced, tmp_path, capsys):
    out = tmp_path / "trace.json"
    assert cli.main(["trace", "--row", str(traced), "--position", "30", "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    written = json.loads(out.read_text())
    assert len(lines) == 7
    assert lines[0].startswith("position 30, symbol ")
    assert written["chain"][0] == 30
    for step, line in enumerate(lines[1:]):
        layer, here, there = 6 - step, written["chain"][step], written["chain"][step + 1]
        assert line.startswith(f"layer {layer}:")
        assert line.endswith(f"symbol {written['tokens'][there]}")
        assert written["targets"][layer - 1][0][here] == there


def test_models_of_a_seed_differ_in_nothing_but_the_model(tmp_path):
    given = {"seed": 5, "evaluate_symbols": 1}
    first, second = (copy_row(name, tmp_path, **given) for name in ("identity", "uniform"))
    same = ("seed_data", "seed_init", "seed_order", "tokens_used", "n_evaluated", "batch", "length")
    assert [first[key] for key in same] == [second[key] for key in same]
