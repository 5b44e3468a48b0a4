"""Provenance: a row's origin, and a source hash that changes with what makes the number and with nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from workflow.bench import experiments, hardware, provenance, registry, rows, sources
from workflow.bench.settings import Settings


def test_identity_holds_known_keys_only() -> None:
    known = provenance.identity(Settings("efficiency", "pointer", length=256))
    assert set(known) <= set(rows.keys())
    assert (known["length"], known["distance"], known["tokens_budget"], known["chance"]) == (256, None, None, None)


def test_the_user_names_the_machine() -> None:
    assert provenance.identity(Settings("copy", "chance", machine="our node"))["machine"] == "our node"
    assert hardware.cpu_name() in provenance.identity(Settings("copy", "chance"))["machine"]


def test_a_gpu_is_hidden_where_the_user_hides_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    hardware.gpus.cache_clear()
    assert "cuda" not in hardware.devices()
    hardware.gpus.cache_clear()


def test_versions_name_what_numbers_depend_on() -> None:
    assert {"python", "torch", "numpy", "platform"} <= set(provenance.versions())


ALIKE = ("fairness", "two_hop")  # measured as copy and ablation are, by the same code
DISTINCT = [name for name in experiments.EXPERIMENTS if name not in ALIKE]


def test_every_experiment_and_model_has_its_own_sources() -> None:
    hashes = {(e, m): provenance.source_hash(e, m) for e in DISTINCT for m in registry.names()}
    assert len(set(hashes.values())) == len(hashes)


def test_what_all_models_share_is_one_hash_an_experiment() -> None:
    shared = {experiment: provenance.shared_hash(experiment) for experiment in DISTINCT}
    assert len(set(shared.values())) == len(shared)
    assert provenance.identity(Settings("copy", "chance"))["shared_hash"] == shared["copy"]


@pytest.mark.parametrize("experiment", experiments.EXPERIMENTS)
def test_the_trunk_and_the_optimiser_count_for_every_model(experiment: str) -> None:
    made = {path.relative_to(sources.ROOT).as_posix() for path in provenance._measuring(experiment)}
    assert {"pointer/trunk.py", "pointer/optim.py", "workflow/bench/measure/training.py"} <= made


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one package: a imports b, b imports c inside a function, d stands alone."""
    (tmp_path / "pkg").mkdir()
    texts = {
        "__init__": "",
        "a": "from pkg import b\nimport os",
        "b": "def f():\n    import pkg.c",
        "c": "from pkg.a import x",
        "d": "",
    }
    for name, text in texts.items():
        (tmp_path / "pkg" / f"{name}.py").write_text(text)
    monkeypatch.setattr(sources, "ROOT", tmp_path)
    return tmp_path


def test_imports_are_followed_through_circles(tree: Path) -> None:
    assert [path.stem for path in sources.reachable(["pkg.a"], ("pkg",))] == ["__init__", "a", "b", "c"]
    assert [path.stem for path in sources.reachable(["pkg.a"], ("pkg",), without=("pkg.b",))] == ["__init__", "a"]
    assert [path.stem for path in sources.reachable(["pkg.d", "os"], ("pkg",))] == ["d"]


def test_the_hash_changes_with_contents_and_places(tree: Path) -> None:
    files = sources.reachable(["pkg.a"], ("pkg",))
    before = sources.content_hash(files)
    (tree / "pkg" / "d.py").write_text("x = 1")
    assert sources.content_hash(files) == before
    (tree / "pkg" / "c.py").write_text("x = 1")
    assert sources.content_hash(files) != before
    assert sources.content_hash(files, "more") != sources.content_hash(files)


def test_planning_and_supervising_load_no_torch() -> None:
    modules = "workflow.bench.cli, workflow.bench.grid, workflow.bench.supervisor"
    code = f"import sys, {modules}, json; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert {"torch", "snakemake", "pandas", "matplotlib"}.isdisjoint(loaded)
