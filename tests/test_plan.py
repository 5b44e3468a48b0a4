"""Tiers and the plan: mistakes are named, an edit changes only what it names; how long it takes."""

import itertools
import math
import os
import time

import pytest
import synthetic
from hypothesis import given
from hypothesis import strategies as st

from pointer.errors import InputError
from workflow.bench import config, grid, registry
from workflow.bench.cell import Cell, affinity, threads
from workflow.bench.rows import estimate, provenance, write_row
from workflow.bench.sessions import by_file
from workflow.bench.validation import read_yaml

SMALL = {"tier": "t", "devices": ["cpu"], "lengths": [128, 256], "distances": [64]}
SMALL["models"] = ["pointer", "transformer"]
SMALL["experiments"] = {"efficiency": {"repeats": 2}, "copy": {"controls": ["all"]}}


def edited(**changes):
    return config.cells({**SMALL, **changes})


@pytest.mark.parametrize("name", config.tier_names())
def test_no_two_cells_share_a_row(name):
    cells = config.cells(config.tier(name))
    assert len({cell.path.lower() for cell in cells}) == len(cells)
    assert len({cell.key() for cell in cells}) == len(cells)


def test_each_task_lies_along_its_own_axis():
    blocks = {"mqar": {"pairs": [4, 16]}, "khop": {"hops": [2]}}
    blocks |= {"string-copy": {"letters": [9]}, "induction": {"lengths": [64]}}
    cells = config.cells({**SMALL, "models": ["pointer"], "experiments": blocks})
    tasks, sizes = "mqar mqar khop string-copy induction", "p4 p16 k2 l9 n64"
    for cell, task, size in zip(cells, tasks.split(), sizes.split(), strict=True):
        assert cell.path.startswith(f"results/runs/{task}/pointer/{size}-s0-")


def test_interpretability_trains_on_the_tasks_that_the_config_lists():
    block = {"models": ["pointer"], "tasks": ["copy", "bytes"], "lengths": [64]}
    found = edited(experiments={"interpretability": block})
    cells = [(cell.task_name, cell.axis, cell.length) for cell in found]
    assert cells == [("copy", "distance", 0), ("bytes", "length", 64)]
    without = edited(experiments={"interpretability": {"models": ["pointer"]}})
    assert [cell.key() for cell in without] == [found[0].key()]


def test_controls_are_chosen_by_kind():
    def chosen(word):
        return set(config.chosen_models({"models": [], "controls": [word]}))

    controls = {name for name in registry.names() if registry.info(name).kind == "control"}
    controls.remove("pointer-repository")  # sees the future: only where it is named
    assert chosen("pointer-repository") == {"pointer-repository"}
    assert chosen("all") == controls
    assert chosen("trained") == controls - {"oracle-copy", "chance"}
    assert chosen("none") == set()


def test_a_cost_class_is_held_to_its_values():
    restrict = {"quadratic": {"distances": [64], "seeds": [0]}, "control": {"distances": [65]}}
    block = {"controls": ["chance"], "restrict": restrict}
    cells = edited(distances=[64, 65], seeds=[0, 1], experiments={"copy": block})
    every = {"pointer": {(64, 0), (64, 1), (65, 0), (65, 1)}, "transformer": {(64, 0)}}
    for model, held in (every | {"chance": {(65, 0), (65, 1)}}).items():
        assert {(cell.x, cell.seed) for cell in cells if cell.model == model} == held


def test_devices_auto_is_what_the_machine_has(monkeypatch):
    monkeypatch.setattr(provenance, "devices", lambda: ["cpu", "cuda"])
    blocks = {"copy": {"devices": "mps"}}
    tier = config.tier("default", {"devices": "auto", "experiments": blocks})
    assert tier["devices"] == ["cpu", "cuda"]
    assert tier["experiments"]["copy"]["devices"] == ["mps"]
    without = {key: value for key, value in SMALL.items() if key != "devices"}
    assert {cell.device for cell in config.cells(without)} == {"cpu", "cuda"}


def test_a_variant_is_a_further_cell_on_top_of_the_models_own_settings():
    variants = {"pointer": [{"k": 5}, {"chain": False}]}
    cells = edited(mixer={"pointer": {"k": 3, "gate": False}}, variants=variants)
    copied = [c for c in cells if c.experiment == "copy"]
    own = {"k": 3, "gate": False}
    mixers = [cell.mixer for cell in copied if cell.model == "pointer"]
    assert mixers == [own, own | {"k": 5}, own | {"chain": False}]
    assert all(s.mixer == {} for s in copied if s.model != "pointer")
    assert len({cell.path for cell in cells}) == len(cells)


@given(wanted=st.integers(0, 64), cores=st.integers(1, 64), allowed=st.integers(1, 64))
def test_jobs_side_by_side_never_use_more_threads_than_allowed(wanted, cores, allowed):
    claimed = config.rule_threads(wanted, cores, allowed)
    assert 1 <= claimed <= cores
    used = min(wanted or allowed, allowed)
    at_once = cores // claimed
    assert at_once * used <= max(allowed, used)


def test_rows_run_in_the_order_of_the_plan_and_optional_ones_wait_and_have_a_deadline():
    asked = grid.Grid({})
    paths = list(asked.cells(grid.RESULTS))
    jobs = {path: asked.job(path) for path in paths}
    priorities = [job.priority for job in jobs.values()]
    assert all(before > after for before, after in itertools.pairwise(priorities))
    timings = tuple(path for path in paths if jobs[path].cells[0].timing)
    for job in jobs.values():
        assert job.after == (timings if job.optional else ())
    cut = {job.cells[0].experiment for job in jobs.values() if job.optional}
    assert cut == {"memory", "repository", "interpretability", "bytes"}

    asked._set_deadline([paths[0], "results/paper/manifest.txt"])
    assert asked.deadline == math.inf  # no minutes in that tier
    asked._set_deadline([paths[0], "results/manifest.txt"])
    assert 24 * 60 < asked.deadline - time.time() <= 25 * 60
    assert asked.end() == []
    asked.deadline = time.time() - 300
    assert asked.end() == [f"took 5 minutes more than {grid.LEAST}"]


MANY = 10_000  # cells, without twins
LENGTHS = [64, 128, 256, 512, 1024]
MODELS = ["pointer", "pointer-dense", "transformer", "longformer"]
SESSIONS = MANY // len(MODELS)
REPEATS = {"repeats": MANY // len(LENGTHS) // len(MODELS), "variants": {"pointer": []}}
TIER = {"tier": "large", "extends": "default", "devices": ["cpu"], "threads": 1, "models": MODELS}
TIER |= {"controls": "none", "lengths": LENGTHS, "experiments": {"efficiency": REPEATS}}


@pytest.mark.slow
def test_a_large_grid_is_planned_once(monkeypatch):
    """To compute a cell's hash is the dearest step of planning."""
    real, hashes = Cell.key, [0]

    def counted(self):
        hashes[0] += 1
        return real(self)

    monkeypatch.setattr(Cell, "key", counted)
    made = grid.Grid(TIER)
    paths = list(made.cells("results/large"))
    assert len(set(paths)) == SESSIONS
    assert hashes[0] == 2 * (MANY + SESSIONS)  # to leave out equal cells, and for their paths
    for path in paths:  # what Snakemake asks of every job
        made.job(path), made.threads(path, 2)
    assert made.job(paths[0]).priority == SESSIONS
    assert hashes[0] == 2 * (MANY + SESSIONS)


def put(root, cell, seconds, status="ok"):
    known = provenance.identity(cell) | synthetic.times(0, seconds)
    write_row(root / cell.path, {**known, "status": status, "reason": "x"})


def test_a_measured_row_replaces_the_guess(tmp_path):
    cell = Cell.of("copy", "pointer", threads=1)
    share = threads(cell.threads) / affinity()
    guess = estimate.wall_seconds(cell.path, [cell], tmp_path)
    put(tmp_path, cell, 777, status="timeout")  # measured again, but it tells how long it takes
    found = estimate.wall_seconds(cell.path, [cell], tmp_path)
    assert found == pytest.approx((777 + estimate.START_S) * share)
    put(tmp_path, cell, 0, status="skipped")
    assert estimate.wall_seconds(cell.path, [cell], tmp_path) == guess
    put(tmp_path, cell, 777)
    assert estimate.wall_seconds(cell.path, [cell], tmp_path) == estimate.KEPT_S


def test_the_default_tier_takes_what_readme_says(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(provenance, "devices", lambda: ["cpu"])
    tier = config.tier("default")
    # As a line in the registry: group own, linear.
    own = {"own_models": {"mine": "baselines.local:LocalAttention"}}
    blocks = tier["experiments"].items()  # of which the deadline may cut some
    tier["experiments"] = {name: block for name, block in blocks if not block.get("optional")}
    before, after = (by_file(config.cells(cells)).items() for cells in (tier, {**tier, **own}))
    before = [estimate.wall_seconds(*file, tmp_path) for file in before]
    after = [estimate.wall_seconds(*file, tmp_path) for file in after]
    assert 40 * 60 < sum(before) < 75 * 60
    assert len(after) > len(before)
    assert sum(after) - sum(before) < 25 * 60


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
