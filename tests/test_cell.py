"""A cell: stated once, refused when bad, hashed by what matters, named in words."""

import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointer.errors import InputError
from workflow.bench import cell as cells
from workflow.bench import cli, experiments, tasks
from workflow.bench.cell import Cell
from workflow.bench.validation import LONGEST_TEXT

COPY = {"experiment": "copy", "model": "pointer"}
CFS = "cpu/cpu.cfs_"
PERIOD = {CFS + "period_us": "100000"}


def typed(argv):
    with cli.run.make_context("run", list(argv)) as context:
        options = dict(context.params)
    for key in ("out", "keep", "optional"):
        del options[key]
    return cli.cell_of(options)


NAMES = st.from_regex(r"[a-z]{1,9}", fullmatch=True)
TEXTS = st.text(max_size=LONGEST_TEXT).filter(str.isprintable)
VALUES = st.integers(-(2**63) + 1, 2**63 - 1) | st.booleans() | TEXTS


@given(
    distance=st.integers(1, 10_000),
    tokens=st.integers(10**6, 10**9),
    lr=st.floats(0, 10),
    seed=st.integers(0, 2**31 - 1),
    layers=st.integers(1, 9),
    mixer=st.dictionaries(NAMES, VALUES, max_size=3),
)
def test_any_cell_survives_its_command_line_and_its_json(**settings):
    cell = Cell.of(**COPY, **settings)
    assert typed(cell.argv()) == cell
    assert cells.from_dict(cell.to_dict()) == cell


def test_every_task_and_every_parameter_has_a_name_of_its_own():
    assert not set(tasks.parameters()) & {*Cell.model_fields, *cells.Trunk.model_fields}
    assert set(tasks.TASKS) <= set(experiments.EXPERIMENTS)
    for name in tasks.TASKS:
        kind = tasks.info(name)
        assert kind().name == name
        assert kind.axis == "length" or kind.axis in kind.model_fields
        assert kind.question


def test_sizes_left_open_are_filled_in():
    copy = Cell.of(**COPY, distance=2048).resolved()
    assert (copy.length, copy.batch, copy.axis, copy.x) == (2176, 1, "distance", 2048)
    timed = Cell.of("efficiency", "pointer", length=256).resolved()
    assert (timed.length, timed.batch, timed.threads) == (256, 16, cells.affinity())
    assert (timed.axis, timed.x) == ("length", 256)


@pytest.mark.parametrize(
    ("experiment", "given", "length", "symbols"),
    [
        ("mqar", {"pairs": 64}, 1024, 256),
        ("mqar", {"pairs": 64, "length": 512, "symbols": 200}, 512, 200),
        ("selective-copy", {}, 256, 16),
        ("induction", {"length": 1024}, 1024, 16),
        ("khop", {"hops": 3}, 128, 5),
        ("string-copy", {"letters": 20}, 42, 29),
        ("listops", {"symbols": 99}, 2000, 16),
        ("bytes", {"symbols": 20}, 1024, 256),
        ("copy", {}, 640, 20),
        ("complexity", {}, 2048, 20),
    ],
)
def test_each_task_has_sizes_of_its_own(experiment, given, length, symbols):
    cell = Cell.of(experiment, "pointer", **given).resolved()
    assert (cell.length, cell.symbols) == (length, symbols)


@pytest.mark.parametrize(
    ("group", "files", "cores"),
    [
        ("0::/", {"cpu.max": "250000 100000"}, 2),
        ("0::/", {"cpu.max": "50000 100000"}, 1),
        ("0::/", {"cpu.max": "max 100000"}, 8),
        ("0::/slurm/job/step", {"slurm/job/cpu.max": "300000 100000"}, 3),
        ("3:memory:/\n2:cpu,cpuacct:/docker/ab", {CFS + "quota_us": "200000", **PERIOD}, 2),
        ("2:cpu:/", {CFS + "quota_us": "-1", **PERIOD}, 8),
    ],
)
def test_a_containers_quota_limits_the_threads(group, files, cores, tmp_path, monkeypatch):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    (tmp_path / "group").write_text(f"{group}\n")
    monkeypatch.setattr(cells, "CGROUP", tmp_path / "group")
    monkeypatch.setattr(cells, "CGROUPS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert cells.threads(0) == cores


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"experiment": "coppy"}, "Did you mean 'copy'"),
        ({"device": "gpu"}, "cpu, cuda, mps"),
        ({"length": -1}, "length is -1; accepted: greater than or equal to 0"),
        ({"length": "0512"}, "a valid integer"),
        ({"length": 100}, "distance is 512; accepted: 1 to 99 at length 100"),
        ({"tokens": 100}, "one step of batch x N"),
        ({"lr": math.inf}, "less than or equal to 10"),
        ({"experiment": "mqar", "task": "bytes"}, "task is 'bytes'; accepted: mqar in mqar"),
        ({"experiment": "efficiency", "task": "bytes"}, "accepted: none in efficiency"),
        ({"machine": "a\nb"}, "printable characters"),
        ({"mixer": {"k": math.nan}}, "finite"),
        ({"heads": 3}, "width is 256; accepted: a multiple of heads, 3"),
    ],
)
def test_bad_values_are_refused_by_name(setting, words):
    with pytest.raises(InputError, match=words) as caught:
        Cell.of(**{**COPY, **setting})
    assert "accepted: " in str(caught.value) or "Known: " in str(caught.value)


def test_the_key_holds_what_matters_to_the_experiment_and_nothing_else():
    timed = Cell.of("efficiency", "pointer")
    assert timed.key() == Cell.of("efficiency", "pointer", tokens=10**6, lr=0.1, timeout_s=3).key()
    assert timed.key() == Cell.of("efficiency", "pointer", length=2048, batch=2).key()
    for changed in ({"session_seconds": 9}, {"session": "gla"}, {"twin": True}):
        assert timed.key() != Cell.of("efficiency", "pointer", **changed).key()
        assert Cell.of(**COPY).key() == Cell.of(**COPY, **changed).key()
    changes = [{"tokens": 5000}, {"mixer": {"k": 1}}, {"machine": "x"}]
    for change in (*changes, {"layers": 2}, {"distance": 9}):
        assert Cell.of(**COPY).key() != Cell.of(**COPY, **change).key()


@pytest.mark.parametrize(
    ("settings", "label"),
    [
        ({}, "n2048-r0"),
        ({"mixer": {"candidates": "offsets+content"}}, "n2048-candidates=offsets+content-r0"),
        ({"mixer": {"k": 8, "on": False}, "width": 64}, "n2048-k=8,on=false,trunk=6x64x8-r0"),
        ({"mixer": {"k": "../../x"}}, "n2048-k=....x-r0"),
        ({"mixer": {"k": "x" * 200}}, "n2048-k=xxx"),
    ],
)
def test_a_path_says_the_variant_in_words(settings, label):
    path = Cell.of("efficiency", "pointer", **settings).path
    assert path.startswith(f"results/runs/efficiency/pointer/{label}")
    assert len(path) < 200
