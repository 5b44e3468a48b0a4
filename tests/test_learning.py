"""Rows of every experiment that trains or counts: complete, and what they should say."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import binomtest
from torch import nn

from pointer import trace
from workflow.bench import cli, config, registry
from workflow.bench.cell import Cell, from_dict
from workflow.bench.measure import costs, learning, models, pointers
from workflow.bench.outcomes import Unsupported
from workflow.bench.rows import attachment, contracts, keys, provenance, read_row

TINY = {"mqar": {"pairs": 2}, "selective-copy": {"length": 16, "items": 3}}
TINY |= {"induction": {"length": 16}, "khop": {"length": 16, "hops": 2}}
TINY |= {"string-copy": {"letters": 4}, "listops": {"length": 24}, "bytes": {"length": 16}}


TEXT = {"task": "bytes", "length": 32}


def cell(experiment, model="identity", **given):
    sizes = {"tokens": 256, "batch": 2, "evaluate_symbols": 20, "threads": 1, "model": model}
    return Cell.of(**{"experiment": experiment, **sizes, **TINY.get(experiment, {}), **given})


def ignore(done, **values):
    """A report that nobody reads."""


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
