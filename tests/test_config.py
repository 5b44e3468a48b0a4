"""Tiers: a closed schema, deep merging, and a sentence for every mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pointer.errors import InputError
from workflow.bench import config, config_schema, plan
from workflow.bench.strict_yaml import read_yaml


@pytest.mark.parametrize("name", config.TIERS)
def test_every_tier_is_valid_and_has_cells(name: str) -> None:
    assert plan.cells(config.tier(name))


def test_the_schema_file_is_what_the_settings_generate() -> None:
    assert json.loads(config.SCHEMA_PATH.read_text()) == config_schema.schema(), (
        "python -m workflow.bench.config_schema > FILE"
    )


@pytest.mark.parametrize(
    ("added", "words"),
    [
        ({"lenghts": [1]}, "'lenghts' is unknown. Did you mean 'lengths'"),
        ({"experiments": {"coppy": {}}}, "'coppy' is unknown. Did you mean 'copy'.*`experiments` in"),
        ({"experiments": {"copy": {"token": 5}}}, "'token' is unknown. Did you mean 'tokens'.*`experiments.copy` in"),
        ({"experiments": {"copy": {"restrict": {"linaer": {}}}}}, "Did you mean 'linear'"),
        ({"experiments": {"copy": {"restrict": {"linear": {"tokens": 1}}}}}, "'tokens' is unknown"),
        ({"experiments": {"copy": {"tokens": "many"}}}, "experiments.copy.tokens is 'many'; accepted: training budget"),
        ({"experiments": {"copy": {"tokens": 1.5}}}, "tokens is 1.5; accepted"),
        ({"experiments": {"copy": {"tokens": True}}}, "tokens is True; accepted"),
        ({"experiments": {"copy": {"tokens": None}}}, "tokens is None; accepted"),
        ({"experiments": 3}, "experiments is 3; accepted: experiment names"),
        ({"devices": ["gpu"]}, "'gpu' is unknown.*auto, cpu, cuda, mps"),
        ({"dtypes": ["flaot32"]}, "Did you mean 'float32'"),
        ({"models": ["pointr"]}, "'pointr' is unknown. Did you mean 'pointer'"),
        ({"controls": ["chanse"]}, "Did you mean 'chance'"),
        ({"mixer": {"pointr": {}}}, "Did you mean 'pointer'"),
        ({"mixer": {"pointer": {"k": [1]}}}, r"mixer.pointer.k is \[1\]"),
        ({"variants": {"pointr": [{}]}}, "Did you mean 'pointer'"),
        ({"variants": {"pointer": [{"k": [1]}]}}, r"variants.pointer.0.k is \[1\]"),
        ({"variants": {"pointer": [{"k": 1}, {"k": 1}]}}, "without repetition"),
        ({"lengths": [0]}, "lengths.0 is 0; accepted"),
        ({"lengths": []}, r"lengths is \[\]; accepted: a list"),
        ({"lengths": ["x"]}, "lengths.0 is 'x'"),
        ({"seeds": [1, 1]}, "without repetition"),
        ({"repeats": 0}, "repeats is 0; accepted: how often"),
        ({"symbols": -1}, "symbols is -1; accepted: vocabulary size"),
        ({"tier": "Mine!"}, "tier is 'Mine!'; accepted: the tier's name"),
        ({"tier": "tables"}, "a name other than"),
        ({"lr": "nan"}, "lr is nan"),
        ({"distances": [10**9]}, "distances.0"),
        ({"tokens": 10}, "one step of batch x N"),
    ],
)
def test_mistakes_are_named_with_value_accepted_and_place(added: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        plan.cells(config.from_files([], added))
    assert "Change it in" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\na: 2\n", "'a' stands twice"),
        ("experiments:\n  copy: {tokens: 1, tokens: 2}\n", "'tokens' stands twice"),
        ("a: [1\n", "mine.yaml"),
        ("- 1\n", "key: value lines"),
        ("1: 2\n", "not text"),
        ("a: !!python/object:os.system 1\n", "is not accepted"),
        ("\x00", "mine.yaml"),
    ],
)
def test_a_malformed_file_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_yaml(path)


def test_a_budget_at_a_single_distance_replaces_that_of_all() -> None:
    copy = {"models": ["pointer"], "controls": ["none"], "distances": [512, 8191], "tokens_at": {"8191": 200000}}
    block = {"experiments": {"copy": {**copy, "tokens": 50000}}}

    def budgets(**more: Any) -> dict[int, int]:
        cells = plan.cells(config.tier("default", {**block, **more}))
        return {c.settings.distance: c.settings.tokens for c in cells if c.settings.experiment == "copy"}

    assert budgets() == {512: 50_000, 8191: 200_000}
    with pytest.raises(InputError, match="tokens_at"):
        budgets(experiments={"copy": {"tokens_at": {"8191.5": 1}}})


def test_a_budget_added_at_the_top_holds_at_every_distance() -> None:
    cells = plan.cells(config.tier("paper", {"tokens": 300_000}))
    assert {c.settings.tokens for c in cells if c.settings.task_name == "copy"} == {300_000}


def test_a_model_and_a_group_can_be_restricted() -> None:
    restrict = {"longformer": {"distances": [512]}, "field": {"distances": [1024]}}
    block = {"models": ["longformer", "gla", "pointer"], "controls": ["none"], "restrict": restrict}
    cells = plan.cells(config.tier("default", {"experiments": {"copy": block}}))
    found = {(c.settings.model, c.settings.distance) for c in cells if c.settings.experiment == "copy"}
    kept = {("pointer", d) for d in (512, 1024, 1536, 2048)}
    assert found == {("longformer", 512), ("gla", 1024), *kept}


def test_a_missing_file_is_named() -> None:
    with pytest.raises(InputError, match=r"'nowhere\.yaml' cannot be read: No such file"):
        config.from_files(["nowhere.yaml"])


def test_an_unknown_tier_has_a_nearest_name() -> None:
    with pytest.raises(InputError, match="Did you mean 'smoke'"):
        config.tier("smok")


def test_texts_and_single_values_of_the_command_line_are_read() -> None:
    read = config.checked(
        {"lengths": "4096", "devices": "cpu", "experiments": {"copy": {"tokens": "5000", "lr": "1e-3"}}}, "here"
    )
    assert read == {"lengths": [4096], "devices": ["cpu"], "experiments": {"copy": {"tokens": 5000, "lr": 0.001}}}
    assert config.checked({"seeds": ["0", "1"]}, "here") == {"seeds": [0, 1]}


def test_additions_merge_deeply_and_lists_replace() -> None:
    merged = config.tier("default", {"lengths": [64], "experiments": {"copy": {"tokens": 5000}}})
    assert merged["lengths"] == [64]
    assert merged["experiments"]["copy"]["tokens"] == 5000
    assert merged["experiments"]["copy"]["models"] == config.tier("default")["experiments"]["copy"]["models"]


def test_an_addition_at_the_top_holds_for_every_experiment() -> None:
    cells = plan.cells(
        config.tier(
            "default", {"models": ["pointer"], "controls": "none", "experiments": {"copy": {"models": "longformer"}}}
        )
    )
    assert {(c.settings.experiment == "copy", c.settings.model) for c in cells} == {
        (True, "longformer"),
        (False, "pointer"),
    }


def test_an_own_tier_names_itself_and_leaves_the_others_alone() -> None:
    chosen, tiers = config.tiers({"tier": "mine", "lengths": [64]})
    assert chosen == "mine"
    assert tiers["mine"]["lengths"] == [64]
    assert tiers["default"] == config.tier("default")


def test_an_experiment_can_be_left_out() -> None:
    found = {c.settings.experiment for c in plan.cells(config.tier("default", {"experiments": {"copy": None}}))}
    assert "copy" not in found
    assert "efficiency" in found


def test_a_tier_file_by_path_is_that_tier() -> None:
    assert config.from_files([str(config.FOLDER / "smoke.yaml")]) == config.tier("smoke")


def test_a_length_added_at_the_top_adds_cost_cells_only() -> None:
    before, after = (
        {cell.path for cell in plan.cells(config.tier("default", added))}
        for added in ({}, {"lengths": [256, 512, 1024, 2048, 4096]})
    )
    assert {path.split("/")[2] for path in after - before} == {"efficiency", "complexity"}
    assert all("n4096" in path for path in after - before)
