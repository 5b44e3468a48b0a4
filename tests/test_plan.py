"""The plan: the same cells each time, and an edit changes only what it names."""

from __future__ import annotations

import itertools
import os
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow.bench import config, grid, registry
from workflow.bench.cell import Cell
from workflow.bench.rows import provenance, run

SMALL: dict[str, Any] = {
    "tier": "t",
    "devices": ["cpu"],
    "lengths": [128, 256],
    "distances": [64],
    "models": ["pointer", "transformer"],
    "experiments": {"efficiency": {"repeats": 2}, "copy": {"controls": ["all"]}},
}


def paths(cells: list[Cell]) -> list[str]:
    return [cell.path for cell in cells]


def edited(**changes: Any) -> list[Cell]:
    return config.cells({**SMALL, **changes})


@pytest.mark.parametrize("name", config.tier_names())
def test_no_two_cells_share_a_row(name: str) -> None:
    cells = config.cells(config.tier(name))
    assert len({cell.path.lower() for cell in cells}) == len(cells)
    assert len({cell.key() for cell in cells}) == len(cells)


def test_adding_a_length_adds_only_its_cells() -> None:
    before, after = set(paths(config.cells(SMALL))), set(paths(edited(lengths=[128, 256, 512])))
    assert before < after
    assert all("/n512-" in path for path in after - before)


def test_a_setting_of_one_task_at_the_top_of_a_tier_reaches_only_its_cells() -> None:
    cells = edited(items=4, models=["transformer"], experiments={"copy": {}, "selective-copy": {}})
    given = {cell.experiment: "--items" in cell.argv() for cell in cells}
    assert given == {"copy": False, "selective-copy": True}


def test_the_order_of_a_list_of_models_changes_nothing() -> None:
    assert paths(edited(models=["transformer", "pointer"])) == paths(config.cells(SMALL))


def test_timed_models_take_turns_within_a_repeat() -> None:
    timed = [cell for cell in config.cells(SMALL) if cell.timing]
    members = ("pointer", "pointer twin", "transformer")
    assert [(s.repeat, s.length, s.model + " twin" * s.twin) for s in timed] == list(
        itertools.product((0, 1), (128, 256), members)
    )


def test_snakemake_is_told_to_run_rows_in_the_order_of_the_plan() -> None:
    asked = grid.Grid({})
    priorities = [asked.job(row).priority for row in asked.rows(grid.RESULTS)]
    assert all(before > after for before, after in itertools.pairwise(priorities))


def test_a_row_says_what_it_is_in_its_path() -> None:
    found = paths(edited(seeds=[1], dtypes=["bfloat16"], devices=["cuda"]))
    assert any(
        path.startswith("results/runs/efficiency/pointer/n128-cuda-bfloat16-s1-r0-")
        for path in found
    )
    assert any(path.startswith("results/runs/copy/chance/d64-cuda-bfloat16-s1-") for path in found)


def test_each_task_lies_along_its_own_axis() -> None:
    blocks: dict[str, Any] = {
        "mqar": {"pairs": [4, 16]},
        "khop": {"hops": [2]},
        "string-copy": {"letters": [9]},
        "induction": {"lengths": [64]},
    }
    cells = config.cells({**SMALL, "models": ["pointer"], "experiments": blocks})
    assert [path.rpartition("-")[0] for path in paths(cells)] == [
        "results/runs/mqar/pointer/p4-s0",
        "results/runs/mqar/pointer/p16-s0",
        "results/runs/khop/pointer/k2-s0",
        "results/runs/string-copy/pointer/l9-s0",
        "results/runs/induction/pointer/n64-s0",
    ]
    assert [cell.resolved().length for cell in cells] == [64, 256, 128, 20, 64]


def test_interpretability_trains_on_the_tasks_that_the_config_lists() -> None:
    block = {"models": ["pointer"], "tasks": ["copy", "bytes"], "lengths": [64]}
    found = edited(experiments={"interpretability": block})
    assert [(s.task_name, s.axis, s.length) for s in found] == [
        ("copy", "distance", 0),
        ("bytes", "length", 64),
    ]
    without = edited(experiments={"interpretability": {"models": ["pointer"]}})
    assert [cell.key() for cell in without] == [found[0].key()]


def test_controls_are_chosen_by_kind() -> None:
    kinds = {
        choice: set(config.chosen_models({"models": [], "controls": [choice]}))
        for choice in ("all", "trained", "none")
    }
    controls = {name for name in registry.names() if registry.info(name).kind == "control"}
    controls.remove("pointer-repository")  # sees the future: only where it is named
    named = config.chosen_models({"models": [], "controls": ["pointer-repository"]})
    assert named == ["pointer-repository"]
    assert kinds["all"] == controls
    assert kinds["trained"] == controls - {"oracle-copy", "chance"}
    assert kinds["none"] == set()


def test_a_cost_class_is_held_to_its_values() -> None:
    restrict = {"quadratic": {"distances": [64], "seeds": [0]}, "control": {"distances": [65]}}
    block = {"controls": ["chance"], "restrict": restrict}
    cells = edited(distances=[64, 65], seeds=[0, 1], experiments={"copy": block})
    seen = {
        model: {(c.x, c.seed) for c in cells if c.model == model}
        for model in ("pointer", "transformer", "chance")
    }
    assert seen["pointer"] == {(64, 0), (64, 1), (65, 0), (65, 1)}
    assert seen["transformer"] == {(64, 0)}
    assert seen["chance"] == {(65, 0), (65, 1)}


def test_two_restrictions_on_one_model_both_hold() -> None:
    rules = {"linear": {"lengths": [1, 2], "repeats": 2}, "control": {"lengths": [2, 3]}}
    block = {"controls": ["identity"], "models": ["transformer"], "repeats": 3, "restrict": rules}
    cells = edited(lengths=[1, 2, 3], experiments={"efficiency": block})
    assert {(c.length, c.repeat) for c in cells if c.model == "identity"} == {(2, 0), (2, 1)}


def test_devices_auto_is_what_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "devices", lambda: ["cpu", "cuda"])
    assert {cell.device for cell in edited(devices=["auto"])} == {"cpu", "cuda"}
    settled = config.settled(
        config.tier("default", {"experiments": {"copy": {"devices": "mps"}, "complexity": None}})
    )
    assert settled["devices"] == ["cpu", "cuda"]
    assert settled["experiments"]["copy"]["devices"] == ["mps"]
    assert settled["experiments"]["complexity"] is None


def test_a_variant_is_a_further_cell_on_top_of_the_models_own_settings() -> None:
    cells = edited(
        mixer={"pointer": {"k": 3, "gate": False}},
        variants={"pointer": [{"k": 5}, {"chain": False}]},
    )
    copied = [c for c in cells if c.experiment == "copy"]
    assert [s.mixer for s in copied if s.model == "pointer"] == [
        {"k": 3, "gate": False},
        {"k": 5, "gate": False},
        {"k": 3, "gate": False, "chain": False},
    ]
    assert all(s.mixer == {} for s in copied if s.model != "pointer")
    assert len(set(paths(cells))) == len(cells)


def test_an_experiments_variants_win_over_the_tiers() -> None:
    block = {"variants": {"pointer": [{"k": 5}]}}
    cells = edited(
        variants={"pointer": [{"k": 7}], "transformer": [{"x": 1}]}, experiments={"copy": block}
    )
    assert [c.mixer for c in cells if c.mixer] == [{"k": 5}, {"x": 1}]


@given(wanted=st.integers(0, 64), cores=st.integers(1, 64), allowed=st.integers(1, 64))
def test_jobs_side_by_side_never_use_more_threads_than_allowed(
    wanted: int, cores: int, allowed: int
) -> None:
    claimed = config.rule_threads(wanted, cores, allowed)
    assert 1 <= claimed <= cores
    used = min(wanted or allowed, allowed)
    at_once = cores // claimed
    assert at_once * used <= max(allowed, used)


def test_only_optional_rows_wait_and_have_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = grid.Grid({})
    paths = list(asked.cells("default"))
    jobs = {path: asked.job(path) for path in paths}
    timings = tuple(path for path in paths if jobs[path].cells[0].timing)
    for job in jobs.values():
        assert job.after == (timings if job.optional else ())
    cut = {job.cells[0].experiment for job in jobs.values() if job.optional}
    assert cut == {"memory", "repository", "interpretability", "bytes"}

    monkeypatch.setattr(os, "environ", {})
    asked._set_deadline([paths[0], "results/paper/manifest.txt"])
    assert run.DEADLINE not in os.environ  # no minutes in that tier
    asked._set_deadline([paths[0], "results/manifest.txt"])
    assert 24 * 60 < float(os.environ[run.DEADLINE]) - time.time() <= 25 * 60
    assert asked.end() == []
    asked.deadline = time.time() - 300
    assert asked.end() == [f"took 5 minutes more than {grid.LEAST}"]
