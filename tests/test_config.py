"""Tiers: a closed schema, deep merging, and a sentence for every mistake."""

import pytest

from pointer.errors import InputError
from workflow.bench import config
from workflow.bench.validation import read_yaml


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\na: 2\n", "'a' stands twice"),
        ("a: [1\n", "mine.yaml"),
        ("1: 2\n", "each key a text"),
        ("a: !!python/object:os.system 1\n", "could not determine a constructor"),
        ("lengths: [0512]\n", "'0512' is no plain decimal number"),
        ("lengths: [1:30]\n", "'1:30' is no plain decimal number"),
    ],
)
def test_a_malformed_file_is_named(tmp_path, text, words):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_yaml(path)


def test_a_budget_at_a_single_distance_replaces_that_of_all():
    copy = {"models": ["pointer"], "controls": ["none"], "distances": [512, 8191]}
    copy |= {"tokens": 50_000, "tokens_at": {"8191": 200_000}}
    cells = config.cells(config.tier("default", {"experiments": {"copy": copy}}))
    budgets = {c.x: c.tokens for c in cells if c.experiment == "copy"}
    assert budgets == {512: 50_000, 8191: 200_000}
    with pytest.raises(InputError, match="tokens_at"):
        config.checked({"experiments": {"copy": {"tokens_at": {"8191.5": 1}}}}, "here")


@pytest.mark.parametrize("rule", ["longformer", "linear", "paper", "float32"])
def test_a_rules_budget_holds_wherever_the_rule_does(rule):
    copy = {"models": ["longformer"], "controls": ["none"], "distances": [512], "seeds": [0]}
    block = {"copy": {**copy, "restrict": {rule: {"tokens": 5000}}}}
    tier = config.from_files([], {"tier": "mine", "experiments": block, "extends": "smoke"})
    assert [cell.tokens for cell in config.cells(tier)] == [5000]


def test_texts_and_single_values_of_the_command_line_are_read():
    copy = {"tokens": "5000", "lr": "1e-3"}
    typed = {"lengths": "4096", "seeds": ["0", "1"], "experiments": {"copy": copy}}
    read = {"lengths": [4096], "seeds": [0, 1]}
    read["experiments"] = {"copy": {"tokens": 5000, "lr": 0.001}}
    assert config.checked(typed, "here") == read


def test_an_addition_at_the_top_holds_for_every_experiment():
    copy = {"models": "longformer"}
    added = {"models": ["pointer"], "controls": "none", "experiments": {"copy": copy}}
    cells = config.cells(config.tier("default", added))
    chosen = {(c.experiment == "copy", c.model) for c in cells}
    assert chosen == {(True, "longformer"), (False, "pointer")}


def test_a_tier_that_extends_another_runs_the_experiments_that_it_names():
    base = config.tier("default")
    added = {"tier": "mine", "extends": "default", "experiments": {"copy": {"lr": 0.5}}}
    mine = config.from_files([], added)
    assert list(mine["experiments"]) == ["copy"]
    assert mine["experiments"]["copy"] == {**base["experiments"]["copy"], "lr": 0.5}
    all_of_it = config.from_files([], {"tier": "mine", "extends": "smoke"})
    assert all_of_it["experiments"].keys() == config.tier("smoke")["experiments"].keys()


@pytest.mark.parametrize(
    "added", [{"distances": [128]}, {"experiments": {"copy": {"distances": [128]}}}]
)
def test_a_restriction_to_other_sizes_than_the_users_is_lifted(added):
    before, after = (
        [c for c in config.cells(config.tier("default", more)) if c.experiment == "copy"]
        for more in ({}, added)
    )
    assert {cell.model for cell in after} == {cell.model for cell in before}
    assert {cell.x for cell in after} == {128}


def test_a_restriction_that_leaves_some_of_the_users_sizes_stays():
    cells = config.cells(config.tier("default", {"distances": [512, 4096]}))
    formula = [c for c in cells if c.model == "pointer-formula" and c.experiment == "copy"]
    assert {cell.x for cell in formula} == {512}


def test_a_tier_without_any_cell_is_refused():
    copy = {"models": ["pointer"], "restrict": {"pointer": {"distances": [7]}}}
    tier = {"tier": "mine", "extends": "default", "experiments": {"copy": copy}}
    with pytest.raises(InputError, match="without any cell"):
        config.cells(config.from_files([], {**tier, "controls": "none"}))


def test_a_length_added_at_the_top_adds_cost_cells_only():
    before = {cell.path for cell in config.cells(config.tier("default"))}
    added = {"lengths": [256, 512, 1024, 2048, 4096]}
    after = {cell.path for cell in config.cells(config.tier("default", added))}
    assert {path.split("/")[2] for path in after - before} == {"efficiency", "memory", "complexity"}
    assert all("n4096" in path for path in after - before)


@pytest.mark.parametrize(
    ("added", "words"),
    [
        ({"lenghts": [1]}, "'lenghts' is unknown. Did you mean 'lengths'"),
        ({"experiments": {"coppy": {}}}, "Did you mean 'copy'.*`experiments` in"),
        ({"experiments": {"copy": {"token": 5}}}, "Did you mean 'tokens'.*`experiments.copy` in"),
        ({"experiments": {"copy": {"restrict": {"linaer": {}}}}}, "Did you mean 'linear'"),
        ({"experiments": {"copy": {"tokens": "many"}}}, "copy.tokens is 'many'; accepted: a valid"),
        ({"devices": ["gpu"]}, "'gpu' is unknown.*auto, cpu, cuda, mps"),
        ({"variants": {"pointer": [{"k": [1]}]}}, r"variants.pointer.0.k is \[1\]"),
        ({"lengths": []}, r"lengths is \[\]; accepted: Value should have at least 1 item"),
        ({"tier": "Mine!"}, "tier is 'Mine!'; accepted: String should match pattern"),
        ({"tier": "tables"}, "a name other than"),
        ({"tokens": 10}, "one step of batch x N"),
        ({"extends": "smok"}, "'smok' is unknown. Did you mean 'smoke'"),
    ],
)
def test_mistakes_are_named_with_value_accepted_and_place(added, words):
    with pytest.raises(InputError, match=words) as caught:
        config.cells(config.from_files([], added))
    assert "Change it in" in str(caught.value)
